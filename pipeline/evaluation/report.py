"""The report of an evaluation, which is its mark too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.reports.results import (
    EvaluateResult,
    MilestoneFigures,
    PlayedGames,
    SubtaskFigures,
    SubtaskRow,
    SubtasksResult,
)
from pipeline.reports.subtask_table import write_table
from pipeline.reports.telling import told
from pipeline.system.files import replace_file
from pipeline.system.strict_json import json_text

_OF_THIS_CALL = ("new_states", "up_to_date")


def read_report(path: Path, mark: str) -> PlayedGames | None:
    """What the games came to, if the report has the fingerprint ``mark`` and its rollouts exist.

    What does not follow from the fingerprint (prices, rules) is not read: each run tells what holds
    now.
    """
    try:
        report = json.loads(path.read_text())
        if report["fingerprint"] != mark:
            return None
        games = _played(report)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if games.rollouts is not None and not games.rollouts.exists() else games


def _played(report: Mapping[str, Any]) -> PlayedGames:
    there = {one.name: report.get(one.name) for one in fields(PlayedGames)}
    needed = {name: report[name] for name in ("episodes", "success_rate", "filmed")}
    paths = {one: _path(report.get(one)) for one in ("states", "rollouts", "video")}
    rows = tuple(MilestoneFigures(**row) for row in report["milestones"])
    read: Mapping[str, Any] = {**there, **needed, **paths, "milestones": rows, "new_states": None}
    return PlayedGames(**read)


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def write_report(result: EvaluateResult, mark: str) -> None:
    """Write the report, unless it is there already with the same content.

    Raises:
        PipelineError: the disk refuses.
    """
    path = result.report
    every = told(result, whole=True)
    kept = {name: value for name, value in every.items() if name not in _OF_THIS_CALL}
    text = json_text({"fingerprint": mark, **kept}, indent=2) + "\n"
    fix = "make room, or fix paths.checkpoints, and run the same command again"
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text:
            return
    replace_file(path, text.encode(), "report", f"the rollouts are kept; {fix}")


def write_subtasks(
    folder: Path, name: str, judged: EvaluateResult, rows: Sequence[SubtaskRow], *, up_to_date: bool
) -> SubtasksResult:
    """The table of all subtasks, written too.

    Args:
        judged: one of the evaluations; the rules of all are the same.
    """
    figures = SubtaskFigures(
        episodes=judged.episodes,
        mode=judged.rules.mode,
        sticky=judged.rules.sticky,
        sees=judged.rules.sees,
        input=judged.rules.input,
    )
    files = write_table(folder, name, told(figures), [told(row) for row in rows])
    return SubtasksResult(up_to_date=up_to_date, figures=figures, files=files, subtasks=tuple(rows))
