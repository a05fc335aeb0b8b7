"""All benchmarks, one after the other: ``python -m tests.bench [NAME ...]``, or ``make bench``.

``--keep`` writes what each printed to ``tests/bench/logs/NAME.log``, below the machine, the commit
and the command, so that every figure of the README has a log.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from pathlib import Path

from tests.bench.machine import machine

BENCHMARKS = {
    "emulator": ["--repeats", "3"],
    "ram": [],
    "preprocess": ["--repeats", "5"],
    "train": ["--repeats", "3"],
    "busy": ["--repeats", "3"],
    "label": ["--repeats", "3"],
    "memory": [],
    "verify": [],
    "catalogue": [],
    "experts": ["--repeats", "3"],
    "model": [],
}
"""Each with the words that its figure in the README was printed with."""
ON_DEMAND = {"loader": ["--repeats", "2", "--seconds", "2"]}
"""Not among all: needs peers that `make bench` does not install."""
LOGS = Path(__file__).parent / "logs"


def head(command: list[str]) -> str:
    """What a log begins with."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    today = datetime.datetime.now(datetime.timezone.utc).date()
    return f"# {machine()}; commit {commit}; {today}\n$ python {' '.join(command)}\n"


def measure(name: str, keep: bool) -> bool:
    """Run one benchmark, shown as it goes; whether it ended well."""
    command = ["-m", f"tests.bench.bench_{name}", *(BENCHMARKS | ON_DEMAND)[name]]
    said = head(command)
    print(said, end="", flush=True)
    running = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        print(line, end="", flush=True)
        said += line
    well = running.wait() == 0
    if keep and well:
        LOGS.mkdir(exist_ok=True)
        (LOGS / f"{name}.log").write_text(said)
    return well


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*BENCHMARKS, *ON_DEMAND]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    parser.add_argument("--keep", action="store_true", help="write tests/bench/logs/NAME.log")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in known]
    if unknown:
        parser.error(f"no benchmark '{unknown[0]}'; there are: {', '.join(known)}")
    failed = [name for name in args.names or BENCHMARKS if not measure(name, args.keep)]
    if failed:
        sys.exit(f"error: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
