"""Reading files that may be hostile: in a child process, with a time limit and a memory limit.

HDF5 can be hung, crashed, or made to ask for any amount of memory by a damaged file, and nothing
in the process that reads it can prevent that. So files nobody vouches for are read by a child.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from pipeline.system.errors import PipelineError

_ANEW = "make the shard anew, or leave it out"
_GRACE = 10.0
"""Seconds after which a child that did not end itself is killed."""
_NO_MEMORY = 75
"""Exit code of a child that met the limit of its memory (as sysexits' EX_TEMPFAIL)."""
# The package's own __init__ names the games to gymnasium, a third of the time to start; a file is
# read without them.
_START = """
import sys, types
package = types.ModuleType("pipeline")
package.__path__ = [sys.argv[1]]
sys.modules["pipeline"] = package
from pipeline.shards.catalog.guard import serve
serve(*sys.argv[2:])
"""


@dataclass(frozen=True)
class Answer:
    """What became of one file."""

    path: Path
    value: Any = None
    """What the function returned, if there is no error."""
    error: str | None = None
    """One line that starts with the path, where the file has no value."""
    seconds: float = 0.0
    """What it took, the start of the child included."""

    @property
    def reason(self) -> str | None:
        """The error without the path."""
        return None if self.error is None else self.error.removeprefix(f"{self.path}: ")

    def get(self) -> Any:
        """The value.

        Raises:
            PipelineError: there is none; the error.
        """
        if self.error is not None:
            raise PipelineError(self.error)
        return self.value


def guarded(
    function: str,
    paths: Sequence[Path],
    *,
    seconds: float | Callable[[Path], float] = 20,
    memory: int = 4 << 30,
    arguments: Mapping[str, Any] | None = None,
) -> Generator[Answer, None, None]:
    """Call a function of this package on each path, in one child process; answers in order.

    A file that hangs, crashes or bloats the child costs that child; a new one does the rest. The
    child ends when the generator does or is closed, and also when the caller is killed.

    Args:
        function: ``"pipeline.room.module:name"``, of a path and ``arguments``; it returns what
            JSON can hold and must not write to the file.
        seconds: limit for one file.
        memory: bytes of address space that the child may take beyond those of its start.
        arguments: keyword arguments that JSON can hold.

    Cost: 0.2 s for the start of a child, 0.1 ms a file.
    """
    child: _Child | None = None
    try:
        for path in paths:
            limit = seconds(path) if callable(seconds) else seconds
            began = time.monotonic()
            answer: Answer | None = None
            while answer is None:
                used = child is not None
                child = child or _Child(function, memory, arguments or {})
                answer = child.ask(path, limit)
                if answer is None:
                    hung, cause = child.death(limit, memory)
                    child.close()
                    child = None
                    # What kills a child may be what the file before did to its memory.
                    if hung or not used:
                        answer = Answer(path, error=f"{path}: {cause}; {_ANEW}")
            yield replace(answer, seconds=time.monotonic() - began)
    finally:
        if child is not None:
            child.close()


class _Child:
    """The child, from the caller's side."""

    def __init__(self, function: str, memory: int, arguments: Mapping[str, Any]) -> None:
        # The kernel signals the child when the caller's end of this pipe is gone.
        alive, self._lifeline = os.pipe()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        words = [str(Path(__file__).parents[2]), function, str(memory), json.dumps(arguments)]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, *words, str(alive)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                pass_fds=[alive],
                bufsize=0,
            )
        finally:
            os.close(alive)

    def ask(self, path: Path, limit: float) -> Answer | None:
        """The answer; None where the child died of the file."""
        pipe = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(json.dumps([str(path), limit]).encode() + b"\n")
            line = self._line(limit)
        except BrokenPipeError:
            return None
        return None if line is None else Answer(path, **json.loads(line))

    def _line(self, limit: float) -> bytes | None:
        pipe = self._process.stdout
        assert pipe is not None
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        # The child's clock starts when it takes up the file, so the caller's must be the later.
        deadline = time.monotonic() + limit + _GRACE
        parts = [b""]
        while not parts[-1].endswith(b"\n"):
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            part = os.read(pipe.fileno(), 1 << 20)
            if not part:
                return None
            parts.append(part)
        return b"".join(parts)

    def death(self, limit: float, memory: int) -> tuple[bool, str]:
        """Whether the child hung, and what it died of; one that lives on hangs."""
        try:
            code = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            code = -signal.SIGALRM
        if code == -signal.SIGALRM:
            return True, f"reading it hangs (more than {limit:g} s)"
        return False, self._exit_cause(code, memory)

    def _exit_cause(self, code: int, memory: int) -> str:
        if code == _NO_MEMORY:
            return f"reading it needs more memory than {memory / (1 << 30):.3g} GiB"
        if code == -signal.SIGKILL:
            return "reading it was killed from outside (out of memory?)"
        if code < 0:
            return f"reading it crashes HDF5 (signal {-code})"
        self._complaints.seek(0)
        trace = self._complaints.read().decode(errors="replace").rpartition("\n  ")[2]
        return f"reading it fails ({(trace.splitlines()[1:] or ['no reason given'])[0]})"

    def close(self) -> None:
        """Kill the child; one that waits for a dead disk goes when that answers."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        for pipe in (self._process.stdin, self._process.stdout, self._complaints):
            if pipe is not None:
                pipe.close()
        os.close(self._lifeline)


def serve(function: str, memory: str, arguments: str, alive: str) -> None:
    """The child process: one line of JSON on standard output for each path on standard input.

    It ends when its input ends or its parent is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to handle
    for deadly in (signal.SIGALRM, signal.SIGIO):
        signal.signal(deadly, signal.SIG_DFL)
    fcntl.fcntl(int(alive), fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(int(alive), fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    module, _, name = function.partition(":")
    call = getattr(importlib.import_module(module), name)
    keywords = json.loads(arguments)
    _limit_memory(int(memory))
    for line in sys.stdin:
        path, seconds = json.loads(line)
        # The signal's own action ends the process, also while HDF5 holds the interpreter.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        answer = _answer(call, Path(path), keywords)
        signal.setitimer(signal.ITIMER_REAL, 0)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class _Line(TypedDict, total=False):
    """What the child says of a file: one of the two, as fields of an Answer."""

    value: Any
    """Whatever JSON can hold, as the function that is called gives it."""
    error: str


def _answer(call: Callable[..., Any], path: Path, keywords: Mapping[str, Any]) -> _Line:
    try:
        return {"value": call(path, **keywords)}
    except PipelineError as error:
        return {"error": str(error)}
    except MemoryError:
        os._exit(_NO_MEMORY)


def _limit_memory(beyond: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere the limit is not kept
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        limit = pages * resource.getpagesize() + beyond
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
