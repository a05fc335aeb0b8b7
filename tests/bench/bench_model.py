"""Overhead of a label that a model gives, against a bare loop over the SDK.

``python -m tests.bench.bench_model [--json]``: states of a played episode of quest are asked of a
server on the loopback address, in a process of its own, which answers at once. The bare loop sends
the same requests, made beforehand, with ``AsyncAnthropic.messages.create`` and as many at a time,
and drops the answers. The expert renders states, encodes screens, reserves the budget, asks,
reads the answers and keeps them; then it is asked once more, for what it kept. Medians of repeats
that take turns; wall time, so that what waits for the server hides nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from anthropic import AsyncAnthropic

from pipeline import collect
from pipeline.experts.model.labeller import ModelExpert
from pipeline.experts.model.prompt import Prompt, questions_of
from pipeline.experts.protocol import Questions
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from tests.bench.machine import machine
from tests.changed import change
from tests.model_server.apart import server_apart


def played(folder: str, count: int) -> Questions:
    """The first ``count`` distinct moments of a game that the program expert plays."""
    settings = Settings.model_validate(
        {"paths": {"datasets": folder}, "collect": {"episodes": 2, "workers": 1}}
    )
    path = collect.run(settings).shard
    with Shard(path) as shard:
        frames = shard.read_frames(0, shard.n_frames)
        steps = shard.state("steps")
        rows = np.unique(steps, return_index=True)[1][:count]
        return Questions({n: shard.state(n)[rows] for n in shard.state_names}, list(frames[rows]))


def bare(requests: Sequence[Any], concurrency: int) -> float:
    """Seconds for all requests through the SDK alone."""

    async def go() -> None:
        source = iter(requests)

        async def work() -> None:
            for request in source:
                await client.messages.create(**request)

        async with AsyncAnthropic() as client:
            await asyncio.gather(*(work() for _ in range(concurrency)))

    started = time.perf_counter()
    asyncio.run(go())
    return time.perf_counter() - started


def asked(settings: Settings, questions: Questions) -> tuple[float, float]:
    """Seconds for all questions through the expert, and once more with all answers kept."""
    with tempfile.TemporaryDirectory() as folder:
        settings = change(settings, paths={"datasets": Path(folder)})
        with ModelExpert(settings, load_game("quest"), command=folder) as expert:
            started = time.perf_counter()
            answers = expert.answer(questions)
            between = time.perf_counter()
            expert.answer(questions)
            assert (answers.status == 1).all()
            return between - started, time.perf_counter() - between


def measure(count: int, repeats: int) -> dict[str, Any]:
    settings = Settings.model_validate(
        {
            "expert": {"kind": "model"},
            "model": {"name": "claude-loopback", "prices": {"input": 1, "output": 5}},
            "budget": {"labels": 10**6},
        }
    )
    with tempfile.TemporaryDirectory() as folder, server_apart() as environment:
        questions = played(folder, count)
        prompt = Prompt(load_game("quest"), settings.model)
        requests = [
            prompt.request(question, cached=True)
            for _, question in questions_of(prompt, questions, range(len(questions)))
        ]
        seconds: dict[str, list[float]] = {"bare": [], "asked": [], "kept": []}
        with mock.patch.dict(os.environ, environment):
            for repeat in range(repeats + 1):  # the first warms up
                ways = bare(requests, settings.model.concurrency), *asked(settings, questions)
                for name, taken in zip(seconds, ways, strict=True):
                    seconds[name] += [taken] if repeat else []
    each = {name: [taken / len(requests) * 1e3 for taken in all_] for name, all_ in seconds.items()}
    overheads = [a - b for a, b in zip(each["asked"], each["bare"], strict=True)]
    return {
        "labels": len(requests),
        "concurrency": settings.model.concurrency,
        "bare_ms": statistics.median(each["bare"]),
        "asked_ms": statistics.median(each["asked"]),
        "overhead_ms": statistics.median(overheads),
        "ratio": statistics.median(each["asked"]) / statistics.median(each["bare"]),
        "kept_ms": statistics.median(each["kept"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--labels", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    result = measure(chosen.labels, chosen.repeats)
    print(f"python -m tests.bench.bench_model on {machine()}")
    print(
        f"label of a model, {result['concurrency']} at a time, loopback server: "
        f"bare SDK {result['bare_ms']:.2f} ms, expert {result['asked_ms']:.2f} ms "
        f"({result['ratio']:.2f} times), overhead {result['overhead_ms']:.2f} ms a label; "
        f"kept answer {result['kept_ms']:.2f} ms "
        f"(medians of {chosen.repeats}, {result['labels']} labels each)"
    )
    if chosen.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
