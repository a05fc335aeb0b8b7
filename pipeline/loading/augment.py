"""Changes to a batch that leave the right button right. Never a flip: it would turn LEFT round."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_shift(frames: Tensor, pixels: int, *, seed: int, step: int) -> Tensor:
    """Move each frame by up to ``pixels`` in both directions, the border repeated (DrQ's shift,
    Kostrikov et al. 2020).

    A pure function of its arguments, on any device: a resumed training sees the same shifts.

    Args:
        frames: (B,H,W,3) of any type.
        pixels: 3 at most for 84x84 frames, where a tile of the game has about 8.
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
