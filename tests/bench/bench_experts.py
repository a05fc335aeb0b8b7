"""Labels a second and start-up of an expert program: trusted, in bwrap, in Monty.

``python -m tests.bench.bench_experts [--json]``: collects episodes of quest once into a temporary
folder and asks the program about their states, 1024 at a time. ``quest`` is the game's own expert
program (with a queue in place of ``heapq``, which Monty has not; the same text in all three),
``tools`` finds its way by ``find_path`` in every state, and ``constant`` presses A, which leaves
what the sandbox itself costs. Repeats of the three are interleaved; figures are medians, ratios are
medians of the rounds' own ratios. What a model's labels cost beside a bare loop is measured by
``tests.bench.bench_model``, where it is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline import collect
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Questions
from pipeline.experts.sandbox import opening
from pipeline.experts.tools import tools_data
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from tests.bench.machine import machine

Isolation = Literal["trusted", "bwrap", "monty"]
ISOLATIONS: tuple[Isolation, ...] = ("trusted", "bwrap", "monty")
BATCH = 1024
QUEUE = """
def _push(queue, item):
    queue.append(item)

def _pop(queue):
    least = min(queue)
    queue.remove(least)
    return least
"""
TOOLS = """
def act(state):
    if state["screen"] != 1:
        return "A"
    path = find_path(state, state["x"] + 5, state["y"] - 3)
    return path[0] if path else "A"
"""


def programs(folder: Path) -> dict[str, Path]:
    """The programs to ask, as files that stand for shipped ones."""
    quest = load_game("quest").folder / "expert.py"
    changes = {
        "import heapq\n": QUEUE,
        "heapq.heappush(": "_push(",
        "heapq.heappop(": "_pop(",
        "return next((place for kind, place in on_screen(state) if kind == ORB), None)": (
            "return ([place for kind, place in on_screen(state) if kind == ORB] or [None])[0]"
        ),
    }
    text = quest.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    texts = {"quest": text, "tools": TOOLS, "constant": "def act(state): return 'A'\n"}
    for name, source in texts.items():
        (folder / f"{name}.py").write_text(source)
    return {name: folder / f"{name}.py" for name in texts}


def states(folder: Path, episodes: int) -> dict[str, Any]:
    """The state columns of episodes that the expert plays now."""
    settings = Settings.model_validate(
        {
            "paths": {"datasets": str(folder), "checkpoints": str(folder)},
            "collect": {"episodes": episodes},
        }
    )
    with Shard(collect.run(settings).shard) as shard:
        return {name: np.asarray(shard.state(name)) for name in shard.state_names}


def open_program(path: Path, isolation: Isolation) -> ProgramExpert:
    game = load_game("quest")
    return ProgramExpert(path, game.buttons, 60, isolation=isolation, tools=tools_data(game))


def label(path: Path, isolation: Isolation, columns: dict[str, Any]) -> tuple[float, float, Any]:
    """Seconds of the start, labels a second after it, and the labels."""
    count, began = len(next(iter(columns.values()))), time.perf_counter()
    with open_program(path, isolation) as expert:
        started = time.perf_counter()
        answers = [
            expert.answer(Questions({n: c[i : i + BATCH] for n, c in columns.items()}))
            for i in range(0, count, BATCH)
        ]
        ended = time.perf_counter()
    status = np.concatenate([a.status for a in answers])
    assert set(status.tolist()) == {LabelStatus.LABELLED}, answers[0].reasons
    buttons = np.concatenate([a.buttons for a in answers])
    return started - began, count / (ended - started), buttons


def measure(episodes: int, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        opening.SHIPPED = folder  # for this process the programs below are the shipped ones
        paths, columns = programs(folder), states(folder / "datasets", episodes)
        starts: dict[str, list[float]] = {isolation: [] for isolation in ISOLATIONS}
        rates: dict[str, dict[str, list[float]]] = {
            program: {isolation: [] for isolation in ISOLATIONS} for program in paths
        }
        for repeat in range(repeats + 1):
            for program, path in paths.items():
                same = []
                for isolation in ISOLATIONS:
                    start, rate, buttons = label(path, isolation, columns)
                    same.append(buttons.tolist())
                    if repeat:  # the first brings files into the page cache
                        starts[isolation].append(start)
                        rates[program][isolation].append(rate)
                assert same[0] == same[1] == same[2], f"{program}: the sandboxes disagree"
    return {
        "labels": len(same[0]),
        "start_s": {isolation: statistics.median(times) for isolation, times in starts.items()},
        "programs": {program: _figures(found) for program, found in rates.items()},
    }


def _figures(rates: dict[str, list[float]]) -> dict[str, Any]:
    return {
        isolation: {
            "labels_per_second": statistics.median(found),
            "slowest": min(found),
            "fastest": max(found),
            "vs_trusted": statistics.median(
                rate / trusted for rate, trusted in zip(found, rates["trusted"], strict=True)
            ),
        }
        for isolation, found in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    result = measure(chosen.episodes, chosen.repeats)
    print(f"python -m tests.bench.bench_experts on {machine()}")
    for isolation, seconds in result["start_s"].items():
        print(f"start-up, {isolation}: {seconds * 1000:.0f} ms (median)")
    for program, figures in result["programs"].items():
        for isolation, found in figures.items():
            print(
                f"program {program}, {isolation}: {found['labels_per_second']:,.0f} labels/s "
                f"(median of {chosen.repeats}, {found['slowest']:,.0f} to {found['fastest']:,.0f}; "
                f"{found['vs_trusted']:.2f} of trusted; {result['labels']:,} labels each)"
            )
    if chosen.json:
        print(json.dumps(result))
    if find_spec("tests.bench.bench_model") is not None:
        sys.exit(subprocess.run([sys.executable, "-m", "tests.bench.bench_model"]).returncode)


if __name__ == "__main__":
    main()
