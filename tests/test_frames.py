"""Frames resized: many at once are those resized one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.shards.format.frames import FrameContract, distinct_rows, resize


def pillow(frames: NDArray[np.uint8], height: int = 84, width: int = 84) -> NDArray[np.uint8]:
    resized = [
        Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
        for frame in frames
    ]
    return np.stack([np.asarray(image) for image in resized])


@pytest.mark.parametrize("count", [1, 3, 4, 16, 37])
@pytest.mark.parametrize("size", [(160, 240), (40, 60), (31, 30), (84, 100), (100, 84), (3, 5)])
def test_frames_resized_together_are_those_resized_alone(size: tuple[int, int], count: int) -> None:
    rng = np.random.default_rng(count)
    noise = rng.integers(0, 256, (count, *size, 3), np.uint8)
    still = np.repeat(noise[:1], count, axis=0)
    scrolled = np.stack([np.roll(noise[0], i, axis=0) for i in range(count)])
    for frames in (noise, still, scrolled):
        found = resize(frames, FrameContract(84, 84, "bilinear"))
        assert (found == pillow(frames)).all()
        assert (resize(frames, FrameContract(90, 50, "bilinear")) == pillow(frames, 90, 50)).all()


def test_rows_that_differ_but_have_one_sum_are_resized_apart() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 160, 240, 3), np.uint8)
    frames[:] = frames[0]
    rows = frames.reshape(-1, 720)
    rows[200, [7, 15]] ^= 128  # the top bits of two words: the sum of the words is what it was
    rows[399, [23, 31]] ^= 128
    once, which = distinct_rows(rows)
    assert len(once) == 162
    assert (rows[once[which]] == rows).all()
    assert (resize(frames, FrameContract(84, 84, "bilinear")) == pillow(frames)).all()
