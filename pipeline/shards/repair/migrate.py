"""From the schema version that a shard was written in to the one of today.

A reader needs no migration: of an older file it lacks only checksums, or who gave which label, and
does without. Nothing is invented for it either, so that a migrated shard is the same shard.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from pipeline.shards.catalog.names import newest_versions, stem_and_version
from pipeline.shards.catalog.publish import cannot_write, publish, temporary_beside
from pipeline.shards.format.checks import damaged, open_file, read_header
from pipeline.shards.format.codec import Damage, crc32, decompress_into
from pipeline.shards.format.columns import write_table
from pipeline.shards.format.episodes import (
    EPISODES,
    FINAL_FRAMES,
    OLD_FINAL_FRAMES,
    table_of,
)
from pipeline.shards.format.schema import EPISODE_COLUMNS, SCHEMA_VERSION, Array, ShardHeader
from pipeline.shards.format.sealed import ONE_PLACE, Seals, Written
from pipeline.shards.format.stored import DamagedChunk, StoredDataset
from pipeline.shards.reader import Shard
from pipeline.shards.writer import new_file, write_header
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
        _write(source, header, target)
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


def _write(source: Path, header: ShardHeader, target: Path) -> None:
    """Of a shard of an older version all that is known is told, and nothing is invented."""
    temporary = temporary_beside(target)
    try:
        with h5py.File(source, "r", locking=False) as old, new_file(temporary) as new:
            write_header(new, header, copy_stored(old, new, source))
        verify_written(temporary, header, target)
        publish(temporary, target)
    except (OSError, RuntimeError) as error:
        raise cannot_write(target, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def verify_written(written: Path, header: ShardHeader, target: Path) -> None:
    """Read a file back before it is published as ``target``.

    Raises:
        PipelineError: it is not the shard with this ``header``, or a row of it is another.
    """
    try:
        with Shard(written) as shard, h5py.File(written, "r", locking=False) as file:
            same = shard.header == header
            _known(file, shard, read=True)
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
    """Copy every dataset as it is stored; /checksums is left to the caller.

    Up to schema version 4 /episodes was a group, which becomes the table.

    Args:
        old: the open file ``source``, a valid shard of any version.
        leave_out: paths without the leading slash: datasets at the top level, or all of a group.

    Returns:
        What is known of each dataset copied, by its path.

    Raises:
        PipelineError: ``source`` is of version 1, which has no checksums to copy, and damaged.
    """
    version = int(old.attrs["schema_version"])
    with Shard(source) as shard:
        try:
            written = _known(old, shard, read=version < 2)
        except Damage as damage:
            raise damaged(source, damage) from None
        copied = {path: one for path, one in written.items() if path.lstrip("/") not in leave_out}
        if version < ONE_PLACE:
            copied = {path: one for path, one in copied.items() if path[:10] != f"/{EPISODES}/"}
        new.create_group("state", track_order=True)  # there, though it may be empty
        for path in copied:
            _copy(old, path, new, path)
        if version < ONE_PLACE:
            _copy(old, f"/{OLD_FINAL_FRAMES}", new, f"/{FINAL_FRAMES}")
            copied[f"/{FINAL_FRAMES}"] = written[f"/{OLD_FINAL_FRAMES}"]
            copied[f"/{EPISODES}"] = write_table(new, EPISODES, _table(shard))
    for path in copied if version < ONE_PLACE else ():
        for name in {"sha256", "stored_sha256"} & set(new[path].attrs):
            del new[path].attrs[name]
    return copied


def _copy(old: h5py.File, path: str, new: h5py.File, to: str) -> None:
    above = to.rpartition("/")[0]
    if above and above not in new:
        new.create_group(above, track_order=True)
    h5py.h5o.copy(old.id, path.encode(), new.id, to.encode())


def _table(shard: Shard) -> Array:
    """The table of a shard in which the columns of /episodes lie apart."""
    names = [*EPISODE_COLUMNS, "root", "recording"]
    stored = (f"episodes/{name}" for name in names)
    there = [shard.stored(name) for name in stored if name in shard.stored_names()]
    return table_of(
        {one.name.removeprefix("episodes/"): one.read(shard.handle(), 0, one.rows) for one in there}
    )


def _known(file: h5py.File, shard: Shard, *, read: bool) -> dict[str, Written]:
    """What is known of each dataset of a shard, by its path.

    Args:
        read: read all of it and compare it with its sha256, instead of believing the checksums.

    Raises:
        Damage: what is read is not what was written.
    """
    version, size = int(file.attrs["schema_version"]), shard.path.stat().st_size
    seals = Seals(file, version, shard.handle(), size)
    known: dict[str, Written] = {}
    for name in shard.stored_names():
        seal = seals.of(name, file[name].id)
        if read or seal.crc32 is None:
            lengths = file[name].attrs.get("lengths")
            told = b"" if lengths is None else lengths.tobytes()
            one = _written(shard.stored(name), shard.handle(), told)
            if one.sha256 != seal.sha256:
                raise Damage(f"/{name} is damaged: the sha256 of its rows is another")
        else:
            one = Written(seal.sha256, seal.stored_sha256, seal.crc32.tolist())
        known[f"/{name}"] = one
    return known


def _written(stored: StoredDataset, handle: int, lengths: bytes) -> Written:
    """What is known of a dataset that is read whole, one chunk at a time.

    Raises:
        Damage: a chunk cannot be decoded.
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
    if lengths:
        digest = hashlib.sha256(digest.encode() + lengths).hexdigest()
    return Written(digest, hashed.hexdigest(), checksums)
