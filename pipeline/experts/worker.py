"""The process in which an expert program runs; it is asked over JSON lines.

Started as ``python worker.py`` with the standard library only; it imports nothing of the pipeline,
so that the same file can stand inside any sandbox. The program's text comes through the pipe, so no
path of the other side is known here. ``monty_worker.py`` serves by the same protocol.

Protocol. The worker says ``["hello"]``; in comes the setup, ``{"token", "name", "program",
"tools", "game", "cpu", "memory"}``; out goes ``[token, "ready"]``, or ``[token, "failed", reason,
notes]`` and the worker ends. Then each line in is a batch, ``{"token", "count", "state": {name:
[value, ...]}}``, and out come ``count`` lines ``[token, i, outcome, text, notes]``, i counting from
0, and ``[token, count, "end"]``. ``outcome`` is button, refused, invalid or failed. An answer is
written as soon as it is known, so when the program hangs or dies the parent knows at which state.

Nothing here protects the parent: that is the sandbox's work, and the parent believes no line.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import types
from collections.abc import Callable
from typing import Any, TypedDict

MAX_TEXT = 200
MAX_NOTES = 2000
NO_ACT = "it defines no function act(state)"


class Notes(io.TextIOBase):
    """Stands for stdout and stderr: keeps the beginning of what is written until it is taken."""

    def __init__(self) -> None:
        self._kept = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        room = MAX_NOTES - len(self._kept)
        if room > 0:
            self._kept += text[:room]
        return len(text)

    def take(self) -> str:
        kept, self._kept = self._kept, ""
        return kept.rstrip("\n")


State = dict[str, Any]
"""The game's variables by name: int, or nested lists."""
Ask = Callable[[State], tuple[str, str]]
"""From a state to outcome and text."""


class Setup(TypedDict):
    """What the other side sends first."""

    token: str
    """Begins every line that answers."""
    name: str
    """Of the program's file."""
    program: str
    """Its text."""
    tools: str
    """Text of the functions that the program may call."""
    game: object
    """What those know of the game."""
    cpu: int | None
    """Seconds of processor time at most; None: no bound."""
    memory: int
    """Bytes of memory at most."""


def serve(load: Callable[[Setup, Notes], Ask], describe: Callable[..., str]) -> None:
    """Answer until the questions end.

    Args:
        load: from the setup to what can be asked; whatever it raises is why the program does not
            load.
        describe: puts such an error and the program's name into one line.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="ascii")  # a line at a time
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    # What the program prints must not be taken for an answer, and it has no questions to read.
    os.dup2(2, 1)
    end, other = os.pipe()
    os.dup2(end, 0)
    os.close(other)
    os.environ.clear()
    notes = Notes()
    sys.stdout = sys.stderr = notes
    answers.write('["hello"]\n')
    setup: Setup = json.loads(questions.readline())
    if setup["cpu"]:
        resource.setrlimit(resource.RLIMIT_CPU, (setup["cpu"], setup["cpu"]))
    token = setup["token"]
    try:
        ask = load(setup, notes)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: it is the program's
        reason = describe(error, setup["name"])
        answers.write(json.dumps([token, "failed", reason, notes.take()]) + "\n")
        return
    answers.write(json.dumps([token, "ready"]) + "\n")
    for line in questions:
        batch = json.loads(line)
        token, names, count = batch["token"], list(batch["state"]), batch["count"]
        columns = batch["state"].values()
        rows = zip(*columns, strict=True) if names else ([] for _ in range(count))
        for i, row in enumerate(rows):
            outcome, text = ask(dict(zip(names, row, strict=True)))
            answers.write(json.dumps([token, i, outcome, text, notes.take()]) + "\n")
        answers.write(json.dumps([token, count, "end"]) + "\n")


def load(setup: Setup, _notes: Notes) -> Ask:
    """Run the tools' text and the program's, and return what asks its ``act``."""
    sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(__file__)]
    name = setup["name"]
    toolbox: dict[str, object] = {"__name__": "tools"}
    exec(compile(setup["tools"], "<tools>", "exec"), toolbox)
    toolbox["_GAME"] = setup["game"]
    module = types.ModuleType("expert_program")
    sys.modules["expert_program"] = module
    for key, value in toolbox.items():
        if not key.startswith("_") and isinstance(value, types.FunctionType):
            setattr(module, key, value)
    exec(compile(setup["program"], name, "exec"), module.__dict__)
    act = getattr(module, "act", None)
    if not callable(act):
        raise TypeError(NO_ACT)

    def ask(state: State) -> tuple[str, str]:
        try:
            answer = act(state)
            if answer is None:
                return "refused", ""
            if type(answer) is str and len(answer) <= MAX_TEXT:
                return "button", answer
            return "invalid", repr(answer)[:MAX_TEXT]
        except BaseException as error:  # noqa: BLE001 - any failure of the program is its answer
            return "failed", describe(error, name)

    return ask


def describe(error: BaseException, name: str) -> str:
    """One line: the error and the line of the program where it arose."""
    try:
        line, trace = 0, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == name:
                line = trace.tb_lineno
            trace = trace.tb_next
        if isinstance(error, SyntaxError) and error.filename == name:
            line = error.lineno or 0
            said = str(error.msg)
        else:
            said = str(error)
        text = type(error).__name__ + (
            ": " + " ".join(said[: 4 * MAX_TEXT].split()) if said else ""
        )
        tail = f", line {line}" if line else ""
        return text[: MAX_TEXT - len(tail)] + tail
    except BaseException:  # noqa: BLE001 - an error that cannot say what it is
        return "an error that cannot be described"


if __name__ == "__main__":
    serve(load, describe)
