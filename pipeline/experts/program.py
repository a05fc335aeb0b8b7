"""The program as expert: ``act(state) -> button``, asked in batches, in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.experts.protocol import Answers, Questions, Screens
from pipeline.shards.schema import NO_ACTION, LabelStatus

WORKER = Path(__file__).with_name("worker.py")


class ProgramExpert:
    """Asks an expert program about states; a failed answer is never replaced by a button.

    Args:
        path: the program's file, which defines ``act(state: dict) -> str``. Variables arrive as
            int, arrays as nested lists.
        buttons: the game's button names, in the order of the actions.
        timeout: seconds the program may take for one state before it is killed; that state is
            then TIMED_OUT and a fresh process goes on with the next.

    Raises:
        PipelineError: no such file, or the program fails while it is loaded.
    """

    def __init__(self, path: Path, buttons: Sequence[str], timeout: float = 60.0) -> None:
        try:
            self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            raise PipelineError(
                f"{path}: no expert program there; give one with --expert.path FILE"
            ) from None
        self.path = path
        self.timeout = timeout
        self._index = {name: i for i, name in enumerate(buttons)}
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()

    def __enter__(self) -> ProgramExpert:
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def identity(self) -> dict[str, Any]:
        """What a shard's provenance says of this expert."""
        return {"kind": "program", "path": self.path.name, "sha256": self.sha256}

    @property
    def screens(self) -> Screens:
        return "none"

    @property
    def stopped(self) -> str | None:
        return None

    def answer(self, questions: Questions) -> Answers:
        """Ask about n states."""
        columns, count = questions.state, len(questions)
        buttons = np.full(count, NO_ACTION, np.uint8)
        status = np.full(count, LabelStatus.UNLABELLED, np.uint8)
        reasons: dict[int, str] = {}
        done = 0
        while done < count:
            self._send({name: column[done:] for name, column in columns.items()}, count - done)
            while done < count:
                failure, line = self._receive()
                if failure is not None:
                    status[done] = failure
                    reasons[done] = line
                    done += 1
                    self._restart()
                    break
                status[done], button, reason = self._parse(line)
                buttons[done] = button
                if reason:
                    reasons[done] = reason
                done += 1
        return Answers(buttons, status, reasons)

    def _parse(self, line: str) -> tuple[LabelStatus, int, str]:
        if line.startswith("null "):
            return LabelStatus.FAILED, NO_ACTION, line[5:].strip()
        try:
            name = json.loads(line)
        except ValueError:
            name = line
        if name is None:
            return LabelStatus.REFUSED, NO_ACTION, "the program gave no button"
        if not isinstance(name, str) or name not in self._index:
            return LabelStatus.INVALID, NO_ACTION, f"{name!r} is no button of this game"
        return LabelStatus.LABELLED, self._index[name], ""

    def _start(self) -> None:
        lines: queue.Queue[str | None] = queue.Queue()
        process = subprocess.Popen(
            [sys.executable, "-I", str(WORKER), str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process, self._lines = process, lines
        self._complaints: list[str] = []

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        def drain() -> None:
            assert process.stderr is not None
            for line in process.stderr:
                self._complaints = [*self._complaints[-19:], line.rstrip()]

        threading.Thread(target=listen, daemon=True).start()
        drainer = threading.Thread(target=drain, daemon=True)
        drainer.start()
        failure, line = self._receive()
        if failure is not None:
            self.close()
            drainer.join(1)
            why = self._complaints[-1] if self._complaints else line
            raise PipelineError(f"{self.path}: the expert program does not load ({why}); mend it")

    def _restart(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._process.stdin.close()
            self._process = None

    def _send(self, columns: Mapping[str, NDArray[Any]], count: int) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        state = {name: column.tolist() for name, column in columns.items()}
        try:
            self._process.stdin.write(json.dumps({"count": count, "state": state}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; the reader reports at which state

    def _receive(self) -> tuple[LabelStatus | None, str]:
        try:
            line = self._lines.get(timeout=self.timeout)
        except queue.Empty:
            return LabelStatus.TIMED_OUT, f"no answer in {self.timeout:g} s"
        if line is None:
            return LabelStatus.FAILED, "the program ended"
        return None, line.rstrip("\n")
