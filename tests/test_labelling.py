"""What a label is known by; an expert that stops, and is carried on; what labels cost."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import label
from pipeline.reports.results import ModelForecast
from pipeline.reports.telling import told
from pipeline.settings.reading import Settings
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.format.labels import Labels, expert_id
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.table import describe
from tests.changed import change
from tests.scripted import CENT, Scripted, put_in
from tests.shards.factory import processed_shard, write_game


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two shards of 28 and 12 steps, and an expert that must be patched in."""
    game = write_game(tmp_path / "tiny")
    (game / "expert.py").write_text("def act(s):\n    return 'A' if s['x'] > 0 else 1 / 0\n")
    folder = tmp_path / "datasets" / "tiny"
    processed_shard(folder / "a-84-v001.h5", (5, 23))
    processed_shard(folder / "b-84-v001.h5", (12,))
    return Settings.model_validate(
        {
            "game": str(game),
            "paths": {"datasets": tmp_path / "datasets"},
            "label": {"shards": [str(folder / "a-84-v001.h5")], "workers": 1},
            "expert": {"kind": "model"},
        }
    )


@pytest.fixture
def expert(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    expert = Scripted()
    put_in(monkeypatch, expert)
    return expert


def labels_of(path: str) -> Labels:
    with Shard(path) as shard:
        columns = shard.labels()
    assert columns is not None
    return columns


def names(settings: Settings) -> list[str]:
    return sorted(p.name for p in settings.shard_folder("tiny").glob("*labelled*.h5"))


def test_each_label_of_a_program_says_who_gave_it_and_when(settings: Settings) -> None:
    before = time.time()
    made = label.run(change(settings, expert={"kind": "program"}))
    columns = labels_of(made.shards[0])
    with Shard(made.shards[0]) as shard:
        told, status = shard.header.provenance, shard.column("label_status")
    assert columns["expert"].tolist() == [expert_id(told["expert"]).encode()] * 28
    assert told["experts"] == {expert_id(told["expert"]): told["expert"] | {"isolation": "bwrap"}}
    assert columns["attempt"].tolist() == [1] * 28
    assert ((before <= columns["time"]) & (columns["time"] <= time.time())).all()
    assert not columns["dollars"].any()
    assert np.isnan(columns["score"]).all()
    failed = status == LabelStatus.FAILED
    assert failed.any()
    assert not (columns["reason"][~failed] != b"").any()
    assert all(b"ZeroDivisionError" in reason for reason in columns["reason"][failed].tolist())
    assert made.dollars is None
    assert made.stopped is None


def test_what_a_label_cost_is_kept_and_summed(settings: Settings, expert: Scripted) -> None:
    expert.late = int(x_of(settings)[3])
    made = label.run(settings)
    late = x_of(settings) == expert.late
    assert made.dollars == pytest.approx(0.28)
    columns = labels_of(made.shards[0])
    assert (columns["dollars"] == CENT).all()
    assert columns["reason"].tolist() == [b"no answer in 60 s" if one else b"" for one in late]
    (row,) = describe(Path(made.shards[0]))["by_expert"]
    assert (row["kind"], row["name"], row["failures"]) == ("model", "a-model-1", late.sum())
    assert row["dollars_per_label"] == pytest.approx(0.28 / (~late).sum())
    again = label.run(settings)
    assert again.up_to_date
    assert again.dollars == made.dollars


def x_of(settings: Settings) -> Any:
    with Shard(settings.label.shards[0]) as shard:
        return shard.state("x")


def test_an_expert_that_stops_is_carried_on_by_the_same_command(
    settings: Settings, expert: Scripted
) -> None:
    expert.purse = 10
    first = label.run(settings)
    assert first.stopped == "1 dollar is spent"
    assert (first.labels, first.asked, first.up_to_date) == (10, 10, False)
    told = entries_of([Path(first.shards[0])])[0].get()
    assert told.provenance["stopped"] == "1 dollar is spent"
    assert told.label_status["unlabelled"] == 18
    nothing = label.run(settings)
    assert (nothing.shards, nothing.asked) == (first.shards, 0)
    assert (nothing.stopped, nothing.up_to_date) == ("1 dollar is spent", False)
    expert.purse = 5
    label.run(settings)
    expert.purse = 100
    last = label.run(settings)
    assert last.stopped is None
    assert (last.labels, last.asked) == (28, 13)
    assert last.dollars == pytest.approx(0.28)  # nothing was asked twice
    assert names(settings) == [f"a-labelled-v00{i}.h5" for i in (1, 2, 3)]
    one, other = labels_of(first.shards[0]), labels_of(last.shards[0])
    assert (one["time"][:10] == other["time"][:10]).all()
    assert np.isnan(one["time"][10:]).all()
    assert not (one["expert"][10:] != b"").any()
    with Shard(last.shards[0]) as shard:
        assert {"stopped", "unfinished"} & set(shard.header.provenance) == set()
    assert label.run(settings).up_to_date


def test_of_one_that_stops_before_any_answer_nothing_is_published(
    settings: Settings, expert: Scripted
) -> None:
    expert.purse = 0
    result = label.run(settings)
    assert (result.shards, result.labels, result.asked) == ((), 0, 0)
    assert (result.stopped, result.up_to_date) == ("1 dollar is spent", False)
    assert names(settings) == []


def test_one_that_stops_with_the_last_answer_has_answered_all(
    settings: Settings, expert: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = expert.answer

    def and_stop(questions: Any) -> Any:
        answers = answer(questions)
        expert.stopped = "1 dollar is spent"
        return answers

    monkeypatch.setattr(expert, "answer", and_stop)
    assert label.run(settings).stopped is None
    assert label.run(settings).up_to_date


def test_what_stops_at_one_shard_is_tried_again_at_the_next(
    settings: Settings, expert: Scripted
) -> None:
    with Shard(settings.shard_folder("tiny") / "b-84-v001.h5") as shard:
        expert.kept = set(shard.state("x").tolist())  # which cost nothing any more
    expert.purse = 3
    result = label.run(change(settings, label={"shards": []}))
    assert expert.opened == 2
    assert result.stopped == "1 dollar is spent"
    assert [row.stopped is None for row in result.by_shard] == [False, True]
    assert result.by_shard[1].labels == 12


def test_labels_of_before_stay_where_an_expert_stops(settings: Settings, expert: Scripted) -> None:
    whole = label.run(settings).shards[0]
    expert.model, expert.purse = "a-model-2", 4
    mine = change(settings, label={"shards": [whole], "relabel": True})
    part = label.run(mine)
    assert part.labels == 28
    by = {row["name"]: row["labels"] for row in describe(Path(part.shards[0]))["by_expert"]}
    assert by == {"a-model-1": 24, "a-model-2": 4}
    expert.purse = 100
    assert label.run(mine).asked == 24


def test_asked_again_an_expert_adds_to_what_a_label_cost(
    settings: Settings, expert: Scripted
) -> None:
    expert.late = int(x_of(settings)[0])
    late = x_of(settings) == expert.late
    first = label.run(settings).shards
    expert.late = None
    second = labels_of(label.run(change(settings, label={"shards": first})).shards[0])
    assert second["attempt"].tolist() == [2 if one else 1 for one in late]
    assert second["dollars"][late] == pytest.approx(0.02)
    assert not (second["reason"] != b"").any()
    expert.model = "a-model-2"
    mine = change(settings, label={"shards": first, "relabel": True})
    third = labels_of(label.run(mine).shards[0])
    assert third["dollars"] == pytest.approx(0.01)


def test_what_labels_cost_is_no_part_of_their_identity(
    settings: Settings, expert: Scripted
) -> None:
    first = Path(label.run(settings).shards[0])
    with Shard(first) as shard:
        identity = shard.header.shard_id
    first.unlink()
    expert.kept = set(x_of(settings).tolist())
    again = label.run(settings)
    assert again.dollars is None
    with Shard(again.shards[0]) as shard:
        assert shard.header.shard_id == identity


def test_an_expert_with_a_budget_is_opened_once_and_asked_in_waves(
    settings: Settings, expert: Scripted
) -> None:
    long = processed_shard(settings.shard_folder("tiny") / "c-84-v001.h5", (2100,))
    short = settings.label.shards[0]
    mine = change(settings, label={"shards": [str(long), short], "workers": 2})
    assert label.run(mine).labels == 2128
    assert (expert.opened, expert.sizes) == (1, [1024, 1024, 52, 28])
    together = change(mine, label={"relabel": True}, model={"batch": True})
    label.run(together)
    assert expert.sizes[4:] == [2100, 28]  # one batch a shard


def test_an_expert_gets_the_screens_that_it_looks_at(settings: Settings, expert: Scripted) -> None:
    expert.screens = "processed"
    label.run(change(settings, label={"limit": 9}))
    rows = np.linspace(0, 27, 9).round().astype(int)
    with Shard(settings.label.shards[0]) as shard:
        assert (np.stack(expert.seen) == shard.read_frames(0, 28)[rows]).all()


FORECAST: dict[str, Any] = {
    "estimate": "by size",
    "input_tokens": 100,
    "most_input_tokens": 100,
    "output_tokens": 20,
    "most_output_tokens": 1024,
    "kept": "0 of 16 looked at",
    "most_dollars": None,
    "stopped_by": None,
    "ways": (),
}


def test_a_dry_run_asks_nothing_and_publishes_nothing(
    settings: Settings, expert: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    forecast = types.ModuleType("pipeline.experts.model.forecast")

    def forecast_labels(settings: Settings, game: Any, questions: int, few: Any) -> Any:
        asked.append((questions, few))
        return ModelForecast(**FORECAST, questions=questions, dollars=0.01 * questions)

    forecast.forecast_labels = forecast_labels  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, forecast.__name__, forecast)
    expert.screens, expert.purse = "processed", 10
    label.run(settings)
    expert.sizes.clear()
    dry = change(settings, label={"dry_run": True, "shards": []})
    assert label.run(dry).dollars == pytest.approx(0.01 * (18 + 12))
    questions, few = asked[0]
    assert (questions, len(few), len(few.screens)) == (30, 16, 16)
    assert few.screens[0].shape == (84, 84, 3)
    assert (expert.sizes, names(settings)) == ([], ["a-labelled-v001.h5"])
    program = change(dry, expert={"kind": "program"})
    assert told(label.run(program)) == {"questions": 30, "dollars": 0.0}
