"""What ``data ls`` and ``data show`` say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.shards.table import describe, list_shards
from tests.shards.factory import make_episode, processed_shard, raw_shard


def test_every_file_of_every_game_has_a_row(tmp_path: Path) -> None:
    raw = raw_shard(tmp_path / "tiny" / "a-raw-v001.h5", (5, 23))
    small = processed_shard(tmp_path / "tiny" / "a-84-v001.h5", (5,), labelled=True)
    broken = tmp_path / "other" / "b.h5"
    broken.parent.mkdir()
    broken.write_text("no shard")
    rows = list_shards(tmp_path)
    assert [row["shard"] for row in rows] == [str(broken), str(small), str(raw)]
    assert rows[0]["error"] == (
        "not an HDF5 file, so no shard; make the shard anew, or leave it out"
    )
    assert rows[1] == {
        "shard": str(small),
        "kind": "processed",
        "game": "tiny",
        "episodes": 1,
        "frames": 5,
        "labels": 5,
        "validation": 0,
        "success_rate": 1.0,
        "return_mean": pytest.approx(make_episode(5, size=(84, 84)).return_),
        "mb": round(small.stat().st_size / 1e6, 2),
    }
    assert (rows[2]["kind"], rows[2]["frames"], rows[2]["labels"]) == ("raw", 28, 0)


def test_no_folder_has_no_rows(tmp_path: Path) -> None:
    assert list_shards(tmp_path / "datasets") == []


def test_one_shard_is_told_in_full(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    told = describe(path)
    assert json.loads(json.dumps(told)) == told
    assert told["kind"] == "raw"
    assert told["stage"] == "collect"
    assert told["frame_contract"] == "160x240 RGB, resampling none"
    assert told["timing"] == "hold 4 frames, release 6 frames"
    assert told["state"] == ["map", "x"]
    assert told["start_states"] == 1
    assert told["label_status"]["unlabelled"] == 28
    assert [row["action"] for row in told["by_action"]] == ["A", "B", "UP", "DOWN"]
    assert sum(row["played"] for row in told["by_action"]) == 28
    assert told["by_milestone"] == [
        {"milestone": "left_home", "reached": 2, "step_median": 2.0},
        {"milestone": "badge", "reached": 0, "step_median": None},
    ]
    assert told["by_episode"][1] == {
        "episode": 1,
        "root": "power_on-00000001",
        "seed": 1,
        "steps": 23,
        "return": make_episode(23, 1).return_,
        "success": True,
        "split": "train",
        "milestones": 1,
    }


def test_what_is_no_shard_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no such shard"):
        describe(tmp_path / "a.h5")
