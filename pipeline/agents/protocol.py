"""Whoever presses the buttons: what an agent is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

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


class Actor(Protocol):
    """Whoever plays."""

    def act(
        self,
        frames: Frames,
        states: list[State],
        rngs: list[np.random.Generator],
        goals: list[int],
    ) -> list[Choice]:
        """One choice for each of B games.

        Args:
            frames: (B,160,240,3) u8, the screens.
            states: the variables of each game.
            rngs: each episode's own source of randomness; take no other.
            goals: number of each game's next milestone; that of milestones where all are reached.
        """
        ...
