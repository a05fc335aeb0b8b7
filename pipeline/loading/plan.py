"""How the steps are read: workers, cache and pool, chosen from frames, memory and cores."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.executor import cores
from pipeline.loading.dataset import Steps
from pipeline.loading.memory import available_memory

Cache = Literal["auto", "ram", "disk", "none"]

POOL_BYTES = 48 << 20
"""Frames that one worker decodes at a time; with 84x84 frames, 148 chunks of 16."""
ALWAYS_KEPT = 1 << 30
"""Decoded frames up to so many bytes are kept in any case: 50,000 of 84x84."""
_SHARE = 0.5
"""Of the free memory, or disk, that decoded frames may take."""


@dataclass(frozen=True)
class LoadingPlan:
    """What was chosen; ``str`` says it in one line."""

    workers: int
    """Processes that read beside the one that trains; 0 reads in it."""
    cache: Cache
    """Where decoded frames are kept: ``ram``, ``disk``, or ``none`` of them."""
    window: int
    """Chunks that are decoded at a time, without a cache."""
    steps: int
    decoded_bytes: int
    """All frames, decoded."""
    pool_bytes: int
    """Frames that one worker decodes at a time."""

    def __str__(self) -> str:
        size = f"{self.decoded_bytes / 1e9:.2f} GB decoded"
        cache = {
            "ram": f"all kept decoded in memory ({size})",
            "disk": f"all kept decoded in a file ({size})",
            "none": f"decoded anew each epoch ({size}), "
            f"{self.pool_bytes / 1e6:.0f} MB at a time a worker",
        }[self.cache]
        order = "any order" if self.cache != "none" else f"windows of {self.window} chunks"
        who = f"{self.workers} workers" if self.workers else "no workers"
        return f"loading {self.steps:,} steps: {cache}; {order}; {who}"


def choose_plan(
    steps: Steps,
    *,
    batch_size: int,
    cache: Cache = "auto",
    workers: int | None = None,
    pool_bytes: int = POOL_BYTES,
    epochs: float | None = None,
    fast_reader: bool = True,
    folder: Path | None = None,
) -> LoadingPlan:
    """Choose what was not said.

    Frames that take little memory are kept in it: any order of them is possible then, where
    windows show a network the same few scenes for a while. Of more frames a cache pays from the
    second epoch on, and only where the reader is faster than one core decodes (some 70,000 frames
    a second): in memory, if half of what is free holds all frames, else on disk by the same rule.
    Workers take the decoding off a fast reader's process,
    where there are cores for them; a training on the processor needs its cores itself.

    Args:
        cache, workers: None and "auto" are chosen.
        pool_bytes: bound of the frames that one worker decodes at a time.
        epochs: how often each step will be read; None says many times.
        fast_reader: whether the batches go to something faster than the decoding, such as a GPU.
        folder: where a cache on disk would lie; None allows none.
    """
    source = steps.source
    chunks = source.chunks if steps.used_chunks is None else len(steps.used_chunks)
    decoded = chunks * source.chunk_bytes
    if cache == "auto":
        again = epochs is None or epochs > 1
        free = _SHARE * available_memory()
        if again and decoded <= (free if fast_reader else min(free, ALWAYS_KEPT)):
            cache = "ram"
        elif again and fast_reader and folder is not None and decoded <= _SHARE * _free(folder):
            cache = "disk"
        else:
            cache = "none"
    if workers is None:
        workers = min(4, max(0, cores() - 1)) if fast_reader else 0
    context = 1 + -(-(steps.context - 1) // source.chunk_rows)
    window = min(pool_bytes // source.chunk_bytes // context, chunks)
    # Twice the batch, so that the steps of a batch are of different chunks where some are partial.
    window = max(window, 2 * batch_size if steps.context == 1 else 1)
    return LoadingPlan(
        workers, cache, window, len(steps), decoded, window * context * source.chunk_bytes
    )


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
