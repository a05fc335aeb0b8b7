"""Shift, brightness and cut-out: small, repeatable, and never a flip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.loading.augment import Augmentation, cut_out, random_brightness, random_shift


@pytest.fixture
def frames() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 200, (20, 84, 84, 3), np.uint8))


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


def test_brightness_is_a_factor_of_each_frame(frames: Tensor) -> None:
    changed = random_brightness(frames, 0.3, seed=1, step=2)
    assert changed.shape == frames.shape
    assert changed.dtype == torch.uint8
    factors = changed.float().mean(dim=(1, 2, 3)) / frames.float().mean(dim=(1, 2, 3))
    assert ((factors > 0.65) & (factors < 1.35)).all()
    assert factors.std() > 0.03
    assert torch.equal(changed, random_brightness(frames, 0.3, seed=1, step=2))
    assert not torch.equal(changed, random_brightness(frames, 0.3, seed=1, step=3))
    assert random_brightness(frames, 0, seed=1, step=2) is frames


def test_a_cut_out_covers_one_square_with_the_mean_colour(frames: Tensor) -> None:
    before = frames.clone()
    covered = cut_out(frames, 10, seed=1, step=2)
    assert torch.equal(frames, before)
    for frame, old in zip(covered, frames, strict=True):
        changed = (frame != old).any(dim=2)
        rows, columns = changed.any(dim=1).nonzero(), changed.any(dim=0).nonzero()
        assert rows.max() - rows.min() < 10
        assert columns.max() - columns.min() < 10
        place = changed.nonzero()[0]
        mean = old.float().mean(dim=(0, 1))
        assert (frame[place[0], place[1]].float() - mean).abs().max() <= 1
    assert torch.equal(covered, cut_out(frames, 10, seed=1, step=2))
    assert cut_out(frames, 0, seed=1, step=2) is frames


def test_an_augmentation_does_all_three_and_leaves_the_batch_as_it_was(frames: Tensor) -> None:
    before = frames.clone()
    changed = Augmentation(2, 0.2, 8)(frames, seed=1, step=5)
    steps = random_shift(frames, 2, seed=1, step=5)
    steps = random_brightness(steps, 0.2, seed=1, step=5)
    assert torch.equal(changed, cut_out(steps, 8, seed=1, step=5))
    assert torch.equal(frames, before)
    assert Augmentation()(frames, seed=1, step=5) is frames


def test_frames_that_lie_apart_are_augmented_alike(frames: Tensor) -> None:
    apart = torch.stack([frames, frames], dim=1)[:, 0]
    assert not apart.is_contiguous()
    both = [Augmentation(2, 0.2, 8)(f, seed=1, step=5) for f in (frames, apart)]
    assert torch.equal(*both)
