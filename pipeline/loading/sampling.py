"""The order in which steps are read: a pure function of seed and epoch, entered at any place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.system.errors import PipelineError

Indices = NDArray[np.int64]

_ROUNDS = 8
_BLOCK = 1 << 16
_AHEAD = 1 << 13


class Permutation:
    """A shuffle of 0 .. size - 1 that is computed, not stored: ``permutation(places)``.

    A Feistel network (Luby and Rackoff 1988) of eight rounds with a multiplicative hash, walked
    on until it falls below ``size`` (Black and Rogaway 2002). No memory, any place at any time, the
    same numbers on every machine and with every version of numpy.

    Args:
        size: up to 2**62.
        key: numbers that name the shuffle: seed, epoch ...
    """

    def __init__(self, size: int, key: Sequence[int]) -> None:
        self.size = size
        bits = max(2, (max(1, size) - 1).bit_length())
        self._low_bits = np.uint64(bits // 2)
        self._low = np.uint64((1 << bits // 2) - 1)
        self._high = np.uint64((1 << (bits - bits // 2)) - 1)
        self._keys = np.random.SeedSequence(list(key)).generate_state(_ROUNDS, np.uint64)

    def __call__(self, places: Indices) -> Indices:
        """(n,) the numbers at these places."""
        values = np.asarray(places).astype(np.uint64)
        values = self._encrypt(values)
        over = np.flatnonzero(values >= self.size)
        while len(over):
            values[over] = self._encrypt(values[over])
            over = over[values[over] >= self.size]
        return values.astype(np.int64)

    def _encrypt(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low, high = values & self._low, values >> self._low_bits
        for number, key in enumerate(self._keys):
            if number % 2:
                low = low ^ (_hash(high, key) & self._low)
            else:
                high = high ^ (_hash(low, key) & self._high)
        mixed: NDArray[np.uint64] = (high << self._low_bits) | low
        return mixed


def _hash(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    mixed = (values ^ key) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    out: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(32))
    return out


class Span(NamedTuple):
    """Batches ``first`` .. ``first + many - 1`` of the stream that begins with an epoch."""

    first: int
    many: int
    epoch: int = 0
    epochs: int | None = None
    """After so many epochs the stream ends, with a batch that may be smaller."""


class UniformOrder:
    """A uniform shuffle of all steps, for frames that are kept decoded.

    Guarantee: in each epoch every step comes once, in an order that is a pure function of (seed,
    epoch). Epochs follow one another without a gap: a batch may span two. Of ``world`` readers
    reader ``rank`` has the batches k with k mod world = rank, so that together they see each step
    once. Resumes at any batch at no cost.
    """

    def __init__(
        self, steps: int, *, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.steps, self.batch_size, self.seed = steps, batch_size, seed
        self.rank, self.world = rank, world
        self._at = (-1, -1)
        self._ahead = np.empty(0, np.int64)

    def length(self, epochs: int) -> int:
        """Batches of this reader in so many epochs, the last of them perhaps smaller."""
        batches = -(-epochs * self.steps // self.batch_size)
        return max(0, -(-(batches - self.rank) // self.world))

    def steps_of(self, span: Span) -> Indices:
        """(n,) the steps of this reader's batches of a span, batch after batch."""
        own = np.arange(span.first, span.first + span.many) * self.world + self.rank
        places = (own[:, None] * self.batch_size + np.arange(self.batch_size)).reshape(-1)
        places += span.epoch * self.steps
        if span.epochs is not None:
            places = places[places < (span.epoch + span.epochs) * self.steps]
        return self.at(places)

    def at(self, places: Indices) -> Indices:
        """(n,) the steps at places of the endless concatenation of all epochs."""
        out = np.empty(len(places), np.int64)
        epochs, within = np.divmod(places, self.steps)
        blocks = within // _AHEAD
        for epoch, block in dict.fromkeys(zip(epochs.tolist(), blocks.tolist(), strict=True)):
            here = (epochs == epoch) & (blocks == block)
            out[here] = self._block(epoch, block)[within[here] - block * _AHEAD]
        return out

    def _block(self, epoch: int, block: int) -> Indices:
        """Places are asked for one after the other: many are computed at the price of one."""
        if self._at != (epoch, block):
            shuffle = Permutation(self.steps, [self.seed, epoch])
            low = block * _AHEAD
            self._ahead = shuffle(np.arange(low, min(low + _AHEAD, self.steps)))
            self._at = epoch, block
        return self._ahead


class Window(NamedTuple):
    """Chunks that are decoded together."""

    epoch: int
    number: int


class Laid(NamedTuple):
    """The steps of a window, as they are laid side by side."""

    chunks: Indices
    """(n,) in the order in which they are decoded."""
    counts: Indices
    """(n,) steps of each."""
    rest: NDArray[np.bool_]
    """(M,) of the steps, chunk after chunk: those left over when the others make whole batches."""
    groups: Indices
    """Order of the batches: batch g has the steps g, g + G, g + 2G ... of those not left over."""


class WindowOrder:
    """Shuffled, and cheap for frames that lie compressed in chunks.

    Guarantee: in each epoch every step comes once. The chunks are shuffled and taken ``window`` at
    a time; a batch has at most one step of a chunk (``window`` is at least the batch size), so
    that its frames are as independent as if each had been drawn alone. What is left over when
    the steps of a window do not make whole batches is spread over its chunks, kept, and makes
    batches with what other windows leave over. The order is a pure function of (seed, epoch),
    whatever the number of workers. Of ``world`` readers reader ``rank`` has the windows w with
    w mod world = rank.

    Cost: a few numbers a window; to resume, 20 ns for each chunk of the epochs before.

    Args:
        counts: (C,) steps in each chunk.
        chunks: (C',) the chunks with any; None says all.
        window: chunks that are decoded together.

    Raises:
        PipelineError: fewer chunks than readers.
    """

    def __init__(
        self,
        counts: Indices,
        chunks: Indices | None,
        *,
        batch_size: int,
        seed: int,
        window: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.counts, self.chunks = counts, chunks
        self.batch_size, self.seed = batch_size, seed
        self.window = max(window, batch_size)
        self.rank, self.world = rank, world
        self.size = len(counts) if chunks is None else len(chunks)
        self.windows = -(-self.size // self.window)
        """Windows of an epoch, over all readers."""
        if self.windows < world:
            # So few that some reader would have none: smaller ones, at the price of batches with
            # several steps of a chunk.
            self.window = max(1, self.size // world)
            self.windows = -(-self.size // self.window)
        if self.windows < world:
            raise PipelineError(
                f"{self.size} chunks of frames for {world} readers; read with {self.size} at most"
            )
        self._epoch = -1
        self._shuffle = Permutation(1, [0])

    def chunks_at(self, epoch: int, places: Indices) -> Indices:
        """(n,) the chunks at places of an epoch's shuffle."""
        if epoch != self._epoch:
            self._shuffle, self._epoch = Permutation(self.size, [self.seed, epoch]), epoch
        chosen = self._shuffle(places)
        return chosen if self.chunks is None else self.chunks[chosen]

    def lay(self, window: Window) -> Laid:
        """What lies where in a window."""
        first = window.number * self.window
        chunks = self.chunks_at(window.epoch, np.arange(first, min(first + self.window, self.size)))
        counts = self.counts[chunks]
        steps = int(counts.sum())
        left = steps % self.batch_size
        rest = np.zeros(steps, np.bool_)
        if left:
            # Evenly spread: one of a chunk, where there are more chunks than steps left over.
            rest[((np.arange(left) + 0.5) * (steps / left)).astype(np.int64)] = True
        groups = steps // self.batch_size
        shuffled = Permutation(groups, [self.seed, window.epoch, window.number])
        return Laid(chunks, counts, rest, shuffled(np.arange(groups)))

    def from_batch(
        self, first: int, epoch: int = 0, epochs: int | None = None
    ) -> Iterator[tuple[Window, int]]:
        """This reader's windows from the one with batch ``first`` on.

        Each comes with the number of its batches that come before ``first``. The stream begins with
        ``epoch``.

        Args:
            epochs: stop after so many; None goes on for ever.
        """
        seen, end = 0, None if epochs is None else epoch + epochs
        found, latest = False, None
        while end is None or epoch < end:
            for numbers, sizes in self._sizes(epoch):
                ends = seen + np.cumsum(sizes)
                had = (ends - sizes) // self.batch_size
                skip = 0 if found or not first else _first_above(ends // self.batch_size, first)
                for i in range(skip, len(numbers)):
                    found = True
                    yield Window(epoch, int(numbers[i])), max(0, first - int(had[i]))
                latest = Window(epoch, int(numbers[-1])), first - int(had[-1])
                seen = int(ends[-1])
            epoch += 1
        if not found and latest is not None and first * self.batch_size < seen:
            yield latest  # all but what it leaves over, which is the last batch

    def left_before(self, window: Window, epoch: int = 0) -> Iterator[Window]:
        """This reader's windows whose left-over steps wait when a window begins, the nearest first.

        It looks back until all that wait are found, in the stream that begins with ``epoch``.
        """
        waiting = self.waiting_at(window, epoch)
        at, number = window
        while waiting > 0:
            number -= self.world
            if number < 0:
                at -= 1
                number = self.rank + (self.windows - 1 - self.rank) // self.world * self.world
            earlier = Window(at, number)
            waiting -= int(self.lay(earlier).rest.sum())
            yield earlier

    def waiting_at(self, window: Window, epoch: int) -> int:
        """Steps that wait for a batch when a window begins."""
        left = 0
        for at in range(epoch, window.epoch + 1):
            for numbers, sizes in self._sizes(at):
                before = sizes if at < window.epoch else sizes[numbers < window.number]
                left += int((before % self.batch_size).sum())
        return left % self.batch_size

    def _sizes(self, epoch: int) -> Iterator[tuple[Indices, Indices]]:
        """This reader's windows of an epoch and their steps, in blocks."""
        numbers = np.arange(self.rank, self.windows, self.world)
        many = max(1, _BLOCK // self.window)
        for low in range(0, len(numbers), many):
            block = numbers[low : low + many]
            places = block[:, None] * self.window + np.arange(self.window)
            inside = places < self.size
            chunks = self.chunks_at(epoch, np.where(inside, places, 0).reshape(-1))
            sizes = np.where(inside, self.counts[chunks].reshape(places.shape), 0).sum(axis=1)
            yield block, sizes.astype(np.int64)


def _first_above(values: Indices, bound: int) -> int:
    return int(np.searchsorted(values, bound, side="right"))
