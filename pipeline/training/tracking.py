"""What can be watched while a network trains: TensorBoard, and Weights & Biases where asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.utils.tensorboard import SummaryWriter

from pipeline.shards.format.frames import Frames
from pipeline.system.errors import PipelineError
from pipeline.system.strict_json import json_text

EVENTS = "events.out.tfevents.*"
"""What TensorBoard calls its files."""
RIGHT, WRONG = (64, 160, 92), (196, 62, 54)
_PAPER, _INK = (250, 249, 246), (40, 40, 44)


class Tracker:
    """Writes to ``RUN/tensorboard`` and, with ``track``, to Weights & Biases.

    Args:
        folder: of the run.
        run: its name.
        settings: all of them, as JSON.
        track: Weights & Biases too.
        step: updates done before, whose curves stay; 0 removes all of an earlier training. What
            an interrupted run wrote after them is taken back.

    Raises:
        PipelineError: ``track`` without the package.
    """

    def __init__(
        self, folder: Path, run: str, settings: Mapping[str, Any], *, track: bool, step: int
    ) -> None:
        self._wandb = _start_wandb(folder, run, settings) if track else None
        board = folder / "tensorboard"
        if not step:
            for events in board.glob(EVENTS):
                events.unlink(missing_ok=True)
        self._board = SummaryWriter(str(board), purge_step=step + 1 if step else None)
        text = json_text(settings, indent=2).replace("\n", "\n    ")
        self.text("hyperparameters", "    " + text, step)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Each value under its own name, such as ``train/bc_loss``."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log(dict(values), step=step)

    def text(self, name: str, text: str, step: int) -> None:
        self._board.add_text(name, text, step)

    def picture(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """A picture (H,W,3) u8."""
        self._board.add_image(name, picture, step, dataformats="HWC")
        if self._wandb is not None:
            self._wandb.log({name: self._wandb.Image(picture)}, step=step)

    def flush(self) -> None:
        """Write all so far to the files, so that a kill does not lose it."""
        self._board.flush()

    def close(self) -> None:
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def _start_wandb(folder: Path, run: str, settings: Mapping[str, Any]) -> Any:
    try:
        wandb = importlib.import_module("wandb")
    except ModuleNotFoundError:
        raise PipelineError(
            "track: the package wandb is not installed; "
            "pip install 'pokemon-il[track]', or leave track out"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    wandb.init(
        project="pokemon-il", name=run, dir=str(folder), config=dict(settings), resume="allow"
    )
    return wandb


def answers_picture(
    frames: Frames,
    probabilities: NDArray[np.float64],
    buttons: NDArray[np.int64],
    names: tuple[str, ...],
    *,
    columns: int = 6,
    scale: int = 2,
) -> NDArray[np.uint8]:
    """Frames with the expert's and the network's button under each; green where they agree.

    Args:
        frames: (B,H,W,3) u8.
        probabilities: (B,A), the network's.
        buttons: (B,) the expert's.
        names: of the A buttons.

    Returns:
        (H',W',3) u8.
    """
    height, width = frames.shape[1] * scale, frames.shape[2] * scale
    band, gap = 40, 8
    rows = -(-len(frames) // columns)
    size = (columns * (width + gap) + gap, rows * (height + band + gap) + gap)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, frame in enumerate(frames):
        x = gap + (i % columns) * (width + gap)
        y = gap + (i // columns) * (height + band + gap)
        tile = Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(tile, (x, y))
        answer = int(probabilities[i].argmax())
        colour = RIGHT if answer == buttons[i] else WRONG
        draw.rectangle((x - 2, y - 2, x + width + 1, y + height + 1), outline=colour, width=2)
        draw.text((x, y + height + 4), f"expert   {names[int(buttons[i])]}", _INK, font_size=14)
        share = f"network  {names[answer]} {probabilities[i, answer]:.0%}"
        draw.text((x, y + height + 20), share, colour, font_size=14)
    return np.asarray(sheet)
