"""The product's loader as the benchmark uses it: the one place that knows its names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from torch.utils.data import DataLoader

from pipeline.loading.dataset import CACHE_BYTES, LabelledSteps, whole_batch
from pipeline.loading.sampling import ChunkShuffle
from tests.bench.loader_peers import BATCH

Batch = tuple[Tensor, Tensor]
"""Frames (64,84,84,3) u8 and buttons (64,) i64."""


class Opened:
    """The loader over the labelled steps of some shards.

    Args:
        shards: processed, labelled shards.
        workers: processes that read; 0 reads in this one.
        decoded: keep the decoded frames, so that the second epoch reads no file; false keeps no
            more than the pool from which batches are drawn.
    """

    def __init__(
        self, shards: list[Path], *, workers: int, decoded: bool = False, seed: int = 0
    ) -> None:
        self._workers, self._seed = workers, seed
        self._steps = LabelledSteps(shards, cache_bytes=1 << 50 if decoded else CACHE_BYTES)
        self.pool_mb = 0.0 if decoded else CACHE_BYTES / 1e6
        """Frames that are mixed at a time; 0: all of them."""
        self.chosen = f"{self._steps.cached_chunks} chunks cached"
        """What it chose, in a line."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The whole batches of an epoch, each step once; a smaller last one is left out."""
        batches = len(self._steps) // BATCH
        order = ChunkShuffle(
            self._steps.chunk_counts,
            batch_size=BATCH,
            seed=self._seed + number,
            window=self._steps.cached_chunks,
            last=batches,
        )
        loader = DataLoader(
            self._steps,
            batch_sampler=order,
            num_workers=self._workers,
            collate_fn=whole_batch,  # type: ignore[arg-type]
        )
        yield from loader

    def close(self) -> None:
        self._steps.close()
