"""The process in which an expert program runs inside Monty, an interpreter of its own.

Monty (PyPI ``pydantic-monty``) is a Python interpreter written in Rust that knows the language and
a few modules, and no files, network, processes or environment. It runs in a process of its own
beside this one, which is started as ``python monty_worker.py FOLDER``, the folder that holds
``pydantic_monty``. A state's answer is cut to its first characters inside, so that a huge one never
comes out.
"""

from __future__ import annotations

import ast
import os
import resource
import sys
from functools import partial
from typing import TYPE_CHECKING

sys.path.append(sys.argv[1])  # where the parent has it, which this Python may not know
import pydantic_monty as monty

if TYPE_CHECKING:
    from pipeline.experts.worker import MAX_TEXT, NO_ACT, Ask, Notes, Setup, State, serve
else:  # the pipeline itself stays out of this process
    sys.path.append(os.path.dirname(__file__))
    from worker import MAX_TEXT, NO_ACT, Ask, Notes, serve

ROOM = 2 << 30
"""Bytes of address space that this process needs for itself, most of it never touched."""
_QUESTION = f'f"{{act(state)!r:.{MAX_TEXT + 2}}}"'
"""No function of the program's can stand in the way of the cut: it is part of the language."""
_PROGRAM = "<python-input-2>"
"""Monty's name for what is fed third: after the tools and their data."""
_HINT = "; Monty runs a part of Python only: do without, or choose --expert.isolation bwrap"


def load(setup: Setup, notes: Notes, pool: monty.Monty) -> Ask:
    """Feed the tools and the program to an interpreter, and return what asks its ``act``."""
    # What comes out of the interpreter passes through this process: its memory has an end as well.
    room = setup["memory"] + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    # The parent watches the time of a state and ends this process; if the parent itself was killed,
    # an endless program ends by the limit.
    limits: monty.ResourceLimits = {
        "max_memory": setup["memory"],
        "max_suspensions": 1 << 31,
        "max_feed_duration_secs": setup["cpu"],
    }

    def note(_stream: str, text: str) -> None:
        notes.write(text)

    def fresh() -> monty.MontySession:
        session = pool.checkout(script_name=setup["name"], limits=limits).__enter__()
        session.feed_run(setup["tools"], print_callback=note)
        session.feed_run("_GAME = _game", inputs={"_game": setup["game"]}, print_callback=note)
        session.feed_run(setup["program"], print_callback=note)
        try:
            session.feed_run("act", print_callback=note)
        except monty.MontyRuntimeError:
            raise TypeError(NO_ACT) from None
        return session

    session: monty.MontySession | None = fresh()

    def ask(state: State) -> tuple[str, str]:
        nonlocal session
        try:
            if session is None:
                session = fresh()
            answer = session.feed_run(_QUESTION, inputs={"state": state}, print_callback=note)
        except Exception as error:  # noqa: BLE001 - whatever it is, this state has no answer
            if session is not None and spent(error):
                session.__exit__(None, None, None)
                session = None
            return "failed", describe(error, setup["name"])
        return understood(str(answer))

    return ask


def spent(error: Exception) -> bool:
    """Whether an interpreter is of no more use: it died, or stopped where it stood at a limit."""
    if not isinstance(error, monty.MontyRuntimeError):
        return True
    return isinstance(error.exception(), (MemoryError, TimeoutError))


def understood(answer: str) -> tuple[str, str]:
    """Outcome and text of an answer's ``repr``."""
    if answer == "None":
        return "refused", ""
    if answer[:1] in ("'", '"'):
        try:
            return "button", str(ast.literal_eval(answer))
        except (ValueError, SyntaxError):
            pass  # it was cut, or only looks like a text
    return "invalid", answer[:MAX_TEXT]


def describe(error: BaseException, _name: str) -> str:
    """One line: the error, the line of the program where it arose, and what Monty lacks."""
    if isinstance(error, monty.MontyCrashedError):
        return "Monty's interpreter died"
    if not isinstance(error, monty.MontyError):
        return f"{type(error).__name__}: {error}"[:MAX_TEXT]
    inner = error.exception()
    said = " ".join(str(inner)[: 4 * MAX_TEXT].split())
    line = 0
    if isinstance(error, (monty.MontyRuntimeError, monty.MontySyntaxError)):
        for frame in error.traceback():
            line = frame.line if frame.filename == _PROGRAM else line
    missing = isinstance(inner, ModuleNotFoundError) or "monty" in said.lower()
    tail = (f", line {line}" if line else "") + (_HINT if missing else "")
    text = type(inner).__name__ + (f": {said}" if said else "")
    return text[: MAX_TEXT - len(tail)] + tail


if __name__ == "__main__":
    # Before the first word to the parent: if there is no interpreter, the program is not to blame.
    with monty.Monty(max_processes=1) as interpreters:
        serve(partial(load, pool=interpreters), describe)
