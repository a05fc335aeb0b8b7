"""Commands in forked processes, stopped at every point or some, then run again undisturbed.

Everything is imported once and forked from there. Jobs run in the command's own process, so that
each stop point is reached for certain; clocks that are stored stand still.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pipeline.agents.policy
import pipeline.agents.switching
import pipeline.collect
import pipeline.emulator.env
import pipeline.evaluate
import pipeline.label
import pipeline.loops.curriculum
import pipeline.loops.dagger
import pipeline.preprocess
import pipeline.reports.plots
import pipeline.train
import pipeline.training.cloning
from pipeline.__main__ import main
from pipeline.shards.catalog import guard
from pipeline.shards.format import provenance
from pipeline.system.errors import PipelineError
from tests.stops.commands import COMMANDS, SETTINGS, left_in
from tests.stops.layer import STOPPED, Layer


class InProcess(Executor):
    """Runs a job where it is handed in."""

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments, **options))
        except PipelineError as error:
            future.set_exception(error)
        return future


def _examined(function: str, paths: Sequence[Path], **options: Any) -> Iterator[guard.Answer]:
    """What the guarded child would say."""
    module, _, name = function.partition(":")
    call = getattr(sys.modules[module], name)
    for path in paths:
        yield guard.Answer(path, **guard._answer(call, path, options.get("arguments") or {}))


def _prepare() -> None:
    importlib.import_module("torch._dynamo")  # else each process imports it for its optimizer
    stand_ins = {
        "local_executor": lambda workers: InProcess(),
        "array_executor": lambda workers: InProcess(),
        "guarded": _examined,
        "time": lambda: 0.0,
    }
    for name, module in list(sys.modules.items()):
        if name.startswith("pipeline."):
            for what, stand_in in stand_ins.items():
                if callable(getattr(module, what, None)):
                    setattr(module, what, stand_in)
    provenance.code_version = lambda: "one"  # type: ignore[assignment]
    pipeline.training.cloning.perf_counter = lambda: 0.0  # type: ignore[attr-defined]


FIRST = "from pipeline.emulator.mgba_library import load_mgba; load_mgba()"


class Workplace:
    """Where the commands run, each in a folder of its own with the same relative names."""

    def __init__(self, folder: Path) -> None:
        # A first emulator is checked, and that is remembered in a file in the home directory:
        # an undisturbed command would have points that none after it has.
        subprocess.run([sys.executable, "-c", FIRST], check=True)
        _prepare()
        self.folder = folder
        self.config = folder / "stops.yaml"
        self.config.write_text(json.dumps(SETTINGS))

    def whole(self, name: str) -> tuple[Path, dict[str, Any]]:
        """The folder of an undisturbed command, and what it told: points, breaches, files."""
        before, words = COMMANDS[name]
        folder = self.folder / f"whole {name}"
        told = folder.with_suffix(".json")
        if not folder.exists():
            self._lay(folder, before)
            code = self._wait(self._forked(folder, words, Layer(), told))
            assert code == 0, _said(folder)
        return folder, json.loads(told.read_text())

    def stopped(self, name: str, point: int) -> str | None:
        """Stop a command at a point and run it again; what is wrong then."""
        before, words = COMMANDS[name]
        _, whole = self.whole(name)
        folder = self.folder / f"{name} {point}"
        told = folder.with_suffix(".json")
        self._lay(folder, before)
        code = self._wait(self._forked(folder, words, Layer(stop=point)))
        if code != STOPPED:
            return f"{name}, point {point}: exit {code} before it came to be stopped"
        where = (
            f"{name}, stopped at point {point} of {len(whole['calls'])} ({whole['calls'][point]})"
        )
        code = self._wait(self._forked(folder, words, Layer(), told))
        if code != 0:
            return f"{where}: exit {code}, {_said(folder)}"
        return self._different(folder, where, json.loads(told.read_text()), whole)

    def _different(
        self, folder: Path, where: str, told: dict[str, Any], whole: dict[str, Any]
    ) -> str | None:
        """Which files are not those of the undisturbed command; without such the folder goes."""
        files, expected = told["files"], whole["files"]
        other = sorted(key for key in {*files, *expected} if files.get(key) != expected.get(key))
        if other:
            shown = [f"{key} ({'gone' if key not in files else 'other'})" for key in other]
            return f"{where}: {', '.join(shown)}"
        shutil.rmtree(folder)
        return None

    def again_and_again(self, name: str, step: int) -> tuple[int, str | None]:
        """Stop a command at its point ``step``, run it and stop it at ``2 * step``, until it ends.

        Returns:
            How many stops, and what is wrong then.
        """
        before, words = COMMANDS[name]
        _, whole = self.whole(name)
        folder = self.folder / f"{name} every {step}"
        told = folder.with_suffix(".json")
        self._lay(folder, before)
        stops = 0
        while True:
            point = (stops + 1) * step
            code = self._wait(self._forked(folder, words, Layer(stop=point), told))
            if code != STOPPED:
                break
            stops += 1
        where = f"{name}, stopped {stops} times, each {step} points later"
        if code != 0:
            return stops, f"{where}: exit {code}, {_said(folder)}"
        return stops, self._different(folder, where, json.loads(told.read_text()), whole)

    def recovered(self, name: str, points: Sequence[int], *, jobs: int = 1) -> list[str]:
        """What went wrong at these points, several of them side by side."""
        self.whole(name)
        faults: list[str] = []
        running: dict[int, Path] = {}
        for point in [*points, *[None] * jobs]:
            if len(running) >= jobs or point is None:
                if not running:
                    break
                pid, _ = os.wait()
                faults += json.loads(running.pop(pid).read_text())
            if point is None:
                continue
            answer = self.folder / f"{name} {point}.answer"
            pid = os.fork()
            if pid == 0:
                fault = "crashed"
                try:
                    fault = self.stopped(name, point) or ""
                finally:
                    answer.write_text(json.dumps([fault] if fault else []))
                    os._exit(0)
            running[pid] = answer
        return faults

    def _lay(self, folder: Path, before: str | None) -> None:
        if before is None:
            folder.mkdir()
        else:
            shutil.copytree(self.whole(before)[0], folder)

    def _forked(
        self, folder: Path, words: list[str], layer: Layer, told: Path | None = None
    ) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            os.chdir(folder)
            log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            for stream in (1, 2):
                os.dup2(log, stream)
            layer.install(folder if told else None)
            code = main([words[0], "--config", str(self.config), *words[1:]])
            sys.stdout.flush()
            calls = layer.calls.copy()
            layer.finish()
            if told is not None:
                points = [f"{when} {call}" for call in calls for when in ("before", "after")]
                different = layer.different.copy()
                content = {"calls": points, "states": different, "breaches": layer.breaches}
                told.write_text(json.dumps({**content, "files": left_in(folder)}))
        except BaseException:  # noqa: BLE001 - told by its exit code and log
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    @staticmethod
    def _wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _said(folder: Path) -> str:
    return folder.with_suffix(".log").read_text()[-2000:]
