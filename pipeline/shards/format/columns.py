"""A growing dataset, written in whole chunks that were compressed outside HDF5.

HDF5's own filter would compress a chunk anew each time that an episode ends inside it. Here a
chunk is compressed once, wherever there is a core for it, and the bytes of the file are a
function of the rows alone, not of how they were appended.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from typing import Any, NamedTuple

import h5py
import numpy as np

from pipeline.shards.format.codec import compress, crc32
from pipeline.shards.format.schema import Array
from pipeline.shards.format.sealed import Written

_CHUNK_BYTES = 1 << 18
_COLUMN_LEVEL = 4
UNDER_WAY = 6


class EncodedChunk(NamedTuple):
    """Rows as they will lie in the file: the last chunk of a dataset may be short of rows."""

    rows: int
    payload: bytes
    digest: bytes


def encode_chunk(rows: Array, chunk_rows: int, level: int | None) -> EncodedChunk:
    """Compress at most ``chunk_rows`` rows as HDF5's gzip filter does; level None stores them bare.

    The digest is the sha256 of the rows before compression and padding.
    """
    raw = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
    digest = hashlib.sha256(raw.data).digest()
    missing = chunk_rows - len(rows)
    if missing:
        raw = np.concatenate([raw, np.zeros(missing * (raw.size // len(rows)), np.uint8)])
    payload = raw.tobytes() if level is None else compress(raw, level)
    return EncodedChunk(len(rows), payload, digest)


def rows_per_chunk(row_shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """A power of two of rows, at most 4096, that fills about a quarter of a megabyte."""
    row_bytes = max(1, int(np.prod(row_shape, dtype=np.int64)) * dtype.itemsize)
    rows = 4096
    while rows > 1 and rows * row_bytes > _CHUNK_BYTES:
        rows //= 2
    return rows


class Column:
    """One dataset of rows (n, *row_shape) that grows from n = 0.

    One chunk is held back until it is full; with a ``pool`` (of threads: gzip and sha256 let go of
    the interpreter) UNDER_WAY more are being compressed. How many threads there are shows in the
    time alone, never in the bytes.
    """

    def __init__(
        self,
        parent: h5py.Group,
        name: str,
        row_shape: Sequence[int],
        dtype: np.dtype[Any],
        *,
        chunk_rows: int | None = None,
        level: int | None = _COLUMN_LEVEL,
        pool: Executor | None = None,
    ) -> None:
        self.row_shape = tuple(row_shape)
        self.dtype = dtype
        self.chunk_rows = chunk_rows or rows_per_chunk(self.row_shape, dtype)
        self.level = level
        self.rows = 0
        """Rows appended so far, the one held back included."""
        self._encoded = 0
        self._written = 0
        self._pool = pool
        self._pending: deque[Future[EncodedChunk]] = deque()
        self._held = np.empty((self.chunk_rows, *self.row_shape), dtype)
        self._hash = hashlib.sha256()
        self._stored_hash = hashlib.sha256()
        self._crc32: list[int] = []
        self.name = parent.name.rstrip("/") + "/" + name
        """Path of the dataset in the file."""
        self._dataset = parent.create_dataset(
            name,
            shape=(0, *self.row_shape),
            maxshape=(None, *self.row_shape),
            chunks=(self.chunk_rows, *self.row_shape),
            dtype=h5py.string_dtype("utf-8", dtype.itemsize) if dtype.kind == "S" else dtype,
            compression=None if level is None else "gzip",
            compression_opts=level,
        )

    def append(self, rows: Array) -> None:
        """Append rows (k, *row_shape) of a type that casts to the column's without loss."""
        rows = np.asarray(rows)
        if rows.shape[1:] != self.row_shape or not np.can_cast(rows.dtype, self.dtype):
            raise ValueError(
                f"{self._dataset.name} takes rows {self.row_shape} {self.dtype}, "
                f"not {rows.shape[1:]} {rows.dtype}"
            )
        rows = rows.astype(self.dtype, copy=False)
        at = 0
        while at < len(rows):
            held = self.rows - self._encoded
            take = min(self.chunk_rows - held, len(rows) - at)
            block = rows[at : at + take]
            at += take
            self.rows += take
            if take == self.chunk_rows:
                self._write(block)
                continue
            self._held[held : held + take] = block
            if held + take == self.chunk_rows:
                self._write(self._held)

    def append_encoded(self, chunk: EncodedChunk) -> None:
        """Append a chunk from :func:`encode_chunk`; only the last may be short of rows."""
        if self.rows != self._written or self.rows % self.chunk_rows:
            raise ValueError(f"{self._dataset.name}: an encoded chunk must start at a chunk")
        self.rows += chunk.rows
        self._encoded += chunk.rows
        self._put(chunk)

    def finish(self) -> Written:
        """Write what was held back."""
        held = self.rows - self._encoded
        if held:
            self._write(self._held[:held])
        while self._pending:
            self._put(self._pending.popleft().result())
        return Written(self._hash.hexdigest(), self._stored_hash.hexdigest(), self._crc32)

    def _write(self, block: Array) -> None:
        self._encoded += len(block)
        if self._pool is None:
            self._put(encode_chunk(block, self.chunk_rows, self.level))
            return
        job = self._pool.submit(encode_chunk, block.copy(), self.chunk_rows, self.level)
        self._pending.append(job)
        if len(self._pending) > UNDER_WAY:
            self._put(self._pending.popleft().result())

    def _put(self, chunk: EncodedChunk) -> None:
        offset = (self._written, *(0 for _ in self.row_shape))
        self._written += chunk.rows
        self._dataset.id.set_extent((self._written, *self.row_shape))
        self._dataset.id.write_direct_chunk(offset, chunk.payload)
        self._hash.update(chunk.digest)
        self._stored_hash.update(chunk.payload)
        self._crc32.append(crc32(chunk.payload))


def write_table(file: h5py.File, name: str, rows: Array) -> Written:
    """Write a small dataset in one piece, with checksums of each row apart."""
    file.create_dataset(name, data=rows)
    parts = [row.tobytes() for row in rows]
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
    stored = hashlib.sha256(b"".join(parts))
    return Written(digest.hexdigest(), stored.hexdigest(), [crc32(part) for part in parts])
