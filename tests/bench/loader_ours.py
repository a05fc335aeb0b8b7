"""The product's loader as the benchmark uses it: the one place that knows its names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from pipeline.loading.dataset import Steps
from pipeline.loading.loader import load_batches
from tests.bench.loader_peers import BATCH


class Opened:
    """The loader over the labelled steps of some shards.

    Args:
        shards: processed, labelled shards.
        workers: processes that read; 0 reads in this one.
        decoded: keep the decoded frames in memory, so that the second epoch reads no file; false
            keeps no more than the pool from which batches are drawn.
    """

    def __init__(
        self, shards: list[Path], *, workers: int, decoded: bool = False, seed: int = 0
    ) -> None:
        self._loader = load_batches(
            Steps(shards),
            batch_size=BATCH,
            seed=seed,
            cache="ram" if decoded else "none",
            workers=workers,
        )
        self.pool_mb = 0.0 if decoded else self._loader.plan.pool_bytes / 1e6
        """Frames that are mixed at a time; 0: all of them."""

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, (64,84,84,3) u8 and (64,) i64, each step once.

        A smaller last batch is left out.
        """
        for batch in self._loader.epoch(number):
            if len(batch.buttons) == BATCH:
                yield batch.frames, batch.buttons

    def close(self) -> None:
        self._loader.close()
