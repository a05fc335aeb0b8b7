"""Memory for decoded frames that is taken once and used again, never while it is in use."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.shared_memory import SharedArray

Frames = NDArray[np.uint8]


class Slots:
    """Blocks of frames, some for each worker, of which only the number is sent to the reader.

    A worker fills a free slot and sends its number; the reader makes tensors of the slot's memory
    without a copy. When the last of them is gone the slot is free again: however long somebody
    keeps a batch, nothing is written over it. Where no slot is free the worker takes fresh memory.

    Memory: ``workers * each`` slots, shared between the processes.
    """

    def __init__(self, workers: int, each: int, frames: int, frame_shape: Sequence[int]) -> None:
        self.each = each
        self._frames = SharedArray((workers * each, frames, *frame_shape), np.uint8, huge=True)
        self._taken = SharedArray((workers * each,), np.uint8)
        self._lent: dict[int, weakref.ref[Any]] = {}

    @property
    def bytes(self) -> int:
        return int(self._frames.array.nbytes)

    def take(self, worker: int) -> int | None:
        """The number of a free slot of this worker, which is then taken; None if none is."""
        # The lowest that is free: memory that was written before, and may still be in a cache.
        for slot in range(worker * self.each, (worker + 1) * self.each):
            if not self._taken.array[slot]:
                self._taken.array[slot] = 1
                return slot
        return None

    def memory(self, slot: int) -> Frames:
        """A slot's frames (n,H,W,3), for the worker that took it."""
        frames: Frames = self._frames.array[slot]
        return frames

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_lent": {}}

    def give(self, slot: int) -> None:
        """The slot is free again."""
        self._lent.pop(slot, None)
        self._taken.array[slot] = 0

    def reclaim(self) -> None:
        """Free what was taken and never lent; only while no worker is at work."""
        for slot in set(range(len(self._taken.array))) - set(self._lent):
            self._taken.array[slot] = 0

    def lend(self, slot: int) -> Frames:
        """A slot's frames (n,H,W,3), for the reader: free again when nothing refers to them."""
        memory = self._frames.array[slot]
        lent: Frames = np.frombuffer(memory.data.cast("B"), np.uint8).reshape(memory.shape)
        # numpy makes every view of `lent` refer to the array of bytes below it.
        self._lent[slot] = weakref.ref(lent.base, partial(self._returned, slot))
        return lent

    def _returned(self, slot: int, _: object) -> None:
        self.give(slot)

    def free(self) -> int:
        """How many slots are free."""
        return int(np.count_nonzero(self._taken.array == 0))
