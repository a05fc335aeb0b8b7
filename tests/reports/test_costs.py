"""Dollars: of labels, of the program that gave them, and for what they brought."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.reports.costs import costs_of, program_dollars, spent_on
from pipeline.reports.results import Costs
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import Facts
from pipeline.shards.format.labels import expert_id, no_labels
from tests.shards.factory import make_episode, processed_header, write


def program(folder: Path, **told: Any) -> Path:
    path = folder / "expert.py"
    path.write_text("def act(s):\n    return 'A'\n")
    (folder / "expert.json").write_text(json.dumps(told))
    return path


def paid(path: Path, sha256: str, cents: int, seed: int = 0) -> Facts:
    """A shard of one label that cost so many cents."""
    who = {"kind": "program", "path": "expert.py", "sha256": sha256}
    labels = no_labels(2)
    labels["expert"][:] = expert_id(who).encode()
    labels["dollars"][0] = np.float32(cents / 100)
    told = {"stage": "label", "parents": [], "experts": {expert_id(who): who}}
    made = replace(make_episode(2, seed, size=(84, 84), labelled=True), labels=labels)
    write(path, processed_header(provenance=told), [made])
    return entries_of([path])[0].get()


def test_labels_of_all_shards_are_summed_and_the_program_counts_once(tmp_path: Path) -> None:
    path = program(tmp_path, dollars=1.5)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    one = paid(tmp_path / "a.h5", sha256, 25)
    other = paid(tmp_path / "b.h5", sha256, 50, seed=1)
    free_copy = paid(tmp_path / "c.h5", sha256, 0)  # the same labels, found again
    assert one.shard_id == free_copy.shard_id
    assert spent_on([one, other, free_copy], path) == pytest.approx(0.75 + 1.5)
    assert spent_on([one, free_copy], tmp_path / "none.py") == pytest.approx(0.25)
    assert spent_on([], path) == 0


def test_a_program_that_gave_none_of_the_labels_is_not_counted(tmp_path: Path) -> None:
    path = program(tmp_path, dollars=1.5)
    assert spent_on([paid(tmp_path / "a.h5", "0" * 64, 25)], path) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("told", "dollars"),
    [
        ({"dollars": 2}, 2.0),
        ({"dollars": 2, "sha256": "0" * 64}, 0.0),
        ({"price": 2}, 0.0),
        ({"dollars": "much"}, 0.0),
        ({"dollars": -1}, 0.0),
    ],
)
def test_a_file_beside_the_program_tells_what_it_took(
    tmp_path: Path, told: dict[str, Any], dollars: float
) -> None:
    assert program_dollars(program(tmp_path, **told)) == dollars
    assert program_dollars(tmp_path / "other.py") == 0


def test_dollars_are_told_for_each_milestone_and_each_point_of_success() -> None:
    assert costs_of(10.0, milestones_mean=4.0, success_rate=0.5) == Costs(
        dollars=10.0, dollars_per_milestone=2.5, dollars_per_success_point=0.2
    )
    none = costs_of(10.0, milestones_mean=0.0, success_rate=0.0)
    assert none == Costs(dollars=10.0, dollars_per_milestone=None, dollars_per_success_point=None)
    assert costs_of(0.0, milestones_mean=4.0, success_rate=0.5) is None
