"""``python -m tests.platforms``: the table of the kept logs of ``try.sh``, as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LOGS = Path(__file__).parent / "logs"


def told() -> list[dict[str, Any]]:
    """The last line of each log, a JSON object, by system and Python."""
    rows = [json.loads(log.read_text().splitlines()[-1]) for log in sorted(LOGS.glob("*.log"))]
    return sorted(
        rows, key=lambda row: (row["system"], [int(part) for part in row["python"].split(".")])
    )


def table() -> str:
    """A row a log."""
    lines = [
        "| system | Python | as | libmgba | torch | install | `make dagger`, small | "
        "tests | known second |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in told():
        where = "by apt" if row["library"] == "system" else "unpacked into `.venv`"
        user = "root" if row["user"] == "root" else "an ordinary user"
        result = {
            name: f"{row[name]['seconds']} s"
            if row[name]["exit"] == 0
            else f"exit {row[name]['exit']}"
            for name in ("install", "dagger", "tests")
        }
        if row.get("installer") == "uv":
            result["install"] += ", by uv"
        known = "the same" if row["same"] else row["known_second"]
        lines.append(
            f"| {row['system']} | {row['python']} | {user} | "
            f"{row['libmgba']}, {where} | {row['torch']} | {result['install']} | "
            f"{result['dagger']} | `make {row['tests_of']}`: {result['tests']} | {known} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
