"""A dataset as it lies in the file: where each chunk is, how long, and what its CRC32 must be.

Rows are read past HDF5: its own reading holds one lock for all threads, decodes three times
slower, and names no chunk when something is wrong.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.codec import Damage, crc32, decompress_into
from pipeline.shards.format.schema import Array

_GZIP = h5py.h5z.FILTER_DEFLATE
_BEST_RATIO = 1100
"""More than gzip can shrink anything (1032), so that a chunk's size bounds what it decodes to."""
_NOT_STORED = "has rows that are not stored in the file"


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

    def with_checksums(self, crc32: NDArray[np.uint32]) -> StoredDataset:
        """The same with the CRC32 (C,) of its chunks."""
        if crc32.shape != self.sizes.shape:
            raise Damage(f"has {len(self.sizes)} chunks, but {crc32.shape} checksums")
        return replace(self, crc32=crc32)

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
    """Find the chunks of an open dataset of at least one dimension.

    Cost: 1 us a chunk; no data is read, and nothing is allocated that the file does not have.

    Raises:
        Damage: not stored as this format stores: other filters or types, chunks that cut through
            rows, chunks missing, outside the file, or too small for what they should decode to, or
            another number of checksums. The text follows the dataset's name.
    """
    if dataset.is_virtual or dataset.external:
        raise Damage(_NOT_STORED)
    filters = _filters(dataset)
    rows, row_shape = int(dataset.shape[0]), tuple(int(n) for n in dataset.shape[1:])
    row_bytes = math.prod(row_shape) * dataset.dtype.itemsize
    chunk_rows = max(1, rows) if dataset.chunks is None else int(dataset.chunks[0])
    if chunk_rows * row_bytes >= 1 << 32:
        raise Damage("has chunks of more than 4 GiB")
    if dataset.chunks is None:
        offset = dataset.id.get_offset() if rows * row_bytes else 0
        if offset is None or dataset.id.get_storage_size() != rows * row_bytes:
            raise Damage(_NOT_STORED)
        offsets, sizes = np.array([offset], np.uint64), np.array([rows * row_bytes], np.uint64)
    else:
        if tuple(dataset.chunks[1:]) != row_shape:
            raise Damage("has chunks that cut through rows")
        offsets, sizes = _chunks(dataset, -(-rows // chunk_rows), chunk_rows)
        least = -(-chunk_rows * row_bytes // (_BEST_RATIO if filters else 1))
        if (sizes < least).any():
            raise Damage("has chunks too small for their rows")
    # Chunks do not overlap, so that a few bytes cannot pose as many rows.
    order = np.argsort(offsets, kind="stable")
    ends = (offsets + sizes)[order]
    outside = (offsets > file_bytes) | (sizes > file_bytes) | (offsets + sizes > file_bytes)
    if outside.any() or (ends[:-1] > offsets[order][1:]).any():
        raise Damage("has chunks outside the file, or that overlap")
    found = StoredDataset(
        dataset.name.lstrip("/"),
        rows,
        row_shape,
        dataset.dtype,
        chunk_rows,
        bool(filters),
        offsets,
        sizes.astype(np.uint32),
        None,
    )
    return found if checksums is None else found.with_checksums(checksums)


def _filters(dataset: h5py.Dataset) -> list[int]:
    created = dataset.id.get_create_plist()
    filters = [int(created.get_filter(i)[0]) for i in range(created.get_nfilters())]
    if any(one != _GZIP for one in filters) or len(filters) > 1:
        raise Damage("has filters other than gzip")
    # The bytes are read as numpy's own type, so that they must be stored as it.
    if dataset.dtype.hasobject or dataset.id.get_type() != h5py.h5t.py_create(
        dataset.dtype, logical=True
    ):
        raise Damage(f"is stored in another type than {dataset.dtype}")
    return filters


def _chunks(
    dataset: h5py.Dataset, count: int, chunk_rows: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    if dataset.id.get_num_chunks() != count:
        raise Damage(_NOT_STORED)
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
        raise Damage(_NOT_STORED)
    return offsets, sizes
