"""A policy that plays step by step, for those who have an environment in their hands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.agents.policy import check_policy, make_actor
from pipeline.agents.protocol import Turn
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.settings.expert_fields import PlayMode
from pipeline.shards.format.frames import Frames


class Policy:
    """A checkpoint that plays one environment; see :func:`load_policy`."""

    def __init__(self, path: Path, game: GameDescription, mode: PlayMode) -> None:
        check_policy(path, game)
        self.game = game
        self._actor = make_actor(path, game, mode)
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Begin an episode: buttons that are drawn are a function of this seed and the screens.

        With the seed that the environment is reset with, it plays the game that ``evaluate`` plays
        for that seed.
        """
        self._rng = np.random.default_rng([seed, 1])
        self._memory: dict[str, Any] = {}

    def act(self, frame: Frames, info: Mapping[str, Any]) -> int:
        """The button for one step, an index into ``game.buttons``.

        Args:
            frame: (H,W,3) u8, as the environment gave it.
            info: what the environment gave with it. A network that is told its goal, and a policy
                that switches between networks, look at ``info["milestones"]``; others at nothing.
        """
        steps = list(info["milestones"].values())
        goal = next((number for number, step in enumerate(steps) if step < 0), len(steps))
        turn = Turn(info["state"], self._rng, goal, self._memory)
        (choice,) = self._actor.act(frame[None], [turn])
        return choice.button


def load_policy(
    path: str | Path,
    game: str | Path | GameDescription = "quest",
    *,
    mode: PlayMode = "unstuck",
) -> Policy:
    """A checkpoint (``*.pt``), or what ``curriculum`` wrote (``*.json``), ready to play a game.

    Side effect: torch computes with one thread in this process from then on, as it does in
    ``evaluate``; ``torch.set_num_threads`` changes that.

    Args:
        game: name of a game, folder of one, or its description (``env.game``).
        mode: ``argmax``, the likeliest button; ``sampled``, one drawn by the probabilities;
            ``unstuck``, the likeliest of those less tried on this same picture.

    Raises:
        PipelineError: the file cannot be read, or does not fit the game.
    """
    described = game if isinstance(game, GameDescription) else load_game(game)
    return Policy(Path(path), described, mode)
