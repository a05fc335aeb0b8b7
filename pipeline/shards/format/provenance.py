"""Where a shard comes from: the JSON that is stored as its attribute ``provenance``."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.shards.format.schema import Json, canonical_json

Provenance = Mapping[str, object]
"""A part of it, or what a fingerprint is of: whatever can be written as JSON."""

VERSIONS: dict[str, int] = {
    "collect": 1,
    "preprocess": 1,
    "label": 1,
    "train": 1,
    "evaluate": 1,
    "import": 1,
    "merge": 1,
    "split": 1,
    "filter": 1,
    "salvage": 1,
    "author": 1,
    "emulator": 1,
    "program": 1,
    "model": 1,
    "policy": 1,
    "select": 1,
}
"""Raise a stage's number when its result changes for the same inputs: what it made before is then
made anew. The last five are no stages, but enter the fingerprints of those that use them: how we
drive the emulator (frames, RAM, variables), how a program is asked, what a model is told, how a
checkpoint answers, and how ``label.select`` chooses."""

_PACKAGES = ("numpy", "h5py", "pillow", "torch", "mgba", "gymnasium")


def fingerprint(stage: str, *decisive: Any) -> str:
    """What a shard depends on, as 64 hex digits: a rerun with the same one has nothing to do.

    ``decisive`` is everything that changes the result and can be written as JSON: the stage's
    settings (no worker count), the shard ids read, what is read of the game, the identity of the
    program or the policy. The stage's version counts with it.
    """
    told = [*versioned(stage), *decisive]
    return hashlib.sha256(canonical_json(told).encode()).hexdigest()


def versioned(name: str) -> list[Any]:
    """A key of VERSIONS, and its version.

    Version 1 is left out: nothing was written before there were versions, and what was made then is
    still up to date.
    """
    version = VERSIONS.get(name, 1)
    return [name] if version == 1 else [name, version]


def provenance(
    stage: str,
    *,
    settings: Mapping[str, Any],
    fingerprint: str,
    actor: Mapping[str, Any] | None = None,
    parents: Sequence[Mapping[str, str]] = (),
    emulator: str = "",
    expert: Any = None,
    recorded_by: Sequence[str] = (),
    game_yaml: str | None = None,
    experts: Mapping[str, Any] | None = None,
) -> Json:
    """The provenance of a shard that ``stage`` writes.

    Args:
        settings: those of the stage that change the result.
        fingerprint: from :func:`fingerprint`.
        actor: who played: kind, sha256, beta ...
        parents: ``{"file": NAME, "shard_id": ID}`` of each shard read.
        emulator: name and version, where one ran.
        expert: who labelled, where someone did.
        recorded_by: the stages whose recordings these are, where ``stage`` only chose among them.
        game_yaml: the description of the game that raw episodes were recorded with; with it they
            can be played again, whatever becomes of the game's folder.
        experts: the identities of those that /labels/expert names, by id.
    """
    return {
        "stage": stage,
        "settings": dict(settings),
        "fingerprint": fingerprint,
        "code_version": code_version(),
        "packages": package_versions(),
        "emulator": emulator,
        "actor": dict(actor or {}),
        "parents": [dict(one) for one in parents],
        **({} if expert is None else {"expert": expert}),
        **({"recorded_by": sorted(recorded_by)} if recorded_by else {}),
        **({} if game_yaml is None else {"game_yaml": game_yaml}),
        **({} if experts is None else {"experts": dict(experts)}),
    }


def recorded_by(provenance: Mapping[str, Any]) -> set[str]:
    """The stages whose recordings a shard holds: ``{"evaluate"}`` also after a merge or filter."""
    stages = provenance.get("recorded_by")
    return set(map(str, stages if isinstance(stages, list) else [provenance.get("stage")]))


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
