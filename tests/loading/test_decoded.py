"""Decoded frames that several processes keep together."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import PipelineError
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


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_processes_that_decode_the_same_chunk_at_once_do_not_disturb_each_other(
    tmp_path: Path, kind: str
) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (STEPS,))])
    fork = multiprocessing.get_context("fork")
    for turn in range(5):
        file = tmp_path / f"{turn}.frames" if kind == "disk" else None
        decoded, start, answers = Decoded(steps.source, file), fork.Barrier(3), fork.Queue()
        readers = [
            fork.Process(target=gather_all, args=(decoded, start, answers)) for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        for _ in readers:
            assert answers.get(timeout=60) == list(range(STEPS))
        for reader in readers:
            reader.join()


def test_a_full_disk_is_one_line_and_leaves_what_was_kept(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (STEPS,))])
    decoded = Decoded(steps.source, tmp_path / "a.frames")
    out = np.empty((16, 84, 84, 3), np.uint8)
    decoded.gather(np.arange(16), out)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        with pytest.raises(PipelineError) as refused:
            decoded.gather(np.arange(320, 336), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)
    assert str(refused.value) == (
        f"{tmp_path / 'a.frames'}: cannot keep decoded frames there (File too large); make room, "
        "or set train.cache to none"
    )
    decoded.gather(np.arange(320, 336), out)
    assert [made.number_of(frame) for frame in out] == list(range(320, 336))
