"""Another checkpoint as expert: a network teaches a network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.agents.protocol import Turn
from pipeline.experts.protocol import Answers, Identity, Looks, Questions, Screens
from pipeline.games.description import GameDescription
from pipeline.games.platforms import PLATFORMS
from pipeline.settings.expert_fields import Mode
from pipeline.shards.format.frames import Frames, resize
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError

if TYPE_CHECKING:
    from pipeline.agents.network import NetworkActor

TOGETHER = 256
"""Screens that are held at a time."""


class PolicyExpert:
    """Answers with what a checkpoint would press: to a frame, always the same.

    In mode ``sampled`` too: a frame's pixels are the seed of its draw, so that a label does not
    depend on which others are asked for.

    Side effect: torch computes with one thread in this process from then on (see NetworkActor).

    Raises:
        PipelineError: no checkpoint is given, it cannot be read, it does not fit the game, or its
            network is told a goal.
    """

    screens: Screens = "processed"
    """Those of the shard; the console's own are resized as the checkpoint says."""
    stopped: str | None = None

    def __init__(self, path: Path | None, game: GameDescription, mode: Mode = "argmax") -> None:
        if path is None:
            raise PipelineError(
                "expert.kind policy asks a checkpoint; give its file with --expert.path FILE"
            )
        # Imported late: other experts do without torch.
        from pipeline.agents.network import NetworkActor
        from pipeline.training.checkpoint import load_checkpoint

        self._actor: NetworkActor = NetworkActor(path, game, mode=mode)
        if self._actor.told:
            raise PipelineError(
                f"{path}: its network is goal-conditioned, but an expert sees only the screen; "
                "give a checkpoint that was trained without train.goal_conditioned"
            )
        self._path = path
        console = PLATFORMS[game.platform]
        self._screen = (console.height, console.width)
        self.identity: Identity = {
            "kind": "policy",
            "path": path.name,
            "sha256": load_checkpoint(path).sha256,
            "mode": mode,
        }

    def answer(self, questions: Questions) -> Answers:
        """A button for each screen; none fails.

        Raises:
            PipelineError: screens of another size than the checkpoint's or the console's.
        """
        screens = questions.screens
        if screens is None:
            raise ValueError("a checkpoint sees screens, and there are none")
        answers = Answers.unanswered(len(screens))
        for first in range(0, len(screens), TOGETHER):
            last = min(first + TOGETHER, len(screens))
            answers.buttons[first:last] = self._buttons(self._frames(screens, first, last))
        answers.status[:] = LabelStatus.LABELLED
        return answers

    def _frames(self, screens: Looks, first: int, last: int) -> Frames:
        contract = self._actor.contract
        frames = np.stack([screens[i] for i in range(first, last)])
        height, width = frames.shape[1:3]
        if (height, width) not in ((contract.height, contract.width), self._screen):
            raise PipelineError(
                f"{self._path}: it sees frames of {contract}, and was shown {height}x{width}; "
                f"give shards that were preprocessed with --preprocess.size {contract.height}"
            )
        return resize(frames, contract)

    def _buttons(self, frames: Frames) -> list[int]:
        """Those of frames as the checkpoint sees them."""
        turns = [Turn({}, np.random.default_rng(_seed(frame))) for frame in frames]
        return [choice.button for choice in self._actor.act(frames, turns)]

    def close(self) -> None:
        """Nothing was started."""

    def __enter__(self) -> PolicyExpert:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _seed(frame: Frames) -> int:
    """A number that depends on the frame alone."""
    return int.from_bytes(hashlib.blake2b(frame.tobytes(), digest_size=8).digest(), "little")
