"""How the steps are read: workers, cache and pool, chosen from frames, memory and cores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.loading.dataset import Steps
from pipeline.system.workers import cores

Cache = Literal["auto", "ram", "disk", "none"]
"""``disk`` stands in old settings and means ``ram``: the order of steps is the same."""

POOL_BYTES = 48 << 20
"""Frames that one worker decodes at a time; with 84x84 frames, 148 chunks of 16."""
ALWAYS_KEPT = 1 << 30
"""Decoded frames up to so many bytes are kept: 50,000 of 84x84. The number is fixed because it
decides the order of steps: if it followed the free memory, the same settings would train another
network on another day."""


@dataclass(frozen=True)
class LoadingPlan:
    """How steps are read; ``str`` tells it in one line."""

    workers: int
    """Processes that read beside the one that trains; 0 reads in it."""
    cache: Cache
    """Whether decoded frames are kept: ``ram``, or ``none`` of them."""
    window: int
    """Chunks that are decoded at a time, without a cache."""
    steps: int
    """How many there are."""
    decoded_bytes: int
    """All frames, decoded."""
    pool_bytes: int
    """Frames that one worker decodes at a time."""
    note: str = ""
    """A remark about the cache, which ends that line."""

    @property
    def order(self) -> str:
        """What decides the order beside seed and epoch; with another one it is another training."""
        return f"windows of {self.window}" if self.cache == "none" else "uniform"

    def __str__(self) -> str:
        size = f"{self.decoded_bytes / 1e9:.2f} GB decoded"
        cache = {
            "ram": f"all kept decoded in memory ({size})",
            "none": f"decoded anew each epoch ({size}), "
            f"{self.pool_bytes / 1e6:.0f} MB at a time a worker",
        }[self.cache]
        cache += self.note
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
) -> LoadingPlan:
    """Choose what is not given.

    Guarantee: the order of steps depends on steps and settings alone, never on the machine. With
    "auto", frames that are read more than once and take at most `ALWAYS_KEPT` bytes decoded are
    kept in memory and read in any order; more are decoded anew each epoch, in windows, which show a
    network the same few scenes for a while. ``cache`` "ram" keeps them whatever they take.
    Workers decode for a fast reader, where there are cores for them; a training on the CPU needs
    its cores itself.

    Args:
        cache: "auto" chooses "ram" or "none".
        workers: None chooses.
        pool_bytes: bound of the frames that one worker decodes at a time.
        epochs: how often each step will be read; None says many times.
        fast_reader: whether the batches go to something faster than the decoding, such as a GPU.
    """
    source = steps.source
    chunks = source.chunks if steps.used_chunks is None else len(steps.used_chunks)
    decoded = chunks * source.chunk_bytes
    note = ""
    if cache == "disk":
        cache, note = "ram", "; there is no cache on disk now, memory keeps the same order"
    elif cache == "auto":
        again = epochs is None or epochs > 1
        cache = "ram" if again and decoded <= ALWAYS_KEPT else "none"
        if again and cache == "none":
            note = "; cache ram would keep them, in another order"
    if workers is None:
        workers = min(4, max(0, cores() - 1)) if fast_reader else 0
    context = 1 + -(-(steps.context - 1) // source.chunk_rows)
    window = min(pool_bytes // source.chunk_bytes // context, chunks)
    # Twice the batch, so that the steps of a batch are of different chunks where some are partial.
    window = max(window, 2 * batch_size if steps.context == 1 else 1)
    return LoadingPlan(
        workers, cache, window, len(steps), decoded, window * context * source.chunk_bytes, note
    )
