"""The frames of many shards, chunk by chunk, as they lie on disk."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.shared_memory import SharedArray
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.stored import StoredDataset
from pipeline.system.errors import PipelineError

Indices = NDArray[np.int64]
Frames = NDArray[np.uint8]

_OPEN_FILES = 256


class FrameSource:
    """Chunks of frames, numbered shard after shard; pickles, and survives a fork.

    The files are opened by the process that reads, at most 256 at a time. Memory: 16 bytes
    a chunk, which processes share.

    Args:
        paths: shards with frames of one shape, in chunks of one number of rows.
        frames: where the frames of each lie (``Shard.stored("frames")``).

    Raises:
        PipelineError: chunks of different numbers of rows.
    """

    def __init__(self, paths: Sequence[Path], frames: Sequence[StoredDataset]) -> None:
        self.paths = [Path(path) for path in paths]
        self.chunk_rows = frames[0].chunk_rows
        self.frame_shape = frames[0].row_shape
        for path, one in zip(self.paths, frames, strict=True):
            if one.chunk_rows != self.chunk_rows:
                raise PipelineError(
                    f"{path}: chunks of {one.chunk_rows} frames, but {self.paths[0]} has "
                    f"{self.chunk_rows}; write it anew with: data merge"
                )
        chunks = [len(one.offsets) for one in frames]
        self.first_chunks: Indices = np.cumsum([0, *chunks])
        """(S+1,) number of each shard's first chunk, and of chunks in all."""
        self._offsets = SharedArray.of(np.concatenate([one.offsets for one in frames]))
        self._sizes = SharedArray.of(np.concatenate([one.sizes for one in frames]))
        self._checked = [one.crc32 is not None for one in frames]
        crcs = [
            np.zeros(n, np.uint32) if one.crc32 is None else one.crc32
            for n, one in zip(chunks, frames, strict=True)
        ]
        self._crcs = SharedArray.of(np.concatenate(crcs))
        nothing = np.empty(0, np.uint64)
        self._bare = [
            replace(one, offsets=nothing, sizes=nothing.astype(np.uint32), crc32=None)
            for one in frames
        ]
        self._files: OrderedDict[int, tuple[int, StoredDataset]] = OrderedDict()
        self._pid = os.getpid()

    @property
    def chunks(self) -> int:
        return int(self.first_chunks[-1])

    @property
    def chunk_bytes(self) -> int:
        return self._bare[0].chunk_bytes

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": OrderedDict(), "_pid": -1}

    def read_chunk(self, chunk: int, out: Frames) -> None:
        """Decode a chunk into ``out`` (chunk_rows,H,W,3), contiguous.

        Raises:
            PipelineError: the file is gone, or the chunk is damaged.
        """
        number = int(np.searchsorted(self.first_chunks, chunk, side="right")) - 1
        handle, frames = self._open(number)
        try:
            frames.read_chunk(handle, chunk - int(self.first_chunks[number]), out.reshape(-1))
        except Damage as damage:
            at = chunk - int(self.first_chunks[number])
            raise PipelineError(
                f"{self.paths[number]}: /frames is damaged in chunk {at}, rows "
                f"{at * self.chunk_rows} to {(at + 1) * self.chunk_rows - 1} ({damage}); see what "
                "is left with: data verify, and keep it with: data salvage"
            ) from None

    def read_rows(self, rows: Indices) -> Frames:
        """(n,H,W,3) the frames of rows (``chunk * chunk_rows + row in the chunk``), in their order.

        Each chunk is decoded once a call.
        """
        out = np.empty((len(rows), *self.frame_shape), np.uint8)
        scratch = np.empty((self.chunk_rows, *self.frame_shape), np.uint8)
        chunks = rows // self.chunk_rows
        order = np.argsort(chunks, kind="stable")
        bounds = np.flatnonzero(np.diff(chunks[order], prepend=-1, append=-1))
        for low, high in pairwise(bounds.tolist()):
            here = order[low:high]
            self.read_chunk(int(chunks[here[0]]), scratch)
            out[here] = scratch[rows[here] % self.chunk_rows]
        return out

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        if self._pid == os.getpid():
            for handle, _ in self._files.values():
                os.close(handle)
        self._files = OrderedDict()

    def _open(self, number: int) -> tuple[int, StoredDataset]:
        if self._pid != os.getpid():
            # A child of a fork shares the parent's descriptors, which pread leaves as they are.
            self._pid, self._files = os.getpid(), OrderedDict()
        found = self._files.get(number)
        if found is not None:
            return found
        try:
            handle = os.open(self.paths[number], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise PipelineError(
                f"{self.paths[number]}: cannot be opened any more "
                f"({os.strerror(error.errno or 0)}); do not move shards while they are read"
            ) from None
        here = slice(*self.first_chunks[number : number + 2].tolist())
        frames = replace(
            self._bare[number],
            offsets=self._offsets.array[here],
            sizes=self._sizes.array[here],
            crc32=self._crcs.array[here] if self._checked[number] else None,
        )
        if len(self._files) >= _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1][0])
        self._files[number] = handle, frames
        return handle, frames
