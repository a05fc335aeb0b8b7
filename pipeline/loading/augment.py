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
    count, height, width = frames.shape[:3]
    rng = np.random.default_rng([seed, step, count])
    offsets = torch.from_numpy(rng.integers(-pixels, pixels + 1, (2, count, 1)))
    down, right = offsets.to(frames.device)
    rows = (torch.arange(height, device=frames.device) + down).clamp_(0, height - 1)
    columns = (torch.arange(width, device=frames.device) + right).clamp_(0, width - 1)
    batch = torch.arange(count, device=frames.device)
    # Rows first, then columns: the rows are copied whole.
    moved = frames[batch[:, None], rows]
    return moved[
        batch[:, None, None],
        torch.arange(height, device=frames.device)[None, :, None],
        columns[:, None, :],
    ]
