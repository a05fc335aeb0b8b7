"""The checksums of a shard: what the writer noted of each dataset, in one place, /checksums.

Up to schema version 4 the two sha256 were attributes of the dataset, and the CRC32 of its chunks a
dataset of their own for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.attributes import attribute
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.schema import Array
from pipeline.shards.format.stored import open_dataset, stored_dataset

CHECKSUMS = "checksums"
DATASETS, CHUNKS = f"{CHECKSUMS}/datasets", f"{CHECKSUMS}/chunks"
ONE_PLACE = 5
"""The schema version from which on they lie in one place."""
DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises for damaged files (text that is no UTF-8 is a ValueError)."""

_UINT32 = np.dtype("<u4")


class Written(NamedTuple):
    """What is known of a dataset once it is written."""

    sha256: str
    """Of the chunks' sha256, each taken over the rows before compression."""
    stored_sha256: str
    """Of the stored bytes, chunk after chunk."""
    crc32: list[int]
    """Of the stored bytes of each chunk."""


@dataclass(frozen=True)
class Seal:
    """What a file says of one of its datasets; empty where it says nothing that can be read."""

    sha256: str = ""
    stored_sha256: str = ""
    crc32: NDArray[np.uint32] | None = None
    """(C,) of the stored bytes of each chunk."""
    problem: str = ""
    """Why there is no ``crc32``, where there should be."""


def write_checksums(file: h5py.File, written: Mapping[str, Written]) -> None:
    """Write /checksums: ``written`` has every dataset of the file by its path, and none else."""
    paths = sorted(written)
    rows: list[tuple[bytes, bytes, bytes, int, int]] = []
    first = 0
    for path in paths:
        one = written[path]
        digests = one.sha256.encode(), one.stored_sha256.encode()
        rows.append((path.encode(), *digests, first, len(one.crc32)))
        first += len(one.crc32)
    group = file.create_group(CHECKSUMS, track_order=True)
    group["datasets"] = np.array(rows, _row_type(max(len(row[0]) for row in rows)))
    crc32 = [np.array(written[path].crc32, _UINT32) for path in paths]
    group["chunks"] = np.concatenate(crc32)


def _row_type(longest: int) -> np.dtype[np.void]:
    def text(size: int) -> np.dtype[np.bytes_]:
        return h5py.string_dtype("utf-8", size)  # type: ignore[no-any-return]

    digest = text(64)
    return np.dtype(
        [
            ("dataset", text(longest)),
            ("sha256", digest),
            ("stored_sha256", digest),
            ("first", _UINT32),
            ("chunks", _UINT32),
        ]
    )


class Seals:
    """The checksums of an open file, of any schema version; nothing in it is believed.

    Args:
        handle: file descriptor of the same file.
        size: its bytes.
    """

    def __init__(self, file: h5py.File, version: int, handle: int, size: int) -> None:
        self.version, self.size = version, size
        self._root, self._handle = h5py.h5g.open(file.id, b"/"), handle
        self._rows: dict[bytes, Array] = {}
        self._chunks = np.empty(0, np.uint32)
        self.problem = ""
        """Why /checksums cannot be read at all; it begins with a path."""
        if version >= ONE_PLACE:
            try:
                self._read()
            except Damage as damage:
                self.problem = str(damage)

    def of(self, path: str, dataset: h5py.h5d.DatasetID | None) -> Seal:
        """What is said of a dataset.

        Args:
            path: its own, without the leading slash.
            dataset: asked up to schema version 4.
        """
        if self.version >= ONE_PLACE or dataset is None:
            return self._of_table(path)
        return self._apart(path, dataset)

    def _of_table(self, path: str) -> Seal:
        if self.problem and not self._rows:
            return Seal(problem=self.problem)
        row = self._rows.get(f"/{path}".encode("utf-8", "surrogateescape"))
        if row is None:
            return Seal(problem=f"/{DATASETS} has no row for /{path}")
        sha256, stored = (
            bytes(row[name]).decode(errors="replace") for name in ("sha256", "stored_sha256")
        )
        first, chunks = int(row["first"]), int(row["chunks"])
        crc32 = self._chunks[first : first + chunks]
        if len(crc32) == chunks:
            return Seal(sha256, stored, crc32)
        problem = self.problem or f"/{CHUNKS} has no rows for /{path}"
        return Seal(sha256, stored, problem=problem)

    def _read(self) -> None:
        found = self._column(DATASETS)
        names = found.dtype.names or ()
        if "dataset" not in names or found.dtype["dataset"].kind != "S":
            raise Damage(f"/{DATASETS} has no column 'dataset' of text")
        if found.dtype != _row_type(found.dtype["dataset"].itemsize):
            raise Damage(f"/{DATASETS} has other columns than it should have")
        self._rows = dict(zip(found["dataset"].tolist(), found, strict=True))
        chunks = self._column(CHUNKS)
        if chunks.dtype != _UINT32 or chunks.ndim != 1:
            raise Damage(f"/{CHUNKS} is {chunks.dtype} {chunks.shape}, not uint32")
        self._chunks = chunks

    def _column(self, path: str) -> Array:
        """All rows of a dataset of /checksums, of at most the size of the file."""
        try:
            dataset = open_dataset(self._root, path)
            if dataset is None or not dataset.ndim:
                raise Damage(f"/{path} is missing")
            stored = stored_dataset(dataset, path, self.size)
        except DAMAGE:
            raise Damage(f"/{path} cannot be read") from None
        except Damage as damage:
            text = str(damage)
            raise Damage(text if text.startswith("/") else f"/{path} {text}") from None
        return stored.read(self._handle, 0, stored.rows)

    def _apart(self, path: str, dataset: h5py.h5d.DatasetID) -> Seal:
        """From the attributes of the dataset, and its own dataset of CRC32."""
        digests = {"sha256": "", "stored_sha256": ""}
        for name in digests:
            with suppress(*DAMAGE):
                digests[name] = str(attribute(dataset, name, ""))
        seal = Seal(digests["sha256"], digests["stored_sha256"])
        if self.version < 2:
            return seal
        try:
            crc32 = self._column(f"{CHECKSUMS}/{path}")
            if crc32.dtype != _UINT32 or crc32.ndim != 1:
                raise Damage(f"/{CHECKSUMS}/{path} is {crc32.dtype} {crc32.shape}, not uint32")
        except Damage as damage:
            return replace(seal, problem=str(damage))
        return replace(seal, crc32=crc32)
