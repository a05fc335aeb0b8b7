"""Choosing what a training learns from: what it costs, and that both splits are what they were."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pipeline import train
from pipeline.loading.dataset import Steps
from pipeline.loading.weights import Weights
from pipeline.shards.format.schema import TRAIN, VALIDATION
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.loading import made
from tests.trained import settings_in


def test_each_shard_is_opened_once_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    paths = [
        made.shard(tmp_path / f"{name}.h5", (20, 9, 11), validation=(1,), seed=10 * i)
        for i, name in enumerate("abc")
    ]
    settings = change(settings, train={"shards": paths, "steps": 1})
    train.run(settings)  # the catalogue knows the shards from here on
    opened: Counter[str] = Counter()

    class Counted(h5py.File):  # type: ignore[misc]
        def __init__(self, name: Any, *args: Any, **options: Any) -> None:
            opened[str(name)] += 1
            super().__init__(name, *args, **options)

    monkeypatch.setattr(h5py, "File", Counted)
    result = train.run(change(settings, run="another"))
    assert (result.labels, result.validation_labels) == (3 * 31, 3 * 9)
    assert opened == dict.fromkeys(map(str, paths), 1)


@pytest.mark.parametrize("options", [{}, {"goals": True}, {"subtask": (0, 0)}, {"previous": True}])
@pytest.mark.parametrize("max_labels", [0, 5, 999])
@pytest.mark.parametrize("split", [TRAIN, VALIDATION])
def test_a_split_of_steps_is_what_is_made_of_that_split(
    tmp_path: Path, split: int, max_labels: int, options: dict[str, Any]
) -> None:
    paths = [
        made.shard(
            tmp_path / f"{name}.h5",
            (20, 33, 7, 16),
            validation=(1, 2),
            every=3,
            seed=10 * i,
            milestones=("far",),
            reached=((12,), (-1,), (3,), (0,)),
        )
        for i, name in enumerate("ab")
    ]
    weights = Weights(balance=0.5)
    due = Steps(paths, split=split, max_labels=max_labels, weights=weights, **options)
    every = Steps(paths, **options)
    before = every.batch(np.arange(len(every)))
    found = every.of_split(split, max_labels=max_labels, weights=weights)
    assert len(found) == len(due) > 0
    assert np.array_equal(found.chunk_counts, due.chunk_counts)
    for one, other in zip(
        found.batch(np.arange(len(found))), due.batch(np.arange(len(due))), strict=True
    ):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    found.close()
    assert torch.equal(every.batch(np.arange(len(every))).frames, before.frames)


def test_weights_of_a_split_name_what_is_there(tmp_path: Path) -> None:
    every = Steps([made.shard(tmp_path / "a.h5")])
    with pytest.raises(PipelineError) as refused:
        every.of_split(TRAIN, weights=Weights(by_shard={"b.h5": 2.0}))
    assert str(refused.value) == "train.shard_weights: no shard 'b.h5'; there are: a.h5"
