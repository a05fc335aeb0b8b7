"""Which sandbox a program runs in: what is asked for, or a refusal; never less."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pipeline import games
from pipeline.experts.sandbox import bwrap, monty
from pipeline.experts.sandbox.interface import Isolation, Limits, Program, Sandbox
from pipeline.experts.sandbox.worker_sandbox import WorkerSandbox, launch_trusted
from pipeline.system.errors import PipelineError

SHIPPED = Path(games.__file__).resolve().parent


def ships(path: Path) -> bool:
    """Whether the file that ``path`` leads to, links followed, came with the project."""
    return path.resolve().is_relative_to(SHIPPED)


def isolation_of(path: Path, wanted: Literal["auto", "trusted", "bwrap", "monty"]) -> Isolation:
    """The isolation for the program at ``path``.

    Raises:
        PipelineError: ``trusted`` is wanted for a program that did not come with the project.
    """
    if wanted == "auto":
        return "trusted" if ships(path) else "bwrap"
    if wanted == "trusted" and not ships(path):
        raise PipelineError(
            f"{path}: only programs that ship with the project run as trusted; choose "
            "--expert.isolation bwrap or --expert.isolation monty"
        )
    return wanted


def open_sandbox(program: Program, isolation: Isolation, limits: Limits) -> Sandbox:
    """A sandbox for a program; nothing starts yet."""
    if isolation == "monty":
        return WorkerSandbox(program, limits, "monty", monty.launch_monty, monty.refused)
    if isolation == "bwrap":
        return WorkerSandbox(
            program, limits, "bwrap", partial(bwrap.launch_bwrap, limits), bwrap.refused
        )
    return WorkerSandbox(program, limits, "trusted", launch_trusted)
