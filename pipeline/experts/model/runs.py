"""Names of processes, by which others see whether they still live."""

from __future__ import annotations

import multiprocessing
import os
import socket
import uuid
from pathlib import Path


def run_id() -> str:
    """A name for something that this process does: ``host:pid:start:random``."""
    return f"{_process(os.getpid())}:{uuid.uuid4().hex[:8]}"


def command_id() -> str:
    """A name for the command that this process belongs to, the same in all its workers."""
    parent = multiprocessing.parent_process()
    return _process(os.getpid() if parent is None or parent.pid is None else parent.pid)


def lives(run: str) -> bool:
    """Whether the process that a run was named in may still be there.

    Of another host nobody knows, so that it counts as alive.
    """
    host, _, rest = run.partition(":")
    pid, _, rest = rest.partition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return rest.partition(":")[0] == _start(int(pid))


def _process(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{_start(pid)}"


def _start(pid: int) -> str:
    """When a process began, so that a number that is used again is told apart; empty if unknown."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return told.rpartition(")")[2].split()[19]
