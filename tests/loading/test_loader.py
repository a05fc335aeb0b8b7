"""The loader: every step once, the same batches however they are read, nothing written over."""

from __future__ import annotations

import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.loading.dataset import Batch, Steps
from pipeline.loading.loader import Loader, load_batches
from pipeline.system.errors import PipelineError
from tests.loading import made

KINDS = ["none", "ram"]
# Chunks of 16 frames of 84x84: small pools, so that there are several windows.
POOL = 8 * 16 * 84 * 84 * 3


NEAR: dict[str, Any] = {"milestones": ("near",), "reached": ((20,), (-1,), (0,))}


def steps_of(folder: Path, **options: Any) -> Steps:
    paths = [
        made.shard(folder / "a.h5", (100, 45, 61), every=options.pop("every", 1), **NEAR),
        made.shard(folder / "b.h5", (90, 30), first=206, seed=3, **NEAR),
    ]
    return Steps(paths, **options)


def loader_of(steps: Steps, **options: Any) -> Loader:
    fields = {"batch_size": 8, "workers": 0, "cache": "none", "pool_bytes": POOL, **options}
    return load_batches(steps, **fields)


def numbers(batch: Batch) -> list[int]:
    frames = batch.frames.reshape(-1, 84, 84, 3)
    return [made.number_of(frame) for frame in frames]


def flat(lists: list[list[int]]) -> list[int]:
    return [n for one in lists for n in one]


def read(batches: Any) -> list[list[int]]:
    """The numbers in each batch, the buttons checked."""
    found = []
    for batch in batches:
        found.append(numbers(batch))
        assert batch.buttons.tolist() == [n * 7 % 10 for n in found[-1]]
    return found


@pytest.mark.parametrize("cache", KINDS)
@pytest.mark.parametrize("every", [1, 3])
def test_each_epoch_has_every_step_once_in_an_order_of_its_own(
    tmp_path: Path, cache: str, every: int
) -> None:
    steps = steps_of(tmp_path, every=every)
    loader = loader_of(steps, cache=cache)
    epochs = [read(loader.epoch(n)) for n in range(3)]
    expected = sorted(numbers(steps.batch(np.arange(len(steps)))))
    for epoch in epochs:
        assert sorted(flat(epoch)) == expected
        assert {len(batch) for batch in epoch[:-1]} == {8}
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize(
    ("start", "cache"),
    [
        *(("fork", kind) for kind in KINDS),
        ("spawn", "none"),
        ("spawn", "disk"),
        ("forkserver", "ram"),
    ],
)
def test_workers_however_many_and_however_started_change_nothing(
    tmp_path: Path, cache: str, start: str
) -> None:
    steps = steps_of(tmp_path, every=2)
    alone = read(loader_of(steps, cache=cache).batches(3, 100))
    assert len(alone) == 97
    for workers in (1, 2) if start == "fork" else (2,):
        loader = loader_of(steps, cache=cache, workers=workers, start_method=start)
        assert read(loader.batches(3, 100)) == alone
        loader.close()


@pytest.mark.parametrize("cache", KINDS)
@pytest.mark.parametrize("every", [1, 3])
def test_it_resumes_at_any_batch_of_any_epoch(tmp_path: Path, cache: str, every: int) -> None:
    steps = steps_of(tmp_path, every=every)
    stream = read(loader_of(steps, cache=cache).batches(0, 90))
    for first in (1, 2, 7, 20, 41, 60, 88):
        assert read(loader_of(steps, cache=cache).batches(first, 90)) == stream[first:]
    epoch = read(loader_of(steps, cache=cache).epoch(2))
    for first in range(len(epoch) + 1):
        assert read(loader_of(steps, cache=cache).epoch(2, first)) == epoch[first:]


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("world", [2, 3])
def test_readers_share_an_epoch_without_overlap_or_loss(
    tmp_path: Path, cache: str, world: int
) -> None:
    steps = steps_of(tmp_path, every=3)
    seen = [
        flat(read(loader_of(steps, cache=cache, rank=rank, world=world).epoch(1)))
        for rank in range(world)
    ]
    assert sorted(flat(seen)) == sorted(numbers(steps.batch(np.arange(len(steps)))))
    assert min(map(len, seen)) > 0


@pytest.mark.parametrize("cache", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_never_written_over_while_somebody_holds_it(
    tmp_path: Path, cache: str, workers: int
) -> None:
    loader = loader_of(steps_of(tmp_path), cache=cache, workers=workers)
    held, before = [], []
    for batch in loader.batches(0, 120):
        held.append(batch)
        before.append(numbers(batch))
    assert [numbers(batch) for batch in held] == before


def test_memory_is_used_again_when_nobody_holds_the_batches(tmp_path: Path) -> None:
    loader = loader_of(Steps([made.shard(tmp_path / "a.h5", (640,))]), pool_bytes=2 * POOL)
    places = {batch.frames.data_ptr() for batch in loader.batches(0, 400)}
    assert len(places) <= 3 * 32  # slots, and batches of a window
    assert loader.slots.free() == 3


def test_a_changed_batch_does_not_change_what_is_read_later(tmp_path: Path) -> None:
    for cache in KINDS:
        loader = loader_of(steps_of(tmp_path / cache), cache=cache)
        first = read(loader.epoch(0))
        for batch in loader.epoch(0):
            batch.frames.zero_()
        assert read(loader.epoch(0)) == first


def test_a_batch_of_a_window_has_one_step_of_a_chunk(tmp_path: Path) -> None:
    path = made.shard(tmp_path / "a.h5", (640,))
    for batch in read(loader_of(Steps([path]), pool_bytes=16 * 16 * 84 * 84 * 3).epoch(0)):
        assert len({n // 16 for n in batch}) == 8


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("workers", [0, 2])
def test_stacks_and_windows_come_through_every_way_of_reading(
    tmp_path: Path, cache: str, workers: int
) -> None:
    for kind in ({"stack": 4}, {"window": 3}):
        steps = steps_of(tmp_path / str(kind), every=3, previous=True, goals=True, **kind)
        loader = loader_of(steps, cache=cache, workers=workers)
        place = {n: i for i, n in enumerate(_first_numbers(steps))}
        seen = 0
        for batch in loader.epoch(0):
            own = [made.number_of(s[-1 if "stack" in kind else 0]) for s in batch.frames]
            again = steps.batch(np.array([place[n] for n in own]))
            for value, expected in zip(batch, again, strict=True):
                assert (value is None and expected is None) or torch.equal(value, expected)
            seen += len(own)
        assert seen == len(steps)
        loader.close()


def _first_numbers(steps: Steps) -> list[int]:
    frames = steps.batch(np.arange(len(steps))).frames
    place = -1 if steps.stack > 1 else 0
    return [made.number_of(sample[place]) for sample in frames]


def test_workers_that_stay_read_call_after_call(tmp_path: Path) -> None:
    for cache in KINDS:
        steps = steps_of(tmp_path / cache)
        loader = loader_of(steps, cache=cache, workers=2, persistent_workers=True)
        first = [batch.buttons.tolist() for batch in islice(loader.batches(), 9)]
        assert first == [b.buttons.tolist() for b in islice(loader.batches(), 9)]
        assert read(loader.epoch(0)) == read(loader_of(steps, cache=cache).epoch(0))
        assert loader.slots.free() > 0
        loader.close()


def test_a_damaged_chunk_is_one_line_from_a_worker_too(tmp_path: Path) -> None:
    steps = steps_of(tmp_path)
    path = tmp_path / "b.h5"
    with path.open("r+b") as file:
        file.seek(int(steps.source._offsets.array[int(steps.source.first_chunks[1])]) + 50)
        file.write(b"damage")
    for workers in (0, 2):
        with pytest.raises(PipelineError) as refused:
            list(loader_of(steps, workers=workers).epoch(0))
        assert str(refused.value).startswith(f"{path}: /frames is damaged in chunk 0, rows 0 to 15")
        assert "\n" not in str(refused.value)


def test_a_killed_worker_is_one_line(tmp_path: Path) -> None:
    loader = loader_of(steps_of(tmp_path), workers=1)
    batches = loader.batches()
    next(batches)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    with pytest.raises(PipelineError) as refused:
        list(islice(batches, 10_000))
    assert str(refused.value) == (
        "a loading worker was killed (out of memory?); run the same command again, or with fewer "
        "train.workers"
    )


def test_a_cache_on_disk_of_old_settings_has_the_order_of_one_in_memory(tmp_path: Path) -> None:
    steps = steps_of(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    loader = loader_of(steps, cache="disk")
    assert loader.order == "uniform"
    assert read(loader.epoch(0)) == read(loader_of(steps, cache="ram").epoch(0))
    assert sorted(tmp_path.rglob("*")) == before  # nothing beside the shards
