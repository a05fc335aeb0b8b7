"""A table of subtasks: how a network does from milestone to milestone, beside the expert."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.system.files import replace_file
from pipeline.system.strict_json import json_text

Row = dict[str, Any]


def subtask_row(
    milestone: str, start: str | None, judged: Mapping[str, Any], expert: Mapping[str, Any] | None
) -> Row:
    """One subtask's row.

    Args:
        milestone: that ends the subtask.
        start: the one where it begins, None for the game's start.
        judged: the evaluation of the network on it.
        expert: the expert's, from the same start states and seeds, where there is one.

    Returns:
        success with its Wilson interval (95 %), ``steps`` (median of the episodes that succeeded),
        ``expert_steps`` and ``gap``, the difference of the two medians.
    """
    steps = _median_step(judged, milestone)
    expert_steps = None if expert is None else _median_step(expert, milestone)
    return {
        "milestone": milestone,
        "from": start or "start",
        "episodes": judged["episodes"],
        "success_rate": judged["success_rate"],
        "success_low": judged["success_low"],
        "success_high": judged["success_high"],
        "steps": steps,
        "expert_success": None if expert is None else expert["success_rate"],
        "expert_steps": expert_steps,
        "gap": None if steps is None or expert_steps is None else steps - expert_steps,
    }


def shown(rows: Sequence[Row]) -> list[Row]:
    """The rows as they are printed: the interval in one column, the same in all left out."""
    out = []
    for row in rows:
        told = {key: value for key, value in row.items() if key != "episodes"}
        low, high = told.pop("success_low"), told.pop("success_high")
        place = list(told).index("success_rate") + 1
        items = list(told.items())
        items.insert(place, ("interval", f"{low:.2f}-{high:.2f}"))
        out.append(dict(items))
    return out


def _median_step(figures: Mapping[str, Any], milestone: str) -> float | None:
    named = {row["milestone"]: row["median_step"] for row in figures["milestones"]}
    found: float | None = named[milestone]
    return found


def write_table(folder: Path, name: str, told: Mapping[str, Any], rows: Sequence[Row]) -> Row:
    """Write ``NAME.json`` (``told``, and the rows as ``subtasks``) and ``NAME.csv`` (the rows).

    Returns:
        The two paths, as ``json`` and ``csv``.

    Raises:
        PipelineError: the disk refuses; the old files are untouched.
    """
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = csv.DictWriter(text, keys, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    whole = json_text({**told, "subtasks": list(rows)}, indent=2) + "\n"
    paths = {"json": folder / f"{name}.json", "csv": folder / f"{name}.csv"}
    for path, content in zip(paths.values(), (whole, text.getvalue()), strict=True):
        replace_file(path, content.encode(), "table")
    return {kind: str(path) for kind, path in paths.items()}
