"""A table of subtasks: how a network does from milestone to milestone, beside the expert."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.reports.results import PlayedGames, SubtaskRow, TableFiles
from pipeline.system.files import replace_file
from pipeline.system.strict_json import json_text

Row = Mapping[str, object]
"""What is told of a subtask, by column (`pipeline.reports.telling`)."""


def subtask_row(
    milestone: str, start: str | None, judged: PlayedGames, expert: PlayedGames | None
) -> SubtaskRow:
    """One subtask's row.

    Args:
        milestone: that ends the subtask.
        start: the one where it begins, None for the game's start.
        judged: the network's games on it.
        expert: the expert's, from the same start states and seeds, where there are some.
    """
    steps = judged.median_step(milestone)
    expert_steps = None if expert is None else expert.median_step(milestone)
    return SubtaskRow(
        milestone=milestone,
        start=start or "start",
        episodes=judged.episodes,
        success_rate=judged.success_rate,
        success_low=judged.success_low,
        success_high=judged.success_high,
        steps=steps,
        expert_success=None if expert is None else expert.success_rate,
        expert_steps=expert_steps,
        gap=None if steps is None or expert_steps is None else steps - expert_steps,
    )


def write_table(folder: Path, name: str, beside: Row, rows: Sequence[Row]) -> TableFiles:
    """Write ``NAME.json`` (``beside``, and the rows as ``subtasks``) and ``NAME.csv`` (the rows).

    Raises:
        PipelineError: the disk refuses; the old files are untouched.
    """
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row))
    table = csv.DictWriter(text, keys, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    whole = json_text({**beside, "subtasks": list(rows)}, indent=2) + "\n"
    files = TableFiles(folder / f"{name}.json", folder / f"{name}.csv")
    replace_file(files.json, whole.encode(), "table")
    replace_file(files.csv, text.getvalue().encode(), "table")
    return files
