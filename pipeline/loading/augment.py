"""Changes to frames that keep the right button right; no flip: it would swap LEFT and RIGHT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """What is done to the frames of a batch, each frame by draws of its own.

    A pure function of frames, seed and number of the batch, on any device: a resumed training
    sees the same.
    """

    shift: int = 0
    """Pixels, see `random_shift`."""
    brightness: float = 0.0
    """See `random_brightness`."""
    cutout: int = 0
    """Pixels, see `cut_out`."""

    def __call__(self, frames: Tensor, *, seed: int, step: int) -> Tensor:
        """(B,H,W,3) u8 of frames (B,H,W,3) u8, which stay as they are."""
        frames = random_shift(frames, self.shift, seed=seed, step=step)
        frames = random_brightness(frames, self.brightness, seed=seed, step=step)
        return cut_out(frames, self.cutout, seed=seed, step=step)


def random_shift(frames: Tensor, pixels: int, *, seed: int, step: int) -> Tensor:
    """Move each frame by up to ``pixels`` in both directions, the border repeated.

    The random shift of DrQ (Kostrikov et al. 2020).

    A pure function of its arguments, on any device: a resumed training sees the same shifts.

    Args:
        frames: (B,H,W,3) of any type.
        pixels: 3 at most for 84x84 frames, in which a tile of 16x16 pixels is 5.6 wide and 8.4
            high.
        seed: of the training.
        step: number of the batch.
    """
    if not pixels:
        return frames
    count, height, width, colours = frames.shape
    rng = np.random.default_rng([seed, step, count])
    offsets = rng.integers(0, 2 * pixels + 1, (count, 2)).tolist()
    framed = _repeat_border(frames, pixels)
    # Rows of width x 3 numbers lie together, so that whole rows are copied.
    flat = framed.view(count, height + 2 * pixels, -1)
    windows = [
        flat[i, down : down + height, right * colours : (right + width) * colours]
        for i, (down, right) in enumerate(offsets)
    ]
    return torch.stack(windows).view(count, height, width, colours)


def _repeat_border(frames: Tensor, pixels: int) -> Tensor:
    """Frames (B,H+2p,W+2p,3): p more on each side, the border's."""
    count, height, width, colours = frames.shape
    framed = frames.new_empty(count, height + 2 * pixels, width + 2 * pixels, colours)
    inside = slice(pixels, -pixels)
    framed[:, inside, inside] = frames
    framed[:, :pixels, inside] = frames[:, :1]
    framed[:, -pixels:, inside] = frames[:, -1:]
    framed[:, :, :pixels] = framed[:, :, pixels : pixels + 1]
    framed[:, :, -pixels:] = framed[:, :, -pixels - 1 : -pixels]
    return framed


def random_brightness(frames: Tensor, amount: float, *, seed: int, step: int) -> Tensor:
    """Multiply each frame (B,H,W,3) u8 by a factor from 1 - amount to 1 + amount, up to 255.

    It is torchvision's ``adjust_brightness``, as in its ColorJitter.
    """
    if not amount:
        return frames
    from torchvision.transforms.v2 import functional  # takes half a second to import

    factors = np.random.default_rng([seed, step, 1]).uniform(1 - amount, 1 + amount, len(frames))
    planes = frames.movedim(-1, 1)
    changed = [
        functional.adjust_brightness(frame, factor)
        for frame, factor in zip(planes, factors.tolist(), strict=True)
    ]
    return torch.stack(changed).movedim(1, -1)


def cut_out(frames: Tensor, pixels: int, *, seed: int, step: int) -> Tensor:
    """Cover a square of ``pixels`` in each frame (B,H,W,3) with its mean colour (Cutout).

    DeVries and Taylor 2017; torchvision's ``erase``.

    The square lies inside the frame. It can hide what the right button depends on: a quarter of
    the frame's width is much.
    """
    if not pixels:
        return frames
    from torchvision.transforms.v2 import functional

    count, height, width, _ = frames.shape
    rng = np.random.default_rng([seed, step, 2])
    tops = rng.integers(0, height - pixels + 1, count).tolist()
    lefts = rng.integers(0, width - pixels + 1, count).tolist()
    planes = frames.movedim(-1, 1)
    colours = planes.float().mean(dim=(2, 3), keepdim=True).to(frames.dtype)
    covered = [
        functional.erase(frame, top, left, pixels, pixels, colour)
        for frame, top, left, colour in zip(planes, tops, lefts, colours, strict=True)
    ]
    return torch.stack(covered).movedim(1, -1)
