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
        self.file = file
        rows = source.chunks * source.chunk_rows
        self._shape = (rows, *source.frame_shape)
        self._good = SharedArray((source.chunks,), np.uint8)
        self._filled = False
        self._memory = None if file else SharedArray(self._shape, np.uint8, huge=True)
        self._map()

    def _map(self) -> None:
        self._checks: NDArray[np.uint32] | None = None
        if self._memory is not None:
            self.frames: Frames = self._memory.array
            return
        assert self.file is not None
        chunks = self.source.chunks
        size = chunks * self.source.chunk_bytes
        memory = _open_file(self.file, size + 4 * chunks)
        self.frames = np.frombuffer(memory, np.uint8, size).reshape(self._shape)
        self._checks = np.frombuffer(memory, np.uint32, chunks, size)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("frames", "_checks")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map()

    def gather(self, rows: Indices, out: Frames) -> None:
        """Copy the frames of rows (n,) into ``out`` (n,H,W,3), decoding what is not there yet."""
        if not self._filled:
            self._fill(np.unique(rows // self.source.chunk_rows))
        np.take(self.frames, rows, axis=0, out=out, mode="clip")

    def _fill(self, chunks: Indices) -> None:
        good, size = self._good.array, self.source.chunk_rows
        for chunk in chunks[good[chunks] == 0].tolist():
            out = self.frames[chunk * size : (chunk + 1) * size]
            if self._checks is None:
                self.source.read_chunk(chunk, out)
            elif not self._checks[chunk] or crc32(out.reshape(-1)) != self._checks[chunk]:
                self.source.read_chunk(chunk, out)
                self._checks[chunk] = crc32(out.reshape(-1))
            good[chunk] = 1
        self._filled = bool(good.all())


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


def _open_file(path: Path, size: int) -> mmap.mmap:
    """Map the file, with room for all of it: a full disk is an error here, not a SIGBUS later."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            if os.fstat(handle).st_size != size:
                os.ftruncate(handle, 0)
                os.posix_fallocate(handle, 0, size)
            # The lock stays with the map's own copy of the handle, and dies with it.
            return mmap.mmap(handle, size)
        finally:
            os.close(handle)
    except OSError as error:
        with contextlib.suppress(OSError):
            if path.stat().st_size != size:
                path.unlink()
        raise _refused(path, error) from None


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
