"""Programs written by tests, asked in a sandbox."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent
from typing import Any, Literal

import numpy as np

from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Answers, Questions
from pipeline.shards.format.schema import LabelStatus

BUTTONS = ("A", "B", "UP", "DOWN")


def expert(
    folder: Path,
    source: str,
    isolation: Literal["auto", "trusted", "bwrap", "monty"] = "bwrap",
    *,
    timeout: float = 30,
    **more: Any,
) -> ProgramExpert:
    """The program ``source``, with 256 MB and ``timeout`` seconds a state."""
    program = folder / "expert.py"
    program.write_text(dedent(source))
    return ProgramExpert(
        program, BUTTONS, timeout, isolation=isolation, **{"memory_mb": 256, **more}
    )


def ask(program: ProgramExpert, *values: int) -> Answers:
    return program.answer(Questions({"x": np.array(values, np.int16)}))


def names(answers: Answers) -> list[str]:
    return [LabelStatus(status).name for status in answers.status]


def at_one(attack: str, before: str = "") -> str:
    """A program that runs the statements ``attack`` where x is 1, and else presses A.

    If the attack succeeds the button is B.
    """
    body = indent(dedent(attack).strip(), " " * 8)
    head = f"{dedent(before)}\ndef act(state):\n    if state['x'] == 1:\n"
    return f"{head}{body}\n        return 'B'\n    return 'A'\n"


def survives(program: ProgramExpert) -> bool:
    """Whether the same expert answers its next batch as if nothing had been."""
    answers = ask(program, 0, 2, 0)
    return names(answers) == ["LABELLED"] * 3 and answers.buttons.tolist() == [0, 0, 0]
