"""Comparing what is stored in an open shard with its checksums, dataset by dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.checks import DAMAGE
from pipeline.shards.format.codec import Damage, crc32
from pipeline.shards.format.index import attribute
from pipeline.shards.format.schema import ShardHeader, is_content_id, layout, stored_id
from pipeline.shards.format.stored import StoredDataset, stored_dataset
from pipeline.system.errors import PipelineError

_BLOCK = 8 << 20
"""Bytes read at a time: chunks of a dataset lie one soon after the other, mostly."""
_GAP = 1 << 16
"""Bytes of something else between two chunks that are rather read than skipped."""
_WORTH_A_THREAD = 1 << 18
"""Bytes that take longer to hash than to hand over."""
_AT_ONCE = 1024
"""Chunks whose decoding is under way at a time, at most."""


@dataclass
class Examined:
    """What is wrong with one dataset."""

    name: str
    """Its path in the file."""
    stored: StoredDataset | None = None
    """None: it cannot be read at all."""
    bad: dict[int, str] = field(default_factory=dict)
    """Each damaged chunk, and what is wrong with it."""
    problem: str = ""
    """What is wrong with the dataset as a whole."""
    intact: bool = True
    """Whether the rows outside of ``bad`` are those that were written."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """Those of ``sha256``, ``stored_sha256`` and ``lengths`` that can be read."""
    digest: str = ""
    """What ``stored_sha256`` should be; empty where damage hides it."""

    def layout(self) -> dict[str, Any]:
        """What the identity of the file covers of it."""
        if self.stored is None:
            return {}
        shape = (self.stored.rows, *self.stored.row_shape)
        lengths = np.atleast_1d(self.attributes.get("lengths", [])).tolist()
        digest = self.digest or str(self.attributes.get("stored_sha256", ""))
        return layout(digest, self.stored.dtype, shape, lengths)


def examine_datasets(
    file: h5py.File, path: Path, handle: int, *, decode: bool
) -> dict[str, Examined]:
    """Compare every dataset with its checksums; with ``decode``, the rows with theirs too."""
    size = path.stat().st_size
    try:
        names = _dataset_paths(file)
    except DAMAGE:
        raise PipelineError(f"{path}: damaged, its list of datasets cannot be read") from None
    with ThreadPoolExecutor(2) as pool:
        return {name: _examine(file, name, handle, size, pool, decode=decode) for name in names}


def _dataset_paths(file: h5py.File) -> list[str]:
    """Every dataset by its path, those of /checksums left out, sorted; links are not followed."""
    found: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("checksums/"):
            found.append(f"/{name}")

    file.visititems(note)
    return sorted(found)


def identity_problems(
    file: h5py.File, header: ShardHeader, found: Mapping[str, Examined]
) -> dict[str, str]:
    """Which identities, ``shard_id`` and ``stored_sha256``, do not fit, each with a line about it.

    They are compared with the header and the datasets.

    Both cover the header and the rows, and only the second one (from version 2 on) also the types
    and shapes, where a start state ends, and what the labels cost.
    """
    wrong: dict[str, str] = {}
    digests = {name: str(one.attributes.get("sha256", "")) for name, one in found.items()}
    layouts = {name: one.layout() for name, one in found.items()}
    try:
        same = is_content_id(header, digests)
    except UnicodeEncodeError:  # an attribute that is no text any more
        same = False
    if not same:
        wrong["shard_id"] = "the shard_id is not that of the header and the rows"
    version = int(file.attrs["schema_version"])
    if version < 2:
        return wrong
    try:
        same = attribute(file, "stored_sha256") == stored_id(header, layouts, version)
    except DAMAGE:
        same = False
    if not same:
        line = "the stored_sha256 is not that of the header and the datasets"
        wrong["stored_sha256"] = line
    return wrong


def _examine(
    file: h5py.File, name: str, handle: int, size: int, pool: ThreadPoolExecutor, *, decode: bool
) -> Examined:
    found = Examined(name)
    try:
        dataset = file[name]
        for key in {"sha256", "stored_sha256", "lengths"} & set(dataset.attrs):
            with suppress(*DAMAGE):
                found.attributes[key] = attribute(dataset, key)
        stored = found.stored = stored_dataset(dataset, None, size)
        if file.attrs["schema_version"] >= 2:
            try:
                stored = found.stored = stored.with_checksums(_checksums(file, name, size))
            except (*DAMAGE, Damage):
                found.problem = "has no readable checksums"
            _compare_stored(found, stored, handle, pool)
            stored = found.stored
        if decode and not found.bad and found.intact:
            _compare_rows(found, stored, handle, pool)
    except Damage as damage:
        found.problem, found.intact = str(damage), False
    except DAMAGE:
        found.problem, found.intact = "cannot be read", False
    return found


def _checksums(file: h5py.File, name: str, size: int) -> NDArray[np.uint32]:
    dataset = file[f"checksums{name}"]
    if not isinstance(dataset, h5py.Dataset):
        raise Damage("has no checksums")
    if dataset.dtype != np.dtype("<u4") or dataset.ndim != 1 or dataset.nbytes > size:
        raise Damage("has no valid checksums")
    values: NDArray[np.uint32] = dataset[:]
    return values


def _compare_stored(
    found: Examined, stored: StoredDataset, handle: int, pool: ThreadPoolExecutor
) -> None:
    digest, bad = _hash_stored(stored, handle, pool)
    if digest == found.attributes.get("stored_sha256"):
        found.digest = digest
        if bad:
            found.stored = replace(stored, crc32=None)
            found.problem = "has damaged checksums; the rows are intact"
        return
    found.bad = bad
    if not bad and stored.crc32 is None:
        found.intact = False
    elif not bad:  # the CRC32 of every chunk is right: so it is the attribute that is not
        found.digest = digest
        found.problem = "has a damaged attribute stored_sha256; the rows are intact"


def _compare_rows(
    found: Examined, stored: StoredDataset, handle: int, pool: ThreadPoolExecutor
) -> None:
    digest, bad = _hash_rows(stored, handle, pool)
    lengths = found.attributes.get("lengths")
    if lengths is not None:
        digest = hashlib.sha256(digest.encode() + np.asarray(lengths).tobytes()).hexdigest()
    if bad:
        found.bad = bad
    elif digest != found.attributes.get("sha256"):
        found.problem = "has other rows than its attribute sha256 says; which is not known"
        found.intact = False


def _hash_stored(
    stored: StoredDataset, handle: int, pool: ThreadPoolExecutor
) -> tuple[str, dict[int, str]]:
    """SHA-256 of the stored bytes, and the chunks whose CRC32 is another.

    It runs in a thread beside the one that reads.
    """
    digest = hashlib.sha256()

    def update(parts: list[NDArray[np.uint8]]) -> None:
        for part in parts:
            digest.update(part.data)

    bad: dict[int, str] = {}
    hashing: Future[None] | None = None
    buffers = [np.empty(0, np.uint8), np.empty(0, np.uint8)]
    offsets = stored.offsets.tolist()
    sizes = stored.sizes.tolist()
    for first, stop in _blocks(offsets, sizes):
        begin = offsets[first]
        size = offsets[stop - 1] + sizes[stop - 1] - begin
        if buffers[0].size < size:
            buffers[0] = np.empty(max(size, _BLOCK), np.uint8)
        data = buffers[0][: _read_at(handle, begin, buffers[0][:size])]
        if hashing is not None:
            hashing.result()
        parts = [data[offsets[i] - begin :][: sizes[i]] for i in range(first, stop)]
        if size > _WORTH_A_THREAD:
            hashing = pool.submit(update, parts)
        else:
            hashing = None
            update(parts)
        for chunk, part in zip(range(first, stop), parts, strict=True):
            if part.size < sizes[chunk]:
                bad[chunk] = "the file ends before it, or the disk refuses"
            elif stored.crc32 is not None and crc32(part) != stored.crc32[chunk]:
                bad[chunk] = "the CRC32 is another"
        buffers.reverse()
    if hashing is not None:
        hashing.result()
    return digest.hexdigest(), bad


def _blocks(offsets: list[int], sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of chunks (first, stop) that lie one soon after the other in the file."""
    first, count = 0, len(offsets)
    for chunk in range(1, count + 1):
        if chunk < count:
            gap = offsets[chunk] - offsets[chunk - 1] - sizes[chunk - 1]
            if 0 <= gap <= _GAP and offsets[chunk] + sizes[chunk] - offsets[first] <= _BLOCK:
                continue
        yield first, chunk
        first = chunk


def _read_at(handle: int, offset: int, out: NDArray[np.uint8]) -> int:
    got = 0
    while got < out.size:
        try:
            more = os.preadv(handle, [out[got:].data], offset + got)
        except OSError:
            break
        if not more:
            break
        got += more
    return got


def _hash_rows(
    stored: StoredDataset, handle: int, pool: ThreadPoolExecutor
) -> tuple[str, dict[int, str]]:
    """The attribute ``sha256`` as it should be, and the chunks that cannot be decoded."""

    def rows_digest(chunk: int) -> bytes | str:
        out = np.empty(stored.chunk_bytes, np.uint8)
        try:
            stored.read_chunk(handle, chunk, out)
        except Damage as damage:
            return str(damage)
        rows = min(stored.rows - chunk * stored.chunk_rows, stored.chunk_rows)
        return hashlib.sha256(out[: rows * stored.row_bytes].data).digest()

    digest = hashlib.sha256()
    bad: dict[int, str] = {}
    for low in range(0, len(stored.sizes), _AT_ONCE):
        chunks = range(low, min(low + _AT_ONCE, len(stored.sizes)))
        for chunk, one in zip(chunks, pool.map(rows_digest, chunks), strict=True):
            if isinstance(one, str):
                bad[chunk] = one
            else:
                digest.update(one)
    return digest.hexdigest(), bad
