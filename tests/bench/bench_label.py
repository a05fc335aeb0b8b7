"""Labels a second of the label stage with the program expert, on shards recorded by playing.

``python -m tests.bench.bench_label [--json]``: collects episodes of quest once into a temporary
folder, then labels them anew several times; the figure is the median of (labels / wall seconds of
the whole stage), opening, writing and publishing the shard included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from pipeline import collect, label, preprocess
from pipeline.reports.results import LabelResult
from pipeline.settings.reading import Settings
from tests.bench.machine import machine
from tests.changed import change


def measure(episodes: int, repeats: int) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate(
            {
                "paths": {"datasets": folder, "checkpoints": folder},
                "collect": {"episodes": episodes},
                "label": {"relabel": True},
            }
        )
        collect.run(settings)
        source = preprocess.run(settings).shards[0]
        rates, labels = [], 0
        for _ in range(repeats):
            started = time.perf_counter()
            result = label.run(change(settings, label={"shards": [source]}))
            assert isinstance(result, LabelResult)
            rates.append(result.asked / (time.perf_counter() - started))
            labels = result.asked
            Path(result.shards[0]).unlink()
    return {
        "labels": labels,
        "labels_per_second": statistics.median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    result = measure(chosen.episodes, chosen.repeats)
    print(f"python -m tests.bench.bench_label on {machine()}")
    print(
        f"label stage, program expert: {result['labels_per_second']:,.0f} labels/s "
        f"(median of {chosen.repeats}, {result['slowest']:,.0f} to {result['fastest']:,.0f}; "
        f"{result['labels']:,} labels each)"
    )
    if chosen.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
