"""From a model's answer to a program: the last fenced block of Python in it, checked."""

from __future__ import annotations

import re
import textwrap

from pipeline.experts.authoring.scopes import NotJoinable, check

# A block may hold lines of backticks of its own only if its fence is longer; it may be indented, as
# in a list, and begin behind other words.
_FENCE = re.compile(
    r"(?P<fence>`{3,})(?P<kind>[^\n`]*)\n(?P<body>.*?)^[ \t]*(?P=fence)`*[ \t]*$", re.M | re.S
)
_PYTHON = {"python", "py", "python3"}
_CUT = {
    "max_tokens": "the answer was cut off at {most} tokens; write less, the program above all",
    "model_context_window_exceeded": "the answer was cut off at the end of the model's context",
}


class Unusable(Exception):
    """Why an answer holds no program that can be tried, in one line for who wrote it."""


def program_in(text: str, stop_reason: str, *, most: int, explanation: str = "") -> str:
    """The program of an answer.

    Args:
        text: the answer's text.
        stop_reason: why the model ended.
        most: the longest answer that it was allowed, in tokens.
        explanation: the provider's, of a refusal.

    Raises:
        Unusable: a refusal, an answer that was cut off, no block of Python, a syntax error, no
            ``act``, or a program that cannot be joined with others.
    """
    if stop_reason == "refusal":
        raise Unusable(f"the model refused ({explanation})" if explanation else "the model refused")
    if stop_reason in _CUT:
        raise Unusable(_CUT[stop_reason].format(most=most))
    blocks = [(m["kind"].strip().lower(), m["body"]) for m in _FENCE.finditer(_lines(text))]
    named = [body for kind, body in blocks if kind in _PYTHON]
    sources = named or [body for kind, body in blocks if not kind]
    if not sources:
        raise Unusable("the answer holds no fenced block of Python (```python ... ```)")
    source = textwrap.dedent(sources[-1])
    try:
        check(source)
    except NotJoinable as why:
        raise Unusable(f"the program cannot be used: {why}") from None
    return source


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n")
