"""What a frame is: the contract between the data and the network, and the only resize."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]
Indices = NDArray[np.intp]

_TOGETHER = 16
"""Frames resized together: of the rows of 16 neighbours, 35 in 100 are distinct."""
_FEW = 4
"""So few frames are sooner resized one by one."""


class ContractFields(TypedDict):
    """A FrameContract as JSON."""

    height: int
    width: int
    resampling: str
    colour: str


@dataclass(frozen=True)
class FrameContract:
    """How the frames of a shard, or of a network's input, were made.

    Stored in every shard and every checkpoint, and compared before the two meet, because a
    resize that differs between training and play silently ruins a policy.
    """

    height: int
    width: int
    resampling: str  # "none" (as the console drew it) or "bilinear"
    colour: str = "RGB"

    def as_dict(self) -> ContractFields:
        return {
            "height": self.height,
            "width": self.width,
            "resampling": self.resampling,
            "colour": self.colour,
        }

    def __str__(self) -> str:
        return f"{self.height}x{self.width} {self.colour}, resampling {self.resampling}"


def resize(frames: Frames, contract: FrameContract) -> Frames:
    """Resize frames (N,H,W,3) u8 to (N, contract.height, contract.width, 3) u8.

    Pillow's bilinear filter with antialiasing, which is what ``torchvision.transforms.Resize``
    does on PIL images: the result is identical to it, bit for bit.

    Pillow resizes each row on its own, and then each column. A console draws most of its rows
    many times, so here the rows of neighbouring frames that are the same are resized once. That
    takes 0.65 of the time of a loop over frames as they are played, and 1.15 of it in the worst
    case, frames of noise.
    """
    if contract.resampling == "none" or frames.shape[1:3] == (contract.height, contract.width):
        return frames
    out = np.empty((len(frames), contract.height, contract.width, 3), np.uint8)
    size = (contract.width, contract.height)
    if len(frames) < _FEW:
        for i, frame in enumerate(frames):
            out[i] = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR))
        return out
    for low in range(0, len(frames), _TOGETHER):
        block = np.ascontiguousarray(frames[low : low + _TOGETHER])
        out[low : low + len(block)] = _resize_together(block, size)
    return out


def _resize_together(frames: Frames, size: tuple[int, int]) -> Frames:
    """(k,H,W,3) to (k, size[1], size[0], 3): rows first, then columns, as Pillow does."""
    count, height, width, _ = frames.shape
    rows = frames.reshape(count * height, width * 3)
    once, which = distinct_rows(rows)
    narrow = _pillow(rows.take(once, axis=0), (size[0], len(once)))
    # All frames side by side are one picture, whose columns are resized in one go.
    abreast = narrow.take(which.reshape(count, height).T, axis=0)
    small = _pillow(abreast, (count * size[0], size[1]))
    apart: Frames = small.reshape(size[1], count, size[0], 3).swapaxes(0, 1)
    return apart


def distinct_rows(rows: NDArray[np.uint8]) -> tuple[Indices, Indices]:
    """Find rows (n, m) that are the same.

    Rows of one sum are compared before they count as the same; the sum multiplies each word of a
    row by a number of its own.

    Returns:
        ``once`` (k,), indices of rows, and ``which`` (n,): row i is the same as
        ``rows[once[which[i]]]``. Two of ``once`` may be the same where sums coincide.
    """
    word = next(size for size in (8, 4, 2, 1) if rows.shape[1] % size == 0)
    words = rows.view(f"<u{word}")
    sums = np.einsum("ij,j->i", words, _factors(words.shape[1]))
    _, once, which = np.unique(sums, return_index=True, return_inverse=True)
    same = words.take(once[which], axis=0) == words
    if not same.all():
        odd = np.flatnonzero(~same.all(axis=1))
        which[odd] = len(once) + np.arange(len(odd))
        once = np.concatenate([once, odd])
    return once, which


@cache
def _factors(count: int) -> NDArray[np.uint64]:
    """(count,) odd numbers of 64 bits, always the same."""
    return np.random.default_rng(0).integers(1 << 63, size=count, dtype=np.uint64) * 2 + 1


def _pillow(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize one picture, (h, ...) in RGB, to (size[1], size[0] * 3), read-only."""
    image = Image.new("RGB", (pixels.size // (len(pixels) * 3), len(pixels)), None)  # not cleared
    image.frombytes(pixels)
    small = image.resize(size, Image.Resampling.BILINEAR).tobytes()
    return np.frombuffer(small, np.uint8).reshape(size[1], size[0] * 3)
