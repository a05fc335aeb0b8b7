"""The different pictures among the steps of a shard: each is asked about once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.shards.format.frames import Frames
from pipeline.shards.reader import Shard

Rows = NDArray[np.intp]
Goals = NDArray[np.uint8]

WINDOW = 1024
"""Steps whose frames are held at a time."""


def by_picture(
    shard: Shard,
    rows: Rows,
    look: Callable[[Frames, Goals | None], NDArray[Any]],
    goals: Goals | None,
) -> tuple[NDArray[Any], Rows, Rows]:
    """Ask ``look`` once about each different picture among ``rows`` (n,), ascending.

    A student that stands before a wall sees the same picture again and again: in a round of the
    default game two steps in three repeat one.

    Args:
        look: gives a row for each of some frames (m,H,W,3) u8 and, where there are any, their
            goals (m,).
        goals: (N,) of all steps of the shard; two frames with different goals are two pictures.

    Returns:
        What ``look`` said of each of P pictures, (P,...), in the order in which they first appear;
        (n,) which picture each row shows; and (n,) how many rows before it show the same.
    """
    which, again = np.empty(len(rows), np.intp), np.empty(len(rows), np.intp)
    seen: dict[bytes, int] = {}
    times: list[int] = []
    said: list[NDArray[Any]] = []
    for place, frames in _windows(shard, rows, "choose"):
        new: list[int] = []
        told = None if goals is None else goals[rows[place]]
        for i, frame in enumerate(frames):
            goal = b"" if told is None else told[i].tobytes()
            picture = seen.setdefault(_digest(frame, goal), len(seen))
            if picture == len(times):
                times.append(0)
                new.append(i)
            which[place.start + i], again[place.start + i] = picture, times[picture]
            times[picture] += 1
        said.append(look(frames[new], None if told is None else told[new]))
    return np.concatenate(said), which, again


def repeated(shard: Shard, rows: Rows, known: Rows) -> NDArray[np.bool_]:
    """(n,) which of ``rows`` show a picture that an earlier one of them, or of ``known``, shows.

    Both ascend. The training and the validation split count apart, as each is used without the
    other. Memory: about 100 bytes a picture.
    """
    again = np.zeros(len(rows), np.bool_)
    if not len(rows):
        return again
    splits = np.repeat(shard.splits, shard.lengths)
    seen: set[bytes] = set()
    for place, frames in _windows(shard, known, "look for repeated pictures"):
        for row, frame in zip(known[place], frames, strict=True):
            seen.add(_digest(frame, splits[row].tobytes()))
    for place, frames in _windows(shard, rows, "look for repeated pictures"):
        for i, frame in enumerate(frames, place.start):
            picture = _digest(frame, splits[rows[i]].tobytes())
            again[i] = picture in seen
            seen.add(picture)
    return again


def _digest(frame: Frames, told: bytes = b"") -> bytes:
    """What stands for a picture (H,W,3) u8, and for what else is told with it."""
    return hashlib.blake2b(frame.tobytes() + told, digest_size=16).digest()


def _windows(shard: Shard, rows: Rows, what: str) -> Iterator[tuple[slice, Frames]]:
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
