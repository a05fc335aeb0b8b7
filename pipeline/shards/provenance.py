"""Where a shard comes from: the JSON that is stored as its attribute ``provenance``."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.shards.names import fingerprint
from pipeline.shards.schema import ShardHeader

_PACKAGES = ("numpy", "h5py", "pillow", "torch", "mgba", "gymnasium")


def parent(path: Path, header: ShardHeader) -> dict[str, str]:
    """How a shard is named among another's parents: its file's name and its identity."""
    return {"file": path.name, "shard_id": header.shard_id}


def make_provenance(
    stage: str,
    settings: Mapping[str, Any],
    *,
    parents: Sequence[Mapping[str, str]] = (),
    actor: Mapping[str, Any] | None = None,
    actor_sha256: str = "",
    emulator: str = "",
) -> dict[str, Any]:
    """The provenance of a shard that ``stage`` writes.

    Args:
        settings: those that change the result; they enter the fingerprint.
        parents: one of :func:`parent` for each shard read.
        actor: who played or labelled: kind, sha256, beta ...
        actor_sha256: of the expert program or the checkpoint; enters the fingerprint.
        emulator: name and version, where one ran.
    """
    ids = [str(one["shard_id"]) for one in parents]
    return {
        "stage": stage,
        "settings": dict(settings),
        "fingerprint": fingerprint(stage, settings, ids, actor_sha256),
        "code_version": code_version(),
        "packages": package_versions(),
        "emulator": emulator,
        "actor": dict(actor or {}),
        "parents": [dict(one) for one in parents],
    }


@functools.cache
def code_version() -> str:
    """The git commit of this pipeline's source, ``-dirty`` after it if files were changed."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that touch the data, installed ones only."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
