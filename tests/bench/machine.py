"""On what a figure was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """One line: processor, its widest vector units, cores that may be used, Python."""
    model, vectors = platform.processor() or platform.machine(), "no avx2"
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
            elif line.startswith("flags"):
                known = [
                    unit for unit in ("avx2", "avx512f", "avx512_bf16") if unit in line.split()
                ]
                vectors = " ".join(known) or vectors
                break
    except OSError:
        pass  # not Linux
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model} ({vectors}), {cores} cores, Python {platform.python_version()}"
