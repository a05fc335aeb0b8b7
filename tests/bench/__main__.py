"""All benchmarks, one after the other: ``python -m tests.bench [NAME ...]``, or ``make bench``."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "emulator",
    "ram",
    "preprocess",
    "train",
    "label",
    "memory",
    "verify",
    "catalogue",
    "experts",
)


def main() -> None:
    names = sys.argv[1:] or BENCHMARKS
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"error: no benchmark '{unknown[0]}'; there are: {', '.join(BENCHMARKS)}")
    failed = [
        name
        for name in names
        if subprocess.run([sys.executable, "-m", f"tests.bench.bench_{name}"]).returncode
    ]
    if failed:
        sys.exit(f"error: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
