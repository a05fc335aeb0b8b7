"""From the schema version that a shard was written in to the one of today."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import PipelineError
from pipeline.shards.codec import Damage, crc32, decompress_into
from pipeline.shards.columns import Written
from pipeline.shards.stored import DamagedChunk, StoredDataset, stored_dataset


def dataset_paths(file: h5py.File) -> list[str]:
    """Every dataset of a shard by its path, those of /checksums left out, sorted."""
    found: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("checksums/"):
            found.append(f"/{name}")

    file.visititems(note)
    return sorted(found)


def written_of(file: h5py.File, path: Path) -> dict[str, Written]:
    """What is known of each dataset of an open, valid shard, by its path in the file.

    From version 2 on it is read; for version 1 the stored bytes are read and compared with the
    sha256 of the rows.

    Raises:
        PipelineError: a dataset of version 1 is damaged.
    """
    if file.attrs["schema_version"] >= 2:
        return {
            name: Written(
                str(file[name].attrs["sha256"]),
                str(file[name].attrs["stored_sha256"]),
                file[f"checksums{name}"][:].tolist(),
            )
            for name in dataset_paths(file)
        }
    size = path.stat().st_size
    handle = os.open(path, os.O_RDONLY)
    try:
        return {
            name: _written(stored_dataset(file[name], None, size), handle, file[name])
            for name in dataset_paths(file)
        }
    except Damage as damage:
        raise PipelineError(f"{path}: {damage}; save what is intact with: data salvage") from None
    finally:
        os.close(handle)


def _written(stored: StoredDataset, handle: int, dataset: h5py.Dataset) -> Written:
    """Read a dataset of version 1 whole, one chunk at a time."""
    rows, hashed = hashlib.sha256(), hashlib.sha256()
    checksums: list[int] = []
    out = np.empty(stored.chunk_bytes, np.uint8)
    for chunk in range(len(stored.sizes)):
        try:
            data = stored.stored_bytes(handle, chunk)
            if stored.gzip:
                decompress_into(data, out)
        except Damage as damage:
            raise DamagedChunk(stored, chunk, str(damage)) from None
        checksums.append(crc32(data))
        hashed.update(data.data)
        filled = min(stored.rows - chunk * stored.chunk_rows, stored.chunk_rows)
        raw = (out if stored.gzip else data)[: filled * stored.row_bytes]
        rows.update(hashlib.sha256(raw.data).digest())
    digest = rows.hexdigest()
    if "lengths" in dataset.attrs:
        digest = hashlib.sha256(digest.encode() + dataset.attrs["lengths"].tobytes()).hexdigest()
    if digest != dataset.attrs["sha256"]:
        raise Damage(f"/{stored.name} is damaged: its sha256 is another")
    return Written(digest, hashed.hexdigest(), checksums)
