"""Training samples a second: the train stage beside the plan's plain loop.

``python -m tests.bench.bench_train [--json]``. Ours is the stage itself, from a gzip shard
through Dataset and DataLoader to the checkpoint's figures (its own samples_per_second: updates,
loading and augmentation, from the first step on). The plain loop holds all frames as float32
(N,3,84,84) in RAM, draws with np.random.choice, and trains the same network in float32 with
stock Adam. Each measurement is a fresh process with torch's own choice of threads; they take
turns, and the figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipeline.__main__ import SPINS
from tests.bench.machine import machine

FRAMES, BATCH = 4096, 64


def stage(folder: Path, steps: int) -> float:
    """Samples a second of `pipeline.train.run`, its threads as the command sets them."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    from pipeline import train
    from pipeline.settings.reading import Settings

    with tempfile.TemporaryDirectory() as checkpoints:
        settings = Settings.model_validate(
            {
                "game": str(folder / "paper"),
                "paths": {"datasets": folder / "datasets", "checkpoints": checkpoints},
                "train": {
                    "steps": steps,
                    "batch_size": BATCH,
                    "device": "cpu",
                    "shift": 2,
                    "validate_every": 0,
                    "save_every": 0,
                },
            }
        )
        speed = train.run(settings).samples_per_second
        assert speed is not None
        return speed


def plain(folder: Path, steps: int) -> float:
    """Samples a second of the plain loop; filling the buffer is not counted."""
    import torch
    from torch.nn import functional

    from pipeline.shards.reader import Shard
    from pipeline.training.impala import ImpalaCNN

    with Shard(next((folder / "datasets/paper").glob("*.h5"))) as shard:
        frames = shard.read_frames(0, FRAMES)
        buttons = shard.column("expert_actions").astype(np.int64)
    buffer = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    del frames
    torch.manual_seed(0)
    np.random.seed(0)
    network = ImpalaCNN(10)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=1e-5)
    started = time.perf_counter()
    for _ in range(steps):
        chosen = np.random.choice(len(buffer), BATCH)
        observations = torch.as_tensor(buffer[chosen])
        actions = torch.as_tensor(buttons[chosen])
        loss = functional.cross_entropy(network(observations), actions)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
    return steps * BATCH / (time.perf_counter() - started)


def make_data(folder: Path) -> None:
    """A shard of screens of tiles, and the game that it is of."""
    from tests.loading import made

    made.game_folder(folder / "paper")
    made.tiled_shard(folder / "datasets/paper/demo-labelled-v001.h5", FRAMES)


def measure(kind: str, folder: Path, steps: int) -> float:
    """One figure from a fresh process."""
    command = [sys.executable, "-m", "tests.bench.bench_train", "--one", kind]
    command += ["--folder", str(folder), "--steps", str(steps)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="of ours; the plain loop does half")
    parser.add_argument("--one", choices=("stage", "plain"), help="measure one, in this process")
    parser.add_argument("--folder", type=Path, help="where --one finds the data")
    chosen = parser.parse_args()
    if chosen.one:
        print({"stage": stage, "plain": plain}[chosen.one](chosen.folder, chosen.steps))
        return
    rates: dict[str, list[float]] = {"stage": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        for _ in range(chosen.repeats):
            rates["stage"].append(measure("stage", Path(folder), chosen.steps))
            rates["plain"].append(measure("plain", Path(folder), max(1, chosen.steps // 2)))
    middle = {kind: statistics.median(values) for kind, values in rates.items()}
    ratio = middle["stage"] / middle["plain"]
    print(f"python -m tests.bench.bench_train --repeats {chosen.repeats} on {machine()}")
    for kind, name in (("stage", "train stage"), ("plain", "plain loop ")):
        low, high = min(rates[kind]), max(rates[kind])
        print(f"{name}: {middle[kind]:,.0f} samples/s (median; {low:,.0f} to {high:,.0f})")
    print(f"ratio: {ratio:.2f}")
    if chosen.json:
        print(
            json.dumps(
                {
                    "train_samples_per_second": middle["stage"],
                    "plain_samples_per_second": middle["plain"],
                    "train_vs_plain": ratio,
                    "repeats": rates,
                }
            )
        )


if __name__ == "__main__":
    main()
