"""Devices, precision and threads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pipeline.system.errors import PipelineError
from pipeline.training.machine import (
    choose_device,
    choose_precision,
    deterministic,
    has_bf16,
    threads,
)


def test_auto_takes_the_accelerator_where_there_is_one() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu").type == "cpu"


def test_a_device_that_does_not_exist() -> None:
    with pytest.raises(PipelineError) as caught:
        choose_device("gpu")
    assert str(caught.value) == (
        "train.device: 'gpu' is not a device; give auto, cpu, cuda or cuda:N"
    )


def test_a_device_that_this_machine_has_not() -> None:
    with pytest.raises(PipelineError) as caught:
        choose_device("cuda:99")
    assert str(caught.value) == (
        f"train.device: 'cuda:99', but this machine has {torch.cuda.device_count()} CUDA devices; "
        "give auto or cpu"
    )


def test_precision_is_bf16_only_where_the_machine_computes_with_it() -> None:
    cpu = torch.device("cpu")
    expected = torch.bfloat16 if has_bf16(cpu) else torch.float32
    assert choose_precision("auto", cpu) == expected
    assert choose_precision("fp32", cpu) == torch.float32
    assert choose_precision("bf16", cpu) == torch.bfloat16


def test_threads_and_determinism_are_given_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1), deterministic(True):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_memory_that_was_freed_is_kept_for_the_next_tensor() -> None:
    # Resident memory, not page faults: some kernels reclaim and fault at their own will.
    script = """
import sys, torch
from pathlib import Path
from pipeline.training.machine import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
torch.empty(10).fill_(1)
before = resident()
torch.empty(2_000_000).fill_(1)
print(resident() - before)
"""

    def kept_pages(word: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", script, word], capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert kept_pages("keep") > 3 * max(1, kept_pages("leave"))
