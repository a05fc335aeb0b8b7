"""Names of commands, and of what their processes do, by which others see whether they live."""

from __future__ import annotations

import multiprocessing
import os
import uuid

from pipeline.system.lease import process_name


def run_id() -> str:
    """A name for something that this process does: that of the process, and a random part."""
    return f"{process_name()}:{uuid.uuid4().hex[:8]}"


def command_id() -> str:
    """A name for the command that this process belongs to, the same in all its workers."""
    parent = multiprocessing.parent_process()
    return process_name(os.getpid() if parent is None or parent.pid is None else parent.pid)
