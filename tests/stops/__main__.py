"""``python -m tests.stops [--short] [--jobs N] [COMMAND ...]``: commands stopped everywhere."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.stops.commands import CHAINS, COMMANDS, SHORT
from tests.stops.runner import Workplace


def _processor() -> float:
    """Seconds of the processor that all commands so far took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.stops", description=__doc__)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--short", action="store_true", help="take some of the longer commands")
    parser.add_argument("--all", action="store_true", help="also where the files are the same")
    parser.add_argument("--jobs", type=int, default=1, help="stop points side by side")
    parser.add_argument("--keep", type=Path, help="where to work, and leave what went wrong")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Workplace(chosen.keep or Path(temporary))
        for name in chosen.commands or COMMANDS:
            began = _processor()
            _, whole = place.whole(name)
            wrong = [f"{name}: {breach}" for breach in whole["breaches"]]
            if chosen.short and name in CHAINS:
                stopped, fault = place.again_and_again(name, CHAINS[name])
                wrong += [] if fault is None else [fault]
            else:
                every = SHORT.get(name, 1) if chosen.short else 1
                points = (range(len(whole["calls"])) if chosen.all else whole["states"])[::every]
                wrong += place.recovered(name, points, jobs=chosen.jobs)
                stopped = len(points)
            faults += wrong
            row = {"command": name, "points": len(whole["calls"]), "states": len(whole["states"])}
            more = {"faults": len(wrong), "processor": round(_processor() - began, 1)}
            rows.append({**row, "stopped": stopped, **more})
            print(json.dumps(rows[-1]), *wrong, sep="\n", flush=True)
    stopped, points = (sum(row[key] for row in rows) for key in ("stopped", "points"))
    print(f"{len(rows)} commands, {points} points, {stopped} stops, {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
