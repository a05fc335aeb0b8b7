"""From the schema version that a shard was written in to the one of today.

A reader needs no migration: of an older file it lacks only checksums, or who gave which label, and
does without. Nothing is invented for it either, so that a migrated shard is the same shard.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from pipeline.shards.catalog.names import newest_versions, stem_and_version
from pipeline.shards.catalog.publish import cannot_write, publish, temporary_beside
from pipeline.shards.format.checks import damaged, open_file, read_header
from pipeline.shards.format.codec import Damage, crc32, decompress_into
from pipeline.shards.format.columns import Written, note
from pipeline.shards.format.index import attribute
from pipeline.shards.format.schema import SCHEMA_VERSION, ShardHeader
from pipeline.shards.format.stored import DamagedChunk, StoredDataset
from pipeline.shards.reader import Shard
from pipeline.shards.writer import write_header
from pipeline.system.errors import PipelineError


class Migrated(NamedTuple):
    """What became of one file."""

    file: Path
    """The file that was asked about."""
    shard: Path
    """The file of today's version."""
    version: int
    """Schema version of ``file``."""
    up_to_date: bool


def migrate(source: Path) -> Migrated:
    """Publish the next version of the name, in today's schema and with the same ``shard_id``.

    The original stays as it is. Before the new name appears, every row of it has been read back
    and compared with the sha256 that the original carries. Cost: the bytes are copied as they are
    stored, and decoded twice; memory: one chunk.

    Raises:
        PipelineError: ``source`` is no valid shard, damaged, of a newer schema, or not the newest
            version of its name; or the disk refuses. Nothing is then written.
    """
    with Shard(source) as shard:
        header = shard.header
    version = _schema_version(source)
    if version == SCHEMA_VERSION:
        return Migrated(source, source, version, True)
    target, done = _target(source, header.shard_id)
    if not done:
        _write(source, version, header, target)
    return Migrated(source, target, version, done)


def migrate_all(sources: Sequence[Path]) -> list[Migrated]:
    """Migrate the newest version of each name, the others being read by no stage.

    Raises:
        PipelineError: one line that lists every file that could not be migrated, after all others
            have been.
    """
    done: list[Migrated] = []
    wrong: list[str] = []
    for path in newest_versions(sources):
        try:
            done.append(migrate(path))
        except PipelineError as error:
            wrong.append(str(error))
    if wrong:
        raise PipelineError("; ".join(wrong))
    return done


def _schema_version(path: Path) -> int:
    with open_file(path) as file:
        read_header(file, path)
        return int(file.attrs["schema_version"])


def _target(source: Path, shard_id: str) -> tuple[Path, bool]:
    """Where the migrated shard lies (True), or the name that it shall get (False).

    Only the newest version of a name is migrated: an older one would become the newest.
    """
    stem, own = stem_and_version(source)
    newer: dict[int, Path] = {}
    for path in source.parent.glob(f"{glob.escape(stem)}-v*.h5"):
        named, number = stem_and_version(path)
        if named == stem and number > own:
            newer[number] = path
    for number in sorted(newer, reverse=True):
        try:
            with open_file(newer[number]) as file:
                found = read_header(file, newer[number])
                version = int(file.attrs["schema_version"])
        except PipelineError:
            continue  # whatever it is, it is not the shard that we look for
        if found.shard_id == shard_id and version == SCHEMA_VERSION:
            return newer[number], True
    if newer:
        raise PipelineError(
            f"{source}: {newer[max(newer)].name} is newer, and what the stages read; "
            "migrate that one"
        )
    return source.parent / f"{stem}-v{own + 1:03d}.h5", False


def _write(source: Path, version: int, header: ShardHeader, target: Path) -> None:
    temporary = temporary_beside(target)
    current = source
    try:
        for old in range(version, SCHEMA_VERSION):
            following = Path(f"{temporary}-schema{old + 1}")
            try:
                _MIGRATIONS[old](current, following, header)
            finally:
                _remove(current, source)
                current = following
        verify_written(current, header, target)
        publish(current, target)
    except (OSError, RuntimeError) as error:
        raise cannot_write(target, error) from None
    finally:
        _remove(current, source)


def _remove(path: Path, source: Path) -> None:
    if path != source:
        path.unlink(missing_ok=True)


def _to_2(source: Path, target: Path, header: ShardHeader) -> None:
    """Version 2 has a CRC32 for every chunk and an identity of the file."""
    _copy(source, target, header, 2)


def _to_3(source: Path, target: Path, header: ShardHeader) -> None:
    """Version 3 may have /labels; of a shard without them the provenance tells what is known."""
    _copy(source, target, header, 3)


def _to_4(source: Path, target: Path, header: ShardHeader) -> None:
    """Version 4 may have /episodes/recording; of a raw shard without it the buttons tell."""
    _copy(source, target, header, 4)


def _copy(source: Path, target: Path, header: ShardHeader, version: int) -> None:
    with (
        h5py.File(source, "r", locking=False) as old,
        h5py.File(target, "w-", libver=("earliest", "v110")) as new,
    ):
        write_header(new, header, copy_stored(old, new, source), version)


_MIGRATIONS: dict[int, Callable[[Path, Path, ShardHeader], None]] = {
    1: _to_2,
    2: _to_3,
    3: _to_4,
}
"""By the version to start from: (source, target, header of the source)."""


def verify_written(written: Path, header: ShardHeader, target: Path) -> None:
    """Read a file back before it is published as ``target``.

    Raises:
        PipelineError: it is not the shard with this ``header``, or a row of it is another.
    """
    try:
        with Shard(written) as shard, h5py.File(written, "r", locking=False) as file:
            same = shard.header == header
            for name in shard.stored_names():
                _written(shard.stored(name), shard.handle(), file[name])
    except (PipelineError, Damage):
        same = False
    if not same:
        raise PipelineError(
            f"{target}: what was written is not what was read; nothing is published; "
            "check the disk, and run the same command again"
        )


def copy_stored(
    old: h5py.File, new: h5py.File, source: Path, leave_out: Collection[str] = ()
) -> dict[str, Written]:
    """Copy every dataset as it is stored, with its attributes; /checksums is left to the caller.

    Args:
        old: the open file ``source``, a valid shard of any version.
        leave_out: paths without the leading slash: datasets at the top level, or all of a group.

    Returns:
        What is known of each dataset copied, by its path.

    Raises:
        PipelineError: ``source`` is of version 1, which has no checksums to copy, and damaged.
    """
    written = _known(old, source)
    copied = {path: one for path, one in written.items() if path.lstrip("/") not in leave_out}
    tops = {path.split("/")[1] for path in copied} | {"state"}  # a group, though it may be empty
    for name in sorted(tops):
        h5py.h5o.copy(old.id, name.encode(), new.id, name.encode())
    for path, one in copied.items():
        note(new[path], one)
    return copied


def _known(file: h5py.File, path: Path) -> dict[str, Written]:
    version = file.attrs["schema_version"]
    with Shard(path) as shard:
        try:
            return {
                f"/{name}": _written(shard.stored(name), shard.handle(), file[name])
                if version < 2
                else Written(
                    str(attribute(file[name], "sha256")),
                    str(attribute(file[name], "stored_sha256")),
                    file[f"checksums/{name}"][:].tolist(),
                )
                for name in shard.stored_names()
            }
        except Damage as damage:
            raise damaged(path, damage) from None


def _written(stored: StoredDataset, handle: int, dataset: h5py.Dataset) -> Written:
    """Read a dataset whole, one chunk at a time, and compare it with its sha256.

    Raises:
        Damage: a chunk cannot be decoded, or the sha256 is another.
    """
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
    if digest != attribute(dataset, "sha256"):
        raise Damage(f"/{stored.name} is damaged: the sha256 of its rows is another")
    return Written(digest, hashed.hexdigest(), checksums)
