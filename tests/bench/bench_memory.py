"""Peak memory of the train stage on 10,000 against 200,000 labelled frames.

``python -m tests.bench.bench_memory [--json]``. Each size is a shard of 84x84 frames (the same
frames over and over: what is in them does not matter here) and a fresh process that trains a
few steps, after it read as many different chunks as its cache holds and more. Peak: the most
that lay in RAM at any time, the libraries' files included. Anonymous: what is of the process
alone, at the end.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.machine import machine

SIZES = (10_000, 200_000)


def train_once(folder: Path, steps: int) -> dict[str, float]:
    """Train in this process and tell its memory in MB."""
    from pipeline import train
    from pipeline.settings.reading import Settings

    with tempfile.TemporaryDirectory() as checkpoints:
        settings = Settings.model_validate(
            {
                "game": str(folder / "paper"),
                "paths": {"datasets": folder / "datasets", "checkpoints": checkpoints},
                "train": {"steps": steps, "device": "cpu", "shift": 2, "save_every": 0},
            }
        )
        train.run(settings)
    status = Path("/proc/self/status").read_text()
    anonymous = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return {
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "anonymous_mb": int(anonymous.split()[1]) / 1024,
    }


def measure(frames: int, steps: int) -> dict[str, float]:
    """The figures of a fresh process."""
    from tests.loading import made

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made.game_folder(folder / "paper")
        made.tiled_shard(folder / "datasets/paper/demo-labelled-v001.h5", frames)
        command = [sys.executable, "-m", "tests.bench.bench_memory", "--one", name]
        done = subprocess.run(
            [*command, "--steps", str(steps)], stdout=subprocess.PIPE, text=True, check=True
        )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=130, help="6,341 frames fit into the cache")
    parser.add_argument("--one", type=Path, help="train on the data of this folder and tell")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(train_once(chosen.one, chosen.steps)))
        return
    figures = {frames: measure(frames, chosen.steps) for frames in SIZES}
    print(f"python -m tests.bench.bench_memory on {machine()}")
    for frames, memory in figures.items():
        print(
            f"train on {frames:7,} frames: peak {memory['peak_mb']:,.0f} MB, "
            f"anonymous {memory['anonymous_mb']:,.0f} MB"
        )
    small, large = (figures[frames]["peak_mb"] for frames in SIZES)
    print(f"ratio of the peaks: {large / small:.3f}")
    if chosen.json:
        by_size = {str(frames): memory for frames, memory in figures.items()}
        print(json.dumps({**by_size, "peak_ratio": large / small}))


if __name__ == "__main__":
    main()
