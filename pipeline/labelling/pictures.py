"""The pictures of a shard: which steps show one that was there before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.shards.format.frames import Frames
from pipeline.shards.reader import Shard

Rows = NDArray[np.intp]

WINDOW = 1024
"""Steps whose frames are held at a time."""


def windows(shard: Shard, rows: Rows, what: str) -> Iterator[tuple[slice, Frames]]:
    """The frames of ``rows`` (ascending), a window of the shard at a time, and their places.

    ``what`` is done with them, as the progress bar says.
    """
    bounds = np.searchsorted(rows, np.arange(0, shard.n_frames + WINDOW, WINDOW))
    with tqdm(total=len(rows), desc=what, unit="step", disable=None) as bar:
        for low, high in pairwise(bounds.tolist()):
            if low < high:
                first = int(rows[low])
                frames = shard.read_frames(first, int(rows[high - 1]) + 1)
                yield slice(low, high), frames[rows[low:high] - first]
                bar.update(high - low)


def digest(frame: Frames, told: bytes = b"") -> bytes:
    """What stands for a picture (H,W,3) u8, and for what else is told with it."""
    return hashlib.blake2b(frame.tobytes() + told, digest_size=16).digest()


def repeated(shard: Shard, rows: Rows, known: Rows) -> NDArray[np.bool_]:
    """(n,) which of ``rows`` show a picture that an earlier one of them, or of ``known``, shows.

    Both ascend. Memory: about 80 bytes a picture.
    """
    again = np.zeros(len(rows), np.bool_)
    seen: set[bytes] = set()
    for _, frames in windows(shard, known, "look for repeated pictures"):
        seen.update(digest(frame) for frame in frames)
    for place, frames in windows(shard, rows, "look for repeated pictures"):
        for i, frame in enumerate(frames, place.start):
            picture = digest(frame)
            again[i] = picture in seen
            seen.add(picture)
    return again
