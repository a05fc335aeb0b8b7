"""What must hold in a file before anything in it is believed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import h5py
import numpy as np

from pipeline.shards.format.attributes import attribute
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.index import Index
from pipeline.shards.format.schema import (
    EPISODE_COLUMNS,
    FORMAT,
    NO_ACTION,
    RECORDING,
    SCHEMA_VERSION,
    STEP_COLUMNS,
    VALIDATION,
    Array,
    Json,
    Kind,
    LabelStatus,
    ShardHeader,
    canonical_json,
    is_recording,
)
from pipeline.shards.format.sealed import DAMAGE
from pipeline.shards.format.stored import DamagedChunk, StoredDataset
from pipeline.system.errors import PipelineError

FIX = "'data verify' lists all damage, 'data salvage' saves what is intact"
_ANEW = "make the shard anew, or leave it out"
CORRECT = "correct what it is made from"
_MOST_MILESTONES = 1000


class Content(NamedTuple):
    """What is known of a valid shard; nothing more is asked of HDF5."""

    header: ShardHeader
    datasets: dict[str, StoredDataset]
    """Every dataset by its path, without the leading slash."""
    episodes: dict[str, Array]
    """The columns of /episodes, ``root`` with them, and ``recording`` where it is there."""
    start_state_lengths: list[int]


def check_shard(path: Path, handle: int) -> Content:
    """Check a whole shard but its frames.

    Cost: the small columns are read once (about ten bytes a step).

    Args:
        handle: file descriptor of ``path``.

    Raises:
        PipelineError: no shard that this pipeline reads, or one line that lists everything wrong.
    """
    with open_file(path) as file:
        header = read_header(file, path)
        try:
            index = Index(file, header, handle, os.fstat(handle).st_size)
            wrong = index.wrong
        except DamagedChunk as damage:
            raise damaged(path, damage) from None
        except (*DAMAGE, Damage):
            wrong = ["a dataset cannot be read"]
    if not wrong:
        try:
            columns = _read_columns(index, handle)
        except Damage as damage:
            raise damaged(path, damage) from None
        states = len(index.start_state_lengths) if "start_states" in index.datasets else None
        wrong = _boundaries(columns) or wrong_values(header, columns, states)
    if wrong:
        raise not_valid(path, wrong)
    episodes = {
        name: columns[f"episodes/{name}"]
        for name in (*EPISODE_COLUMNS, "root", "recording")
        if f"episodes/{name}" in columns
    }
    return Content(header, index.datasets, episodes, index.start_state_lengths)


def refuse_unreadable(temporary: Path, target: Path) -> None:
    """Check the finished file ``temporary`` as its readers will, before it becomes ``target``.

    Raises:
        PipelineError: they would refuse it.
    """
    handle = open_handle(temporary)
    try:
        check_shard(temporary, handle)
    except PipelineError as error:
        why = str(error).removeprefix(f"{temporary}: ").removesuffix(f"; {_ANEW}")
        raise PipelineError(
            f"{target}: not published, nobody could read it ({why}); {CORRECT}"
        ) from None
    finally:
        os.close(handle)


def refuse_header(header: ShardHeader, target: Path) -> None:
    """Check a header as the readers of ``target`` will, before anything is written.

    Raises:
        PipelineError: they would refuse it, or it holds a number that JSON has not.
    """
    told = {**header.attributes(), "shard_id": header.shard_id}
    attributes = {
        name: np.array(value, object) if isinstance(value, list) else value
        for name, value in told.items()
    }
    try:
        json.dumps(header.provenance, allow_nan=False)
        _header(attributes)
    except ValueError as error:
        raise PipelineError(
            f"{target}: not published, nobody could read its header ({error}); {CORRECT}"
        ) from None


def not_valid(path: Path, wrong: Sequence[str]) -> PipelineError:
    """The line for a file that contradicts the schema or itself."""
    return PipelineError(f"{path}: not a valid shard ({'; '.join(wrong)}); {_ANEW}")


def damaged(path: Path, damage: Damage) -> PipelineError:
    """The line for stored bytes that are not those that were written."""
    return PipelineError(f"{path}: {damage}; {FIX}")


def open_handle(path: Path) -> int:
    """A file descriptor, open for reading.

    Raises:
        PipelineError: no such file, or one that may not be read.
    """
    try:
        if not path.is_file():
            raise PipelineError(f"{path}: no such shard; see which there are with: data ls")
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(path, error) from None


def open_file(path: Path) -> h5py.File:
    """Open for reading.

    Raises:
        PipelineError: no such file, not HDF5, or truncated.
    """
    os.close(open_handle(path))  # HDF5 would only say that it is no HDF5 file
    try:
        if not h5py.is_hdf5(path):
            raise PipelineError(f"{path}: not an HDF5 file, so no shard; {_ANEW}")
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "truncated file" in str(error):
            size = path.stat().st_size
            raise PipelineError(
                f"{path}: truncated, only {size} bytes are left of it; {_ANEW}"
            ) from None
        raise _cannot_open(path, error) from None


def _cannot_open(path: Path, error: OSError) -> PipelineError:
    reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
    return PipelineError(f"{path}: cannot be opened ({reason}); {_ANEW}")


def read_header(file: h5py.File, path: Path) -> ShardHeader:
    """The root attributes.

    Raises:
        PipelineError: foreign HDF5, a newer schema, incomplete, or an attribute missing.
    """
    try:
        attributes = {name: attribute(file, name) for name in _ATTRIBUTES if name in file.attrs}
    except DAMAGE:
        raise PipelineError(f"{path}: the header is damaged; {_ANEW}") from None
    if not isinstance(attributes.get("format"), str) or attributes["format"] != FORMAT:
        raise PipelineError(
            f"{path}: an HDF5 file, but no shard of {FORMAT} (attribute 'format' is missing or "
            "another); leave it out"
        )
    version = attributes.get("schema_version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise PipelineError(f"{path}: schema version {version!r} does not exist; {_ANEW}")
    if version > SCHEMA_VERSION:
        raise PipelineError(
            f"{path}: schema version {version}, but this pipeline reads up to version "
            f"{SCHEMA_VERSION}; update the pipeline"
        )
    complete = attributes.get("complete")
    if not isinstance(complete, (bool, np.bool_)) or not complete:
        raise PipelineError(f"{path}: incomplete, its writer never finished; {_ANEW}")
    try:
        return _header(attributes)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        what = f"attribute {error}" if isinstance(error, KeyError) else str(error)
        raise PipelineError(f"{path}: the header is not valid ({what}); {_ANEW}") from None


def _header(attributes: Mapping[str, Any]) -> ShardHeader:
    kind = attributes["kind"]
    if not isinstance(kind, str) or kind not in ("raw", "processed"):
        raise ValueError(f"kind {kind!r}")
    fields = _json_object(attributes, "frame_contract")
    if set(fields) != {"height", "width", "resampling", "colour"}:
        raise ValueError(f"frame_contract has {', '.join(fields) or 'nothing'}")
    contract = FrameContract(**fields)
    if not (isinstance(contract.resampling, str) and isinstance(contract.colour, str)) or not all(
        isinstance(n, int) and 0 < n < 1 << 16 for n in (contract.height, contract.width)
    ):
        raise ValueError(f"frame_contract {contract}")
    actions = _names(attributes, "actions", NO_ACTION)
    milestones = _names(attributes, "milestones", _MOST_MILESTONES)
    provenance = _json_object(attributes, "provenance")
    parents = provenance.get("parents", [])
    if not isinstance(parents, list) or not all(isinstance(one, dict) for one in parents):
        raise ValueError("provenance has parents that are no list of objects")
    header = ShardHeader(
        kind=cast(Kind, kind),
        game=attributes["game"],
        rom_sha1=attributes["rom_sha1"],
        actions=actions,
        timing=_json_object(attributes, "timing"),
        frame_contract=contract,
        milestones=milestones,
        provenance=provenance,
        shard_id=attributes["shard_id"],
    )
    texts = (header.game, header.rom_sha1, header.shard_id, *header.actions, *header.milestones)
    if not all(isinstance(text, str) for text in texts) or not header.actions:
        raise ValueError("game, rom_sha1, shard_id, actions and milestones must be text")
    if not all(isinstance(n, int) for n in header.timing.values()):
        raise ValueError("timing must be whole numbers")
    try:
        canonical_json(header.attributes()).encode()
    except UnicodeEncodeError:
        raise ValueError("text that is no UTF-8") from None
    return header


def _names(attributes: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    value = attributes[name]
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise ValueError(f"attribute '{name}' is no list")
    if len(value) > most:
        raise ValueError(f"{len(value)} {name}, more than {most}")
    return tuple(value.tolist())


_ATTRIBUTES = (
    *("format", "schema_version", "complete", "kind", "game", "rom_sha1", "actions", "timing"),
    *("frame_contract", "milestones", "provenance", "shard_id"),
)


def _json_object(attributes: Mapping[str, Any], name: str) -> Json:
    try:
        value = json.loads(attributes[name])
    except (TypeError, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object")
    return value


def _read_columns(index: Index, handle: int) -> dict[str, Array]:
    """Every column with a number a step or a row an episode, without the RAM's CRC32 and /labels.

    No training reads those two.
    """
    names: list[str] = list(STEP_COLUMNS)
    if index.table is None:
        names += [f"episodes/{name}" for name in (*EPISODE_COLUMNS, "root")]
        names += ["episodes/recording"] if "episodes/recording" in index.datasets else []
    stored = (index.datasets[name] for name in names)
    columns = {one.name: one.read(handle, 0, one.rows) for one in stored}
    return columns | {f"episodes/{name}": rows for name, rows in (index.table or {}).items()}


def _boundaries(columns: dict[str, Array]) -> list[str]:
    """Episodes must cover the steps, in order, without gap or overlap."""
    frames = len(columns["actions"])
    lengths = columns["episodes/length"].astype(np.int64)
    starts = columns["episodes/start"]
    if not len(lengths):
        return ["it has no episodes"]
    if (lengths < 1).any():
        return [f"episode {int(np.argmin(lengths))} has no steps"]
    ends = np.cumsum(lengths)
    expected = np.concatenate([[0], ends[:-1]]).astype(np.uint64)
    if (starts != expected).any():
        at = int(np.argmax(starts != expected))
        return [f"episode {at} starts at step {starts[at]}, not {expected[at]}"]
    if ends[-1] != frames:
        return [f"the episodes have {ends[-1]} steps, but there are {frames} frames"]
    return []


def wrong_values(
    header: ShardHeader, columns: Mapping[str, Array], states: int | None
) -> list[str]:
    """What the schema forbids in the columns of whole episodes; none where they are valid.

    Writers ask it of each episode, readers of the whole file: one law for both.

    Args:
        columns: those of STEP_COLUMNS, and those of /episodes as ``episodes/NAME``.
        states: how many start states there are; None where the shard has none.
    """
    wrong: list[str] = []

    def none(bad: Array, message: str) -> None:
        if bad.any():
            wrong.append(f"{message} at {int(np.argmax(bad))}")

    lengths = columns["episodes/length"].astype(np.int64)
    buttons = len(header.actions)
    actions, expert = columns["actions"], columns["expert_actions"]
    status = columns["label_status"]
    for name in ("terminated", "truncated", "episodes/success"):
        none(columns[name].view(np.uint8) > 1, f"/{name} is neither true nor false")
    none(actions >= buttons, f"/actions is not below {buttons}")
    none((expert >= buttons) & (expert != NO_ACTION), f"/expert_actions is not below {buttons}")
    none(status > max(LabelStatus), f"/label_status is above {max(LabelStatus)}")
    none(
        (status == LabelStatus.LABELLED) != (expert != NO_ACTION),
        "/label_status contradicts /expert_actions",
    )
    last = np.zeros(len(actions), np.bool_)
    last[np.cumsum(lengths) - 1] = True
    for name in ("terminated", "truncated"):
        none(columns[name] & ~last, f"/{name} is set before the end of an episode")
    none(~np.isfinite(columns["rewards"]), "/rewards is not finite")
    none(columns["episodes/split"] > VALIDATION, "/episodes/split is neither 0 nor 1")
    reached = columns["episodes/milestones"]
    off = np.any((reached < -1) | (reached > lengths[:, None]), axis=1)
    none(np.asarray(off), "/episodes/milestones is outside its episode")
    none(
        np.array([_no_text(root) for root in columns["episodes/root"].tolist()]),
        "/episodes/root is no text",
    )
    recordings = columns.get("episodes/recording", np.empty(0, RECORDING)).tolist()
    none(
        np.array([not is_recording(recording) for recording in recordings], np.bool_),
        "/episodes/recording is no identity",
    )
    if states is not None and (columns["episodes/start_state"] >= states).any():
        wrong.append(f"/episodes/start_state is not below {states}")
    return wrong


def _no_text(root: bytes) -> bool:
    try:
        return not root.decode()
    except UnicodeDecodeError:
        return True
