"""What is chosen where nothing is said, and that it is said in one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from pipeline.loading import resources
from pipeline.loading.dataset import Steps
from tests.loading import made


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps([made.shard(tmp_path / "a.h5", (160,))])


def test_one_epoch_needs_no_cache(steps: Steps) -> None:
    assert resources.choose_plan(steps, batch_size=8, epochs=1).cache == "none"


@pytest.mark.parametrize("fast", [True, False])
def test_the_order_follows_from_the_data_and_never_from_the_machine(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    decoded = 160 * 84 * 84 * 3
    for most, cache in ((decoded, "ram"), (decoded - 1, "none")):
        monkeypatch.setattr(resources, "ALWAYS_KEPT", most)
        for free in (0, decoded, 100 * decoded):
            with monkeypatch.context() as machine:
                has_only(machine, free)
                chosen = resources.choose_plan(steps, batch_size=8, fast_reader=fast)
            assert (chosen.cache, chosen.decoded_bytes) == (cache, decoded)


def has_only(machine: pytest.MonkeyPatch, free: int) -> None:
    """Let every way to ask for memory or disk answer ``free`` bytes."""
    really_open = open
    really, said = Path.read_text, f"MemTotal: {free >> 10} kB\nMemAvailable: {free >> 10} kB\n"

    def read_text(path: Path, *words: Any, **named: Any) -> str:
        return said if str(path) == "/proc/meminfo" else really(path, *words, **named)

    def opened(path: Any, *words: Any, **named: Any) -> Any:
        return (
            io.StringIO(said)
            if str(path) == "/proc/meminfo"
            else really_open(path, *words, **named)
        )

    machine.setattr(Path, "read_text", read_text)
    machine.setattr("builtins.open", opened)
    machine.setattr("os.sysconf", lambda name: 1 if "SIZE" in str(name) else free)
    machine.setattr("shutil.disk_usage", lambda path: (free, 0, free))


def test_a_reader_that_needs_the_cores_itself_has_no_workers(steps: Steps) -> None:
    assert resources.choose_plan(steps, batch_size=8, fast_reader=False).workers == 0


def test_what_is_said_is_not_chosen(steps: Steps) -> None:
    for cache in ("ram", "none"):
        chosen = resources.choose_plan(steps, batch_size=8, cache=cache, workers=7, epochs=1)
        assert (chosen.cache, chosen.workers) == (cache, 7)


def test_a_cache_on_disk_that_old_settings_ask_for_is_one_in_memory(steps: Steps) -> None:
    chosen = resources.choose_plan(steps, batch_size=3, cache="disk", workers=0)
    assert chosen.cache == "ram"
    assert str(chosen) == (
        "loading 160 steps: all kept decoded in memory (0.00 GB decoded); there is no cache on "
        "disk now, memory keeps the same order; any order; no workers"
    )


def test_the_choice_is_one_line(steps: Steps) -> None:
    chosen = resources.choose_plan(
        steps, batch_size=3, cache="none", workers=2, pool_bytes=2_800_000
    )
    assert str(chosen) == (
        "loading 160 steps: decoded anew each epoch (0.00 GB decoded), 3 MB at a time a worker; "
        "windows of 8 chunks; 2 workers"
    )
    chosen = resources.choose_plan(steps, batch_size=3, cache="ram", workers=0)
    assert str(chosen) == (
        "loading 160 steps: all kept decoded in memory (0.00 GB decoded); any order; no workers"
    )


def test_frames_that_are_too_many_to_be_kept_are_said_to_be(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "ALWAYS_KEPT", 1)
    chosen = resources.choose_plan(steps, batch_size=3, workers=0, pool_bytes=2_800_000)
    assert str(chosen) == (
        "loading 160 steps: decoded anew each epoch (0.00 GB decoded), 3 MB at a time a worker; "
        "cache ram would keep them, in another order; windows of 8 chunks; no workers"
    )
