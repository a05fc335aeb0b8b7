"""``--json``, and every report, is JSON as the standard has it: no NaN, no Infinity."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import __main__ as command
from pipeline.reports.subtask_table import write_table
from pipeline.system.strict_json import json_text

PIPELINE = Path(__file__).parents[1] / "pipeline"


def strictly(text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)


def without_odd_numbers(tree: Any) -> Any:
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    if isinstance(tree, dict):
        return {key: without_odd_numbers(one) for key, one in tree.items()}
    return [without_odd_numbers(one) for one in tree] if isinstance(tree, list) else tree


@given(tree=TREES)
def test_whatever_is_told_is_json_and_only_odd_numbers_are_lost(tree: Any) -> None:
    assert strictly(json_text(tree)) == without_odd_numbers(tree)


def test_what_json_has_no_type_for_is_written_too() -> None:
    told = {
        "path": Path("a/b"),
        "f32": np.float32("inf"),
        "array": np.array([[1.5, np.nan]]),
        "flag": np.bool_(True),
        "pair": (1, float("-inf")),
        "count": np.uint8(7),
        float("nan"): 0,
        Path("x"): 1,
        3: 2,
    }
    assert strictly(json_text(told)) == {
        "path": "a/b",
        "f32": None,
        "array": [[1.5, None]],
        "flag": True,
        "pair": [1, None],
        "count": 7,
        "nan": 0,
        "x": 1,
        "3": 2,
    }


@pytest.mark.parametrize("name", sorted(command.STAGES))
def test_the_line_of_a_stage_is_json(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = {"rate": float("nan"), "rows": [{"return_mean": np.float32("inf")}]}
    monkeypatch.setattr(command, "_stage", lambda stage, settings: dict(odd))
    assert command.main([name, "--json"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert strictly(line) == {"rate": None, "rows": [{"return_mean": None}]}


def test_a_command_that_fails_ends_with_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["data", "show", "/none.h5", "--json"]) == 2
    told = capsys.readouterr()
    assert f"error: {strictly(told.out)['error']}\n" == told.err
    assert command.main(["train", "--stepz", "1", "--json"]) == 2
    assert "--stepz" in strictly(capsys.readouterr().out)["error"]


def test_a_table_of_subtasks_is_json(tmp_path: Path) -> None:
    files = write_table(tmp_path, "subtasks", {"rate": float("inf")}, [{"x": float("nan")}])
    told = strictly(files.json.read_text())
    assert told == {"rate": None, "subtasks": [{"x": None}]}


def test_no_report_is_written_by_another_encoder() -> None:
    """json.dumps is left where both ends are ours, or where the text is hashed or asked."""
    ours = {
        "system/strict_json.py",
        "shards/format/schema.py",  # canonical_json is hashed, old identities stay
        "shards/catalog/catalogue.py",  # a cache that only we read
        "shards/format/checks.py",  # asked only whether it can be written
        "shards/catalog/guard.py",  # from process to process
        "experts/worker.py",
        "experts/sandbox/worker_sandbox.py",
        "experts/model/batching.py",  # a length
        "experts/authoring/joining.py",  # a name as Python
        "experts/authoring/prompt.py",
        "rollouts/start_states.py",  # names and whole numbers
        "search/session.py",
        "conformance/expert.py",  # asked only whether it can be written
        "agents/switching.py",  # names
    }
    found = {
        path.relative_to(PIPELINE).as_posix()
        for path in PIPELINE.rglob("*.py")
        if re.search(r"\bjson\.dumps?\(", path.read_text())
    }
    assert found <= ours
