"""The report of an evaluation, which is its mark too."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.system.files import replace_file
from pipeline.system.strict_json import json_text

_TOLD_ANEW = {"report", "mode", "sticky", "new_states", "dollars",
              "dollars_per_milestone", "dollars_per_success_point", "sees", "input", "subtask",
              "leg", "starts"}  # fmt: skip
"""Of a report, what does not follow from its fingerprint: each run tells what holds now."""


def read_report(path: Path, mark: str) -> dict[str, Any] | None:
    """The report that is there, if it has the fingerprint ``mark`` and its rollouts still exist."""
    try:
        report = json.loads(path.read_text())
        known = report.pop("fingerprint") == mark
    except (OSError, ValueError, KeyError, AttributeError):
        return None  # none yet, or not ours: it is written anew
    rollouts = report.get("rollouts")
    if not known or (rollouts and not Path(rollouts).exists()) or "filmed" not in report:
        return None
    return {name: value for name, value in report.items() if name not in _TOLD_ANEW}


def write_report(path: Path, result: dict[str, Any], mark: str) -> None:
    """Write the report, unless it is there already with the same content.

    Raises:
        PipelineError: the disk refuses.
    """
    # How many states are new is told of this very call alone.
    kept = {name: value for name, value in result.items() if name != "new_states"}
    text = json_text({"fingerprint": mark, **kept}, indent=2) + "\n"
    fix = "make room, or fix paths.checkpoints, and run the same command again"
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text:
            return
    replace_file(path, text.encode(), "report", f"the rollouts are kept; {fix}")
