"""A training that takes a second: its game, its shard and its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.cloning import Judged
from tests.loading import made


def settings_in(folder: Path) -> Settings:
    """Settings of a training on one small labelled shard under ``folder``."""
    made.game_folder(folder / "paper")
    made.shard(folder / "datasets/paper/one/demo-labelled-v001.h5", validation=(1,))
    return Settings.model_validate(tree(folder))


def tree(folder: Path) -> dict[str, Any]:
    return {
        "run": "one",
        "owner": "one",  # of the shards, whatever a training is called
        "game": str(folder / "paper"),
        "paths": {
            "datasets": str(folder / "datasets"),
            "checkpoints": str(folder / "checkpoints"),
        },
        "train": {
            "steps": 30,
            "batch_size": 8,
            "hidden": 16,
            "learning_rate": 1e-3,
            "shift": 2,
            "threads": 1,
            "device": "cpu",
            "log_every": 10,
            "validate_every": 10,
            "save_every": 0,
        },
    }


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(PipelineError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_training(one: Path, other: Path) -> bool:
    """Whether weights, optimizer, random states and progress are the same, bit for bit."""
    a, b = load_checkpoint(one), load_checkpoint(other)
    timed = ("seconds", "summary")
    metrics, others = (
        {name: one for name, one in state.metrics.items() if name not in timed} for state in (a, b)
    )
    return (
        _equal(a.weights, b.weights)
        and _equal(a.optimizer, b.optimizer)
        and _equal(a.random_state, b.random_state)
        and (a.step, metrics) == (b.step, others)
    )


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(v, other[k]) for k, v in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def figures(
    *, success_rate: float, milestones_mean: float = 1.0, return_mean: float = 0.0
) -> Judged:
    """What an evaluation came to."""
    return SimpleNamespace(
        success_rate=success_rate,
        milestones_mean=milestones_mean,
        return_mean=return_mean,
        length_mean=20.0,
    )
