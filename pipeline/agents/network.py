"""A trained network as the player of a game."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.agents.protocol import Choice, Turn
from pipeline.games.description import GameDescription
from pipeline.settings.expert_fields import PlayMode
from pipeline.shards.format.frames import Frames, resize
from pipeline.training.checkpoint import check_fits, load_checkpoint
from pipeline.training.machine import choose_device, has_bf16, keep_freed_memory

TOGETHER = 4
"""Frames of a question: a game takes 8 % longer than in eights while eight play, and half as long
once only four are left."""


class NetworkActor:
    """Plays with a checkpoint: the frames resized by its contract, one button a frame.

    What it answers to a frame does not depend on the other frames of the batch, nor on how many
    there are: the network is always asked about TOGETHER frames, blank ones where there are fewer.
    In batches of another shape the logits would differ by rounding (about 1e-7 in float32), and a
    collection that was interrupted, whose episodes end in other company, by a button now and then.

    Side effect: torch computes with one thread in this process from then on, because rollouts
    run one process a core.

    Args:
        checkpoint: its file.
        game: what is to be played.
        mode: ``argmax``, the likeliest button; ``sampled``, one drawn by the probabilities; or
            ``unstuck``, the likeliest of those less tried (:func:`less_tried`).
        device: where the network computes.

    Raises:
        PipelineError: the checkpoint cannot be read or does not fit the game.
    """

    def __init__(
        self,
        checkpoint: Path,
        game: GameDescription,
        *,
        mode: PlayMode = "argmax",
        device: str = "cpu",
    ) -> None:
        loaded = load_checkpoint(checkpoint)
        check_fits(loaded, game)
        torch.set_num_threads(1)
        keep_freed_memory()
        self.contract = loaded.frame_contract
        self.told = bool(loaded.goals)
        """Whether the network is told the next milestone."""
        self.mode = mode
        self.device = choose_device(device)
        # The weights themselves in bfloat16: autocast would convert them anew at every step.
        dtype = torch.bfloat16 if has_bf16(self.device) else torch.float32
        network = loaded.network().to(self.device, dtype)
        self.network = network.to(memory_format=torch.channels_last)

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        """One choice for each of B games.

        Args:
            frames: (B,H,W,3) u8, as the console drew them.
            turns: of the state nothing is looked at: the network sees the screen alone, and the
                next milestone where it is told that. One number of the randomness is drawn in mode
                ``sampled``; the memory is used in mode ``unstuck``.
        """
        frames = resize(frames, self.contract)
        goals = [turn.goal for turn in turns] if self.told else None
        probabilities = self.probabilities(frames, goals)
        if self.mode == "argmax":
            buttons = probabilities.argmax(axis=1)
        elif self.mode == "unstuck":
            games = zip(probabilities, frames, turns, strict=True)
            buttons = np.array(
                [
                    less_tried(row, one, turn.memory, turn.goal if self.told else 0)
                    for row, one, turn in games
                ]
            )
        else:
            draws = np.array([turn.rng.random() for turn in turns])
            reached = probabilities.cumsum(axis=1) > draws[:, None]
            # The sum may end a rounding below 1, and a draw lie above it: then the last button.
            reached[:, -1] = True
            buttons = reached.argmax(axis=1)
        return [Choice(int(button)) for button in buttons]

    def probabilities(self, frames: Frames, goals: list[int] | None = None) -> NDArray[np.float64]:
        """(B,A) how likely the network takes each button to be the expert's.

        Raises:
            ValueError: goals of a network that is not told them, or none of one that is.
        """
        small = resize(frames, self.contract)
        blank = np.zeros((-len(small) % TOGETHER, *small.shape[1:]), np.uint8)
        asked = torch.from_numpy(np.concatenate([small, blank])).to(self.device)
        told = None
        if goals is not None:
            told = torch.tensor(goals + [0] * len(blank), device=self.device)
        with torch.inference_mode():
            logits = [
                self.network(
                    asked[first : first + TOGETHER],
                    None if told is None else told[first : first + TOGETHER],
                ).double()
                for first in range(0, len(asked), TOGETHER)
            ]
            answers = torch.softmax(torch.cat(logits), dim=1).cpu().numpy()
        known: NDArray[np.float64] = answers[: len(small)]
        return known


def less_tried(
    probabilities: NDArray[np.float64], frame: Frames, memory: dict[str, Any], goal: int = 0
) -> int:
    """The likeliest button, those that were pressed on this very picture before made unlikelier.

    A student that presses against a wall sees the same picture again, and argmax alone says the
    same button for ever. Each time that a button was pressed on a picture in this episode divides
    its probability there by ten: a press that a sticky action swallowed is tried again, a loop
    over several pictures ends too, and wherever each picture is new it is argmax.

    Args:
        probabilities: (A,) of one game.
        frame: (H,W,3) u8, the picture as the network sees it.
        memory: the game's; 16 + A bytes a picture are kept in it.
        goal: what the network is told; the same picture with another goal is another one.
    """
    picture = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
    seen = memory.setdefault("pressed", {})
    pressed = seen.setdefault((goal, picture), bytearray(len(probabilities)))
    tried = np.frombuffer(pressed, np.uint8).astype(np.float64)
    with np.errstate(divide="ignore"):
        button = int((np.log(probabilities) - math.log(10) * tried).argmax())
    pressed[button] = min(pressed[button] + 1, 255)
    return button
