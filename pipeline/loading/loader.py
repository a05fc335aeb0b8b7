"""From shards to batches: the loader that ties order, workers, cache and memory together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from pipeline.loading.dataset import Batch, Steps, some_of
from pipeline.loading.decoded import Decoded
from pipeline.loading.resources import POOL_BYTES, Cache, LoadingPlan, choose_plan
from pipeline.loading.sampling import Span, UniformOrder, Window, WindowOrder
from pipeline.loading.slots import Slots
from pipeline.loading.source import Frames, Indices
from pipeline.loading.worker import Block, Reader, SpanReader, WindowReader, Work
from pipeline.system.errors import PipelineError

_PREFETCH = 2
_BATCHES_A_TASK = 32
_SPARE_SLOTS = 2
"""Beside those on their way: the one being read, and one whose batches somebody still holds."""


class Loader:
    """Batches of steps without end, in an order that is known in advance.

    Guarantee: the order is a pure function of (seed, epoch), of its kind (``uniform`` with a
    cache, windows without) and, in windows, of their size; whatever the number of workers, how they
    were started, or what was read before. ``batches(first=k)`` begins with batch k, to the sample.
    A batch is never written over while something refers to it.

    Memory: the frames that are decoded at a time, in `slots` that the processes share; with a cache
    all frames, decoded. What else grows with the number of frames is the index that `Steps` holds.

    Args:
        steps: what to read.
        plan: how, see `choose_plan`.
        batch_size: samples in a batch.
        seed: names the order.
        rank, world: number of this reader, and of readers, which share an epoch.
        pin_memory: put batches into page-locked memory, from which a GPU copies by itself.
        start_method: fork, spawn or forkserver; None is Python's own choice.
        persistent_workers: keep them between two calls of ``batches``.
        worker_init: called in each worker with its number when it starts.

    Raises:
        ValueError: no steps, or no such rank or batch size.
        PipelineError: fewer chunks of frames than readers.
    """

    def __init__(
        self,
        steps: Steps,
        plan: LoadingPlan,
        *,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
        start_method: str | None = None,
        persistent_workers: bool = False,
        worker_init: Callable[[int], None] | None = None,
    ) -> None:
        if not 0 <= rank < world or batch_size < 1:
            raise ValueError(f"rank {rank} of {world}, batch size {batch_size}")
        if not len(steps):
            raise ValueError("there are no steps to read")
        self.steps, self.plan, self.batch_size = steps, plan, batch_size
        self._pin = pin_memory and torch.cuda.is_available()
        self._uniform: UniformOrder | None = None
        self._windows: WindowOrder | None = None
        self.decoded: Decoded | None = None
        reader: Reader
        if plan.cache == "none":
            self._windows = WindowOrder(
                steps.chunk_counts,
                steps.used_chunks,
                batch_size=batch_size,
                seed=seed,
                window=plan.window,
                rank=rank,
                world=world,
            )
            context = 1 + -(-(steps.context - 1) // steps.source.chunk_rows)
            frames = self._windows.window * context * steps.source.chunk_rows
            self.slots = self._make_slots(frames)
            reader = WindowReader(steps, self.slots, self._windows)
        else:
            self._uniform = UniformOrder(
                len(steps), batch_size=batch_size, seed=seed, rank=rank, world=world
            )
            self.decoded = Decoded(steps.source)
            batches = _BATCHES_A_TASK if plan.workers else 1
            self.slots = self._make_slots(batches * batch_size * steps.context)
            reader = SpanReader(steps, self.slots, self._uniform, self.decoded)
        self._tasks = _Tasks()
        self._work = Work(reader)
        self._loader: DataLoader[Any] | None = None
        if plan.workers:
            self._loader = DataLoader(
                self._work,
                batch_size=None,
                sampler=self._tasks,
                num_workers=plan.workers,
                collate_fn=_as_it_is,
                prefetch_factor=_PREFETCH,
                persistent_workers=persistent_workers,
                multiprocessing_context=start_method,
                worker_init_fn=worker_init,
                # Its own, or it would draw from the generator that checkpoints hold.
                generator=torch.Generator().manual_seed(seed),
            )

    def _make_slots(self, frames: int) -> Slots:
        workers = max(1, self.plan.workers)
        each = _SPARE_SLOTS + (_PREFETCH if self.plan.workers else 1)
        return Slots(workers, each, frames, self.steps.source.frame_shape)

    @property
    def order(self) -> str:
        """What decides the order beside seed and epoch; with another one it is another training."""
        return "uniform" if self._windows is None else f"windows of {self._windows.window}"

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from ``first`` on; the last may be smaller."""
        return self.batches(first, epoch=number, epochs=1)

    def batches(
        self, first: int = 0, last: int | None = None, *, epoch: int = 0, epochs: int | None = None
    ) -> Iterator[Batch]:
        """Batches ``first`` up to ``last`` of the stream that begins with ``epoch``.

        Epochs follow one another without a gap: a batch may span two.

        Args:
            last: None goes on, to the end of ``epochs`` or for ever.
            epochs: the stream ends after so many, with a batch that may be smaller.

        Raises:
            PipelineError: a shard is damaged or gone, or a worker was killed.
        """
        if self._uniform is not None:
            found = self._from_spans(first, last, epoch, epochs)
        else:
            found = self._from_windows(first, last, epoch, epochs)
        return map(self._pinned, found) if self._pin else found

    def close(self) -> None:
        """Stop the workers and close the files."""
        self._loader = None
        self.steps.close()

    def _from_spans(
        self, first: int, last: int | None, epoch: int, epochs: int | None
    ) -> Iterator[Batch]:
        assert self._uniform is not None
        if epochs is not None:
            own = self._uniform.length(epochs)
            last = own if last is None else min(own, last)
        spans = _spans(first, last, epoch, epochs)
        if self._loader is None:
            yield from self._gathered(spans)
            return
        context = self.steps.context
        for block in self._blocks(spans):
            frames = self._frames(block)[: len(block.rows) * context]
            yield from self._cut(block.rows, self._in_samples(frames))

    def _gathered(self, spans: Iterator[Span]) -> Iterator[Batch]:
        """The batches of spans, gathered one at a time in this process, all else by the span."""
        assert self._uniform is not None
        assert self.decoded is not None
        size, context = self.batch_size, self.steps.context
        for span in spans:
            rows = self.steps.rows_of(self._uniform.steps_of(span))
            labels = self.steps.labels(rows)
            wanted = self.steps.context_of(rows)[0] if context > 1 else rows
            for low in range(0, len(rows), size):
                here = slice(low, low + size)
                asked = wanted[here].reshape(-1)
                slot = self.slots.take(0)
                if slot is None:
                    frames = np.empty((len(asked), *self.steps.source.frame_shape), np.uint8)
                else:
                    frames = self.slots.lend(slot)[: len(asked)]
                self.decoded.gather(asked, frames)
                yield Batch(torch.from_numpy(self._in_samples(frames)), *some_of(labels, here))

    def _in_samples(self, frames: Frames) -> Frames:
        """(n,H,W,3) as it is, or as (n/k,k,H,W,3)."""
        context = self.steps.context
        return frames if context == 1 else frames.reshape(-1, context, *frames.shape[1:])

    def _cut(self, rows: Indices, frames: Frames) -> Iterator[Batch]:
        labels = self.steps.labels(rows)
        for low in range(0, len(rows), self.batch_size):
            here = slice(low, low + self.batch_size)
            yield Batch(torch.from_numpy(frames[here]), *some_of(labels, here))

    def _from_windows(
        self, first: int, last: int | None, epoch: int, epochs: int | None
    ) -> Iterator[Batch]:
        order = self._windows
        assert order is not None
        given = first
        tasks = order.from_batch(first, epoch, epochs)
        begin = next(tasks, None)
        if begin is None or (last is not None and first >= last):
            return
        waiting = _Waiting(self._left_before(begin[0], epoch))
        windows = (window for window, _ in chain([begin], tasks))
        for number, block in enumerate(self._blocks(windows)):
            skip = begin[1] if number == 0 else 0
            for batch in self._of_window(block, skip, waiting):
                yield batch
                given += 1
                if last is not None and given >= last:
                    return
        if len(waiting.rows):
            yield self.steps.answers(*waiting.take(len(waiting.rows)))

    def _of_window(self, block: Block, skip: int, waiting: _Waiting) -> Iterator[Batch]:
        """A window's batches after the first ``skip``; then one of left-over steps, if enough."""
        assert block.groups is not None
        frames, rows = self._frames(block), block.rows
        kept, groups = len(rows) - block.rest, len(block.groups)
        labels = self.steps.labels(rows)
        for group in block.groups[skip:].tolist():
            here = slice(group, kept, groups)
            mine = frames[here]
            if block.chunks is not None:
                mine = self._contexts(block, frames, rows[here])
            yield Batch(torch.from_numpy(mine), *some_of(labels, here))
        if block.rest:
            over = rows[kept:]
            waiting.add(
                over,
                frames[kept : len(rows)].copy()
                if block.chunks is None
                else self._contexts(block, frames, over),
            )
            # One at most: a window leaves over less than a batch.
            if len(waiting.rows) >= self.batch_size:
                left = waiting.take(self.batch_size)
                if skip <= groups:
                    yield self.steps.answers(*left)

    def _contexts(self, block: Block, frames: Frames, rows: Indices) -> Frames:
        """(n,k,H,W,3) the frames of samples from the whole chunks of a block."""
        assert block.chunks is not None
        size = self.steps.source.chunk_rows
        wanted = self.steps.context_of(rows)[0]
        places = np.searchsorted(block.chunks, wanted // size) * size + wanted % size
        found: Frames = frames[places]
        return found

    def _left_before(self, window: Window, epoch: int) -> tuple[Indices, Frames]:
        """Rows and frames that wait when a window begins."""
        assert self._windows is not None
        rows = [np.empty(0, np.int64)]
        for earlier in self._windows.left_before(window, epoch):
            laid = self._windows.lay(earlier)
            rows.insert(0, self.steps.rows_in(laid.chunks)[laid.rest])
        waiting = np.concatenate(rows)
        waiting = waiting[len(waiting) - self._windows.waiting_at(window, epoch) :]
        wanted = self.steps.context_of(waiting)[0] if self.steps.context > 1 else waiting
        frames = self.steps.source.read_rows(wanted.reshape(-1))
        return waiting, frames.reshape(*wanted.shape, *self.steps.source.frame_shape)

    def _blocks(self, tasks: Iterator[Any]) -> Iterator[Block]:
        if self._loader is None:
            blocks: Iterator[Any] = map(self._work.__getitem__, tasks)
        else:
            self._tasks.next = _reclaimed(self.slots, tasks)
            blocks = iter(self._loader)
        while True:
            try:
                block = next(blocks, None)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise PipelineError(
                    "a loading worker was killed (out of memory?); run the same command again, or "
                    "with fewer train.workers"
                ) from None
            if block is None:
                return
            if isinstance(block, PipelineError):
                # Anew: raised itself, it and this frame would hold each other, and the workers
                # would be stopped by the garbage collector, which takes torch ten seconds.
                raise PipelineError(str(block))
            yield block

    def _frames(self, block: Block) -> Frames:
        if block.slot is not None:
            return self.slots.lend(block.slot)
        assert block.frames is not None
        frames: Frames = block.frames.numpy()
        return frames

    def _pinned(self, batch: Batch) -> Batch:
        def pinned(tensor: torch.Tensor | None) -> torch.Tensor | None:
            if tensor is None:
                return None
            return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)

        return Batch(*map(pinned, batch))  # type: ignore[arg-type]


def load_batches(
    steps: Steps,
    *,
    batch_size: int = 64,
    seed: int = 0,
    cache: Cache = "auto",
    workers: int | None = None,
    pool_bytes: int = POOL_BYTES,
    epochs: float | None = None,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
    start_method: str | None = None,
    persistent_workers: bool = False,
    worker_init: Callable[[int], None] | None = None,
) -> Loader:
    """A loader that chooses what is not given; ``print(loader.plan)`` tells what it chose.

    Args:
        cache, workers, pool_bytes: as in `choose_plan`.
        epochs: how often each step will be read, if that is known: one epoch needs no cache.

    All other arguments, and the errors, are those of `Loader`.
    """
    plan = choose_plan(
        steps,
        batch_size=batch_size,
        cache=cache,
        workers=workers,
        pool_bytes=pool_bytes,
        epochs=epochs,
    )
    return Loader(
        steps, plan, batch_size=batch_size, seed=seed, rank=rank, world=world,
        pin_memory=pin_memory, start_method=start_method, persistent_workers=persistent_workers,
        worker_init=worker_init,
    )  # fmt: skip


class _Waiting:
    """Left over steps on their way into a batch."""

    def __init__(self, begin: tuple[Indices, Frames]) -> None:
        self.rows, self.frames = begin

    def add(self, rows: Indices, frames: Frames) -> None:
        self.rows = np.concatenate([self.rows, rows])
        self.frames = np.concatenate([self.frames, frames])

    def take(self, count: int) -> tuple[Indices, Frames]:
        taken = self.rows[:count], self.frames[:count]
        self.rows, self.frames = self.rows[count:], self.frames[count:]
        return taken


class _Tasks(Sampler[Any]):
    """Gives torch's DataLoader the tasks of the call that is under way."""

    def __init__(self) -> None:
        self.next: Iterator[Any] = iter(())

    def __iter__(self) -> Iterator[Any]:
        return self.next


def _reclaimed(slots: Slots, tasks: Iterator[Any]) -> Iterator[Any]:
    # Begun when the workers have let go of an earlier call's tasks, whose blocks nobody took.
    slots.reclaim()
    yield from tasks


def _spans(first: int, last: int | None, epoch: int, epochs: int | None) -> Iterator[Span]:
    """Tasks that grow from one batch to many, so that the first batch is there at once."""
    count = 1
    while last is None or first < last:
        some = count if last is None else min(count, last - first)
        yield Span(first, some, epoch, epochs)
        first, count = first + some, min(2 * count, _BATCHES_A_TASK)


def _as_it_is(block: Any) -> Any:
    return block
