"""Seconds that ``data verify`` takes for a large shard in the page cache, and a bare SHA-256 of it.

``python -m tests.bench.bench_verify [--shard FILE] [--json]``: without FILE a shard is made of
200,000 frames that repeat, 420 MB: as large as 100,000 frames of a game. Timed is the whole
answer, the start of the guarded child included; the figure is the median.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.shards.repair.verify import verify
from tests.bench.machine import machine
from tests.loading.made import tiled_shard


def measure(path: Path, repeats: int) -> dict[str, object]:
    """Figures of one shard; each round times both, so that a busy machine hits both."""

    def check() -> None:
        (row,) = verify([path])
        assert row["state"] == "ok", row

    check()  # brings the file into the page cache
    rounds = [(_seconds(check), _seconds(lambda: _bare_sha256(path))) for _ in range(repeats)]
    ours, bare = zip(*rounds, strict=True)
    (row,) = verify([path])
    return {
        "frames": row["frames"],
        "mb": path.stat().st_size / 1e6,
        "verify_s": statistics.median(ours),
        "fastest_s": min(ours),
        "slowest_s": max(ours),
        "bare_sha256_s": statistics.median(bare),
        "verify_vs_bare_sha256": statistics.median(a / b for a, b in rounds),
    }


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _bare_sha256(path: Path) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(8 << 20):
            digest.update(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shard", type=Path)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = chosen.shard or tiled_shard(Path(folder) / "a.h5", chosen.frames)
        result = measure(path, chosen.repeats)
    print(f"python -m tests.bench.bench_verify on {machine()}")
    print(
        f"verify: {result['verify_s']:.2f} s ({result['fastest_s']:.2f} to "
        f"{result['slowest_s']:.2f}, median of {chosen.repeats}) for {result['frames']:,} frames, "
        f"{result['mb']:,.0f} MB; {result['verify_vs_bare_sha256']:.2f} times the "
        f"{result['bare_sha256_s']:.2f} s of a bare SHA-256 of the file"
    )
    if chosen.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
