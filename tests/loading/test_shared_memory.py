"""Memory that processes share."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from pipeline.loading.shared_memory import SharedArray


def write(shared: SharedArray, value: int) -> None:
    shared.array[1] = value


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_a_child_however_started_sees_the_same_numbers(start: str) -> None:
    shared = SharedArray.of(np.array([4, 5, 6], np.int64))
    child = multiprocessing.get_context(start).Process(target=write, args=(shared, 9))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert shared.array.tolist() == [4, 9, 6]


def test_memory_goes_with_its_last_user() -> None:
    def shared_mb() -> int:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(n.split()[1]) for n in lines if n.startswith("Shmem:")) >> 10

    before = shared_mb()
    shared = SharedArray((300 << 20,), np.uint8)
    assert shared_mb() < before + 100  # a page takes room when it is written
    shared.array[:] = 1
    assert shared_mb() > before + 200
    del shared
    assert shared_mb() < before + 100


def test_an_empty_array_is_one_too() -> None:
    assert SharedArray((0, 3), np.float32).array.shape == (0, 3)
