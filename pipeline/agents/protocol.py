"""Whoever presses the buttons: what an agent is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from pipeline.emulator.ram import State
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import NO_ACTION


class Asked(NamedTuple):
    """What is to be told of an expert's button: the columns of ``/labels`` but ``reason``."""

    expert: str
    """Its id."""
    time: float
    """Unix seconds."""
    attempt: int
    input_tokens: int
    output_tokens: int
    dollars: float


@dataclass(frozen=True)
class Choice:
    """What an actor answers for one step."""

    button: int
    """Index of the button to press."""
    expert: int = NO_ACTION
    """The expert's button, if the expert was asked."""
    asked: Asked | None = None
    """Told of experts whose buttons differ in what they cost."""


@dataclass(frozen=True)
class Turn:
    """What an actor is told of one game at one step, beside its screen."""

    state: State
    """The game's variables."""
    rng: np.random.Generator
    """The episode's own source of randomness; take no other."""
    goal: int = 0
    """Number of the game's next milestone; that of milestones where all are reached."""
    memory: dict[str, Any] = field(default_factory=dict)
    """The actor's own: empty when the episode begins, handed back at its next step."""


class Actor(Protocol):
    """Whoever plays."""

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        """One choice for each of B games.

        Args:
            frames: (B,160,240,3) u8, the screens.
            turns: what else is told of each game.
        """
        ...
