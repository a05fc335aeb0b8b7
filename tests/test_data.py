"""``data ls``, ``show``, ``lineage`` and ``diff``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.agents.switching import write_switching_policy
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.training.checkpoint import save_checkpoint
from tests.shards.factory import MADE, processed_shard, raw_shard
from tests.training.test_checkpoint import checkpoint


class Data:
    """The data commands on the run ``datasets/tiny/a`` of a folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder / "datasets" / "tiny" / "a", capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        """What a command prints."""
        datasets = ("--paths.datasets", str(self.folder.parents[1]))
        assert main(["data", *words, *datasets]) == code
        shown = self._capsys.readouterr()
        return shown.err if code else shown.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").splitlines()[-1])


@pytest.fixture
def data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Data:
    data = Data(tmp_path, capsys)
    raw = raw_shard(data.folder / "a-round-01-raw-v001.h5", (5, 6))
    parent = {"file": raw.name, "shard_id": entries_of([raw])[0].get().shard_id}
    made = {**MADE, "stage": "preprocess", "parents": [parent]}
    for version, labelled in (("84-v001", False), ("labelled-v001", True)):
        path = data.folder / f"a-round-01-{version}.h5"
        processed_shard(path, (5, 6), labelled=labelled, provenance=made)
    return data


def test_ls_shows_a_row_a_file_and_says_how_many_of_how_many(data: Data) -> None:
    (data.folder / "b.h5").write_text("no shard")
    lines = data("ls").splitlines()
    header = [cell.strip() for cell in lines[1].split("│")[1:-1]]
    assert header == [
        *("shard", "run", "kind", "round", "episodes", "frames", "labels", "train", "validation"),
        *("success_rate", "mb", "parents", "state", "error"),
    ]
    assert lines[-1] == "4 of 4 files, 1 damaged"
    assert data("ls", "--kind", "raw").splitlines()[-1] == "1 of 4 files"
    assert data("ls", "--round", "2", "3").splitlines() == ["(none)", "0 of 4 files"]
    assert data("ls", "--round", "1", "--newest").splitlines()[-1] == "3 of 4 files"
    rows = data.json("ls", "--kind", "processed")["shards"]
    assert [row["labels"] for row in rows] == [0, 11]


def test_ls_marks_what_is_stale(data: Data) -> None:
    raw_shard(data.folder / "a-round-01-raw-v002.h5", (7,))
    assert data("ls").splitlines()[-1] == "4 of 4 files, 2 stale"


def test_a_name_that_would_play_with_the_terminal_is_shown_as_text(data: Data) -> None:
    (data.folder / "x\x1b[2J\n.h5").write_text("no shard")
    shown = data("ls")
    assert "\x1b" not in shown
    assert "x\\x1b[2J\\n.h5" in shown


def test_show_tells_labels_by_status_and_expert_and_whether_there_are_checksums(
    data: Data,
) -> None:
    path = str(data.folder / "a-round-01-labelled-v001.h5")
    told = data.json("show", path)
    assert (told["schema_version"], told["checksums"]) == (4, True)
    assert told["by_expert"] == [{"expert": f"expert sha256 {'5' * 64}", "labels": 11}]
    assert {"status": "labelled", "steps": 11} in told["by_status"]
    shown = data("show", path)
    assert "by_expert" in shown
    assert "by_status" in shown


def test_lineage_of_a_shard_is_a_tree(data: Data) -> None:
    path = data.folder / "a-round-01-labelled-v001.h5"
    lines = data("lineage", str(path)).splitlines()
    assert lines[0].startswith("a-round-01-labelled-v001.h5 (")
    assert lines[1].startswith("└─ a-round-01-raw-v001.h5 (")
    assert lines[-1] == "2 shards, 0 stale, 0 missing"
    (data.folder / "a-round-01-raw-v001.h5").unlink()
    told = data.json("lineage", str(path))
    assert (told["file"], told["stale"], told["missing"]) == (str(path), 0, 1)


def test_lineage_of_a_checkpoint_leads_to_its_shards(data: Data, tmp_path: Path) -> None:
    path = data.folder / "a-round-01-labelled-v001.h5"
    shard_id = entries_of([path])[0].get().shard_id
    saved = tmp_path / "final.pt"
    save_checkpoint(saved, checkpoint(game="tiny", shard_ids=(shard_id,)))
    raw_shard(data.folder / "a-round-01-raw-v002.h5", (7,))
    lines = data("lineage", str(saved)).splitlines()
    assert lines[0] == f"{saved}: tiny, 7 steps of training"
    assert lines[1].startswith("└─ a-round-01-labelled-v001.h5 (")
    assert "STALE: its parent a-round-01-raw-v001.h5 has a newer version" in lines[1]
    assert lines[2].startswith("   └─ a-round-01-raw-v001.h5 (")
    assert lines[-1] == "2 shards, 1 stale, 0 missing"
    assert data.json("lineage", str(saved))["stale"] == 1


def test_lineage_of_a_switching_policy_leads_to_the_shards_of_all_its_networks(
    data: Data, tmp_path: Path
) -> None:
    names = ("a-round-01-84-v001.h5", "a-round-01-labelled-v001.h5")
    networks = {}
    for milestone, name in zip(("near", "far"), names, strict=True):
        shard_id = entries_of([data.folder / name])[0].get().shard_id
        networks[milestone] = tmp_path / f"{milestone}.pt"
        save_checkpoint(networks[milestone], checkpoint(game="tiny", shard_ids=(shard_id,)))
    switching = tmp_path / "switching-policy.json"
    write_switching_policy(switching, networks)
    lines = data("lineage", str(switching)).splitlines()
    assert lines[0] == f"{switching}: tiny, 2 networks, 14 steps of training"
    assert all(any(name in line for line in lines) for name in names)


def test_lineage_of_a_checkpoint_that_is_not_there_is_one_line(data: Data) -> None:
    assert data("lineage", "none.pt", code=2) == (
        "error: none.pt: no such checkpoint; run the train stage first\n"
    )


def test_diff_shows_agreement_by_action_and_by_milestone(data: Data) -> None:
    a, b = (str(data.folder / f"a-round-01-{n}-v001.h5") for n in ("labelled", "84"))
    told = data.json("diff", a, a)
    assert (told["both"], told["agreement"]) == (11, 1.0)
    shown = data("diff", a, b)
    assert "by_action" in shown
    assert "by_milestone" in shown
    assert "│ agreement   │ -" in shown


def test_a_folder_that_cannot_be_written_is_listed_all_the_same(data: Data) -> None:
    (data.folder / ".catalogue").mkdir()  # where it would be kept
    assert data("ls").splitlines()[-1] == "3 of 3 files"
