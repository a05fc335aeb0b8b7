"""A policy is known by weights and contract, wherever its file lies and whatever else it holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.agents.policy import policy_sha256
from pipeline.settings.fields import Train
from pipeline.shards.format.frames import FrameContract
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import content_sha256, load_checkpoint, save_checkpoint
from pipeline.training.run_folder import carry_on_from, inputs_of
from tests.loading import made
from tests.training.test_checkpoint import checkpoint

SAME: dict[str, Any] = {
    "step": 8,
    "settings": {"paths": {"checkpoints": "/elsewhere"}},
    "inputs": {"seed": 2},
    "shard_ids": ("c",),
    "trained_seeds": np.array([9], np.uint32),
    "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
    "random_state": {"cpu": torch.zeros(4, dtype=torch.uint8)},
    "metrics": {"seconds": 7.5},
}
OTHER: dict[str, Any] = {
    "hidden": 9,
    "frame_contract": FrameContract(84, 84, "none"),
    "actions": made.BUTTONS[::-1],
    "game": "scissors",
    "rom_sha1": "0" * 40,
    "timing": {"hold": 4, "release": 7},
    "goals": ("far",),
}


def test_every_field_belongs_to_the_identity_or_does_not(tmp_path: Path) -> None:
    first = checkpoint()
    assert {"weights", "path", *SAME, *OTHER} == set(vars(first))
    save_checkpoint(tmp_path / "one.pt", first)
    for name, value in SAME.items():
        save_checkpoint(tmp_path / "run/two.pt", replace(first, **{name: value}))
        assert policy_sha256(tmp_path / "run/two.pt") == policy_sha256(tmp_path / "one.pt"), name
    others = [replace(first, **{name: value}).sha256 for name, value in OTHER.items()]
    moved = checkpoint()
    moved.weights["head.bias"][3] = torch.nextafter(moved.weights["head.bias"][3], torch.tensor(9))
    assert len({first.sha256, moved.sha256, *others}) == len(OTHER) + 2


def test_no_two_contents_look_alike() -> None:
    contents: list[Any] = [
        [], [[]], {}, "", None, 0, False, [1, 2], [[1], 2], ["12"], {"a": 1, "b": 2}, {"a": 12},
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(1), torch.zeros(2, dtype=torch.int32),
    ]  # fmt: skip
    assert len({content_sha256(one) for one in contents}) == len(contents)
    assert content_sha256({"a": 1, "b": [2]}) == content_sha256({"b": (2,), "a": 1}) is not None


def test_a_training_that_knew_its_start_by_the_file_carries_on(tmp_path: Path) -> None:
    """So it was before; a start that is known by its weights may be moved or trained again."""
    start, run = tmp_path / "start.pt", tmp_path / "run"
    save_checkpoint(start, checkpoint())
    train, headers = Train(start_from=start, steps=20), [made.header(shard_id="1" * 32)]

    def begun_from(known: str) -> None:
        inputs = {**inputs_of(train, headers, "float32"), "start_from": known}
        save_checkpoint(run / "last.pt", checkpoint(inputs={**inputs, "order": "uniform"}))

    def carried_on(start: Path) -> bool:
        mine = train.model_copy(update={"start_from": start})
        return carry_on_from(run, inputs_of(mine, headers, "float32"), mine) is not None

    begun_from(hashlib.sha256(start.read_bytes()).hexdigest())
    assert carried_on(start)
    again = tmp_path / "again.pt"
    save_checkpoint(again, replace(load_checkpoint(start), metrics={"seconds": 9.0}))
    with pytest.raises(PipelineError, match="belongs to another training"):
        carried_on(again)  # the same weights, but that is not known of them
    begun_from(load_checkpoint(start).sha256)
    assert carried_on(again)
    other = checkpoint()
    other.weights["head.bias"][0] += 1
    save_checkpoint(again, other)
    known, now = load_checkpoint(start).sha256[:12], other.sha256[:12]
    with pytest.raises(PipelineError) as caught:
        carried_on(again)
    assert str(caught.value) == (
        f"{run / 'last.pt'}: belongs to another training (start_from {known}, now {now}); "
        "give another --run, or --train.resume false to start again"
    )
