"""Comparing what is stored in an open shard with its checksums, dataset by dataset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.attributes import attribute
from pipeline.shards.format.codec import Damage, crc32
from pipeline.shards.format.episodes import EPISODES, columns_of, content_digests
from pipeline.shards.format.schema import (
    Array,
    Layout,
    ShardHeader,
    is_content_id,
    layout,
    stored_id,
)
from pipeline.shards.format.sealed import CHECKSUMS, DAMAGE, ONE_PLACE, Seal, Seals
from pipeline.shards.format.stored import StoredDataset, opened, stored_dataset
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
    seal: Seal = field(default_factory=Seal)
    """What the file says of it."""
    lengths: Array | None = None
    """The attribute of /start_states."""
    digest: str = ""
    """What ``stored_sha256`` should be; empty where damage hides it."""

    def layout(self) -> Layout:
        """What the identity of the file covers of it."""
        if self.stored is None:
            return {}
        shape = (self.stored.rows, *self.stored.row_shape)
        lengths = [] if self.lengths is None else np.atleast_1d(self.lengths).tolist()
        digest = self.digest or self.seal.stored_sha256
        return layout(digest, self.stored.dtype, shape, lengths)


def examine_datasets(
    file: h5py.File, path: Path, header: ShardHeader, handle: int, *, decode: bool
) -> dict[str, Examined]:
    """Compare every dataset with its checksums; with ``decode``, the rows with theirs too."""
    size, version = path.stat().st_size, int(file.attrs["schema_version"])
    try:
        names = _dataset_paths(file)
    except DAMAGE:
        raise PipelineError(f"{path}: damaged, its list of datasets cannot be read") from None
    seals = Seals(file, version, handle, size)
    with ThreadPoolExecutor(2) as pool:
        found = {name: _examine(file, name, handle, seals, pool, decode) for name in names}
    if version >= ONE_PLACE and any(not one.seal.stored_sha256 for one in found.values()):
        # Of datasets whose checksums are lost the identity of the file may still vouch for all.
        layouts = {name: one.layout() for name, one in found.items()}
        if _is_stored_id(file, header, layouts):
            for one in found.values():
                one.intact |= bool(one.digest)
    return found


def _dataset_paths(file: h5py.File) -> list[str]:
    """Every dataset by its path, those of /checksums left out, sorted; links are not followed."""
    found: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith(f"{CHECKSUMS}/"):
            found.append(f"/{name}")

    file.visititems(note)
    return sorted(found)


def identity_problems(
    file: h5py.File, header: ShardHeader, found: Mapping[str, Examined], handle: int
) -> dict[str, str]:
    """Which identities, ``shard_id`` and ``stored_sha256``, do not fit, each with a line about it.

    They are compared with the header and the datasets.

    Both cover the header and the rows, and only the second one (from version 2 on) also the types
    and shapes, where a start state ends, and what the labels cost. Nothing is said of the first one
    where the table /episodes is damaged, which it covers column by column.
    """
    wrong: dict[str, str] = {}
    version = int(file.attrs["schema_version"])
    try:
        same = _is_content_id(header, found, handle, version)
    except DAMAGE:  # an attribute that is no text any more
        same = False
    if not same:
        wrong["shard_id"] = "the shard_id is not that of the header and the rows"
    layouts = {name: one.layout() for name, one in found.items()}
    if version >= 2 and not _is_stored_id(file, header, layouts):
        line = "the stored_sha256 is not that of the header and the datasets"
        wrong["stored_sha256"] = line
    return wrong


def _is_content_id(
    header: ShardHeader, found: Mapping[str, Examined], handle: int, version: int
) -> bool:
    digests = {name: one.seal.sha256 for name, one in found.items()}
    if version < ONE_PLACE:
        return is_content_id(header, digests)
    table = found.get(f"/{EPISODES}")
    if table is None or table.stored is None:
        return False
    if table.bad or not table.intact:
        return True
    columns = columns_of(table.stored.read(handle, 0, table.stored.rows), len(header.milestones))
    return is_content_id(header, content_digests(digests, columns))


def _is_stored_id(file: h5py.File, header: ShardHeader, layouts: Mapping[str, Layout]) -> bool:
    try:
        version = int(file.attrs["schema_version"])
        return bool(attribute(file, "stored_sha256") == stored_id(header, layouts, version))
    except DAMAGE:
        return False


def _examine(
    file: h5py.File, name: str, handle: int, seals: Seals, pool: ThreadPoolExecutor, decode: bool
) -> Examined:
    found = Examined(name)
    try:
        dataset = file[name].id
        version, path = seals.version, name.lstrip("/")
        with suppress(*DAMAGE):
            found.lengths = attribute(dataset, "lengths")
        found.seal = seals.of(path, dataset)
        apart = version >= ONE_PLACE and path == EPISODES
        stored = found.stored = stored_dataset(opened(dataset), path, seals.size, apart=apart)
        if version >= 2:
            if found.seal.crc32 is None or len(found.seal.crc32) != len(stored.sizes):
                found.problem = "has no readable checksums"
            else:
                stored = found.stored = stored.with_checksums(found.seal.crc32)
            _compare_stored(found, stored, handle, pool)
            stored = found.stored
        if decode and not found.bad and found.intact:
            _compare_rows(found, stored, handle, pool)
    except Damage as damage:
        found.problem, found.intact = str(damage), False
    except DAMAGE:
        found.problem, found.intact = "cannot be read", False
    return found


def _compare_stored(
    found: Examined, stored: StoredDataset, handle: int, pool: ThreadPoolExecutor
) -> None:
    digest, bad = _hash_stored(stored, handle, pool)
    if digest == found.seal.stored_sha256:
        found.digest = digest
        if bad:
            found.stored = replace(stored, crc32=None)
            found.problem = "has damaged checksums; the rows are intact"
    elif stored.crc32 is None:
        found.bad, found.intact = bad, False
        found.digest = "" if found.seal.stored_sha256 else digest
    elif bad:
        found.bad = bad
    else:  # the CRC32 of every chunk is right: so it is the stored_sha256 that is not
        found.digest = digest
        found.problem = "has a damaged stored_sha256; the rows are intact"


def _compare_rows(
    found: Examined, stored: StoredDataset, handle: int, pool: ThreadPoolExecutor
) -> None:
    digest, bad = _hash_rows(stored, handle, pool)
    if found.lengths is not None:
        lengths = np.asarray(found.lengths).tobytes()
        digest = hashlib.sha256(digest.encode() + lengths).hexdigest()
    if bad:
        found.bad = bad
    elif digest != found.seal.sha256:
        found.problem = "has other rows than its sha256 says; which is not known"
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
