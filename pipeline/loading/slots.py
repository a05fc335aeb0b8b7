"""Memory for decoded frames that is taken once and used again, never while it is in use."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.memory import SharedArray

Frames = NDArray[np.uint8]


class Slots:
    """Blocks of frames, some for each worker, that travel to the reader as a number.

    A worker fills a free slot and sends its number; the reader makes tensors of the slot's memory
    without a copy. When the last of them is gone the slot is free again: however long somebody
    keeps a batch, nothing is written over it. Where no slot is free the worker takes fresh memory.

    Memory: ``workers * each`` slots, shared between the processes.
    """

    def __init__(self, workers: int, each: int, frames: int, frame_shape: Sequence[int]) -> None:
        self.each = each
        self._frames = SharedArray((workers * each, frames, *frame_shape), np.uint8, huge=True)
        self._taken = SharedArray((workers * each,), np.uint8)
        self._lent: set[int] = set()

    @property
    def bytes(self) -> int:
        return int(self._frames.array.nbytes)

    def take(self, worker: int) -> int | None:
        """The number of a free slot of this worker, which is then taken; None if none is."""
        own = self._taken.array[worker * self.each : (worker + 1) * self.each]
        free = np.flatnonzero(own == 0)
        if not len(free):
            return None
        own[free[0]] = 1
        return worker * self.each + int(free[0])

    def memory(self, slot: int) -> Frames:
        """A slot's frames (n,H,W,3), for the worker that took it."""
        frames: Frames = self._frames.array[slot]
        return frames

    def give(self, slot: int) -> None:
        """The slot is free again."""
        self._lent.discard(slot)
        self._taken.array[slot] = 0

    def reclaim(self) -> None:
        """Free what was taken and never lent; only while no worker is at work."""
        for slot in set(range(len(self._taken.array))) - self._lent:
            self._taken.array[slot] = 0

    def lend(self, slot: int) -> Frames:
        """A slot's frames (n,H,W,3), for the reader: free again when nothing refers to them."""
        memory = self._frames.array[slot]
        lent: Frames = np.frombuffer(memory.data.cast("B"), np.uint8).reshape(memory.shape)
        # numpy makes every view of `lent` refer to the array of bytes below it.
        assert lent.base is not None
        self._lent.add(slot)
        weakref.finalize(lent.base, self.give, slot).atexit = False
        return lent

    def free(self) -> int:
        """How many slots are free."""
        return int(np.count_nonzero(self._taken.array == 0))
