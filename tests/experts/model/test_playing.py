"""A model that plays: what each of its buttons cost stands in the raw shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import collect
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.format.labels import expert_id
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.experts.model.made import asking, settings_in
from tests.model_server import Asked, Reply, says

STEPS = 6


def plays(asked: Asked) -> Reply:
    button = "START" if "\nscreen: 0\n" in asked.text else "DOWN"
    return says({"reason": "", "button": button})


def test_what_a_model_that_plays_costs_is_told_step_by_step(tmp_path: Path) -> None:
    played = {"episodes": 1, "max_steps": STEPS, "workers": 1, "name": "played"}
    settings = settings_in(tmp_path, collect=played).model_copy(update={"game": "quest"})
    with asking(plays) as server:
        result = collect.run(settings)
    assert result.labels == STEPS > len(server.asked)  # a state that comes again is not asked
    with Shard(result.shard) as shard:
        labels, told = shard.labels(), shard.header.provenance
    assert labels is not None
    (who,) = told["experts"]
    assert who == expert_id(told["actor"]["expert"])
    assert set(labels["expert"].tolist()) == {who.encode()}
    assert (labels["dollars"] > 0).sum() == len(server.asked)
    assert ((labels["attempt"] == 1) == (labels["dollars"] > 0)).all()
    assert np.isfinite(labels["time"]).all()
    facts = entries_of([Path(result.shard)])[0].get()
    assert facts.dollars == pytest.approx(labels["dollars"].sum())


def test_a_budget_that_ends_in_the_middle_of_a_game_ends_it_in_one_line(tmp_path: Path) -> None:
    played = {"episodes": 1, "max_steps": STEPS, "workers": 1}
    settings = settings_in(tmp_path, collect=played, budget={"labels": 1})
    settings = settings.model_copy(update={"game": "quest"})
    with asking(plays) as server, pytest.raises(PipelineError) as stopped:
        collect.run(settings)
    assert len(server.asked) == 1
    assert str(stopped.value).startswith("claude-test: the expert stopped while playing (")
    assert str(stopped.value).endswith("(0 of 1 episodes are finished and kept)")
