"""Buttons written down, a step of the game each: ``RIGHT*3 WAIT A``."""

from __future__ import annotations

import re

from pipeline.games.checked import nearest
from pipeline.games.platforms import Platform
from pipeline.system.errors import PipelineError

WAIT = "WAIT"
"""A step in which nothing is pressed."""


def parse_presses(text: str, console: Platform) -> tuple[str, ...]:
    """The button of each step, or WAIT.

    Raises:
        PipelineError: no buttons, or one that the console does not have; without a place.
    """
    names = (*console.buttons, WAIT)
    words = text.upper().replace(",", " ").split()
    if not words:
        raise PipelineError("no buttons; write some such as 'RIGHT*3 WAIT A'")
    steps: list[str] = []
    for word in words:
        match = re.fullmatch(r"([A-Z]+)(?:\*(\d{1,5}))?", word)
        if match is None or match[1] not in names:
            near = nearest(re.sub(r"[^A-Z]", "", word), names)
            raise PipelineError(
                f"'{word}' is no button; write such as RIGHT, A*3 or WAIT (the nearest is {near})"
            )
        steps += [match[1]] * int(match[2] or 1)
    return tuple(steps)
