"""The model's side: programs for quest's milestones, some of them wrong at first."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.model_server import Asked, Reply, says

PROGRAMS = Path(__file__).with_name("programs")

SYNTAX_ERROR = """\
def act(state)
    return "DOWN"
"""
EXCEPTION = """\
def act(state):
    return "START" if state["scene"] == 0 else "A"
"""
WANDERS = """\
def act(state):
    log(f"at {state['x']}, {state['y']}")
    if state["screen"] == 2:
        return "A"
    return ("UP", "LEFT", "DOWN", "LEFT")[state["steps"] % 4]
"""
STARES = """\
def act(state):
    return "L"
"""
FIRST: Mapping[str, Sequence[str]] = {
    "game_started": (EXCEPTION,),
    "left_home": (SYNTAX_ERROR, WANDERS),
    "orb_found": (STARES,),
}
"""Programs that are given before the right one, by milestone."""


def right(milestone: str) -> str:
    return (PROGRAMS / f"{milestone}.py").read_text(encoding="utf-8")


def goal_of(asked: Asked) -> str:
    """The milestone that a prompt asks a program for."""
    found = re.search(r"^It is '(.+)', reached when", asked.texts, re.M)
    assert found
    return found[1]


class Conversation:
    """Answers a prompt with the next program of its milestone: the wrong ones, then the right.

    Args:
        first: the wrong ones.
        told: how many answers were given before, by milestone.
    """

    def __init__(
        self, first: Mapping[str, Sequence[str]] = FIRST, told: Mapping[str, int] | None = None
    ) -> None:
        self._first = first
        self._told = Counter(told or {})
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Reply:
        goal = goal_of(asked)
        with self._lock:
            number = self._told[goal]
            self._told[goal] += 1
        programs = [*self._first.get(goal, ()), right(goal)]
        program = programs[min(number, len(programs) - 1)]
        text = f"Attempt {number + 1} at {goal}.\n\n```python\n{program}```\n"
        return says(text, thinking=f"What does it take to reach {goal}?")
