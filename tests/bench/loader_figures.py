"""One measurement of the loading benchmark: time, processor time, memory, randomness.

It runs in the process that it is about.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tests.bench.loader_data import BenchData, count_buttons, warm
from tests.bench.loader_ours import Opened
from tests.bench.loader_peers import BATCH, PEERS, Peer

WARM_UP = 0.5
"""Seconds of an endless stream that are not counted."""

SAMPLED = 256
"""Batches between two looks at the memory: less than half a percent of the time."""

CELL = 12
"""Edge in pixels of the squares over which a frame is averaged to judge randomness."""

EPOCHS_JUDGED = 4
"""Epochs whose batch means are looked at."""

TICKS = os.sysconf("SC_CLK_TCK")

Figures = dict[str, float]


def measure_here(
    name: str, folder: Path, *, workers: int, one_core: bool, seconds: float
) -> Figures:
    """The figures of a peer (for so many seconds) or of the product, by name."""
    if one_core:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
    data = BenchData(folder)
    warm(PEERS[name].files(data) if name in PEERS else data.shards)
    if name in PEERS:
        return endless(PEERS[name], data, workers, seconds)
    return OURS[name](data, workers)


def endless(peer: Peer, data: BenchData, workers: int, seconds: float) -> Figures:
    """Frames a second of a peer's stream once it runs."""
    if peer.needs:
        importlib.import_module(peer.needs)
    memory = Memory()
    begun = perf_counter()
    batches = peer.start(data, workers)
    next(batches)
    set_up = perf_counter() - begun
    while perf_counter() - begun < set_up + WARM_UP:
        next(batches)
    used, begun, count = processor_time(), perf_counter(), 0
    while (passed := perf_counter() - begun) < seconds or not count:
        next(batches)
        count += 1
        if count % SAMPLED == 0:
            memory.look()
    used = processor_time() - used
    memory.look()
    return _rates(count, passed, used) | memory.figures() | {"first_batch_s": set_up}


def whole_epoch(batches: Iterable[Any]) -> Figures:
    """Frames a second of an epoch, from asking for its first batch to its last."""
    memory = Memory()
    used, begun, count, first = processor_time(), perf_counter(), 0, 0.0
    for _ in batches:
        count += 1
        if count == 1:
            first = perf_counter() - begun
        if count % SAMPLED == 1:
            memory.look()
    passed = perf_counter() - begun
    used = processor_time() - used
    later = (count - 1) * BATCH / max(passed - first, 1e-9)
    figures = {"after_first_batch": later, "first_batch_s": first}
    return _rates(count, passed, used) | memory.figures() | figures


def _rates(batches: int, seconds: float, used: float) -> Figures:
    return {
        "frames": batches * BATCH,
        "frames_per_second": batches * BATCH / seconds,
        "frames_per_processor_second": batches * BATCH / max(used, 1e-9),
    }


def first_epoch(data: BenchData, workers: int) -> Figures:
    """From the gzip shards, nothing decoded before and nothing kept."""
    begun = perf_counter()
    loader = Opened(data.shards, workers=workers)
    opened = perf_counter() - begun
    figures = whole_epoch(loader.epoch(0))
    loader.close()
    return figures | {"first_batch_s": opened + figures["first_batch_s"]}


def second_epoch(data: BenchData, workers: int, *, as_float: bool = False) -> Figures:
    """With the decoded frames kept; the first batch is that of the first epoch."""
    begun = perf_counter()
    loader = Opened(data.shards, workers=workers, decoded=True)
    before = loader.epoch(0)
    next(before)
    first = perf_counter() - begun
    for _ in before:
        pass
    batches = loader.epoch(1)
    figures = whole_epoch(_as_float(batches) if as_float else batches)
    loader.close()
    return figures | {"first_batch_s": first}


def second_epoch_as_float(data: BenchData, workers: int) -> Figures:
    """The same, and each batch made what the replay buffer gives."""
    return second_epoch(data, workers, as_float=True)


def _as_float(batches: Iterator[Any]) -> Iterator[Any]:
    for frames, buttons in batches:
        yield frames.permute(0, 3, 1, 2).float().div_(255), buttons


def opening(data: BenchData, workers: int) -> Figures:
    """Seconds from opening to the first batch; all that is needed has been imported."""
    shards = data.shards
    begun = perf_counter()
    loader = Opened(shards, workers=workers)
    batches = loader.epoch(0)
    next(batches)
    seconds = perf_counter() - begun
    del batches
    loader.close()
    return {"seconds": seconds}


def randomness(data: BenchData, workers: int) -> Figures:
    """Batch means of some epochs against i.i.d.; each epoch is checked to be every step once."""
    loader, memory = Opened(data.shards, workers=workers), Memory()
    due = count_buttons(data)
    ratios, controls = [], []
    rng = np.random.default_rng(0)
    for number in range(EPOCHS_JUDGED):
        features, seen = [], np.zeros(256, np.int64)
        for count, (frames, buttons) in enumerate(loader.epoch(number)):
            features.append(pooled(frames.numpy()))
            seen += np.bincount(buttons.numpy(), minlength=256)
            if count % (SAMPLED // 4) == 0:
                memory.look()
        if (due - seen).min() < 0 or (due - seen).sum() >= BATCH:
            sys.exit(f"error: epoch {number} is not every step once: {due - seen} are missing")
        rows = np.concatenate(features)
        ratios.append(variance_against_iid(rows, BATCH))
        controls.append(variance_against_iid(rng.permutation(rows), BATCH))
    figures = {"variance": float(np.mean(ratios)), "control": float(np.mean(controls))}
    figures |= {"pool_mb": loader.pool_mb, **memory.figures()}
    loader.close()
    return figures


OURS: dict[str, Callable[[BenchData, int], Figures]] = {
    "ours_first": first_epoch,
    "ours_cached": second_epoch,
    "ours_cached_float": second_epoch_as_float,
    "ours_randomness": randomness,
    "ours_opening": opening,
}


def pooled(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,H,W,3) u8 to (n,C) f32: grey means of the squares of CELL by CELL pixels."""
    count, height, width, colours = frames.shape
    bands = frames.reshape(count, height // CELL, CELL, width * colours).sum(2, dtype=np.uint16)
    cells = bands.reshape(count, height // CELL, width // CELL, CELL * colours)
    sums = cells.sum(3, dtype=np.uint32).reshape(count, -1)
    means: NDArray[np.float32] = sums.astype(np.float32) / np.float32(CELL * CELL * colours)
    return means


def variance_against_iid(features: NDArray[np.float32], batch_size: int) -> float:
    """How far apart batch means lie, against independent draws of the same frames.

    Args:
        features: (N,C), a row a frame, in the order in which an epoch delivers them.

    Returns:
        The variance of the means of `batch_size` rows over that of one row divided by
        `batch_size`, each a mean over the columns; about 1 for independent draws.
    """
    whole = len(features) // batch_size * batch_size
    rows = features[:whole].astype(np.float64)
    means = rows.reshape(-1, batch_size, rows.shape[1]).mean(axis=1)
    return float(means.var(axis=0, ddof=1).mean() / (rows.var(axis=0).mean() / batch_size))


class Memory:
    """The most that this process and its descendants held at any look, in MB."""

    def __init__(self) -> None:
        self.main = self.worker = self.shared = 0.0

    def look(self) -> None:
        self.main = max(self.main, _status(os.getpid(), "RssAnon"))
        for pid in descendants():
            self.worker = max(self.worker, _status(pid, "RssAnon"))
            self.shared = max(self.shared, _status(pid, "RssShmem"))

    def figures(self) -> Figures:
        return {
            "main_anonymous_mb": self.main,
            "worker_anonymous_mb": self.worker,
            "worker_shared_mb": self.shared,
        }


def descendants() -> list[int]:
    """All processes that this one started, or that they did, and that still run."""
    found, waiting = [], [os.getpid()]
    while waiting:
        for file in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                pids = [int(pid) for pid in file.read_text().split()]
            except OSError:
                continue  # ended meanwhile
            found += pids
            waiting += pids
    return found


def _status(pid: int, name: str) -> float:
    """A line of /proc/PID/status in MB; 0 where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def processor_time() -> float:
    """Seconds that all processes of this measurement have used."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = process_time() + ended.ru_utime + ended.ru_stime
    for pid in descendants():
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(after_name[11]) + int(after_name[12])) / TICKS
    return total
