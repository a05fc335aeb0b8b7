"""A dataset as it lies in the file: where each chunk is, how long, and what its CRC32 must be.

Rows are read past HDF5: its own reading holds one lock for all threads, decodes three times
slower, and names no chunk when something is wrong.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.codec import Damage, crc32, decompress_into
from pipeline.shards.format.schema import Array

_GZIP = h5py.h5z.FILTER_DEFLATE
_BEST_RATIO = 1100
"""More than gzip can shrink anything (1032), so that a chunk's size bounds what it decodes to."""
_LEAST_OF_INDEX = 8
"""Bytes that HDF5 needs at least to say where a chunk lies."""
_NOT_STORED = "has rows that are not stored in the file"
_OTHER_CRC = "the CRC32 is another"
_OUTSIDE = "has chunks outside the file, or that overlap"


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
            together = 1 if self.gzip or skip else self._run(chunk, (stop - at) // self.chunk_rows)
            if together > 1:
                self._read_run(handle, chunk, together, flat[low:])
                at += together * self.chunk_rows
                continue
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

    def _run(self, chunk: int, most: int) -> int:
        """How many chunks from this one on lie one after another, ``most`` at most."""
        if most < 2:
            return 1
        ends = self.offsets[chunk : chunk + most - 1] + self.sizes[chunk : chunk + most - 1]
        gaps = np.flatnonzero(ends != self.offsets[chunk + 1 : chunk + most])
        return int(gaps[0]) + 1 if len(gaps) else most

    def _read_run(self, handle: int, chunk: int, count: int, out: NDArray[np.uint8]) -> None:
        """Read ``count`` whole chunks, stored bare one after another, with one call."""
        size = self.chunk_bytes
        wanted = out[: count * size]
        got = _read_at(handle, int(self.offsets[chunk]), wanted)
        for i in range(count):
            part = wanted[i * size : (i + 1) * size]
            if got < (i + 1) * size:
                missing = (i + 1) * size - got
                raise DamagedChunk(self, chunk + i, f"the file ends {missing} bytes early")
            if self.crc32 is not None and crc32(part) != self.crc32[chunk + i]:
                raise DamagedChunk(self, chunk + i, _OTHER_CRC)

    def _pread(self, handle: int, chunk: int, out: NDArray[np.uint8]) -> None:
        got = _read_at(handle, int(self.offsets[chunk]), out)
        if got < out.size:
            raise Damage(f"the file ends {out.size - got} bytes early")
        if self.crc32 is not None and crc32(out) != self.crc32[chunk]:
            raise Damage(_OTHER_CRC)


def _read_at(handle: int, offset: int, out: NDArray[np.uint8]) -> int:
    """Fill ``out`` from an offset of the file; how many bytes there were.

    Raises:
        Damage: the disk refuses.
    """
    # pread and not mmap: a file cut short or a failing disk is then an error, not a SIGBUS.
    got = 0
    while got < out.size:
        try:
            more = os.preadv(handle, [out[got:].data], offset + got)
        except OSError as error:
            raise Damage(f"the disk refuses ({os.strerror(error.errno or 0)})") from None
        if not more:
            break
        got += more
    return got


class DamagedChunk(Damage):
    """Which chunk of which dataset is damaged; ``first`` and ``last`` are its rows."""

    def __init__(self, dataset: StoredDataset, chunk: int, what: str) -> None:
        self.dataset, self.chunk, self.what = dataset.name, chunk, what
        self.first = chunk * dataset.chunk_rows
        self.last = min(dataset.rows, self.first + dataset.chunk_rows) - 1
        super().__init__(
            f"/{self.dataset} is damaged in chunk {chunk}, rows {self.first} to {self.last}: {what}"
        )


class OpenDataset(NamedTuple):
    """An open dataset, and what HDF5 is asked of it once: each question takes some microseconds."""

    id: h5py.h5d.DatasetID
    shape: tuple[int, ...]
    stored_type: h5py.h5t.TypeID
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)


def open_dataset(above: h5py.h5g.GroupID, path: str) -> OpenDataset | None:
    """The dataset at a path of groups; None for nothing or something else, and for a link."""
    *groups, leaf = path.split("/")
    for name in groups:
        inner = open_member(above, name)
        if not isinstance(inner, h5py.h5g.GroupID):
            return None
        above = inner
    found = open_member(above, leaf)
    return opened(found) if isinstance(found, h5py.h5d.DatasetID) else None


def open_member(group: h5py.h5g.GroupID, name: str) -> object:
    """What lies in a group under a name; None for nothing, and for a link out of its place."""
    key = name.encode("utf-8", "surrogateescape")
    if not key or not group.links.exists(key):
        return None
    if group.links.get_info(key).type != h5py.h5l.TYPE_HARD:
        return None
    found: object = h5py.h5o.open(group, key)
    return found


def opened(dataset: h5py.h5d.DatasetID) -> OpenDataset:
    """Ask what shape and type it has."""
    kind = dataset.get_type()
    return OpenDataset(dataset, tuple(map(int, dataset.shape)), kind, kind.dtype)


def stored_dataset(
    dataset: OpenDataset, name: str, file_bytes: int, *, apart: bool = False
) -> StoredDataset:
    """Find the chunks of an open dataset of at least one dimension.

    Cost: 1 us a chunk; no data is read, and nothing is allocated that the file does not have.

    Args:
        name: its path, without the leading slash.
        apart: each row of a dataset that is stored in one piece counts as a chunk.

    Raises:
        Damage: not stored as this format stores: other filters or types, chunks that cut through
            rows, chunks missing, outside the file, or too small for what they should decode to.
            The text follows the dataset's name.
    """
    created = dataset.id.get_create_plist()
    kind = created.get_layout()
    if kind == h5py.h5d.VIRTUAL or created.get_external_count():
        raise Damage(_NOT_STORED)
    gzip, dtype = _is_gzip(created, dataset), dataset.dtype
    rows, row_shape = dataset.shape[0], dataset.shape[1:]
    row_bytes = math.prod(row_shape) * dtype.itemsize
    chunks = created.get_chunk() if kind == h5py.h5d.CHUNKED else None
    chunk_rows = max(1, rows) if chunks is None else int(chunks[0])
    if chunk_rows * row_bytes >= 1 << 32:
        raise Damage("has chunks of more than 4 GiB")
    if chunks is None:
        offset = dataset.id.get_offset() if rows * row_bytes else 0
        if offset is None or dataset.id.get_storage_size() != rows * row_bytes:
            raise Damage(_NOT_STORED)
        if offset > file_bytes or rows * row_bytes > file_bytes:
            raise Damage(_OUTSIDE)
        chunk_rows = 1 if apart else chunk_rows
        count = -(-rows // chunk_rows) or 1
        offsets = np.uint64(offset) + np.arange(count, dtype=np.uint64) * np.uint64(row_bytes)
        sizes = np.full(count, rows * row_bytes // count, np.uint64)
    else:
        if tuple(chunks[1:]) != row_shape:
            raise Damage("has chunks that cut through rows")
        offsets, sizes = _chunks(dataset.id, -(-rows // chunk_rows), chunk_rows, file_bytes)
        least = -(-chunk_rows * row_bytes // (_BEST_RATIO if gzip else 1))
        if (sizes < least).any():
            raise Damage("has chunks too small for their rows")
    if _outside(offsets, sizes, file_bytes):
        raise Damage(_OUTSIDE)
    return StoredDataset(
        name, rows, row_shape, dtype, chunk_rows, gzip, offsets, sizes.astype(np.uint32), None
    )


def _outside(offsets: NDArray[np.uint64], sizes: NDArray[np.uint64], file_bytes: int) -> bool:
    """Whether chunks lie outside the file; or overlap: a few bytes could pose as many rows."""
    if len(offsets) == 1:
        return int(offsets[0]) + int(sizes[0]) > file_bytes
    ends = offsets + sizes
    outside = (offsets > file_bytes) | (sizes > file_bytes) | (ends > file_bytes)
    if outside.any():
        return True
    if (ends[:-1] <= offsets[1:]).all():
        return False
    order = np.argsort(offsets, kind="stable")
    return bool((ends[order][:-1] > offsets[order][1:]).any())


def _is_gzip(created: h5py.h5p.PropDCID, dataset: OpenDataset) -> bool:
    count, dtype = created.get_nfilters(), dataset.dtype
    if count > 1 or (count and int(created.get_filter(0)[0]) != _GZIP):
        raise Damage("has filters other than gzip")
    # The bytes are read as numpy's own type, so that they must be stored as it.
    if dtype.hasobject or dataset.stored_type != _hdf5_type(dtype):
        raise Damage(f"is stored in another type than {dtype}")
    return bool(count)


def _hdf5_type(dtype: np.dtype[Any]) -> h5py.h5t.TypeID:
    if dtype.kind not in "iuf":  # of text, numpy does not compare the encoding
        return h5py.h5t.py_create(dtype, logical=True)
    if dtype.str not in _number_types:
        _number_types[dtype.str] = h5py.h5t.py_create(dtype, logical=True)
    return _number_types[dtype.str]


_number_types: dict[str, h5py.h5t.TypeID] = {}


def _chunks(
    dataset: h5py.h5d.DatasetID, count: int, chunk_rows: int, file_bytes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    if count > file_bytes // _LEAST_OF_INDEX:
        raise Damage(_NOT_STORED)
    offsets, sizes = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    seen: set[int] = set()

    def note(info: Any) -> bool | None:
        """Stop, by giving True, at what cannot be."""
        chunk, within = divmod(info.chunk_offset[0], chunk_rows)
        odd = within or chunk >= count or any(info.chunk_offset[1:]) or info.filter_mask
        if odd or chunk in seen:
            return True
        seen.add(chunk)
        offsets[chunk], sizes[chunk] = info.byte_offset, info.size
        return None

    if dataset.chunk_iter(note) or len(seen) != count:
        raise Damage(_NOT_STORED)
    return offsets, sizes
