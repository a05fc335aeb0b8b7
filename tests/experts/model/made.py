"""A small game, questions about it, and a server that knows the right answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline.experts.model.labeller import ModelExpert
from pipeline.experts.protocol import Answers, Questions
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from tests.model_server import Asked, ModelServer, Reply, Script, says
from tests.shards.factory import write_game

PRICES = {"input": 2.0, "output": 10.0}
SCREEN = np.arange(160 * 240 * 3, dtype=np.uint32).astype(np.uint8).reshape(160, 240, 3)


def settings_in(folder: Path, **sections: dict[str, Any]) -> Settings:
    """Settings of the small game, whose shards lie under ``folder``."""
    game = folder / "tiny"
    if not game.exists():
        write_game(game)
    tree: dict[str, dict[str, Any]] = {
        "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
        "expert": {"kind": "model", "timeout": 20},
        "model": {"name": "claude-test", "prices": PRICES},
    }
    for section, values in sections.items():
        tree[section] = {**tree.get(section, {}), **values}
    return Settings.model_validate({"game": str(game), **tree})


def questions(xs: Sequence[int]) -> Questions:
    """A state for each x, and a screen that shows it."""
    screens = [SCREEN.copy() for _ in xs]
    for screen, x in zip(screens, xs, strict=True):
        screen[:8, :8] = x % 256
    return Questions({"x": np.array(xs, np.int16)}, screens)


def x_of(asked: Asked) -> int:
    found = re.search(r"^x: (-?\d+)$", asked.text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def right(asked: Asked) -> Reply:
    """UP left of the middle, else A."""
    return says({"reason": f"x is {x_of(asked)}", "button": "UP" if x_of(asked) < 0 else "A"})


@contextmanager
def asking(script: Script = right, **server: Any) -> Iterator[ModelServer]:
    """A server that this process asks."""
    with (
        ModelServer(script, **server) as loopback,
        mock.patch.dict("os.environ", loopback.environment()),
    ):
        yield loopback


def expert(settings: Settings, command: str = "") -> ModelExpert:
    """Each call is a command of its own, unless it is named."""
    name = command or f"command-{np.random.default_rng().integers(2**60)}"
    return ModelExpert(settings, load_game(settings.game), command=name)


def answers_of(settings: Settings, xs: Sequence[int]) -> tuple[Answers, str | None]:
    """What a command is answered, and why it stopped."""
    with expert(settings) as model:
        answers = model.answer(questions(xs))
        return answers, model.stopped
