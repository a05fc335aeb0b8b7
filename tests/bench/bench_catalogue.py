"""Cataloguing 10,000 shards: cold, from what is kept, and against opening each with h5py.

``python -m tests.bench.bench_catalogue [--json] [--shards N]``. The shards are copies of one small
real shard, each a file of its own, in a temporary folder. Every pass is a fresh process, as a stage
would be; its figure is the time from the call to the last entry, without the start of Python.

- cold: nothing is kept, so every file is examined by a child and then kept;
- kept: nothing has changed since;
- one new: a shard has come since, which a child examines;
- ls: the whole of ``data ls`` from what is kept, its table printed;
- h5py: every file is opened with h5py and its root attributes are read, as one without a catalogue
  would.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from tests.bench.machine import machine
from tests.shards.factory import processed_shard


def with_catalogue(folder: Path) -> int:
    from pipeline.shards.catalog.catalogue import Catalogue

    return sum(entry.get().frames > 0 for entry in Catalogue(folder).entries())


def with_ls(folder: Path) -> int:
    from pipeline.__main__ import main

    main(["data", "ls", "--paths.datasets", str(folder.parent)])
    return sum(1 for _ in folder.glob("*.h5"))


def with_h5py(folder: Path) -> int:
    import h5py

    count = 0
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path, "r", locking=False) as file:
            count += bool(dict(file.attrs)["shard_id"]) and len(file["label_status"]) > 0
    return count


PASSES: dict[str, Callable[[Path], int]] = {
    "catalogue": with_catalogue,
    "ls": with_ls,
    "h5py": with_h5py,
}


def seconds(name: str, folder: Path, shards: int) -> float:
    """One pass in a fresh process."""
    words = [sys.executable, "-m", "tests.bench.bench_catalogue", "--one", name, str(folder)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    if told["shards"] != shards:
        sys.exit(f"error: {name} found {told['shards']} of {shards} shards")
    return float(told["seconds"])


def copies(folder: Path, shards: int) -> None:
    """So many small shards, each a file of its own."""
    first = processed_shard(folder / "run-round-00-84-v001.h5", (40, 60), labelled=True)
    for number in range(1, shards):
        shutil.copyfile(first, folder / f"run-{number:05d}-round-{number % 20:02d}-84-v001.h5")


def measure(shards: int, repeats: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "tiny"
        copies(folder, shards)
        kept = folder / ".catalogue"
        figures = {
            "cold_s": seconds("catalogue", folder, shards),
            "kept_bytes_a_shard": kept.stat().st_size / shards,
        }
        for figure, what in (
            ("kept_s", "catalogue"),
            ("ls_s", "ls"),
            ("h5py_s", "h5py"),
        ):
            times = [seconds(what, folder, shards) for _ in range(repeats)]
            figures[figure] = statistics.median(times)
        shutil.copyfile(folder / "run-round-00-84-v001.h5", folder / "new-84-v001.h5")
        figures["one_new_s"] = seconds("catalogue", folder, shards + 1)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("PASS", "FOLDER"))
    chosen = parser.parse_args()
    if chosen.one:
        started = perf_counter()
        count = PASSES[chosen.one[0]](Path(chosen.one[1]))
        print(json.dumps({"shards": count, "seconds": perf_counter() - started}))
        return
    shards = chosen.shards
    figures = measure(shards, chosen.repeats)
    figures["h5py_vs_kept"] = figures["h5py_s"] / figures["kept_s"]
    print(f"python -m tests.bench.bench_catalogue on {machine()}")
    print(f"{shards:,} shards, median of {chosen.repeats} passes (cold and one new: one pass)")
    print(f"cold, every file checked by children: {figures['cold_s']:.2f} s")
    print(f"from what is kept: {figures['kept_s']:.3f} s")
    print(f"from what is kept, one shard is new: {figures['one_new_s']:.3f} s")
    print(f"data ls from what is kept, table printed: {figures['ls_s']:.2f} s")
    print(f"opening each with h5py: {figures['h5py_s']:.2f} s")
    print(f"kept bytes a shard: {figures['kept_bytes_a_shard']:,.0f}")
    print(f"h5py / kept: {figures['h5py_vs_kept']:.1f}")
    if chosen.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
