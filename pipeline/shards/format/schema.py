"""The shard, schema version 5: the names, types and meanings of everything in a file.

One file holds some whole episodes of one game by one actor and never changes once published.
N steps, E episodes, M milestones, screens of H by W:

========================  =======================================================================
/frames                   (N,H,W,3) u8: the screen before each step, 16 a chunk, gzip
/actions                  (N,) u8: the button executed, an index into the attribute ``actions``
/expert_actions           (N,) u8: the right button, 255 where there is none
/label_status             (N,) u8: a LabelStatus; 1 exactly where there is an expert's button
/rewards                  (N,) f32: after the step
/terminated, /truncated   (N,) bool: set at the last step of an episode at most
/ram_crc32                (N,) u32: CRC32 of the RAM before each step, for replay;
                          only in raw shards that this pipeline recorded
/state/NAME               (N,...): a RAM variable before each step
/labels/expert            (N,) text: id of the expert that was asked (a key of ``experts`` in the
                          provenance), empty where none was or nobody knows which
/labels/reason            (N,) text: why there is no label
/labels/attempt           (N,) u8: how often the question was put; 0 where it was not
/labels/time              (N,) f64: Unix seconds of the answer; NaN where there is none
/labels/input_tokens      (N,) u32; with /labels/output_tokens what was read and written for it
/labels/dollars           (N,) f32: what it cost
/labels/score             (N,) f32: why the step was chosen to be asked; NaN where by no score
/episodes                 (E,) table, a row an episode, with the columns
  start, length           u64, u32: boundaries; the episodes cover the steps in order
  seed                    u32
  return                  f32: sum of the rewards
  success                 bool
  split                   u8: 0 train, 1 validation
  milestones              (M,) i32: the step at which each was reached, or -1; left out where M is 0
  start_state             u16: row of /start_states (in a processed shard: of its parent's)
  root                    text: the game id: game, start and seed; it decides the split
  recording               text: the recording that an episode descends from, which its copies
                          share (:func:`recording_id`); empty where nobody knows; may be missing
/final_frames             (E,H,W,3) u8: the screen after the last step
/start_states             raw shards only: save states, (S,L) u8; attribute ``lengths`` (S,)
/checksums/datasets       (D,) table, a row a dataset: its path, ``sha256``, ``stored_sha256``,
                          and which rows of /checksums/chunks are its own: ``first``, ``chunks``
/checksums/chunks         (C,) u32: CRC32 of the stored bytes of each chunk of each dataset; one
                          for a dataset stored in one piece, but one a row of /episodes
========================  =======================================================================

``sha256`` is that of the chunks' sha256 (of /episodes: of the rows'), each taken over the rows
before compression, so that chunks can be hashed apart; ``stored_sha256`` that of the stored bytes,
chunk after chunk. The root attributes are those of ShardHeader, with ``format``,
``schema_version``, ``shard_id`` (the identity of the content, however it is stored: in it, each
column of /episodes has a digest of its own), ``stored_sha256`` (that of the file:
:func:`stored_id`) and ``complete``. Everything has an attribute ``description``, and ``unit`` where
there is one, which no reader reads (:mod:`pipeline.shards.format.described`).

Of /labels a shard has all or nothing: a recording has nothing, there the provenance's actor
labelled, except where a language model played: what each button cost is told. When an answer was
given and what it cost is no part of the ``shard_id``: an interrupted
labelling that finds its answers kept, or one that is paid for again, gives the same labels.

Version 1 had neither /checksums nor ``stored_sha256`` nor /ram_crc32; version 2 no /labels; version
3 no ``recording``. Up to version 4, /episodes was a group of columns with /episodes/final_frame
among them, the two sha256 were attributes of each dataset, /checksums/PATH held the CRC32 of
/PATH, and nothing was described.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.frames import FrameContract, Frames

FORMAT = "pokemon-il"
SCHEMA_VERSION = 5

NO_ACTION = 255
"""The expert's button where the expert was not asked, or gave none."""

FRAMES_PER_CHUNK = 16
"""Frames of a chunk: the best trade of size, write and read speed for these screens."""

TRAIN, VALIDATION = 0, 1
"""The splits."""

Array = NDArray[Any]
Json = dict[str, Any]
"""A JSON object whose keys are free, as each stage and each expert chooses them: a provenance, its
settings, the identity of an expert."""
Attributes = dict[str, str | int | list[str]]
"""Root attributes by name."""
Kind = Literal["raw", "processed"]


class LabelStatus(IntEnum):
    """What became of the question put to the expert at a step."""

    UNLABELLED = 0
    LABELLED = 1
    REFUSED = 2
    FAILED = 3
    TIMED_OUT = 4
    INVALID = 5


STEP_COLUMNS: dict[str, np.dtype[Any]] = {
    "actions": np.dtype("u1"),
    "expert_actions": np.dtype("u1"),
    "label_status": np.dtype("u1"),
    "rewards": np.dtype("<f4"),
    "terminated": np.dtype("?"),
    "truncated": np.dtype("?"),
}
"""Datasets with one number a step, in the order in which they are written."""

RAM_CRC32 = "ram_crc32"
"""The step column (u32) that a shard may lack."""

LABEL_COLUMNS: dict[str, np.dtype[Any]] = {
    "expert": np.dtype("S16"),
    "reason": np.dtype("S96"),
    "attempt": np.dtype("u1"),
    "time": np.dtype("<f8"),
    "input_tokens": np.dtype("<u4"),
    "output_tokens": np.dtype("<u4"),
    "dollars": np.dtype("<f4"),
    "score": np.dtype("<f4"),
}
"""Datasets of ``/labels`` with one row a step, which a shard has all or none; text is UTF-8."""

_RECORDING = re.compile(rb"[0-9a-f]{32}|")

_CIRCUMSTANCES = {
    f"/labels/{name}" for name in ("attempt", "time", "input_tokens", "output_tokens", "dollars")
}
"""What the identity of the content leaves out: the same labels however they were come by."""

_TOLD_ONLY = ("code_version", "packages", "isolation", "game_yaml")
"""Keys of the provenance that the identity of the content leaves out: with what code, on what
machine. What was read of ``game.yaml`` is in the fingerprint; its comments are in nothing."""

_PLACED = ("settings", "actor", "expert", "experts", "parents")
"""Keys of the provenance that name files; the identity leaves out how they are called."""

_PLACES = ("path", "file", "files", "isolation")

_OLD_KEYS = {"subtask": "leg", "reread_state": "restate"}
"""What keys of the provenance and of its settings were once called. Identities and fingerprints
are still made with the old ones, so that the same content stays the same shard."""

EPISODE_COLUMNS: dict[str, np.dtype[Any]] = {
    "start": np.dtype("<u8"),
    "length": np.dtype("<u4"),
    "seed": np.dtype("<u4"),
    "return": np.dtype("<f4"),
    "success": np.dtype("?"),
    "split": np.dtype("u1"),
    "milestones": np.dtype("<i4"),
    "start_state": np.dtype("<u2"),
}
"""Columns of ``/episodes`` with one number an episode; after them ``root`` and ``recording``."""

RECORDING = np.dtype("S32")
"""Type of the column ``recording`` of ``/episodes``, which a shard may lack."""


@dataclass(frozen=True)
class ShardHeader:
    """What holds for the whole shard; stored as root attributes.

    ``provenance`` has the keys stage, settings, fingerprint, code_version, packages, emulator,
    actor and parents (a list of ``{"file": ..., "shard_id": ...}``); where there are /labels,
    ``experts``, the identities by id. ``shard_id`` is empty until the shard is published: it
    derives from the content.
    """

    kind: Kind
    game: str
    rom_sha1: str
    actions: tuple[str, ...]
    timing: Mapping[str, int]
    frame_contract: FrameContract
    milestones: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    shard_id: str = ""

    def attributes(self, version: int = SCHEMA_VERSION) -> Attributes:
        """The root attributes of a schema version, without ``shard_id`` and ``complete``."""
        return {
            "format": FORMAT,
            "schema_version": version,
            "kind": self.kind,
            "game": self.game,
            "rom_sha1": self.rom_sha1,
            "actions": list(self.actions),
            "timing": canonical_json(self.timing),
            "frame_contract": canonical_json(self.frame_contract.as_dict()),
            "milestones": list(self.milestones),
            "provenance": canonical_json(self.provenance),
        }


@dataclass
class Episode:
    """One episode of T steps on a screen of H by W.

    Step i sees ``frames[i]`` and ``state[...][i]``, presses ``actions[i]``, and then gets
    ``rewards[i]``, ``terminated[i]``, ``truncated[i]``. ``final_frame`` is the screen after the
    last step.
    """

    frames: Frames
    """(T,H,W,3) u8, the screen before each step."""
    actions: NDArray[np.uint8]
    """(T,) u8, the button executed (after stickiness), an index into the header's actions."""
    expert_actions: NDArray[np.uint8]
    """(T,) u8, the right button, or NO_ACTION."""
    label_status: NDArray[np.uint8]
    """(T,) u8, a LabelStatus."""
    rewards: NDArray[np.float32]
    """(T,) f32."""
    terminated: NDArray[np.bool_]
    """(T,) bool: the step ended the episode by success or failure."""
    truncated: NDArray[np.bool_]
    """(T,) bool: the step was the last allowed."""
    state: dict[str, Array]
    """Each RAM variable before each step, (T,...)."""
    final_frame: Frames
    """(H,W,3) u8."""
    seed: int
    success: bool
    root: str
    """The game id: game, start and seed; it decides the split."""
    split: int = TRAIN
    milestones: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    """(M,) i32, the step at which each milestone was reached, or -1."""
    start_state: int = 0
    """Row of ``/start_states``."""
    ram_crc32: NDArray[np.uint32] | None = None
    """(T,) u32, CRC32 of the RAM before each step; None where it was not recorded."""
    labels: dict[str, Array] | None = None
    """Each of LABEL_COLUMNS, (T,); None in a recording."""
    recording: str = ""
    """The recording that it descends from, see :func:`recording_id`; empty where nobody knows."""

    @property
    def return_(self) -> float:
        """Sum of the rewards."""
        return float(self.rewards.sum(dtype=np.float64))

    def __len__(self) -> int:
        return len(self.actions)


def canonical_json(value: Any) -> str:
    """JSON whose text is a function of the value alone: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def recording_id(root: str, actions: NDArray[np.uint8]) -> str:
    """The identity of a recording (32 hex digits): the game that was played, and how.

    The expert and the student that play one game (``root``) make two recordings. Copies of one,
    resized, labelled or without some steps, keep its identity.

    Args:
        actions: (T,) the buttons executed, all of them.
    """
    return hashlib.sha256(root.encode() + b"\0" + actions.tobytes()).hexdigest()[:32]


def same_recording(one: str, other: str) -> bool:
    """Whether two episodes of one game may be of one recording: an unknown one may be any."""
    return one == other or not one or not other


def is_recording(text: bytes) -> bool:
    """Whether it is a :func:`recording_id`, or empty."""
    return _RECORDING.fullmatch(text) is not None


def content_id(header: ShardHeader, digests: Mapping[str, str]) -> str:
    """The shard's identity (32 hex digits): its header and the digest of every dataset.

    The same content gives the same identity on every machine, however it was appended, in
    whatever schema version it is stored, whatever its labels cost, with whatever commit and
    packages it was made, and whatever the files are called that it was made from.

    Args:
        digests: ``sha256`` of each dataset by its path in schema version 4
            (:func:`pipeline.shards.format.episodes.content_digests`); those of /checksums left out.
    """
    deciding = {
        name: unplaced(value) if name in _PLACED else value
        for name, value in header.provenance.items()
        if name not in _TOLD_ONLY
    }
    if isinstance(deciding.get("settings"), Mapping):
        deciding["settings"] = with_old_keys(deciding["settings"])
    deciding = with_old_keys(deciding)
    return _content_id(replace(header, provenance=deciding), digests)


def is_content_id(header: ShardHeader, digests: Mapping[str, str]) -> bool:
    """Whether the header's ``shard_id`` is that of the content.

    Shards that were made before commit and packages were left out of it keep the one they have.
    """
    return header.shard_id in (content_id(header, digests), _content_id(header, digests))


def _content_id(header: ShardHeader, digests: Mapping[str, str]) -> str:
    counted = {path: digest for path, digest in digests.items() if path not in _CIRCUMSTANCES}
    described = {"header": header.attributes(version=1), "datasets": counted}
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()[:32]


def unplaced(value: Any) -> Any:
    """What a provenance tells, without how files are called and where a program runs."""
    if isinstance(value, Mapping):
        return {name: unplaced(one) for name, one in value.items() if name not in _PLACES}
    return [unplaced(one) for one in value] if isinstance(value, (list, tuple)) else value


def with_old_keys(told: Mapping[str, Any]) -> Json:
    """A provenance, or its settings, as an identity takes them: with the keys' first names.

    Those of ``learned``, what a selection tells of its student's training, are among them.
    """
    renamed = {_OLD_KEYS.get(name, name): value for name, value in told.items()}
    learned = renamed.get("learned")
    return (
        renamed | {"learned": with_old_keys(learned)} if isinstance(learned, Mapping) else renamed
    )


class Layout(TypedDict, total=False):
    """What the identity of the file covers of one dataset."""

    stored_sha256: str
    dtype: str | list[tuple[str, str, list[int]]]
    """numpy's name of the type; of a table name, type and shape of each column."""
    shape: list[int]
    lengths: list[int]
    """Of /start_states alone."""


def stored_id(
    header: ShardHeader, datasets: Mapping[str, Layout], version: int = SCHEMA_VERSION
) -> str:
    """The root attribute ``stored_sha256``: covers everything that a reader takes from the file.

    HDF5 has no checksum on its own structures in files that stock tools read, so the header, the
    shapes and the types are hashed here with the bytes.

    Args:
        header: with its ``shard_id``.
        datasets: by path what :func:`layout` gives; those of /checksums left out.
        version: schema version of the file, 2 or later.
    """
    attributes = header.attributes(version) | {"shard_id": header.shard_id}
    described = {"header": attributes, "datasets": dict(datasets)}
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def layout(
    stored_sha256: str, dtype: np.dtype[Any], shape: Sequence[int], lengths: Sequence[int] = ()
) -> Layout:
    """What :func:`stored_id` covers of one dataset; ``lengths`` are those of /start_states."""
    kind: str | list[tuple[str, str, list[int]]] = dtype.str
    if dtype.names is not None:
        fields = {name: dtype[name] for name in dtype.names}
        kind = [(name, one.base.str, list(one.shape)) for name, one in fields.items()]
    described: Layout = {"stored_sha256": stored_sha256, "dtype": kind, "shape": list(shape)}
    if len(lengths):
        described["lengths"] = list(lengths)
    return described
