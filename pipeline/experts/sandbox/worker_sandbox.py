"""Programs in a worker process, asked over JSON lines: trusted, behind bwrap, or inside Monty."""

from __future__ import annotations

import json
import math
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from pipeline.experts.sandbox.interface import (
    MAX_NOTES,
    Columns,
    Isolation,
    Limits,
    Program,
    Reply,
    Trouble,
    bounded,
    bounded_lines,
)
from pipeline.experts.sandbox.process import MAX_ERRORS, Ended, Endless, Flood, Late, Process
from pipeline.experts.tools import SOURCE
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError

WORKER = Path(__file__).parents[1] / "worker.py"
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""Nothing of ours; a set of texts is walked through in the same order each time."""
_OUTCOMES = ("button", "refused", "invalid", "failed")

Launch = Callable[[], Process]


def cpu_seconds(limits: Limits) -> int:
    """Processor seconds that a process can use in its whole life if it keeps to its limits."""
    return math.ceil(limits.life + limits.loading + limits.answer) + 5


def launch_trusted() -> Process:
    """This Python, with its packages, in a process of its own and nothing around it."""
    return Process([sys.executable, "-s", "-B", str(WORKER)], env=ENVIRONMENT)


class WorkerSandbox:
    """Starts a worker by ``launch`` and asks it; the worker is ended at the first wrong line.

    Every batch carries a token of its own that its answers must repeat, with their number, and ends
    with a line that says so. So what a program writes into the channel by itself is no answer: the
    batch fails, and its leftovers end with the process.
    """

    def __init__(
        self,
        program: Program,
        limits: Limits,
        isolation: Isolation,
        launch: Launch,
        refused: Callable[[str], PipelineError] | None = None,
    ) -> None:
        self.isolation: Isolation = isolation
        self._program = program
        self._limits = limits
        self._launch = launch
        self._refused = refused
        self._process: Process | None = None
        self._asked = 0.0

    def start(self) -> bool:
        if self._process is not None:
            if self._process.fresh():
                return False
            self.close()
        deadline = monotonic() + self._limits.loading
        self._process, self._asked = self._launch(), 0.0
        try:
            self._hello(deadline)
            self._load(deadline)
        except BaseException:
            self.close()
            raise
        return True

    def ask(self, columns: Columns, count: int) -> Iterator[Reply]:
        self.start()
        token = secrets.token_hex(8)
        state = {name: column.tolist() for name, column in columns.items()}
        batch = json.dumps({"token": token, "count": count, "state": state}) + "\n"
        try:
            asked = monotonic()
            self._send(batch.encode(), asked + self._limits.answer)
            for i in range(count):
                yield self._reply(token, i)
                now = monotonic()
                self._asked, asked = self._asked + now - asked, now
                if self._asked > self._limits.life and i + 1 < count:
                    self.close()
                    return
            if self._line(monotonic() + self._limits.answer) != [token, count, "end"]:
                raise _broken()
        except BaseException:  # also GeneratorExit: what is under way must not be read later
            self.close()
            raise
        if self._asked > self._limits.life:
            self.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _hello(self, deadline: float) -> None:
        """Wait for the worker's first word: before it, the fault is the sandbox's."""
        assert self._process is not None
        try:
            said = self._process.line(deadline)
        except (Ended, Late, Flood, Endless):
            why = (self._process.complaints.splitlines() or ["it says nothing"])[-1]
            if self._refused is not None:
                raise self._refused(bounded(why)) from None
            raise PipelineError(
                f"{sys.executable}: Python does not start for the expert program ({why})"
            ) from None
        if said != b'["hello"]':
            raise _broken()

    def _load(self, deadline: float) -> None:
        token = secrets.token_hex(8)
        setup = {
            "token": token,
            "name": self._program.name,
            "program": self._program.text,
            "tools": SOURCE,
            "game": dict(self._program.game),
            "cpu": None if self.isolation == "bwrap" else cpu_seconds(self._limits),
            "memory": self._limits.memory_mb << 20,
        }
        try:
            self._send((json.dumps(setup) + "\n").encode(), deadline)
            answer = self._line(deadline)
        except Trouble as trouble:
            if trouble.status == LabelStatus.TIMED_OUT:
                reason = f"not loaded in {self._limits.loading:g} s"
                raise Trouble(trouble.status, reason) from None
            raise
        if isinstance(answer, list) and answer[:2] == [token, "failed"] and len(answer) == 4:
            raise Trouble(LabelStatus.FAILED, str(answer[2]))
        if answer != [token, "ready"]:
            raise _broken()

    def _reply(self, token: str, i: int) -> Reply:
        answer = self._line(monotonic() + self._limits.answer)
        if not isinstance(answer, list) or len(answer) != 5 or answer[:2] != [token, i]:
            raise _broken()
        outcome, text, notes = answer[2:]
        if outcome not in _OUTCOMES or not isinstance(text, str) or not isinstance(notes, str):
            raise _broken()
        notes = bounded_lines(notes, MAX_NOTES) if notes else ""
        return Reply(outcome, text if outcome == "button" else bounded(text), notes)

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._process is not None
        try:
            self._process.send(data, deadline)
        except (Ended, Late, Flood, Endless) as error:
            raise self._trouble(error) from None

    def _line(self, deadline: float) -> Any:
        """The next line's value; a line that is no JSON is a broken protocol."""
        assert self._process is not None
        try:
            return json.loads(self._process.line(deadline))
        except (Ended, Late, Flood, Endless) as error:
            raise self._trouble(error) from None
        except (ValueError, RecursionError):
            raise _broken() from None

    def _trouble(self, error: Ended | Late | Flood | Endless) -> Trouble:
        if isinstance(error, Endless):
            return _broken()
        if isinstance(error, Late):
            return Trouble(LabelStatus.TIMED_OUT, f"no answer in {self._limits.answer:g} s")
        if isinstance(error, Flood):
            much = f"more than {MAX_ERRORS >> 20} MiB beside its notes"
            return Trouble(LabelStatus.FAILED, f"the program wrote {much}")
        return Trouble(LabelStatus.FAILED, f"the program ended ({error})")


def _broken() -> Trouble:
    return Trouble(
        LabelStatus.FAILED, "the program wrote into the channel of the answers", whole=True
    )
