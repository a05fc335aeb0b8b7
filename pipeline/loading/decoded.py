"""Decoded frames that are kept: in memory that all workers share, or in a file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.loading.memory import SharedArray
from pipeline.loading.source import FrameSource, Indices
from pipeline.shards.codec import crc32

Frames = NDArray[np.uint8]

_FOLDER = ".decoded"


class Decoded:
    """Every frame of a source under its row, decoded when its chunk is first asked for.

    Several processes fill it side by side: two that decode the same chunk write the same bytes.

    Memory: chunks * chunk_bytes, as they are filled; in memory of no name, shared by all, or with
    ``file`` in the page cache of that file, which outlives the process. What an earlier process
    left in it is checked, chunk by chunk, before it is used.
    """

    def __init__(self, source: FrameSource, file: Path | None = None) -> None:
        self.source = source
        self._good = SharedArray((source.chunks,), np.uint8)
        self._filled = False
        self._scratch = np.empty(source.chunk_bytes, np.uint8)
        size = source.chunks * source.chunk_bytes
        self._memory: SharedArray | MappedFile
        self._in_file = file is not None
        if file is None:
            self._memory = SharedArray((size,), np.uint8)
        else:
            # Behind the frames the CRC32 of each chunk, 0 where there is none yet.
            self._memory = MappedFile(file, size + 4 * source.chunks)

        self._map()

    def _map(self) -> None:
        source = self.source
        frames = self._memory.array[: source.chunks * source.chunk_bytes]
        self.frames: Frames = frames.reshape(-1, *source.frame_shape)
        """(rows,H,W,3)"""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "frames"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def gather(self, rows: Indices, out: Frames) -> None:
        """Copy the frames of rows (n,) into ``out`` (n,H,W,3), decoding what is not there yet.

        Raises:
            PipelineError: a shard is damaged or gone, or there is no room left.
        """
        if not self._filled:
            self._fill(np.unique(rows // self.source.chunk_rows))
        np.take(self.frames, rows, axis=0, out=out, mode="clip")

    def _fill(self, chunks: Indices) -> None:
        good = self._good.array
        for chunk in chunks[good[chunks] == 0].tolist():
            if not (self._in_file and self._left_whole(chunk)):
                self.source.read_chunk(chunk, self._scratch)
                self._keep(chunk)
            good[chunk] = 1
        self._filled = bool(good.all())

    def _keep(self, chunk: int) -> None:
        size = self.source.chunk_bytes
        self._memory.write(chunk * size, self._scratch)
        if self._in_file:
            check = np.array([crc32(self._scratch)], "<u4").view(np.uint8)
            self._memory.write(self.source.chunks * size + 4 * chunk, check)

    def _left_whole(self, chunk: int) -> bool:
        """Whether an earlier process left the chunk in the file, and it is as it was."""
        size, memory = self.source.chunk_bytes, self._memory.array
        at = self.source.chunks * size + 4 * chunk
        check = int(memory[at : at + 4].view("<u4")[0])
        return check != 0 and crc32(memory[chunk * size : (chunk + 1) * size]) == check


class MappedFile:
    """A file's bytes as an array (size,) u8; pickles by name, and holds a shared lock on the file
    as long as it lives."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._open()

    def _open(self) -> None:
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_SH)
                if os.fstat(handle).st_size != self.size:
                    os.ftruncate(handle, 0)
                    os.ftruncate(handle, self.size)
                # The lock stays with the map's own copy of the handle, and dies with it.
                self._map = mmap.mmap(handle, self.size, prot=mmap.PROT_READ)
            finally:
                os.close(handle)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _refused(self.path, error) from None
        self.array: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Put bytes at an offset: a full disk is then an error, where writing to the map would
        kill the process."""
        written = 0
        try:
            while written < data.size:
                written += os.pwrite(self._file, data[written:].data, offset + written)
        except OSError as error:
            raise _refused(self.path, error) from None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # never opened, or going down
            os.close(self._file)


def cache_file(folder: Path, shard_ids: Sequence[str]) -> Path:
    """The file in which the decoded frames of these shards are kept, beside the shards; those
    of other shards that no process uses are removed.

    Raises:
        PipelineError: the folder cannot be written.
    """
    name = hashlib.sha256(" ".join(shard_ids).encode()).hexdigest()[:16]
    place = folder / _FOLDER
    try:
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("*.frames"):
            if old.stem != name and not _in_use(old):
                old.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(place, error) from None
    return place / f"{name}.frames"


def _in_use(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _refused(path: Path, error: OSError) -> PipelineError:
    return PipelineError(
        f"{path}: cannot keep decoded frames there ({os.strerror(error.errno or 0)}); make room, "
        "or set train.cache to none"
    )
