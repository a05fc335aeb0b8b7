"""The labelled steps of shards as a map-style torch dataset that never holds them all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.shards.reader import Shard
from pipeline.shards.schema import FRAMES_PER_CHUNK, TRAIN, LabelStatus

CACHE_BYTES = 128 << 20
"""Decoded frames that are kept. With chunks of 84x84 frames: 396 of them, 6,341 frames."""

Batch = tuple[Tensor, Tensor]
"""Frames (B,H,W,3) u8 and the expert's buttons (B,) i64."""

Indices = NDArray[np.int64]


class LabelledSteps(Dataset[tuple[Tensor, int]]):
    """Every step of one split that has a label: step i is (frame (H,W,3) u8, the right button).

    Steps are numbered shard by shard in the order of the files. Frames are read and decoded by
    whole chunks, and the last `cache_bytes` of them are kept: an order that stays within a few
    chunks for a while (`pipeline.loading.sampling.ChunkShuffle`) decodes each chunk once.

    Memory: the cache, and 16 bytes for each chunk of 16 frames. The files are opened by the
    process that reads, so that it pickles and survives a fork; give a DataLoader
    ``collate_fn=whole_batch``, because a batch is put together here.

    Args:
        paths: processed shards with frames of one size, checked by `check_shards`.
        split: TRAIN or VALIDATION.
        max_labels: take only the first so many labels of the first shard; 0 takes all.
        cache_bytes: bound of the cache; at least one chunk is kept.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        split: int = TRAIN,
        max_labels: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.shards = [Shard(path) for path in paths]
        self.split = split
        contract = self.shards[0].header.frame_contract
        self.frame_shape = (contract.height, contract.width, 3)
        self.last_steps = np.array([shard.n_frames for shard in self.shards], np.int64)
        """(S,) steps of each shard that are looked at."""
        counts = []
        for number, shard in enumerate(self.shards):
            chosen = self._chosen(number, 0, shard.n_frames)
            if number == 0 and 0 < max_labels < np.count_nonzero(chosen):
                self.last_steps[0] = np.flatnonzero(chosen)[max_labels - 1] + 1
                chosen[self.last_steps[0] :] = False
            starts = np.arange(0, shard.n_frames, FRAMES_PER_CHUNK)
            counts.append(np.add.reduceat(chosen, starts, dtype=np.int64))
            shard.close()
        self.chunk_counts: Indices = np.concatenate(counts)
        """(C,) labelled steps in each chunk, over all shards."""
        self._chunk_ends = np.cumsum(self.chunk_counts)
        self._first_chunks = np.cumsum([0, *(len(c) for c in counts)])
        chunk_bytes = FRAMES_PER_CHUNK * int(np.prod(self.frame_shape))
        self.cached_chunks = min(max(1, cache_bytes // chunk_bytes), len(self.chunk_counts))
        """Chunks that the cache holds."""
        self._cache: _ChunkCache | None = None

    def __len__(self) -> int:
        return int(self._chunk_ends[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        frames, buttons = self.__getitems__([index % len(self)])
        return frames[0], int(buttons[0])

    def __getitems__(self, indices: Sequence[int] | Indices) -> Batch:
        """The batch of these steps, in this order; torch's DataLoader calls it."""
        wanted = np.asarray(indices, np.int64)
        chunks = np.searchsorted(self._chunk_ends, wanted, side="right")
        rows = wanted - (self._chunk_ends[chunks] - self.chunk_counts[chunks])
        frames = np.empty((len(wanted), *self.frame_shape), np.uint8)
        buttons = np.empty(len(wanted), np.int64)
        # By chunk, so that each is looked up once, however few the cache can hold.
        order = np.argsort(chunks, kind="stable")
        sorted_chunks = chunks[order]
        bounds = [0, *(np.flatnonzero(np.diff(sorted_chunks)) + 1), len(order)]
        for low, high in pairwise(bounds):
            here = order[low:high]
            chunk_frames, chunk_buttons = self._chunk(int(sorted_chunks[low]))
            frames[here] = chunk_frames[rows[here]]
            buttons[here] = chunk_buttons[rows[here]]
        return torch.from_numpy(frames), torch.from_numpy(buttons)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": None}

    def close(self) -> None:
        """Close the files and give the cache back; the next use opens them again."""
        self._cache = None
        for shard in self.shards:
            shard.close()

    def _chunk(self, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The labelled steps of a chunk: frames (n,H,W,3) u8, buttons (n,) u8."""
        if self._cache is None:
            self._cache = _ChunkCache(self.cached_chunks, self.frame_shape)
        found = self._cache.get(chunk)
        if found is not None:
            return found
        number = int(np.searchsorted(self._first_chunks, chunk, side="right")) - 1
        shard = self.shards[number]
        start = (chunk - int(self._first_chunks[number])) * FRAMES_PER_CHUNK
        stop = min(start + FRAMES_PER_CHUNK, shard.n_frames)
        chosen = self._chosen(number, start, stop)
        frames = shard.read_frames(start, stop)
        buttons = shard.column("expert_actions", start, stop)
        return self._cache.put(chunk, frames[chosen], buttons[chosen])

    def _chosen(self, number: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the steps ``start`` to ``stop`` of a shard have a label and the right split."""
        shard = self.shards[number]
        steps = np.arange(start, stop)
        episodes = np.searchsorted(shard.starts, steps, side="right") - 1
        labelled = shard.column("label_status", start, stop) == LabelStatus.LABELLED
        chosen: NDArray[np.bool_] = (
            labelled & (shard.splits[episodes] == self.split) & (steps < self.last_steps[number])
        )
        return chosen


class _ChunkCache:
    """The chunks used last, in memory that is taken once."""

    def __init__(self, slots: int, frame_shape: tuple[int, ...]) -> None:
        self._frames = np.empty((slots, FRAMES_PER_CHUNK, *frame_shape), np.uint8)
        self._buttons = np.empty((slots, FRAMES_PER_CHUNK), np.uint8)
        self._held: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def get(self, chunk: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        held = self._held.get(chunk)
        if held is None:
            return None
        self._held.move_to_end(chunk)
        slot, steps = held
        return self._frames[slot, :steps], self._buttons[slot, :steps]

    def put(
        self, chunk: int, frames: NDArray[np.uint8], buttons: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        full = len(self._held) == len(self._frames)
        slot = self._held.popitem(last=False)[1][0] if full else len(self._held)
        steps = len(buttons)
        self._frames[slot, :steps], self._buttons[slot, :steps] = frames, buttons
        self._held[chunk] = (slot, steps)
        return self._frames[slot, :steps], self._buttons[slot, :steps]


def whole_batch(batch: Batch) -> Batch:
    """The ``collate_fn`` for `LabelledSteps`: the batch is whole already."""
    return batch


def batches_of(steps: LabelledSteps, indices: Indices, batch_size: int) -> Iterator[Batch]:
    """Batches of these steps, in this order; the last may be smaller."""
    for low in range(0, len(indices), batch_size):
        yield steps.__getitems__(indices[low : low + batch_size])
