"""What a worker does: one task of an order in, a block of decoded frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from pipeline.loading.dataset import Steps
from pipeline.loading.decoded import Decoded
from pipeline.loading.sampling import Span, UniformOrder, Window, WindowOrder
from pipeline.loading.slots import Slots
from pipeline.loading.source import Frames, Indices
from pipeline.system.errors import PipelineError


@dataclass
class Block:
    """Decoded frames, in a slot or (where none was free) in memory of their own."""

    slot: int | None
    frames: Tensor | None
    rows: Indices
    """(M,) rows of the samples that the block makes; of a window the left over ones last."""
    chunks: Indices | None = None
    """Chunks that lie in the block whole, one after the other, rising; None: frame i is that of
    sample i."""
    rest: int = 0
    """How many samples at the end are left over."""
    groups: Indices | None = None
    """Order of the batches of a window, see `Laid`."""


Reader = Callable[[Any, int], Block]
"""A task and the number of a worker in, a block out."""


class _Reader:
    def __init__(self, steps: Steps, slots: Slots) -> None:
        self.steps, self.slots = steps, slots
        source = steps.source
        self._scratch = np.empty((source.chunk_rows, *source.frame_shape), np.uint8)

    def _memory(self, worker: int, frames: int) -> tuple[int | None, Tensor | None, Frames]:
        slot = self.slots.take(worker)
        if slot is not None:
            return slot, None, self.slots.memory(slot)
        fresh = torch.empty((frames, *self.steps.source.frame_shape), dtype=torch.uint8)
        return None, fresh, fresh.numpy()

    @contextmanager
    def _given_back(self, slot: int | None) -> Iterator[None]:
        """Free the slot again if what was to fill it fails."""
        try:
            yield
        except BaseException:
            if slot is not None:
                self.slots.give(slot)
            raise


class WindowReader(_Reader):
    """Decodes the chunks of a window, each straight into its place."""

    def __init__(self, steps: Steps, slots: Slots, order: WindowOrder) -> None:
        super().__init__(steps, slots)
        self.order = order

    def __call__(self, window: Window, worker: int) -> Block:
        laid = self.order.lay(window)
        rows = self.steps.rows_in(laid.chunks)
        rows = np.concatenate([rows[~laid.rest], rows[laid.rest]])
        rest = int(laid.rest.sum())
        if self.steps.context > 1:
            needed = self.steps.context_of(rows)[0] // self.steps.source.chunk_rows
            chunks = np.unique(needed)
            slot, fresh, out = self._memory(worker, len(chunks) * self.steps.source.chunk_rows)
            with self._given_back(slot):
                self._whole(chunks, out)
            return Block(slot, fresh, rows, chunks, rest, laid.groups)
        slot, fresh, out = self._memory(worker, len(rows))
        with self._given_back(slot):
            self._dense(laid.chunks, laid.counts, laid.rest, out)
        return Block(slot, fresh, rows, None, rest, laid.groups)

    def _whole(self, chunks: Indices, out: Frames) -> None:
        size = self.steps.source.chunk_rows
        for place, chunk in enumerate(chunks.tolist()):
            self.steps.source.read_chunk(chunk, out[place * size : (place + 1) * size])

    def _dense(
        self, chunks: Indices, counts: Indices, rest: NDArray[np.bool_], out: Frames
    ) -> None:
        """The chosen frames side by side, those left over at the end."""
        source, size = self.steps.source, self.steps.source.chunk_rows
        starts = np.cumsum(counts) - counts
        left = np.add.reduceat(rest, starts, dtype=np.int64)
        at, tail = 0, len(rest) - int(left.sum())
        for chunk, first, count, over in zip(
            chunks.tolist(), starts.tolist(), counts.tolist(), left.tolist(), strict=True
        ):
            if count == size and not over:
                source.read_chunk(chunk, out[at : at + size])
            else:
                source.read_chunk(chunk, self._scratch)
                rows = self.steps.rows_in(np.array([chunk])) - chunk * size
                here = rest[first : first + count]
                out[at : at + count - over] = self._scratch[rows[~here]]
                out[tail : tail + over] = self._scratch[rows[here]]
            at, tail = at + count - over, tail + over


class SpanReader(_Reader):
    """Gathers frames that lie decoded, batch after batch."""

    def __init__(self, steps: Steps, slots: Slots, order: UniformOrder, decoded: Decoded) -> None:
        super().__init__(steps, slots)
        self.order, self.decoded = order, decoded

    def __call__(self, task: Span, worker: int) -> Block:
        rows = self.steps.rows_of(self.order.steps_of(task))
        frames = self.steps.context_of(rows)[0].reshape(-1) if self.steps.context > 1 else rows
        slot, fresh, out = self._memory(worker, len(frames))
        with self._given_back(slot):
            self.decoded.gather(frames, out[: len(frames)])
        return Block(slot, fresh, rows)


class Work(Dataset["Block | PipelineError"]):
    """The tasks as a dataset for torch's DataLoader: a task in, a block out."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def __getitem__(self, task: Any) -> Block | PipelineError:
        worker = get_worker_info()
        try:
            return self.reader(task, 0 if worker is None else worker.id)
        except PipelineError as error:
            # Raised, it would come out of a worker as a page of traceback.
            return PipelineError(str(error))
