"""Imitation learning from pixels on the real mGBA emulator.

What follows is all of it that is meant for others; ``pipeline/README.md``, "From Python", shows
each name at work. Every other name and module may change without notice, but for
`pipeline.conformance`, the tests of an expert, agent or executor of one's own.

A name is imported when it is first used: ``import pipeline`` loads neither numpy, torch,
Gymnasium nor the emulator. It makes the games known to Gymnasium (``GBA/quest-v0``), as soon as
Gymnasium is imported, before or after.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pipeline.system.when_imported import when_imported

if TYPE_CHECKING:
    from pipeline.agents.playing import Policy, load_policy
    from pipeline.emulator.env import GBAEnv, make_env
    from pipeline.games.description import GameDescription
    from pipeline.games.loading import load_game
    from pipeline.loading.dataset import Batch, Steps
    from pipeline.loading.loader import load_batches
    from pipeline.loading.weights import Weights
    from pipeline.rollouts.seeds import episode_seeds
    from pipeline.shards.format.schema import TRAIN, VALIDATION
    from pipeline.shards.reader import Shard
    from pipeline.system.errors import PipelineError

__all__ = [
    "Batch",
    "GBAEnv",
    "GameDescription",
    "PipelineError",
    "Policy",
    "Shard",
    "Steps",
    "TRAIN",
    "VALIDATION",
    "Weights",
    "episode_seeds",
    "load_batches",
    "load_game",
    "load_policy",
    "make_env",
]

_HOMES = {
    "Batch": "loading.dataset",
    "GBAEnv": "emulator.env",
    "GameDescription": "games.description",
    "PipelineError": "system.errors",
    "Policy": "agents.playing",
    "Shard": "shards.reader",
    "Steps": "loading.dataset",
    "TRAIN": "shards.format.schema",
    "VALIDATION": "shards.format.schema",
    "Weights": "loading.weights",
    "episode_seeds": "rollouts.seeds",
    "load_batches": "loading.loader",
    "load_game": "games.loading",
    "load_policy": "agents.playing",
    "make_env": "emulator.env",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"pipeline.{_HOMES[name]}"), name)
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register() -> None:
    from pipeline.emulator.registration import register_games

    register_games()


when_imported("gymnasium", _register)
