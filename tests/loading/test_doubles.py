"""The same recorded step is not learned from twice without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.loading.doubles import doubles_of
from pipeline.shards.repair.edit import Criteria, filter_shard
from pipeline.system.errors import PipelineError
from tests.loading import made


def told(*paths: Path) -> list[str]:
    return [str(double) for double in doubles_of(paths)]


def test_a_shard_whose_labels_are_all_in_another_is_the_double(tmp_path: Path) -> None:
    most = made.shard(tmp_path / "b.h5", (20, 21, 22))
    some = made.shard(tmp_path / "a.h5", (20, 21))
    line = f"{some} (all 41 labels are in {most} too)"
    assert told(some, most) == told(most, some) == [line]
    assert [double.number for double in doubles_of([some, most])] == [0]


def test_episodes_of_one_game_that_went_differently_are_none(tmp_path: Path) -> None:
    one = made.shard(tmp_path / "a.h5", (20, 21))
    other = made.shard(tmp_path / "b.h5", (20, 21), first=1)
    assert told(one, other) == []


def test_labels_of_other_steps_of_the_same_game_are_none(tmp_path: Path) -> None:
    """As those of two subtasks, or of two choices of what to ask."""
    even = made.shard(tmp_path / "a.h5", (20,), every=2)
    third = made.shard(tmp_path / "b.h5", (20,), every=3)
    assert told(even, third) == [f"{third} (4 of the 7 labels are in {even} too)"]


def test_the_same_file_twice_and_a_copy_of_it(tmp_path: Path) -> None:
    path = made.shard(tmp_path / "a.h5", (20, 21))
    copy = tmp_path / "copy.h5"
    copy.write_bytes(path.read_bytes())
    assert told(path, path) == [f"{path} (all 41 labels are there twice)"]
    assert told(path, copy) == [f"{copy} (all 41 labels are in {path} too)"]


def test_a_shard_that_holds_a_recording_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    from pipeline.shards.writer import ShardWriter

    with ShardWriter(path, made.header()) as writer:
        writer.append(made.episode(20, 1))
        writer.append(made.episode(20, 1))
    assert told(path) == [f"{path} (20 of the 40 labels are there twice)"]


def test_what_was_filtered_from_a_shard_repeats_it(tmp_path: Path) -> None:
    path = made.shard(tmp_path / "a-v001.h5", (20, 21, 22))
    few = Path(filter_shard(path, Criteria(episodes=(1,)))["shard"])
    assert told(path, few) == [f"{few} (all 21 labels are in {path} too)"]


def test_no_shard_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("no shard")
    with pytest.raises(PipelineError, match="not an HDF5 file"):
        doubles_of([tmp_path / "a.h5"])
