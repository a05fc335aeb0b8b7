"""Two trainings side by side: what each keeps of a fair half.

``python -m tests.bench.bench_busy [--repeats N]``. One training alone, then two at once, each
the train stage in a fresh process with its own choice of threads; a fair share of two is half
of what one has alone.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.bench_train import make_data
from tests.bench.machine import machine


def started(folder: Path, steps: int) -> subprocess.Popen[str]:
    """A training that prints its samples a second at last."""
    command = [sys.executable, "-m", "tests.bench.bench_train", "--one", "stage"]
    command += ["--folder", str(folder), "--steps", str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def figure(process: subprocess.Popen[str]) -> float:
    out, _ = process.communicate()
    assert process.returncode == 0
    return float(out.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    chosen = parser.parse_args()
    alone: list[float] = []
    worst: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder)
        for _ in range(chosen.repeats):
            alone.append(figure(started(folder, chosen.steps)))
            both = [started(folder, chosen.steps) for _ in range(2)]
            worst.append(min(figure(one) for one in both))
    one, two = statistics.median(alone), statistics.median(worst)
    print(f"python -m tests.bench.bench_busy --repeats {chosen.repeats} on {machine()}")
    print(f"one training alone: {one:,.0f} samples/s (median)")
    print(f"the slower of two side by side: {two:,.0f} samples/s (median)")
    print(f"of a fair half: {two / (one / 2):.2f}")


if __name__ == "__main__":
    main()
