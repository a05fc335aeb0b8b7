"""A dataset as it lies in the file: where each chunk is, how long, and what its CRC32 must be.

Rows are read past HDF5: its own reading holds one lock for all threads, decodes three times
slower, and names no chunk when something is wrong.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.codec import Damage, crc32, decompress_into
from pipeline.shards.schema import Array

_GZIP = h5py.h5z.FILTER_DEFLATE


@dataclass(frozen=True)
class StoredDataset:
    """The chunks of one dataset of rows (N, *row_shape); pickles, and needs no open HDF5 file.

    Memory: 16 bytes a chunk.
    """

    name: str
    rows: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_rows: int
    gzip: bool
    offsets: NDArray[np.uint64]
    """(C,) bytes from the start of the file."""
    sizes: NDArray[np.uint32]
    """(C,) stored bytes."""
    crc32: NDArray[np.uint32] | None
    """(C,) of the stored bytes; None in a file of schema version 1, which had none."""

    @property
    def row_bytes(self) -> int:
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk when decoded; the last one is padded to it too."""
        return self.chunk_rows * self.row_bytes

    def stored_bytes(self, handle: int, chunk: int) -> NDArray[np.uint8]:
        """(sizes[chunk],) the bytes of a chunk as they lie in the file, checked.

        Args:
            handle: file descriptor of the shard, open for reading; its position is not used.

        Raises:
            Damage: the file is too short, or the bytes are not those that were written.
        """
        size = int(self.sizes[chunk])
        data = np.empty(size, np.uint8)
        self._pread(handle, chunk, data)
        return data

    def read_chunk(self, handle: int, chunk: int, out: NDArray[np.uint8]) -> None:
        """Decode a chunk into ``out`` (chunk_bytes,); see :meth:`stored_bytes`."""
        if self.gzip:
            decompress_into(self.stored_bytes(handle, chunk), out)
        elif self.sizes[chunk] != out.size:
            raise Damage(f"{self.sizes[chunk]} bytes, not {out.size}")
        else:
            self._pread(handle, chunk, out)

    def read(self, handle: int, start: int, stop: int) -> Array:
        """Rows ``start`` to ``stop``, (stop-start, *row_shape).

        Raises:
            DamagedChunk: names the first chunk that is damaged, and its rows.
        """
        out = np.empty((stop - start, *self.row_shape), self.dtype)
        flat = out.reshape(-1).view(np.uint8) if out.size else np.empty(0, np.uint8)
        scratch: NDArray[np.uint8] | None = None
        at = start
        while at < stop and self.row_bytes:
            chunk, skip = divmod(at, self.chunk_rows)
            take = min(self.chunk_rows - skip, stop - at)
            low = (at - start) * self.row_bytes
            target = flat[low : low + take * self.row_bytes]
            try:
                if take == self.chunk_rows:
                    self.read_chunk(handle, chunk, target)
                else:
                    if scratch is None:
                        scratch = np.empty(self.chunk_bytes, np.uint8)
                    self.read_chunk(handle, chunk, scratch)
                    target[:] = scratch[skip * self.row_bytes :][: len(target)]
            except Damage as damage:
                raise DamagedChunk(self, chunk, str(damage)) from None
            at += take
        return out

    def _pread(self, handle: int, chunk: int, out: NDArray[np.uint8]) -> None:
        # pread and not mmap: a file cut short or a failing disk is then an error, not a SIGBUS.
        offset, got = int(self.offsets[chunk]), 0
        while got < out.size:
            try:
                more = os.preadv(handle, [out[got:].data], offset + got)
            except OSError as error:
                raise Damage(f"the disk refuses ({os.strerror(error.errno or 0)})") from None
            if not more:
                raise Damage(f"the file ends {out.size - got} bytes early")
            got += more
        if self.crc32 is not None and crc32(out) != self.crc32[chunk]:
            raise Damage("the CRC32 is another")


class DamagedChunk(Damage):
    """Which chunk of which dataset is damaged; ``first`` and ``last`` are its rows."""

    def __init__(self, dataset: StoredDataset, chunk: int, what: str) -> None:
        self.dataset, self.chunk, self.what = dataset.name, chunk, what
        self.first = chunk * dataset.chunk_rows
        self.last = min(dataset.rows, self.first + dataset.chunk_rows) - 1
        super().__init__(
            f"/{self.dataset} is damaged in chunk {chunk}, rows {self.first} to {self.last}: {what}"
        )


def stored_dataset(
    dataset: h5py.Dataset, checksums: NDArray[np.uint32] | None, file_bytes: int
) -> StoredDataset:
    """Find the chunks of an open dataset; cost: 1 us a chunk, no data is read.

    Raises:
        Damage: not stored as this format stores: other filters, chunks that cut through rows,
            chunks missing or outside the file, or another number of checksums.
    """
    created = dataset.id.get_create_plist()
    filters = [created.get_filter(i)[0] for i in range(created.get_nfilters())]
    if any(one != _GZIP for one in filters) or len(filters) > 1:
        raise Damage("it has filters other than gzip")
    rows, row_shape = int(dataset.shape[0]), tuple(int(n) for n in dataset.shape[1:])
    row_bytes = math.prod(row_shape) * dataset.dtype.itemsize
    if dataset.chunks is None:
        chunk_rows, count = max(1, rows), 1
        offset = dataset.id.get_offset() if rows * row_bytes else 0
        if offset is None or dataset.id.get_storage_size() != rows * row_bytes:
            raise Damage("it has rows that are not stored in the file")
        offsets, sizes = np.array([offset], np.uint64), np.array([rows * row_bytes], np.uint64)
    else:
        chunk_rows = int(dataset.chunks[0])
        if tuple(dataset.chunks[1:]) != row_shape:
            raise Damage("its chunks cut through rows")
        count = -(-rows // chunk_rows)
        offsets, sizes = _chunks(dataset, count, chunk_rows, bool(filters))
    if (offsets + sizes > file_bytes).any() or (sizes >= 1 << 32).any():
        raise Damage("it has chunks outside the file")
    if checksums is not None and checksums.shape != (count,):
        raise Damage(f"it has {count} chunks, but {checksums.shape} checksums")
    return StoredDataset(
        dataset.name.lstrip("/"),
        rows,
        row_shape,
        dataset.dtype,
        chunk_rows,
        bool(filters),
        offsets,
        sizes.astype(np.uint32),
        checksums,
    )


def _chunks(
    dataset: h5py.Dataset, count: int, chunk_rows: int, compressed: bool
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    offsets, sizes = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    seen = np.zeros(count, np.int64)
    odd = False

    def note(info: Any) -> None:
        nonlocal odd
        chunk, within = divmod(info.chunk_offset[0], chunk_rows)
        if within or chunk >= count or any(info.chunk_offset[1:]) or info.filter_mask:
            odd = True
            return
        seen[chunk] += 1
        offsets[chunk], sizes[chunk] = info.byte_offset, info.size

    dataset.id.chunk_iter(note)
    if odd or (seen != 1).any():
        raise Damage("it has rows that are not stored in the file, or chunks that are not its own")
    return offsets, sizes
