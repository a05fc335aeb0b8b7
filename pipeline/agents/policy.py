"""A policy as a file, a checkpoint or a switching policy of several; what stages ask of it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.agents.network import NetworkActor
from pipeline.agents.protocol import Actor
from pipeline.agents.switching import (
    SwitchingActor,
    distinct,
    is_switching,
    load_switching_policy,
    read_switching_policy,
)
from pipeline.games.description import GameDescription
from pipeline.settings.expert_fields import PlayMode
from pipeline.shards.format.schema import canonical_json
from pipeline.training.checkpoint import Checkpoint, check_fits, load_checkpoint


def check_policy(path: Path, game: GameDescription) -> None:
    """Check that a policy may play a game.

    Raises:
        PipelineError: its file, or one of a switching policy's checkpoints, cannot be read or
            does not fit.
    """
    if is_switching(path):
        load_switching_policy(path, game)
    for checkpoint in checkpoints_of(path):
        check_fits(checkpoint, game)


def make_actor(path: Path, game: GameDescription, mode: PlayMode) -> Actor:
    """Who plays by this file.

    Raises:
        PipelineError: as `check_policy`.
    """
    return (SwitchingActor if is_switching(path) else NetworkActor)(path, game, mode=mode)


def policy_sha256(path: Path) -> str:
    """Identity of what plays: weights and contract, nothing of where the files lie.

    Of a switching policy by milestone it has the identities of its checkpoints.

    Raises:
        PipelineError: a file that cannot be read.
    """
    if not is_switching(path):
        return _read(path).sha256
    files = read_switching_policy(path)
    known = {file: _read(file).sha256 for file in distinct(files)}
    # A switching policy was once called so: the same one keeps its identity.
    told = {milestone: known[file.resolve()] for milestone, file in files.items()}
    return hashlib.sha256(canonical_json({"relay": told}).encode()).hexdigest()


def trained_seeds(path: Path) -> NDArray[np.uint32]:
    """(n,) seed of every episode that any network of the policy was trained on, rising.

    Raises:
        PipelineError: a file that cannot be read; so do the functions below.
    """
    return np.unique(np.concatenate([one.trained_seeds for one in checkpoints_of(path)]))


def shard_ids(path: Path) -> set[str]:
    """The shards that any network of the policy was trained on."""
    return {shard for one in checkpoints_of(path) for shard in one.shard_ids}


def goal_conditioned(path: Path) -> bool:
    """Whether it goes by the next milestone too, not by the screen alone."""
    return is_switching(path) or bool(_read(path).goals)


def sees(path: Path, mode: PlayMode = "argmax") -> str:
    """What the policy is shown and told, and what it remembers, in words."""
    more = (
        ", and the buttons that it pressed on the same screen before" if mode == "unstuck" else ""
    )
    contracts = [one.frame_contract for one in checkpoints_of(path)]
    sizes = dict.fromkeys(f"{one.height}x{one.width}" for one in contracts)
    if goal_conditioned(path):
        return f"the screen, {' and '.join(sizes)}, and which milestone is next{more}"
    return f"the screen{'' if more else ' alone'}, {' and '.join(sizes)}{more}"


def checkpoints_of(path: Path) -> list[Checkpoint]:
    """The networks of a policy, each once; for reading only, as others are given the same ones."""
    files = distinct(read_switching_policy(path)) if is_switching(path) else [Path(path)]
    return [_read(file) for file in files]


def _read(path: Path) -> Checkpoint:
    """A checkpoint; a stage asks several things of the same file, which is read once for all."""
    try:
        found = path.stat()
    except OSError:
        return load_checkpoint(path)  # says what is wrong
    return _kept(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=2)
def _kept(path: Path, *_identity: int) -> Checkpoint:
    return load_checkpoint(path)
