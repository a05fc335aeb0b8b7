"""The loop of rounds tells what it cost, and ends with one line where the expert stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline import evaluate, label
from pipeline.games.loading import load_game
from pipeline.loops import dagger
from pipeline.loops.round import labelled
from pipeline.reports.results import FreeForecast
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.scripted import Scripted, put_in


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    program = tmp_path / "written.py"
    shutil.copy(load_game("quest").folder / "expert.py", program)
    (tmp_path / "written.json").write_text(json.dumps({"dollars": 0.4, "milestones": []}))
    return Settings.model_validate(
        {
            "run": "paid",
            "paths": {"datasets": tmp_path / "datasets", "checkpoints": tmp_path / "checkpoints"},
            "collect": {"max_steps": 12, "workers": 1},
            "preprocess": {"workers": 1, "validation": 0},
            "label": {"workers": 1},
            "expert": {"path": program},
            "train": {"batch_size": 8, "threads": 1, "validate_every": 0},
            "evaluate": {"episodes": 1, "max_steps": 4, "workers": 1, "keep_rollouts": False},
            "dagger": {"rounds": 1, "episodes": 1, "steps": 1, "evaluate_episodes": 1},
        }
    )


def test_the_rounds_cost_what_their_labels_and_the_program_cost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = dagger.run(settings)
    assert [row.dollars for row in written.rounds] == [pytest.approx(0.4)]
    assert written.costs.dollars == pytest.approx(0.4)
    assert written.costs.dollars_per_milestone is None or written.evaluation.milestones_mean > 0
    assert written.costs.dollars_per_success_point is None  # after one update nothing is won
    report = json.loads((settings.run_folder() / "paid-evaluate.json").read_text())
    assert report["dollars"] == pytest.approx(0.4)
    alone = evaluate.run(change(settings, evaluate={"checkpoint": "expert", "name": "itself"}))
    assert alone.costs.dollars == pytest.approx(0.4)


def test_the_loop_ends_where_the_expert_stops_and_is_carried_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = change(settings, label={"relabel": True})  # the program played and labelled already
    put_in(monkeypatch, Scripted(purse=3))
    with pytest.raises(PipelineError) as error:
        dagger.run(mine)
    assert str(error.value) == (
        "round 1: the expert stopped after 3 of 12 steps (1 dollar is spent); all so far is kept, "
        "and the same command carries on from there"
    )
    put_in(monkeypatch, Scripted(purse=9))
    (row,) = dagger.run(mine).rounds
    assert row.dollars == pytest.approx(0.12)


def test_a_loop_refuses_to_ask_only_what_its_labels_would_cost(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label, "run", lambda _: FreeForecast(questions=3))
    with pytest.raises(PipelineError) as error:
        labelled(settings)
    assert str(error.value) == (
        "label.dry_run: a loop cannot go on without labels; leave it out, or give it to the label "
        "stage alone"
    )
