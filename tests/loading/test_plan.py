"""What is chosen where nothing is said, and that it is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.loading import plan
from pipeline.loading.dataset import Steps
from tests.loading import made


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps([made.shard(tmp_path / "a.h5", (160,))])


def test_one_epoch_needs_no_cache(steps: Steps) -> None:
    assert plan.choose_plan(steps, batch_size=8, epochs=1).cache == "none"


def test_a_slow_reader_keeps_few_frames_only_and_needs_no_workers(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most, cache in ((160 * 84 * 84 * 3, "ram"), (160 * 84 * 84 * 3 - 1, "none")):
        monkeypatch.setattr(plan, "ALWAYS_KEPT", most)
        chosen = plan.choose_plan(steps, batch_size=8, fast_reader=False)
        assert (chosen.cache, chosen.workers) == (cache, 0)


def test_frames_that_fit_into_half_of_the_memory_are_kept_there(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 160 * 84 * 84 * 3
    for free, cache in ((2 * decoded, "ram"), (2 * decoded - 1, "disk")):
        monkeypatch.setattr(plan, "available_memory", lambda free=free: free)
        chosen = plan.choose_plan(steps, batch_size=8, folder=tmp_path / "not" / "yet")
        assert chosen.cache == cache
        assert chosen.decoded_bytes == decoded
    monkeypatch.setattr(plan, "_free", lambda folder: 2 * decoded - 1)
    assert plan.choose_plan(steps, batch_size=8, folder=tmp_path).cache == "none"
    assert plan.choose_plan(steps, batch_size=8).cache == "none"


def test_what_is_said_is_not_chosen(steps: Steps) -> None:
    chosen = plan.choose_plan(steps, batch_size=8, cache="disk", workers=7, epochs=1)
    assert (chosen.cache, chosen.workers) == ("disk", 7)


def test_the_choice_is_one_line(steps: Steps) -> None:
    chosen = plan.choose_plan(steps, batch_size=3, cache="none", workers=2, pool_bytes=2_800_000)
    assert str(chosen) == (
        "loading 160 steps: decoded anew each epoch (0.00 GB decoded), 3 MB at a time a worker; "
        "windows of 8 chunks; 2 workers"
    )
    chosen = plan.choose_plan(steps, batch_size=3, cache="ram", workers=0)
    assert str(chosen) == (
        "loading 160 steps: all kept decoded in memory (0.00 GB decoded); any order; no workers"
    )
