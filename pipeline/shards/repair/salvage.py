"""A new shard of the intact episodes of a damaged one, which stays as it is.

An episode is intact if every chunk that holds a row of it, in every dataset, is. The header, the
shapes and the types are believed only if the identity of the file vouches for them (in schema
version 1, which had none, that of the content: for the header).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.games.subtask import subtask_ends
from pipeline.shards.catalog.facts import told_rounds
from pipeline.shards.catalog.guard import guarded
from pipeline.shards.catalog.names import publish_name, stem_and_version
from pipeline.shards.catalog.publish import temporary_beside
from pipeline.shards.format.checks import open_file, read_header
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.episodes import FINAL_FRAMES, OLD_FINAL_FRAMES, known_recording
from pipeline.shards.format.provenance import fingerprint, provenance, recorded_by
from pipeline.shards.format.schema import (
    LABEL_COLUMNS,
    RAM_CRC32,
    STEP_COLUMNS,
    Array,
    Episode,
    ShardHeader,
)
from pipeline.shards.format.stored import StoredDataset
from pipeline.shards.reader import Shard
from pipeline.shards.repair.examine import Examined, examine_datasets, identity_problems
from pipeline.shards.repair.hit import episodes_of, hit_by, root_of
from pipeline.shards.repair.verify import descriptor
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError

_BLOCK = 256
_LEAST_SECONDS = 60.0
_SLOWEST = 2e6
"""Bytes of a damaged file that even a slow machine saves in a second."""
_DERIVED = ("/episodes/start", "/episodes/length", "/episodes/return", "/episodes/recording")
"""Columns that follow from others, or that an episode may lack, so that nothing is lost with them;
of start and length, one must be intact. Up to schema version 4; later they are one row."""


class LostEpisode(TypedDict):
    """An episode that could not be saved."""

    episode: int
    """Its number in the damaged shard."""
    root: str | None
    """The game id; None where that is lost too."""
    steps: int
    why: str


class Salvaged(TypedDict):
    """What was saved, and what was lost."""

    shard: str
    up_to_date: bool
    episodes: int
    frames: int
    lost_episodes: int
    lost_frames: int
    lost: list[LostEpisode]


def salvage(path: Path, stem: str | None = None) -> Salvaged:
    """Publish a shard of the intact episodes of ``path``, beside it, in a guarded child process.

    Args:
        stem: of the new shard's name; none takes that of ``path`` with ``-salvaged`` after it.

    Returns:
        ``shard``, ``up_to_date``, ``episodes``, ``frames``, ``lost_episodes``, ``lost_frames``, and
        ``lost``: a row an episode with ``episode``, ``root``, ``steps`` and ``why``.

    Raises:
        PipelineError: nothing is damaged, or nothing can be saved; says why.
    """
    stem = stem or f"{stem_and_version(path)[0]}-salvaged"
    if Path(stem).name != stem or stem in (".", ".."):
        raise PipelineError(f"--into {stem}: a name is expected, not a path; it lies beside {path}")
    size = path.stat().st_size if path.is_file() else 0
    (answer,) = guarded(
        "pipeline.shards.repair.salvage:save",
        [path],
        seconds=_LEAST_SECONDS + size / _SLOWEST,
        arguments={"stem": stem},
    )
    result: Salvaged = answer.get()
    return result


def save(path: Path, *, stem: str) -> Salvaged:
    """:func:`salvage` in this process."""
    with _whole_length(path) as readable, open_file(readable) as file:
        try:
            header = read_header(file, readable)
            with descriptor(readable) as handle:
                return _Rescue(path, file, header, handle, readable).publish(stem)
        except PipelineError as error:
            if readable == path:
                raise
            raise PipelineError(
                f"{path}: cut short, {path.stat().st_size} of {readable.stat().st_size} bytes are "
                f"left; the header, the episodes and the checksums lie at the end of a shard, and "
                "what they say of the rest is lost with them; nothing can be salvaged, copy the "
                "file anew or make the shard anew"
            ) from error


@contextmanager
def _whole_length(path: Path) -> Iterator[Path]:
    """The file, or where it is cut short a copy with zeros up to its length.

    HDF5 opens that, and the chunks that are missing do not match their checksums.
    """
    try:
        open_file(path).close()
    except PipelineError:
        length = _recorded_length(path)
        if length is None or length <= path.stat().st_size:
            raise
        copy = temporary_beside(path.with_name(f"{path.name}.whole"))
        try:
            shutil.copyfile(path, copy)
            os.truncate(copy, length)
            yield copy
        finally:
            copy.unlink(missing_ok=True)
    else:
        yield path


def _recorded_length(path: Path) -> int | None:
    """Bytes that the file had when it was closed, by the superblock that h5py writes.

    HDF5 file format specification, superblock version 0.
    """
    start = b""
    with suppress(OSError):
        if path.is_file():  # to open a named pipe would hang
            with path.open("rb") as file:
                start = file.read(48)
    if len(start) < 48 or start[:9] != b"\x89HDF\r\n\x1a\n\0" or start[13] != 8:
        return None
    return int.from_bytes(start[40:48], "little")


class _Rescue:
    """What can be saved from an open file.

    Args:
        path: the damaged shard.
        handle: of ``readable``: ``path``, or its copy of full length.
    """

    def __init__(
        self, path: Path, file: h5py.File, header: ShardHeader, handle: int, readable: Path
    ) -> None:
        self.path, self.header, self._handle = path, header, handle
        version = int(file.attrs["schema_version"])
        found = examine_datasets(file, readable, header, handle, decode=version == 1)
        problems = identity_problems(file, header, found, handle)
        if readable == path:
            self._refuse_if_undamaged(found, problems)
        if ("shard_id" if version == 1 else "stored_sha256") in problems:
            raise self._refusal(
                "the header, or the shape or type of a dataset, is not as it was written"
            )
        self._found = found
        self._start_state_lengths = _start_state_lengths(file)
        self._episodes = episodes_of(found, handle)
        if self._episodes.lengths is None:
            raise self._refusal("where its episodes begin and end is lost")
        self.lengths = self._episodes.lengths
        self.lost = self._lost()

    def _refuse_if_undamaged(
        self, found: Mapping[str, Examined], problems: Mapping[str, str]
    ) -> None:
        if problems or any(one.bad or one.problem or not one.intact for one in found.values()):
            return
        with Shard(self.path):
            pass
        raise PipelineError(f"{self.path}: nothing is damaged, so there is nothing to salvage")

    def _refusal(self, why: str) -> PipelineError:
        return PipelineError(
            f"{self.path}: nothing can be salvaged ({why}); make the shard anew, or leave it out"
        )

    def _lost(self) -> dict[int, str]:
        """Each episode that is not intact, and why."""
        lost: dict[int, str] = {}
        for name, one in self._found.items():
            if name in _DERIVED:
                continue
            if one.stored is None or not one.intact:
                lost = dict.fromkeys(range(len(self.lengths)), f"{name} {one.problem}") | lost
                continue
            for chunk, why in one.bad.items():
                first = chunk * one.stored.chunk_rows
                last = min(first + one.stored.chunk_rows, one.stored.rows) - 1
                hit = hit_by(self._episodes, name, first, last)
                indices = range(len(self.lengths)) if hit is None else hit
                for index in indices:
                    lost.setdefault(index, f"{name} chunk {chunk}: {why}")
        return lost

    def publish(self, stem: str) -> Salvaged:
        kept = [i for i in range(len(self.lengths)) if i not in self.lost]
        if not kept:
            raise self._refusal(f"every episode is damaged: {self.lost[0]}")
        rows: list[LostEpisode] = [
            {
                "episode": i,
                "root": root_of(self._episodes, i),
                "steps": int(self.lengths[i]),
                "why": self.lost[i],
            }
            for i in sorted(self.lost)
        ]
        mark = fingerprint("salvage", self.header.shard_id, kept)
        target, there = publish_name(self.path.parent, stem, mark)
        if not there:
            self._write(target, kept, self._new_header(mark, rows))
        frames = int(self.lengths[kept].sum())
        return {
            "shard": str(target),
            "up_to_date": there,
            "episodes": len(kept),
            "frames": frames,
            "lost_episodes": len(rows),
            "lost_frames": int(self.lengths.sum()) - frames,
            "lost": rows,
        }

    def _new_header(self, mark: str, lost: list[LostEpisode]) -> ShardHeader:
        old = self.header.provenance
        made = provenance(
            "salvage",
            settings={},
            fingerprint=mark,
            actor=old.get("actor"),
            parents=[{"file": self.path.name, "shard_id": self.header.shard_id}],
            emulator=old.get("emulator", ""),
            expert=old.get("expert"),
            recorded_by=sorted(recorded_by(old)),
            game_yaml=old.get("game_yaml"),
            experts=old.get("experts"),
        )
        if subtask_ends(old) is not None:
            made["subtask"] = subtask_ends(old)
        made |= told_rounds([(old, self.path)])
        # The parent is damaged and will not be kept: its own provenance goes on here.
        return replace(
            self.header, shard_id="", provenance={**made, "lost": lost, "salvaged": dict(old)}
        )

    def _write(self, target: Path, kept: list[int], header: ShardHeader) -> None:
        starts = np.cumsum(self.lengths) - self.lengths
        states, rows = self._start_states(kept)
        threads = min(4, os.cpu_count() or 1)
        try:
            with ShardWriter(target, header, start_states=states, threads=threads) as writer:
                for index in kept:
                    start, steps = int(starts[index]), int(self.lengths[index])
                    writer.append_steps(self._episode(index, start, start + steps, rows))
                    for low in range(start, start + steps, _BLOCK):
                        high = min(low + _BLOCK, start + steps)
                        writer.append_frames(self._rows("frames", low, high))
        except Damage as damage:  # bytes that match their CRC32 and are no gzip: never written so
            raise self._refusal(str(damage)) from None

    def _rows(self, name: str, start: int, stop: int) -> Array:
        return self._stored(name).read(self._handle, start, stop)

    def _stored(self, name: str) -> StoredDataset:
        stored = self._found[f"/{name}"].stored
        assert stored is not None  # else every episode were lost
        return stored

    def _start_states(self, kept: list[int]) -> tuple[list[bytes], dict[int, int]]:
        """The start states that intact episodes need, and the new row of each old one."""
        if "/start_states" not in self._found:
            return [], {}
        old = sorted({int(self._episodes.value("start_state", index)) for index in kept})
        states = [
            self._rows("start_states", row, row + 1)[0, : self._start_state_lengths[row]].tobytes()
            for row in old
        ]
        return states, {row: new for new, row in enumerate(old)}

    def _episode(self, index: int, start: int, stop: int, rows: dict[int, int]) -> Episode:
        def one(name: str) -> Any:
            return self._episodes.value(name, index)

        names = [name.removeprefix("/state/") for name in self._found if name[:7] == "/state/"]
        contract = self.header.frame_contract
        start_state = int(one("start_state"))
        return Episode(
            frames=np.empty((0, contract.height, contract.width, 3), np.uint8),
            state={name: self._rows(f"state/{name}", start, stop) for name in names},
            final_frame=self._rows(self._final_frames(), index, index + 1)[0],
            seed=int(one("seed")),
            success=bool(one("success")),
            root=one("root").decode(),
            recording=known_recording(bytes(one("recording") or b"")),
            split=int(one("split")),
            milestones=np.array([] if one("milestones") is None else one("milestones"), np.int32),
            start_state=rows.get(start_state, start_state),
            ram_crc32=(
                self._rows(RAM_CRC32, start, stop) if f"/{RAM_CRC32}" in self._found else None
            ),
            labels=(
                {name: self._rows(f"labels/{name}", start, stop) for name in LABEL_COLUMNS}
                if "/labels/expert" in self._found
                else None
            ),
            **{name: self._rows(name, start, stop) for name in STEP_COLUMNS},
        )

    def _final_frames(self) -> str:
        return FINAL_FRAMES if f"/{FINAL_FRAMES}" in self._found else OLD_FINAL_FRAMES


def _start_state_lengths(file: h5py.File) -> NDArray[np.uint32]:
    if "start_states" not in file:
        return np.empty(0, np.uint32)
    return np.asarray(file["start_states"].attrs["lengths"])
