"""What reading a hostile file can do to a process; named by what the file is called."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.system.errors import PipelineError

_poison: list[Path] = []
"""Memory of the process that an earlier file has spoilt."""


def read(path: Path, extra: int = 0) -> Any:
    """Do what the name of the file says; else say something about the file and the process."""
    misfortunes: dict[str, Callable[[], object]] = {
        "sleeps": lambda: time.sleep(60),
        "spins": lambda: re.match("(a+)+$", "a" * 60 + "b"),  # holds the interpreter throughout
        "crashes": lambda: ctypes.string_at(0),
        "aborts": os.abort,
        "is_killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "bloats": lambda: np.ones(1 << 34, np.uint8),
        "prints": lambda: (print("noise"), subprocess.run(["echo", "noise"], check=True)),
        "poisons": lambda: _poison.append(path),
        "meets_poison": lambda: os.abort() if _poison else None,
    }
    if path.name == "refused":
        raise PipelineError(f"{path}: is refused; leave it out")
    if path.name == "surprises":
        raise OverflowError("a number\ntoo large")
    if path.name == "large":
        return "x" * 3_000_000
    misfortunes.get(path.name, lambda: None)()
    return {"name": path.name, "pid": os.getpid(), "extra": extra}


def modules(path: Path) -> list[str]:
    """Which of the large packages the process has loaded."""
    return sorted({"torch", "gymnasium", "mgba"} & set(sys.modules))
