"""Monty: an interpreter that has no files, network or processes to give; no help of the kernel."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from pipeline.experts.sandbox.process import Process
from pipeline.experts.sandbox.worker_sandbox import WORKER
from pipeline.system.errors import PipelineError

MONTY_WORKER = WORKER.with_name("monty_worker.py")
INSTALL = "install it with 'pip install pydantic-monty', or choose --expert.isolation bwrap"


def launch_monty() -> Process:
    """This Python with nothing of our environment, to start Monty's interpreter and ask it.

    Raises:
        PipelineError: Monty is not installed.
    """
    found = find_spec("pydantic_monty")
    if found is None or found.origin is None:
        raise PipelineError(f"monty is not installed; {INSTALL}")
    folder = str(Path(found.origin).parents[1])
    return Process([sys.executable, "-I", "-B", str(MONTY_WORKER), folder], env={})


def refused(why: str) -> PipelineError:
    """What to tell where Monty is there but its interpreter does not start."""
    return PipelineError(f"monty does not start ({why}); {INSTALL}")
