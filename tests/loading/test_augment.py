"""The random shift: small, repeatable, and never a flip."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.loading.augment import random_shift


def moved(frame: np.ndarray, down: int, right: int) -> np.ndarray:
    rows = np.clip(np.arange(frame.shape[0]) + down, 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(frame.shape[1]) + right, 0, frame.shape[1] - 1)
    shifted: np.ndarray = frame[rows][:, columns]
    return shifted


def test_every_frame_is_moved_by_at_most_so_many_pixels_and_its_border_repeated() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (300, 20, 24, 3), np.uint8))
    shifted = random_shift(frames, 2, seed=1, step=5)
    seen = set()
    for before, after in zip(frames.numpy(), shifted.numpy(), strict=True):
        found = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if (moved(before, down, right) == after).all()
        ]
        assert len(found) == 1
        seen.update(found)
    assert len(seen) == 25


def test_the_shift_is_a_function_of_seed_and_step() -> None:
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 84, 84, 3), np.uint8))
    one = random_shift(frames, 3, seed=1, step=5)
    assert torch.equal(one, random_shift(frames, 3, seed=1, step=5))
    assert not torch.equal(one, random_shift(frames, 3, seed=1, step=6))
    assert not torch.equal(one, random_shift(frames, 3, seed=2, step=5))


def test_no_pixels_is_no_shift() -> None:
    frames = torch.zeros(2, 84, 84, 3, dtype=torch.uint8)
    assert random_shift(frames, 0, seed=1, step=5) is frames
