"""What ``data ls`` and ``data show`` say."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest

from pipeline.shards.table import describe, header_of, list_shards, newest_entries
from pipeline.system.errors import PipelineError
from tests.shards.factory import MADE, make_episode, processed_shard, raw_shard


def names(rows: list[dict[str, object]]) -> list[str]:
    return [Path(str(row["shard"])).name for row in rows]


def test_every_file_of_every_game_has_a_row(tmp_path: Path) -> None:
    raw = raw_shard(tmp_path / "tiny" / "mine" / "a-round-03-raw-v001.h5", (5, 23))
    small = processed_shard(
        tmp_path / "tiny" / "mine" / "a-round-03-84-v001.h5", (5,), labelled=True
    )
    broken = tmp_path / "other" / "b.h5"
    broken.parent.mkdir()
    broken.write_text("no shard")
    rows, count = list_shards(tmp_path)
    assert count == 3
    assert [row["shard"] for row in rows] == [str(broken), str(small), str(raw)]
    assert rows[0] == {
        "shard": str(broken),
        "run": "default",
        "state": "damaged",
        "error": "not an HDF5 file, so no shard; make the shard anew, or leave it out",
    }
    assert rows[1] == {
        "shard": str(small),
        "run": "mine",
        "kind": "processed",
        "game": "tiny",
        "round": 3,
        "episodes": 1,
        "frames": 5,
        "labels": 5,
        "train": 1,
        "validation": 0,
        "success_rate": 1.0,
        "return_mean": pytest.approx(make_episode(5, size=(84, 84)).return_),
        "mb": round(small.stat().st_size / 1e6, 2),
        "parents": [],
        "state": "ok",
    }
    assert (rows[2]["kind"], rows[2]["frames"], rows[2]["labels"]) == ("raw", 28, 0)


def test_no_folder_has_no_rows(tmp_path: Path) -> None:
    assert list_shards(tmp_path / "datasets") == ([], 0)


def test_rows_can_be_chosen_by_kind_round_and_version(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    for name in ("a-round-00-raw-v001", "a-round-01-raw-v001", "a-round-01-raw-v002", "b-raw-v001"):
        raw_shard(folder / f"{name}.h5", (1,))
    processed_shard(folder / "a-round-01-84-v001.h5", (1,))
    (folder / "c.h5").write_text("no shard")
    processed, count = list_shards(tmp_path, kind="processed")
    assert (names(processed), count) == (["a-round-01-84-v001.h5"], 6)
    assert names(list_shards(tmp_path, rounds=[1])[0]) == [
        "a-round-01-84-v001.h5",
        "a-round-01-raw-v001.h5",
        "a-round-01-raw-v002.h5",
    ]
    newest = list_shards(tmp_path, kind="raw", newest=True)[0]
    assert names(newest) == ["a-round-00-raw-v001.h5", "a-round-01-raw-v002.h5", "b-raw-v001.h5"]
    assert "c.h5" in names(list_shards(tmp_path, newest=True)[0])


def test_a_shard_of_damaged_content_is_listed_as_damaged_with_what_its_header_says(
    tmp_path: Path,
) -> None:
    path = raw_shard(tmp_path / "tiny" / "a-raw-v001.h5", (5, 23))
    with h5py.File(path, "r+") as file:
        del file["rewards"]
    row = list_shards(tmp_path)[0][0]
    assert (row["kind"], row["state"], row["episodes"]) == ("raw", "damaged", 0)
    assert row["error"] == (
        "not a valid shard (/rewards is missing); make the shard anew, or leave it out"
    )
    # The stages are given it, so that they refuse it instead of doing without.
    assert [entry.path for entry in newest_entries(path.parent, kind="raw")] == [path]
    with pytest.raises(PipelineError) as error:
        header_of(path)
    assert str(error.value) == f"{path}: {row['error']}"


def test_a_shard_whose_parent_was_made_anew_is_listed_as_stale(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    first = raw_shard(folder / "a-raw-v001.h5", (5,))
    parent = {"file": first.name, "shard_id": header_of(first).shard_id}
    processed_shard(folder / "a-84-v001.h5", (5,), provenance={**MADE, "parents": [parent]})
    assert [row["state"] for row in list_shards(tmp_path)[0]] == ["ok", "ok"]
    raw_shard(folder / "a-raw-v002.h5", (6,))
    rows = list_shards(tmp_path)[0]
    assert [row["state"] for row in rows] == ["stale", "ok", "ok"]
    assert rows[0]["parents"] == ["a-raw-v001.h5"]


def test_one_shard_is_told_in_full(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    told = describe(path)
    assert json.loads(json.dumps(told)) == told
    assert told["kind"] == "raw"
    assert told["stage"] == "collect"
    assert (told["schema_version"], told["checksums"], told["ram_crc32"]) == (5, True, False)
    assert told["frame_contract"] == "160x240 RGB, resampling none"
    assert told["timing"] == "hold 4 frames, release 6 frames"
    assert told["state"] == ["map", "x"]
    assert told["start_states"] == 1
    assert told["players"] == [f"expert sha256 {'5' * 64}"]
    assert told["by_status"][:2] == [
        {"status": "unlabelled", "steps": 28},
        {"status": "labelled", "steps": 0},
    ]
    assert told["by_expert"] == []
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


def test_a_shard_of_schema_version_1_is_told_without_checksums() -> None:
    told = describe(Path(__file__).parent / "golden" / "v1-labelled.h5")
    assert (told["schema_version"], told["checksums"]) == (1, False)
    assert sum(row["labels"] for row in told["by_expert"]) == told["labels"] > 0


def test_what_is_no_shard_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(PipelineError) as error:
        describe(path)
    assert str(error.value) == f"{path}: no such shard; see which there are with: data ls"
