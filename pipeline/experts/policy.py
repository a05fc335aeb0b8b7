"""Another checkpoint as expert: a network teaches a network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.experts.protocol import Answers, Looks, Questions, Screens
from pipeline.frames import Frames, resize
from pipeline.games.description import GameDescription
from pipeline.settings import Mode
from pipeline.shards.schema import LabelStatus

if TYPE_CHECKING:
    from pipeline.policies.acting import NetworkActor

NATIVE = (160, 240)
"""The console's screen, of which the checkpoint's own contract makes its frames."""
TOGETHER = 256
"""Screens that are held at a time."""


class PolicyExpert:
    """Answers with what a checkpoint would press: to a frame, always the same.

    In mode ``sampled`` too: the number that is drawn for a frame comes from its own pixels, so
    that a label does not depend on which others are asked for.

    Side effect: torch computes with one thread in this process from then on (see NetworkActor).

    Raises:
        PipelineError: no checkpoint is given, it cannot be read, or it does not fit the game.
    """

    screens: Screens = "processed"
    """Those of the shard; a native screen is resized as the checkpoint says."""
    stopped: str | None = None

    def __init__(self, path: Path | None, game: GameDescription, mode: Mode = "argmax") -> None:
        if path is None:
            raise PipelineError(
                "expert.kind policy asks a checkpoint; give its file with --expert.path FILE"
            )
        # Imported late: other experts do without torch.
        from pipeline.policies.acting import NetworkActor

        self._actor: NetworkActor = NetworkActor(path, game)
        self._path, self._mode = path, mode
        self.identity: dict[str, Any] = {
            "kind": "policy",
            "path": path.name,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
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
        if (height, width) not in ((contract.height, contract.width), NATIVE):
            raise PipelineError(
                f"{self._path}: it sees frames of {contract}, and was shown {height}x{width}; "
                f"give shards that were preprocessed with --preprocess.size {contract.height}"
            )
        return resize(frames, contract)

    def _buttons(self, frames: Frames) -> NDArray[np.uint8]:
        """(n,) of frames as the checkpoint sees them."""
        probabilities = self._actor.probabilities(frames)
        if self._mode == "argmax":
            return probabilities.argmax(axis=1).astype(np.uint8)
        draws = np.array([_draw(frame) for frame in frames])
        reached = probabilities.cumsum(axis=1) > draws[:, None]
        reached[:, -1] = True  # the sum may end a rounding below 1, and a draw lie above it
        return reached.argmax(axis=1).astype(np.uint8)

    def close(self) -> None:
        """Nothing was started."""

    def __enter__(self) -> PolicyExpert:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _draw(frame: Frames) -> float:
    """A number in [0, 1) that depends on the frame alone."""
    digest = hashlib.blake2b(frame.tobytes(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)
