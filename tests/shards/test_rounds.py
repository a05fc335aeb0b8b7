"""The round of a shard: told in the shard, whatever the file is called, through every stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.loading.dataset import Steps
from pipeline.loading.weights import Weights
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import rounds_of, told_rounds
from pipeline.shards.repair.edit import Criteria, filter_shard, merge, split
from pipeline.shards.repair.migrate import migrate
from pipeline.system.errors import PipelineError
from tests.loading import made
from tests.shards.factory import MADE, raw_shard
from tests.shards.small import damage


def rounds(path: Path | str) -> list[int | None]:
    return entries_of([Path(path)])[0].get().rounds


def of_round(path: Path, *numbers: int | None, seed: int = 0) -> Path:
    told = {"provenance": {**made.header().provenance, "rounds": list(numbers)}} if numbers else {}
    return made.shard(path, (20, 21), seed=seed, **told)


@pytest.mark.parametrize(
    ("told", "name", "expected"),
    [
        ({"rounds": [3]}, "a-raw-v001.h5", [3]),
        ({"rounds": [3]}, "a-round-07-raw-v001.h5", [3]),  # renamed: the shard knows better
        ({"rounds": [0, 2, None, 0]}, "a-raw-v001.h5", [0, 2, None]),
        ({}, "a-round-07-raw-v001.h5", [7]),  # written before it was told
        ({}, "a-raw-v001.h5", [None]),
        ({"rounds": []}, "a-round-07-raw-v001.h5", [7]),
        ({"rounds": "3"}, "a-raw-v001.h5", [None]),
        ({"rounds": [True, 1.5]}, "a-raw-v001.h5", [None]),
    ],
)
def test_the_shard_says_it_and_else_its_name(
    told: dict[str, Any], name: str, expected: list[int | None]
) -> None:
    assert rounds_of(told, Path(name)) == expected


def test_what_is_made_of_shards_without_a_round_tells_none() -> None:
    assert told_rounds([({}, Path("a")), ({}, Path("b"))]) == {}
    assert told_rounds([({"rounds": [1]}, Path("a")), ({}, Path("b"))]) == {"rounds": [1, None]}


def test_merged_split_filtered_renamed_and_old_shards_keep_their_rounds(tmp_path: Path) -> None:
    new = of_round(tmp_path / "x-labelled-v001.h5", 1)
    old = of_round(tmp_path / "a-round-02-labelled-v001.h5", seed=10)
    none = of_round(tmp_path / "collect-labelled-v001.h5", seed=20)
    both = Path(merge([new, old], "both")["shard"])
    assert rounds(both) == [1, 2]
    assert rounds(merge([both, none], "all")["shard"]) == [1, 2, None]
    assert rounds(split(old, episodes=1)[1]["shard"]) == [2]
    filtered = filter_shard(old, Criteria(episodes=(0,), round=2), "few")["shard"]
    assert rounds(filtered) == [2]
    assert filter_shard(both, Criteria(round=1))["shard"] is None
    renamed = both.rename(tmp_path / "renamed-v001.h5")
    assert rounds(renamed) == [1, 2]


def test_a_salvaged_shard_keeps_its_rounds(tmp_path: Path) -> None:
    from pipeline.shards.repair.salvage import save

    path = raw_shard(tmp_path / "a-round-02-raw-v001.h5", (20, 40))
    damage(path, "frames", 0)
    assert rounds(save(path, stem="saved")["shard"]) == [2]


def test_a_migrated_shard_keeps_its_rounds(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a-raw-v001.h5", (5,), provenance={**MADE, "rounds": [4]})
    assert rounds(migrate(path).shard) == [4]


def test_training_takes_a_shard_all_of_whose_rounds_are_wanted(tmp_path: Path) -> None:
    one = of_round(tmp_path / "one-v001.h5", 1)
    two = of_round(tmp_path / "two-v001.h5", 1, 2, seed=10)
    assert Steps([one, two], rounds=[1]).paths == [one]
    assert Steps([one, two], rounds=[1, 2]).paths == [one, two]
    with pytest.raises(PipelineError) as caught:
        Steps([one, two], rounds=[2, 5])
    assert str(caught.value) == "no shard of the rounds 2, 5; the rounds there are: 1, 2"


def test_a_shard_of_rounds_with_different_weights_is_one_line(tmp_path: Path) -> None:
    two = of_round(tmp_path / "two-v001.h5", 1, 2)
    assert len(Steps([two], weights=Weights(by_round={1: 3.0, 2: 3.0}))) == 41
    with pytest.raises(PipelineError) as caught:
        Steps([two], weights=Weights(by_round={1: 3.0}))
    assert str(caught.value) == (
        "train.round_weights: two-v001.h5 holds episodes of the rounds 1, 2, and their factors "
        "differ; give these rounds one factor, or learn from the shards that it was merged from"
    )


def test_ls_finds_a_merged_shard_by_each_of_its_rounds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of_round(tmp_path / "paper/run/two-v001.h5", 1, 2)
    for number, count in ((1, 1), (2, 1), (3, 0)):
        words = ["data", "ls", "--round", str(number), f"--paths.datasets={tmp_path}", "--json"]
        assert main(words) == 0
        found = json.loads(capsys.readouterr().out.splitlines()[-1])["shards"]
        assert [row["rounds"] for row in found] == [[1, 2]] * count
