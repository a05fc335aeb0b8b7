"""Writing a shard: whole episodes in, one published file out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import h5py
import numpy as np

from pipeline.shards.catalog.catalogue import enter
from pipeline.shards.catalog.names import publish_name
from pipeline.shards.catalog.publish import cannot_write, publish, temporary_beside
from pipeline.shards.format.accepting import accepted_row
from pipeline.shards.format.attributes import write_text
from pipeline.shards.format.checks import refuse_header, refuse_unreadable
from pipeline.shards.format.columns import Column, EncodedChunk, write_table
from pipeline.shards.format.described import describe
from pipeline.shards.format.episodes import (
    EPISODES,
    FINAL_FRAMES,
    columns_of,
    content_digests,
    table_of,
)
from pipeline.shards.format.provenance import fingerprint
from pipeline.shards.format.schema import (
    EPISODE_COLUMNS,
    FRAMES_PER_CHUNK,
    LABEL_COLUMNS,
    RAM_CRC32,
    RECORDING,
    STEP_COLUMNS,
    Array,
    Episode,
    Layout,
    ShardHeader,
    content_id,
    is_content_id,
    is_recording,
    layout,
    stored_id,
)
from pipeline.shards.format.sealed import Written, write_checksums

__all__ = ["ShardWriter", "fingerprint", "publish_name"]

Compression = Literal["gzip"] | None


class ShardWriter:
    """Write episodes into one shard; a context manager that publishes on a clean exit.

    The file's bytes and its ``shard_id`` are functions of the header, the episodes and the
    start states: no time, no path, no process enters them. Memory: one chunk a dataset, a few of
    frames that ``threads`` compress in the background, and some numbers an episode. Nothing
    appears under ``path`` before the exit, and nothing is left behind when the block raises.

    Raises:
        PipelineError: ``path`` exists, its folder cannot be written, the disk is full, or a value
            is one that a reader would refuse.
        ValueError: an episode that contradicts the header or itself (a mistake in the caller).
    """

    def __init__(
        self,
        path: Path,
        header: ShardHeader,
        *,
        compression: Compression = "gzip",
        level: int = 1,
        start_states: Sequence[bytes] = (),
        threads: int = 1,
    ) -> None:
        self.path = Path(path)
        self.header = header
        self.shard_id = ""
        """The identity of the content; known after the exit."""
        self.n_frames = 0
        self.n_episodes = 0
        self._level = level if compression == "gzip" else None
        self._pool = ThreadPoolExecutor(threads)
        self._start_states = list(start_states)
        self._columns: dict[str, Column] = {}
        self._state: dict[str, Column] | None = None
        self._episodes: dict[str, list[object]] = {name: [] for name in EPISODE_COLUMNS}
        self._roots: list[bytes] = []
        self._recordings: list[bytes] = []
        self._file: h5py.File | None = None

    def __enter__(self) -> ShardWriter:
        refuse_header(self.header, self.path)
        self._temporary = temporary_beside(self.path)
        try:
            self._file = new_file(self._temporary)
            self._create()
        except OSError as error:
            self._discard()
            raise cannot_write(self.path, error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._seal()
            refuse_unreadable(self._temporary, self.path)
            publish(self._temporary, self.path)
            enter(self.path)
        except (OSError, RuntimeError) as error:
            raise cannot_write(self.path, error) from None
        finally:
            self._discard()

    def append(self, episode: Episode) -> None:
        """Append one episode with its frames."""
        if len(episode.frames) != len(episode):
            raise ValueError(f"{len(episode)} steps, but {len(episode.frames)} frames")
        self.append_steps(episode)
        self.append_frames(episode.frames)

    def append_steps(self, episode: Episode) -> None:
        """Append an episode without its frames, which must follow (``episode.frames`` is unread).

        For streams whose frames come in blocks of their own.
        """
        self._check(episode)
        steps = len(episode)
        states = len(self._start_states) or None
        row = accepted_row(self.path, self.header, states, episode, self.n_frames, self.n_episodes)
        with self._disk():
            for name in STEP_COLUMNS:
                self._columns[name].append(getattr(episode, name))
            self._append_ram_crc32(episode)
            self._append_labels(episode)
            for name, column in self._state_columns(episode).items():
                column.append(np.asarray(episode.state[name]))
            self._columns[FINAL_FRAMES].append(episode.final_frame[None])
        for name, entry in row.items():
            self._episodes[name].append(entry)
        self._roots.append(episode.root.encode())
        self._recordings.append(episode.recording.encode())
        self.n_frames += steps
        self.n_episodes += 1

    def append_frames(self, frames: Array) -> None:
        """Append frames (k,H,W,3) u8 of the steps given to :meth:`append_steps`."""
        with self._disk():
            self._columns["frames"].append(frames)

    def append_encoded(self, chunk: EncodedChunk) -> None:
        """Append a chunk of FRAMES_PER_CHUNK frames that was compressed elsewhere."""
        with self._disk():
            self._columns["frames"].append_encoded(chunk)

    def _create(self) -> None:
        file = self._open_file()
        contract = self.header.frame_contract
        shape = (contract.height, contract.width, 3)
        byte = np.dtype("u1")
        self._columns["frames"] = Column(
            file,
            "frames",
            shape,
            byte,
            chunk_rows=FRAMES_PER_CHUNK,
            level=self._level,
            pool=self._pool,
        )
        for name, kind in STEP_COLUMNS.items():
            self._columns[name] = Column(file, name, (), kind)
        file.create_group("state", track_order=True)
        self._columns[FINAL_FRAMES] = Column(
            file, FINAL_FRAMES, shape, byte, chunk_rows=1, level=self._level
        )

    def _open_file(self) -> h5py.File:
        if self._file is None:
            raise ValueError("use the ShardWriter in a with block")
        return self._file

    def _append_ram_crc32(self, episode: Episode) -> None:
        """The first episode decides whether the shard has the column."""
        if not self.n_episodes and episode.ram_crc32 is not None:
            self._columns[RAM_CRC32] = Column(self._open_file(), RAM_CRC32, (), np.dtype("<u4"))
        if (episode.ram_crc32 is not None) != (RAM_CRC32 in self._columns):
            raise ValueError("of ram_crc32, all episodes of a shard must have it, or none")
        if episode.ram_crc32 is not None:
            self._columns[RAM_CRC32].append(episode.ram_crc32)

    def _append_labels(self, episode: Episode) -> None:
        """The first episode decides whether the shard has the columns."""
        if not self.n_episodes and episode.labels is not None:
            group = self._open_file().create_group("labels", track_order=True)
            for name, kind in LABEL_COLUMNS.items():
                self._columns[f"labels/{name}"] = Column(group, name, (), kind)
        if (episode.labels is not None) != ("labels/expert" in self._columns):
            raise ValueError("of labels, all episodes of a shard must have them, or none")
        for name, values in (episode.labels or {}).items():
            self._columns[f"labels/{name}"].append(values)

    def _state_columns(self, episode: Episode) -> dict[str, Column]:
        """The columns of /state, made after the first episode's variables."""
        if self._state is None:
            group = self._open_file()["state"]
            self._state = {}
            for name in sorted(episode.state):
                values = np.asarray(episode.state[name])
                self._state[name] = Column(
                    group, name, values.shape[1:], values.dtype.newbyteorder("<")
                )
        if set(self._state) != set(episode.state):
            odd = ", ".join(sorted(set(self._state) ^ set(episode.state)))
            raise ValueError(f"state variables differ from the shard's first episode: {odd}")
        return self._state

    def _check(self, episode: Episode) -> None:
        steps = len(episode)
        if not steps:
            raise ValueError("an episode needs at least one step")
        columns = {name: getattr(episode, name) for name in STEP_COLUMNS}
        columns |= {f"state {name}": values for name, values in episode.state.items()}
        if episode.ram_crc32 is not None:
            columns[RAM_CRC32] = episode.ram_crc32
        if episode.labels is not None:
            if set(episode.labels) != set(LABEL_COLUMNS):
                raise ValueError(f"labels have {', '.join(sorted(episode.labels))}")
            columns |= {f"labels {name}": values for name, values in episode.labels.items()}
        for name, values in columns.items():
            if len(values) != steps:
                raise ValueError(f"{steps} steps, but {len(values)} rows of {name}")
        if int(episode.actions.max()) >= len(self.header.actions):
            raise ValueError(f"action {episode.actions.max()} of {len(self.header.actions)}")
        reached = np.asarray(episode.milestones)
        if not np.array_equal(reached, reached.astype(np.int32)):
            raise ValueError(f"milestones are {reached}, not steps")
        if len(episode.milestones) != len(self.header.milestones):
            raise ValueError(
                f"{len(episode.milestones)} milestones, but the header names "
                f"{len(self.header.milestones)}"
            )
        for name, values in episode.state.items():
            if (
                not name
                or "/" in name
                or name == "."
                or np.asarray(values).dtype.kind not in "iufb"
            ):
                raise ValueError(f"state {name!r} is no name, or not of numbers")
        if not episode.root:
            raise ValueError("an episode needs a root: the identity of its game")
        if not is_recording(episode.recording.encode()):
            raise ValueError(f"recording {episode.recording!r} is no identity")

    def _seal(self) -> None:
        """Write all that is known only now, the identity and the mark of completeness last."""
        file = self._open_file()
        if self._columns["frames"].rows != self.n_frames:
            raise ValueError(f"{self.n_frames} steps, but {self._columns['frames'].rows} frames")
        if not self.n_episodes:
            raise ValueError("a shard needs at least one episode")
        written = {c.name: c.finish() for c in self._columns.values()}
        written |= {c.name: c.finish() for c in (self._state or {}).values()}
        columns = {name: np.array(self._episodes[name], k) for name, k in EPISODE_COLUMNS.items()}
        columns["milestones"] = columns["milestones"].reshape(len(self._roots), -1)
        columns["root"] = np.array(self._roots)
        columns["recording"] = np.array(self._recordings, RECORDING)
        written[f"/{EPISODES}"] = write_table(file, EPISODES, table_of(columns))
        if self._start_states:
            written["/start_states"] = write_start_states(file, self._start_states)
        self.shard_id = write_header(file, self.header, written)
        file.close()

    def _discard(self) -> None:
        """Close and remove the temporary file, if it is still there."""
        self._pool.shutdown(cancel_futures=True)
        if self._file is not None:
            with suppress(OSError, RuntimeError):  # a full disk fails here a second time
                self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _disk(self) -> _Disk:
        return _Disk(self.path)


class _Disk:
    """Turns what HDF5 raises when the disk refuses into the one clear line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(value, (OSError, RuntimeError)):
            raise cannot_write(self._path, value) from None


def new_file(path: Path) -> h5py.File:
    """A new HDF5 file that stock tools of 2017 read, and that knows in which order it was made."""
    return h5py.File(path, "w-", libver=("earliest", "v110"), track_order=True)


def write_header(file: h5py.File, header: ShardHeader, written: Mapping[str, Written]) -> str:
    """Write /checksums, the descriptions and the root attributes; return the shard_id.

    It is the header's own where that is the id of this content already: a migrated shard keeps the
    id that it was made with.

    Args:
        written: every dataset of the file by its path, none else.
    """
    write_checksums(file, written)
    describe(file)
    table = columns_of(file[EPISODES][:], len(header.milestones))
    digests = content_digests({path: one.sha256 for path, one in written.items()}, table)
    kept = is_content_id(header, digests)
    shard_id = header.shard_id if kept else content_id(header, digests)
    layouts = {path: _layout(file[path], one) for path, one in written.items()}
    for name, value in header.attributes().items():
        if isinstance(value, (str, list)):
            write_text(file, name, value)
        else:
            file.attrs[name] = value
    write_text(file, "shard_id", shard_id)
    write_text(file, "stored_sha256", stored_id(replace(header, shard_id=shard_id), layouts))
    file.attrs["complete"] = True
    return shard_id


def _layout(dataset: h5py.Dataset, written: Written) -> Layout:
    """What the identity of the file covers of an open dataset."""
    lengths = dataset.attrs.get("lengths", np.empty(0, np.uint32)).tolist()
    return layout(written.stored_sha256, dataset.dtype, dataset.shape, lengths)


def write_start_states(file: h5py.File, states: Sequence[bytes]) -> Written:
    """Write save states as rows of bytes, padded to the longest; attribute ``lengths`` tells."""
    longest = max(map(len, states))
    column = Column(file, "start_states", (longest,), np.dtype("u1"), chunk_rows=1, level=6)
    for state in states:
        row = np.zeros((1, longest), np.uint8)
        row[0, : len(state)] = np.frombuffer(state, np.uint8)
        column.append(row)
    written = column.finish()
    lengths = np.array([len(state) for state in states], "<u4")
    file["start_states"].attrs["lengths"] = lengths
    digest = hashlib.sha256(written.sha256.encode() + lengths.tobytes()).hexdigest()
    return written._replace(sha256=digest)
