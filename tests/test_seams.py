"""Lines that a fresh attempt to break the commands found missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.rollouts.start_states import library_of
from tests.shards.factory import raw_shard
from tests.trained import error_of

Capture = pytest.CaptureFixture[str]


def test_runs_and_rounds_of_a_table_are_lists_and_an_unknown_run_is_said(
    tmp_path: Path, capsys: Capture
) -> None:
    for run in ("x", "z"):
        raw_shard(tmp_path / f"tiny/{run}/a-raw-v001.h5", (1,), mark=run)
    words = ["data", "ls", f"--paths.datasets={tmp_path}"]
    assert main([*words, "--run", "x,z"]) == 0
    assert "2 of 2 files" in capsys.readouterr().out
    assert main([*words, "--round", "0,1"]) == 0
    capsys.readouterr()
    assert main([*words, "--run", "nope"]) == 2
    line = "error: --run nope: no such run has shards; there are: x, z\n"
    assert capsys.readouterr().err == line


def test_a_missing_shard_is_not_called_damaged(capsys: Capture) -> None:
    assert main(["data", "verify", "/none.h5"]) == 2
    line = "error: /none.h5: no such shard; see which there are with: data ls\n"
    assert capsys.readouterr().err == line


def test_milestones_without_states_are_named_together(tmp_path: Path) -> None:
    library = library_of(tmp_path)
    assert error_of(lambda: library.refuse_gaps(["a", "b"])) == (
        f"{library.folder}: no states of the milestones a, b yet, in which subtasks begin; keep "
        "some "
        "with: collect --keep-states, or evaluate the subtasks that have theirs with --milestone "
        "NAME"
    )
