"""Names of shards: ``STEM-v001.h5``, ``STEM-v002.h5`` ..., the newest version counts."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import h5py

from pipeline.shards.publish import publish, temporary_beside

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
    second name of the same file), so that what the other stages take is what was asked for.
    """
    versions = sorted(
        (p for p in folder.glob("*-v*.h5") if stem_and_version(p)[0] == stem and _has_version(p)),
        key=lambda p: stem_and_version(p)[1],
    )
    newest = stem_and_version(versions[-1])[1] if versions else 0
    following = folder / f"{stem}-v{newest + 1:03d}.h5"
    for path in reversed(versions):
        if _stored_fingerprint(path) == fingerprint:
            if path != versions[-1]:
                _name_again(path, following)
                path = following
            return path, True
    return following, False


def _has_version(path: Path) -> bool:
    return stem_and_version(path)[1] > 0


def _stored_fingerprint(path: Path) -> str | None:
    try:
        with h5py.File(path, "r", locking=False) as file:
            stored = json.loads(file.attrs["provenance"])["fingerprint"]
    except (OSError, RuntimeError, KeyError, TypeError, ValueError):
        return None  # whatever it is, it is not the shard that we look for
    return stored if isinstance(stored, str) else None


def _name_again(path: Path, target: Path) -> None:
    temporary = temporary_beside(target)
    try:
        os.link(path, temporary)
    except OSError:
        shutil.copyfile(path, temporary)
    try:
        publish(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
