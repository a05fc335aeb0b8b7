"""In which order the steps are seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Indices = NDArray[np.int64]


class ChunkShuffle(Sampler[list[int]]):
    """Batches in an order that is shuffled, cheap for chunked files, and known in advance.

    Law: in each epoch every step comes once. The chunks are shuffled, taken ``window`` at a time,
    and the steps of a window are shuffled among each other; with a window of all chunks the
    order is uniformly random. The order is a pure function of (seed, epoch), whatever the number
    of workers. Epochs follow one another without a gap: a batch may span two.

    To resume, start at the step that comes next: batch k is the same whether or not the
    batches before it were drawn, to the sample.

    Cost: two numbers of 8 bytes a chunk, and the steps of one window.

    Args:
        chunk_counts: (C,) steps in each chunk; step i is counted through in their order.
        batch_size: steps in each batch.
        seed: any int from 0 on.
        window: chunks that are mixed; a batch has (batch_size - 1) / window excess steps of
            the same chunk, against independent draws.
        first, last: the batches to give are those from ``first`` up to ``last``.
    """

    def __init__(
        self,
        chunk_counts: Indices,
        *,
        batch_size: int,
        seed: int,
        window: int,
        first: int = 0,
        last: int,
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.window = max(1, window)
        self.first = first
        self.last = last
        # Chunks without a step would only take up room in a window.
        self._chunks = np.flatnonzero(chunk_counts)
        self._counts = chunk_counts[self._chunks]
        self._starts = np.cumsum(chunk_counts)[self._chunks] - self._counts
        self._size = int(self._counts.sum())

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def __iter__(self) -> Iterator[list[int]]:
        waiting = np.empty(0, np.int64)
        stream = self._windows_from(self.first * self.batch_size)
        for _ in range(len(self)):
            while len(waiting) < self.batch_size:
                waiting = np.concatenate([waiting, next(stream)])
            yield waiting[: self.batch_size].tolist()
            waiting = waiting[self.batch_size :]

    def order(self, epoch: int) -> Indices:
        """(N,) the order of a whole epoch."""
        return np.concatenate(list(self._windows(epoch, 0)))

    def _windows_from(self, position: int) -> Iterator[Indices]:
        """Windows of steps without end, from a place in the concatenation of all epochs."""
        epoch, skip = divmod(position, self._size)
        while True:
            yield from self._windows(epoch, skip)
            epoch, skip = epoch + 1, 0

    def _windows(self, epoch: int, skip: int) -> Iterator[Indices]:
        """The shuffled windows of an epoch, its first ``skip`` steps left out."""
        chunks = np.random.default_rng([self.seed, epoch]).permutation(len(self._chunks))
        for number in range(-(-len(chunks) // self.window)):
            mine = chunks[number * self.window : (number + 1) * self.window]
            size = int(self._counts[mine].sum())
            if skip >= size:
                skip -= size
                continue
            yield self._window(epoch, number, mine)[skip:]
            skip = 0

    def _window(self, epoch: int, number: int, chunks: Indices) -> Indices:
        counts = self._counts[chunks]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        steps = np.repeat(self._starts[chunks], counts) + within
        rng = np.random.default_rng([self.seed, epoch, number])
        shuffled: Indices = rng.permutation(steps)
        return shuffled
