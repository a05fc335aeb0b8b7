"""Reading a shard. No reader trusts a file: everything is checked when it is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.format.checks import Content, check_shard, damaged, not_valid, open_handle
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.episodes import FINAL_FRAMES, OLD_FINAL_FRAMES
from pipeline.shards.format.frames import FrameContract, Frames
from pipeline.shards.format.labels import Labels, wrong_labels
from pipeline.shards.format.schema import (
    LABEL_COLUMNS,
    RAM_CRC32,
    STEP_COLUMNS,
    Array,
    Episode,
    Kind,
    ShardHeader,
    recording_id,
)
from pipeline.shards.format.stored import StoredDataset
from pipeline.system.errors import PipelineError


class Transition(NamedTuple):
    """(s, a, r, s', done).

    ``done`` is true at the last step of an episode that ended by itself or was truncated.
    """

    frame: Frames
    action: int
    reward: float
    next_frame: Frames
    done: bool


class Shard:
    """One published shard, opened at the first use and checked whole before anything is read.

    HDF5 is asked where everything lies, and then closed: rows are read past it, and the CRC32 of
    every chunk is compared each time (a file of schema version 1 has none; there gzip's own
    checksum must do).

    Pickles and survives a fork: each process opens the file for itself, and checks it again only
    if it is not the same file. Memory: the columns of ``/episodes`` (without the final frames) and
    20 bytes a chunk; everything else is read when asked for.

    Raises:
        PipelineError: at the first use: no such file, not HDF5, truncated, foreign, of a newer
            schema, incomplete, damaged, or contradicting itself; one line that lists all that is
            wrong. At any later one: stored bytes are damaged; names dataset, chunk and rows.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._handle = -1
        self._pid = -1
        self._content: Content | None = None
        self._file: tuple[int, ...] = ()

    def __enter__(self) -> Shard:
        self.handle()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        handle, self._handle = self._handle, -1
        if handle >= 0 and self._pid == os.getpid():
            os.close(handle)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handle": -1, "_pid": -1}

    def handle(self) -> int:
        """A file descriptor of the shard, for a StoredDataset; this process's own."""
        if self._handle < 0 or self._pid != os.getpid():
            handle = open_handle(self.path)
            try:
                found = os.fstat(handle)
                file = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
                if self._content is None or file != self._file:
                    self._content = check_shard(self.path, handle)
                    self._file = file
            except BaseException:
                os.close(handle)
                raise
            self._handle, self._pid = handle, os.getpid()
        return self._handle

    def stored(self, name: str) -> StoredDataset:
        """Where the chunks of a dataset lie (``frames``, ``state/x``), to read them elsewhere.

        Raises:
            KeyError: the shard has no such dataset.
        """
        return self._checked().datasets[name]

    def stored_names(self) -> list[str]:
        """Every dataset of the shard, sorted."""
        return sorted(self._checked().datasets)

    def _checked(self) -> Content:
        if self._content is None:
            self.handle()
        assert self._content is not None
        return self._content

    @property
    def header(self) -> ShardHeader:
        return self._checked().header

    def _episode_column(self, name: str) -> Array:
        return self._checked().episodes[name]

    @property
    def n_frames(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))

    @property
    def n_episodes(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(E,) the first step of each episode."""
        return self._episode_column("start").astype(np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(E,) steps."""
        return self._episode_column("length").astype(np.int64)

    @property
    def seeds(self) -> NDArray[np.uint32]:
        return self._episode_column("seed")

    @property
    def success(self) -> NDArray[np.bool_]:
        return self._episode_column("success")

    @property
    def splits(self) -> NDArray[np.uint8]:
        """(E,) 0 train, 1 validation."""
        return self._episode_column("split")

    @property
    def roots(self) -> list[str]:
        """(E,) the game id of each episode: game, start and seed."""
        return [root.decode() for root in self._episode_column("root").tolist()]

    @property
    def recordings(self) -> list[str]:
        """(E,) the recording that each episode descends from; empty where nobody knows.

        Nobody knows it of processed files before schema version 4.
        """
        if "recording" in self._checked().episodes:
            return [one.decode() for one in self._episode_column("recording").tolist()]
        if self.header.kind == "processed":
            return [""] * self.n_episodes
        ends = np.cumsum(self.lengths)[:-1]
        actions = np.split(self.column("actions"), ends)
        return [recording_id(*one) for one in zip(self.roots, actions, strict=True)]

    @property
    def returns(self) -> NDArray[np.float32]:
        return self._episode_column("return")

    @property
    def milestones(self) -> NDArray[np.int32]:
        """(E,M) the step at which each milestone was reached, or -1."""
        return self._episode_column("milestones")

    @property
    def start_state_rows(self) -> NDArray[np.uint16]:
        """(E,) row of /start_states (of the raw shard, where this one is processed)."""
        return self._episode_column("start_state")

    @property
    def final_frames(self) -> Frames:
        """(E,H,W,3) u8, read anew at each use."""
        return self._read(self._final_frames(), 0, self.n_episodes)

    def _final_frames(self) -> str:
        """Where they lie."""
        return FINAL_FRAMES if FINAL_FRAMES in self._checked().datasets else OLD_FINAL_FRAMES

    @property
    def state_names(self) -> tuple[str, ...]:
        names = (name.partition("state/") for name in self.stored_names())
        return tuple(name for before, found, name in names if found and not before)

    def read_frames(self, start: int, stop: int) -> Frames:
        """Frames (stop-start,H,W,3) u8 of the steps from ``start`` up to ``stop``."""
        return self._read("frames", start, stop)

    def column(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """A column with one number a step.

        One of actions, expert_actions, label_status, rewards, terminated, truncated.
        """
        if name not in STEP_COLUMNS:
            raise KeyError(f"{name} is none of {', '.join(STEP_COLUMNS)}")
        return self._read(name, start, self.n_frames if stop is None else stop)

    def ram_crc32(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint32] | None:
        """CRC32 of the RAM before each step; None where it was not recorded."""
        if RAM_CRC32 not in self._checked().datasets:
            return None
        return self._read(RAM_CRC32, start, self.n_frames if stop is None else stop)

    def labels(self, start: int = 0, stop: int | None = None) -> Labels | None:
        """Who gave each label and what it cost, each of LABEL_COLUMNS.

        None in a recording, and in files before schema version 3.

        Raises:
            PipelineError: what is there cannot be: it is looked at only now.
        """
        if "labels/expert" not in self._checked().datasets:
            return None
        stop = self.n_frames if stop is None else stop
        columns = {name: self._read(f"labels/{name}", start, stop) for name in LABEL_COLUMNS}
        wrong = wrong_labels(columns)
        if wrong:
            raise not_valid(self.path, wrong)
        return columns

    def state(self, name: str, start: int = 0, stop: int | None = None) -> Array:
        """A RAM variable before each step from ``start`` up to ``stop``, (stop-start,...)."""
        if f"state/{name}" not in self._checked().datasets:
            known = ", ".join(self.state_names) or "none"
            raise PipelineError(
                f"{self.path}: no state variable '{name}' was recorded; there are: {known}"
            )
        return self._read(f"state/{name}", start, self.n_frames if stop is None else stop)

    def episode(self, index: int, *, frames: bool = True) -> Episode:
        """Episode ``index``; without ``frames`` it has none (0,H,W,3), all else is read."""
        start = int(self.starts[index])
        stop = start + int(self.lengths[index])
        columns = {name: self.column(name, start, stop) for name in STEP_COLUMNS}
        return Episode(
            frames=self.read_frames(start, stop if frames else start),
            state={name: self.state(name, start, stop) for name in self.state_names},
            final_frame=self._read(self._final_frames(), index, index + 1)[0],
            seed=int(self.seeds[index]),
            success=bool(self.success[index]),
            root=self.roots[index],
            split=int(self.splits[index]),
            milestones=self.milestones[index],
            start_state=int(self.start_state_rows[index]),
            ram_crc32=self.ram_crc32(start, stop),
            labels=self.labels(start, stop),
            recording=self._recording(index),
            **columns,
        )

    def _recording(self, index: int) -> str:
        """As it is stored."""
        stored = self._checked().episodes.get("recording")
        return "" if stored is None else bytes(stored[index]).decode()

    def start_states(self) -> list[bytes]:
        """The save states that the episodes began from; none in a processed shard."""
        lengths = self._checked().start_state_lengths
        rows = (self._read("start_states", i, i + 1)[0] for i in range(len(lengths)))
        return [row[:n].tobytes() for row, n in zip(rows, lengths, strict=True)]

    def transitions(self, block: int = 256) -> Iterator[Transition]:
        """Every (s, a, r, s', done) in order; at most ``block`` frames are held."""
        for index in range(self.n_episodes):
            start = int(self.starts[index])
            stop = start + int(self.lengths[index])
            actions = self.column("actions", start, stop)
            rewards = self.column("rewards", start, stop)
            done = self.column("terminated", start, stop) | self.column("truncated", start, stop)
            frames = self.read_frames(start, min(start + block, stop))
            for low in range(start, stop, block):
                high = min(low + block, stop)
                if high < stop:
                    following = self.read_frames(high, min(high + block, stop))
                else:
                    following = self._read(self._final_frames(), index, index + 1)
                for i in range(low, high):
                    yield Transition(
                        frames[i - low],
                        int(actions[i - start]),
                        float(rewards[i - start]),
                        frames[i - low + 1] if i + 1 < high else following[0],
                        bool(done[i - start]),
                    )
                frames = following

    def _read(self, name: str, start: int, stop: int) -> Array:
        handle = self.handle()  # first: the file may be another since it was last open
        stored = self.stored(name)
        if not 0 <= start <= stop <= stored.rows:
            raise IndexError(f"rows {start} to {stop} of {stored.rows} of /{name}")
        try:
            values = stored.read(handle, start, stop)
            if values.dtype == np.bool_ and (values.view(np.uint8) > 1).any():
                raise Damage(f"/{name} is damaged: it is neither true nor false")
            return values
        except Damage as damage:
            raise damaged(self.path, damage) from None


def check_shards(
    paths: Sequence[Path],
    *,
    kind: Kind | None = None,
    game: str | None = None,
    rom_sha1: str | None = None,
    actions: Sequence[str] | None = None,
    contract: FrameContract | None = None,
    timing: dict[str, int] | None = None,
    labelled: bool = False,
) -> list[ShardHeader]:
    """Check that shards fit what is asked and one another, before a stage starts.

    What is None must merely be the same in all of them; only ``kind``, and the frames of raw
    shards (which preprocess resizes), may then differ. With ``labelled``, at least one step of
    all of them must be labelled.

    Cost: a stat a file that is known already; one child for all that are new (see
    :mod:`pipeline.shards.catalog.catalogue`).

    Raises:
        PipelineError: a file that is no valid shard, or one line with every mismatch.
    """
    entries = entries_of(paths)
    wrong = [f"{entry.path}: {entry.error}" for entry in entries if entry.error is not None]
    good = [(entry.path, entry.get()) for entry in entries if entry.error is None]
    headers = [facts.header for _, facts in good]
    labels = sum(facts.labels for _, facts in good)
    if headers:
        first = headers[0]
        expected: dict[str, object] = {
            "kind": kind,
            "game": game or first.game,
            "rom_sha1": rom_sha1 or first.rom_sha1,
            "actions": tuple(actions) if actions is not None else first.actions,
            "frame_contract": contract or (None if kind == "raw" else first.frame_contract),
            "timing": timing or first.timing,
        }
        for (path, _), header in zip(good, headers, strict=True):
            for name, value in expected.items():
                found = getattr(header, name)
                if value is not None and found != value:
                    wrong.append(f"{path}: {_WORDS[name]} {_show(found)}, not {_show(value)}")
    if labelled and not labels and not wrong:
        names = ", ".join(str(path) for path in paths) or "no shards"
        wrong.append(f"{names}: no labelled frames; run the label stage first")
    if wrong:
        raise PipelineError("; ".join(wrong))
    return headers


_WORDS = {
    "kind": "the shard is",
    "game": "the game is",
    "rom_sha1": "the ROM's sha1 is",
    "actions": "the actions are",
    "frame_contract": "the frames are",
    "timing": "the timing is",
}


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    return str(value)
