"""The loading benchmark measures what it says: peers give the shards' frames, figures are right."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.loader_data import BenchData, count_buttons, make_copies
from tests.bench.loader_figures import CELL, Memory, pooled, variance_against_iid, whole_epoch
from tests.bench.loader_peers import BATCH, PEERS
from tests.loading import made


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> BenchData:
    """Two shards of 176 frames each that know their numbers, and every copy of them."""
    found = BenchData(tmp_path_factory.mktemp("loader"))
    for number in (0, 1):
        path = found.folder / "datasets/quest" / f"play{number}-84-v001.h5"
        made.shard(path, first=1000 * number, seed=10 * number)
    make_copies(found)
    return found


def frames_and_buttons(batch: Any) -> tuple[Any, Any]:
    """A peer's batch as (64,84,84,3) u8 and (64,)."""
    if isinstance(batch, dict):
        batch = (batch["obs"]["image"], batch["actions"])
    frames, buttons = (part.numpy() for part in batch)
    if frames.dtype == np.float32:
        frames = (frames * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return frames.reshape(-1, 84, 84, 3), buttons.reshape(-1)


@pytest.mark.parametrize("name", PEERS)
def test_every_peer_gives_the_frames_of_the_shards_with_their_buttons(
    name: str, data: BenchData
) -> None:
    if not PEERS[name].there():
        pytest.skip(f"{PEERS[name].needs} is not installed")
    batches = PEERS[name].start(data, 0)
    seen = set()
    for _ in range(10):
        frames, buttons = frames_and_buttons(next(batches))
        numbers = [made.number_of(frame) for frame in frames]
        assert len(numbers) == BATCH
        assert buttons.tolist() == [number * 7 % len(made.BUTTONS) for number in numbers]
        for frame, number in zip(frames, numbers, strict=True):
            assert np.array_equal(frame, made.frame_of(number * 7 % len(made.BUTTONS), number))
        seen |= set(numbers)
    assert {number // 1000 for number in seen} == {0, 1}


def test_independent_draws_have_variance_one_and_runs_of_neighbours_much_more() -> None:
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(64 * 1000, 4)), axis=0).astype(np.float32)
    assert variance_against_iid(rng.permutation(walk), BATCH) == pytest.approx(1, abs=0.1)
    assert variance_against_iid(walk, BATCH) == pytest.approx(BATCH, rel=0.1)


def test_batches_that_mix_few_chunks_have_the_variance_that_theory_says() -> None:
    # Two steps of a batch are of one chunk of equal rows with probability (rows-1)/(window*rows-1).
    rng = np.random.default_rng(0)
    chunks, window, rows = 8192, 64, 16
    values = rng.normal(size=(chunks, 32)).repeat(rows, axis=0).reshape(-1, window * rows, 32)
    mixed = np.concatenate([rng.permutation(part) for part in values])
    expected = 1 + (BATCH - 1) * (rows - 1) / (window * rows - 1)
    assert variance_against_iid(mixed, BATCH) == pytest.approx(expected, abs=0.1)


def test_pooled_frames_are_the_means_of_their_squares() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 84, 84, 3), np.uint8)
    squares = frames.reshape(5, 7, CELL, 7, CELL, 3).mean(axis=(2, 4, 5)).reshape(5, -1)
    assert np.allclose(pooled(frames), squares)


def test_buttons_are_counted_over_all_shards(data: BenchData) -> None:
    numbers = np.concatenate([np.arange(176), 1000 + np.arange(176)])
    expected = np.bincount(numbers * 7 % len(made.BUTTONS), minlength=256)
    assert np.array_equal(count_buttons(data), expected)


def test_an_epoch_counts_all_its_batches() -> None:
    figures = whole_epoch(iter(range(10)))
    assert figures["frames"] == 10 * BATCH
    assert figures["frames_per_second"] > 0


def test_memory_that_was_taken_is_seen() -> None:
    memory = Memory()
    memory.look()
    before, others = memory.main, memory.worker
    # Not numpy's: what other tests freed would be used again.
    taken = mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.write(b"x" * len(taken))
    memory.look()
    assert memory.main - before >= 30
    assert memory.worker - others < 2  # the server of worker processes may be under way


def test_the_copies_are_made_once(data: BenchData) -> None:
    copies: list[Path] = [data.contiguous, data.robomimic, data.robomimic_gzip]
    before = [path.stat().st_mtime_ns for path in copies]
    make_copies(data)
    assert [path.stat().st_mtime_ns for path in copies] == before
