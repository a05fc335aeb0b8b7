"""Attempts on disk: found again in their order, whole or not there, and each folder its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pipeline.experts.authoring.attempts import (
    Attempts,
    alone_in,
    milestone_folder,
    read_json,
    write_json,
)
from pipeline.experts.authoring.expert_file import source_of
from pipeline.experts.authoring.record import Judged, best
from pipeline.system.errors import PipelineError


def test_attempts_are_found_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    attempts = Attempts(tmp_path)
    for number, candidate in ((10, 1), (2, 2), (2, 1), (2, 11), (1, 1)):
        attempts.get(number, candidate).write("prompt", {})
    (tmp_path / "attempt-x").mkdir()
    assert [one.name for one in attempts.all()] == [
        "attempt-01", "attempt-02", "attempt-02-2", "attempt-02-11", "attempt-10",
    ]  # fmt: skip
    assert attempts.answered() == []
    attempts.get(2, 2).write("answer", {"text": "A"})
    assert [one.name for one in attempts.answered()] == ["attempt-02-2"]


def test_milestones_that_would_share_a_folder_get_their_number(tmp_path: Path) -> None:
    names = ["left home", "left-home", "badge", "../up"]
    found = [milestone_folder(tmp_path, name, names).name for name in names]
    assert found == ["left-home-01", "left-home-02", "badge", "---up"]


def test_a_file_is_replaced_whole_and_a_damaged_one_named(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answer.json"
    assert read_json(path) is None
    write_json(path, {"text": "old"})
    write_json(path, {"text": "new"})
    assert read_json(path) == {"text": "new"}
    assert [one.name for one in path.parent.iterdir()] == ["answer.json"]
    path.write_text('{"text"')
    with pytest.raises(PipelineError) as caught:
        read_json(path)
    assert str(caught.value) == (
        f"{path}: cannot be read (damaged); remove the folder that it lies in"
    )


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where a folder should be")
    path = tmp_path / "run" / "author" / "expert.json"
    with pytest.raises(PipelineError) as caught:
        write_json(path, {})
    assert str(caught.value) == (
        f"{path}: cannot be written (Not a directory); make room, or fix paths.checkpoints, and "
        "run the same command again"
    )
    with pytest.raises(PipelineError, match=re.escape("author/.lock: cannot be written")):
        alone_in(path.parent).__enter__()


def test_two_authors_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(PipelineError) as caught, alone_in(tmp_path):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: another process writes programs there; wait for it, or give another --run"
    )
    with alone_in(tmp_path):
        pass


def test_an_author_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    with alone_in(tmp_path / "run" / "author"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays_and_so_does_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with alone_in(tmp_path / "run" / "author"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]
    with alone_in(tmp_path / "run" / "author"):
        (tmp_path / "run" / "author" / "expert.py").write_text("")
    assert (tmp_path / "run" / "author" / "expert.py").is_file()


def test_a_lock_that_is_removed_meanwhile_is_taken_anew(tmp_path: Path) -> None:
    folder = tmp_path / "author"
    with alone_in(folder):
        (folder / ".lock").unlink()
        (folder / ".lock").write_text("")  # as another process that came between
        with alone_in(folder), pytest.raises(PipelineError), alone_in(folder):
            pass


def judged(folder: Path, number: int, rate: float, steps: float | None) -> Judged:
    told = {"success_rate": rate, "median_steps": steps, "reason": None, "sha256": "0" * 64}
    return Judged(Attempts(folder).get(number), told)


def test_the_best_attempt_arrives_most_often_then_soonest_then_last(tmp_path: Path) -> None:
    ranked = [
        judged(tmp_path, 5, 0.0, None),
        judged(tmp_path, 1, 0.0, None),
        judged(tmp_path, 2, 0.5, 40),
        judged(tmp_path, 3, 0.5, 30),
        judged(tmp_path, 4, 0.9, 90),
    ]
    order = []
    while ranked:
        chosen = best(ranked)
        assert chosen is not None
        order.append(chosen.attempt.number)
        ranked.remove(chosen)
    assert order == [4, 3, 2, 5, 1]
    assert best([]) is None


def test_a_program_that_was_changed_after_its_trial_is_not_joined(tmp_path: Path) -> None:
    kept = judged(tmp_path, 1, 1.0, 5)
    kept.attempt.folder.mkdir()
    kept.attempt.program.write_text("def act(state):\n    return 'B'\n")
    with pytest.raises(PipelineError) as caught:
        source_of(kept)
    assert str(caught.value) == (
        f"{kept.attempt.program}: is not the program that was tried; remove "
        f"{kept.attempt.folder / 'result.json'} to have the answer's own tried again, and use one "
        "of your own with --expert.path FILE"
    )
