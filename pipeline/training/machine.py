"""What a training computes with: device, precision, threads, memory."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from pipeline.system.errors import PipelineError

Precision = Literal["auto", "bf16", "fp32"]


def choose_device(name: str) -> torch.device:
    """The device of a setting ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...

    Raises:
        PipelineError: no such device, or none of that kind in this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise PipelineError(
            f"train.device: '{name}' is not a device; give auto, cpu, cuda or cuda:N"
        ) from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise PipelineError(
            f"train.device: '{name}', but this machine has {torch.cuda.device_count()} CUDA "
            "devices; give auto or cpu"
        )
    return device


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; ``auto`` takes bfloat16 where the machine computes with it.

    A processor that only emulates bfloat16 is several times slower with it than with float32.
    """
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions of its own for bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_blocked_bf16(device: torch.device) -> bool:
    """Whether oneDNN's own layout has fast bfloat16 kernels on the device.

    It has on an x86 processor that has_bf16. The layout, which torch calls
    ``mkldnn``, has channels in blocks of a vector register's width.
    """
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16", False) or able.get("amx_bf16", False))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads for a while; 0 leaves torch's choice, one a core."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Only algorithms that give the same result each time, for a while."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        # cuBLAS asks for it, before its first use in the process.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def keep_freed_memory() -> None:
    """Ask glibc to keep the memory of large tensors for the next ones; elsewhere do nothing.

    By default it gives each one back to the system when it is freed, and the next one costs
    a page fault for every 4 KiB: 12,000 of them in a training step with batch 64, a tenth of its
    time. The price: the process keeps the largest amount that it ever used at a time.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return
    glibc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold = -1, -3
    glibc.mallopt(mmap_threshold, 32 << 20)  # the largest that it takes
    glibc.mallopt(trim_threshold, 1 << 30)
