"""Names of shards: ``STEM-v001.h5``, ``STEM-v002.h5`` ..., the newest version counts."""

from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pipeline.shards.catalog.catalogue import Catalogue, enter
from pipeline.shards.catalog.publish import publish, temporary_beside
from pipeline.system.files import remove_leftovers

_VERSION = re.compile(r"(?P<stem>.+)-v(?P<version>\d{3,})\.h5")


def stem_and_version(path: Path) -> tuple[str, int]:
    """``("collect", 2)`` of ``collect-v002.h5``; version 0 where the name has none."""
    match = _VERSION.fullmatch(path.name)
    return (match["stem"], int(match["version"])) if match else (path.stem, 0)


def newest_versions(paths: Iterable[Path]) -> list[Path]:
    """Of each folder and stem the newest version only, sorted by name."""
    newest: dict[tuple[Path, str], Path] = {}
    for path in paths:
        stem, version = stem_and_version(path)
        best = newest.get((path.parent, stem))
        if best is None or stem_and_version(best)[1] < version:
            newest[path.parent, stem] = path
    return sorted(newest.values())


def publish_name(folder: Path, stem: str, fingerprint: str) -> tuple[Path, bool]:
    """Where the shard of this fingerprint lies (True), or the next version's free name (False).

    A version older than the newest that has the fingerprint is brought back as the newest (a
    second name of the same file), so that what the other stages take is what was asked for. A
    file that is no valid shard only takes its number.
    """
    with suppress(OSError):  # a second name that a kill left of a shard that got its own
        remove_leftovers(folder, f"{glob.escape(stem)}-v*.h5")
    catalogue = Catalogue(folder)
    numbers: dict[Path, int] = {}
    for path in catalogue.files(f"{stem}-v"):
        named, number = stem_and_version(path)
        if named == stem and number:
            numbers[path] = number
    versions = sorted(numbers, key=lambda path: numbers[path])
    newest = numbers[versions[-1]] if versions else 0
    following = folder / f"{stem}-v{newest + 1:03d}.h5"
    for entry in reversed(catalogue.of(versions)):
        if entry.error is None and entry.get().fingerprint == fingerprint:
            if entry.path == versions[-1]:
                return entry.path, True
            _name_again(entry.path, following)
            return following, True
    return following, False


def _name_again(path: Path, target: Path) -> None:
    temporary = temporary_beside(target)
    try:
        os.link(path, temporary)
    except OSError:
        shutil.copyfile(path, temporary)
    try:
        publish(temporary, target)
        enter(target)
    finally:
        temporary.unlink(missing_ok=True)
