"""A filter keeps the episodes that meet all that is asked; the commands of all three edits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.shards.reader import Shard
from pipeline.shards.repair.edit import Criteria, filter_shard, numbers
from pipeline.system.errors import PipelineError
from tests.shards.edited import (
    SMALL,
    episodes_of,
    refused,
    shards_in,
    small,
    unchanged,
    varied,
)
from tests.shards.factory import (
    same,
    write,
)


@pytest.mark.parametrize(
    ("criteria", "kept"),
    [
        (Criteria(episodes=(0, 3, 4)), [0, 3, 4]),
        (Criteria(seeds=(11, 15, 99)), [1, 5]),
        (Criteria(success=True), [0, 2, 4, 5]),
        (Criteria(success=False), [1, 3]),
        (Criteria(milestone="badge"), [2, 4]),
        (Criteria(status="labelled"), [2, 3, 4, 5]),
        (Criteria(status="refused"), [3, 4]),
        (Criteria(complete_labels=True), [2, 5]),
        (Criteria(round=3), [0, 1, 2, 3, 4, 5]),
        (Criteria(round=3, success=True, milestone="badge", status="failed"), [4]),
        (Criteria(round=4), []),
        (Criteria(success=False, milestone="badge"), []),
    ],
)
def test_a_filter_keeps_the_episodes_that_meet_all_that_is_asked(
    tmp_path: Path, criteria: Criteria, kept: list[int]
) -> None:
    path = varied(tmp_path / "run-round-03-84-v001.h5")
    before = episodes_of(path)
    result = filter_shard(path, criteria)
    assert result["left_out"] == 6 - len(kept)
    if not kept:
        assert result["shard"] is None
        assert list(shards_in(tmp_path)) == [path.name]
        return
    assert result["shard"] == str(tmp_path / "run-round-03-84-filtered-v001.h5")
    found = episodes_of(result["shard"])
    assert all(same(x, before[i]) for x, i in zip(found, kept, strict=True))
    assert Shard(result["shard"]).header.provenance["settings"] == criteria.asked()
    with unchanged(tmp_path):
        assert filter_shard(path, criteria) == result | {"up_to_date": True}


def test_a_filter_keeps_only_the_start_states_that_are_left(tmp_path: Path) -> None:
    states = [b"one", b"two", b"three"]
    episodes = [small(i, start_state=row) for i, row in enumerate((0, 2, 1, 2))]
    path = write(tmp_path / "a-v001.h5", SMALL, episodes, states)
    with Shard(filter_shard(path, Criteria(episodes=(1, 3)))["shard"]) as shard:
        assert shard.start_states() == [b"three"]
        assert shard.start_state_rows.tolist() == [0, 0]


def test_a_shard_of_the_old_schema_can_be_filtered(tmp_path: Path) -> None:
    old = tmp_path / "a-v001.h5"
    old.write_bytes((Path(__file__).parent / "golden" / "v1-raw.h5").read_bytes())
    with Shard(filter_shard(old, Criteria(episodes=(1,)))["shard"]) as shard:
        assert shard.lengths.tolist() == [18]
        assert shard.stored("frames").crc32 is not None


@pytest.mark.parametrize(
    ("criteria", "line"),
    [
        (Criteria(), "data filter: nothing is asked; see: data filter --help"),
        (Criteria(episodes=(2, 6)), "{path}: there is no episode 6, the last one is 5"),
        (
            Criteria(milestone="bagde"),
            "{path}: there is no milestone 'bagde'; there are: left_home, badge",
        ),
    ],
)
def test_a_filter_for_what_is_not_there_is_refused(
    tmp_path: Path, criteria: Criteria, line: str
) -> None:
    path = varied(tmp_path / "a-v001.h5")
    assert refused(tmp_path, filter_shard, path, criteria) == line.format(path=path)


def test_numbers_are_lists_and_ranges() -> None:
    assert numbers("0,3,5-9", "--episodes") == (0, 3, 5, 6, 7, 8, 9)
    assert numbers(" 7 ", "--seeds") == (7,)


@pytest.mark.parametrize("text", ["", "a", "1,", "5-3", "-1", "1-2-3", "0-9999999999", "1.5"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(PipelineError) as error:
        numbers(text, "--seeds")
    assert str(error.value) == f"--seeds {text}: write numbers and ranges as 0,3,5-9"


# The commands


def test_the_commands_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    varied(Path("run-round-00-84-v001.h5"))
    write(Path("run-round-01-84-v001.h5"), SMALL, [small(seed) for seed in (20, 21)])

    def run(*words: str) -> Any:
        assert main(["data", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    files = ["run-round-00-84-v001.h5", "run-round-01-84-v001.h5"]
    merged = run("merge", *files, "--into", "all")
    assert (merged["shard"], merged["episodes"]) == ("all-v001.h5", 8)
    parts = run("split", "all-v001.h5", "--by-episodes", "4")
    assert [row["shard"] for row in parts["shards"]] == [f"all-part-0{i}-v001.h5" for i in (1, 2)]
    assert run("split", "all-v001.h5", "--by-episodes", "4")["up_to_date"] is True
    won = run("filter", *files, "--success", "--round", "1", "--seeds", "0-20")
    assert won["up_to_date"] is False
    assert [(row["shard"], row["episodes"], row["left_out"]) for row in won["shards"]] == [
        (None, 0, 6),
        ("run-round-01-84-filtered-v001.h5", 1, 1),
    ]
    some = run("filter", files[0], "--failure", "--status", "failed", "--into", "lost")
    assert (some["shards"][0]["shard"], some["shards"][0]["episodes"]) == ("lost-v001.h5", 1)
    whole = run("filter", files[0], "--complete-labels", "--milestone", "badge", "--into", "x")
    assert whole["shards"][0]["episodes"] == 1


def test_the_commands_end_with_one_line_for_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    varied(Path("a-v001.h5"))
    for words, line in (
        (
            ("filter", "a-v001.h5", "--round", "7"),
            "a-v001.h5: no episode meets all that is asked; nothing is published",
        ),
        (
            ("filter", "a-v001.h5", "b.h5", "--success", "--into", "x"),
            "data filter: --into x names one shard, not 2",
        ),
        (("filter", "a-v001.h5"), "data filter: nothing is asked; see: data filter --help"),
    ):
        with unchanged(tmp_path):
            assert main(["data", *words]) == 2
        assert capsys.readouterr().err == f"error: {line}\n"
