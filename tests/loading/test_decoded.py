"""Decoded frames that several processes keep together."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.loading.dataset import Steps
from pipeline.loading.decoded import Decoded
from tests.loading import made

STEPS = 640


def gather_all(decoded: Decoded, start: Barrier, answers: Any) -> None:
    out = np.empty((STEPS, 84, 84, 3), np.uint8)
    start.wait()
    for low in range(0, STEPS, 16):
        decoded.gather(np.arange(low, low + 16), out[low : low + 16])
    answers.put([made.number_of(frame) for frame in out])


def test_processes_that_decode_the_same_chunk_at_once_do_not_disturb_each_other(
    tmp_path: Path,
) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (STEPS,))])
    fork = multiprocessing.get_context("fork")
    for _ in range(5):
        decoded, start, answers = Decoded(steps.source), fork.Barrier(3), fork.Queue()
        readers = [
            fork.Process(target=gather_all, args=(decoded, start, answers)) for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        for _ in readers:
            assert answers.get(timeout=600) == list(range(STEPS))
        for reader in readers:
            reader.join()


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("wrong", [-1, STEPS, STEPS + 5])
def test_a_row_that_there_is_not_is_an_error_and_no_other_frame(
    tmp_path: Path, wrong: int, filled: bool
) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (STEPS,))])
    decoded = Decoded(steps.source)
    if filled:
        decoded.gather(np.arange(STEPS), np.empty((STEPS, 84, 84, 3), np.uint8))
    out = np.full((3, 84, 84, 3), 7, np.uint8)
    with pytest.raises(IndexError) as refused:
        decoded.gather(np.array([0, wrong, 1]), out)
    assert str(refused.value) == f"row {wrong} of decoded frames, which have {len(decoded.frames)}"
    assert (out == 7).all()
    decoded.gather(np.empty(0, np.int64), out[:0])
