"""Parts become one shard, as if one writer had written it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.shards.reader import Shard
from pipeline.shards.repair.merge import merge_parts
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_episode, make_header, raw_shard, write

LENGTHS = (5, 300, 1, 16, 33)


def test_the_result_has_the_bytes_that_one_writer_gives(tmp_path: Path) -> None:
    header = make_header()
    states = [b"first" * 30, b"second"]
    episodes = [replace(make_episode(n, i), start_state=i % 2) for i, n in enumerate(LENGTHS)]
    whole = write(tmp_path / "whole.h5", header, episodes, states)
    parts = [
        write(tmp_path / f"part-{i}.h5", header, [replace(e, start_state=0)], [states[i % 2]])
        for i, e in enumerate(episodes)
    ]
    merged = merge_parts(parts, tmp_path / "merged.h5", header)
    assert (tmp_path / "merged.h5").read_bytes() == whole.read_bytes()
    with Shard(whole) as shard:
        assert shard.header == merged
        assert shard.start_states() == states


def test_parts_are_deleted_only_if_asked_and_only_after_success(tmp_path: Path) -> None:
    parts = [raw_shard(tmp_path / f"{i}.h5", (3,)) for i in range(2)]
    merge_parts(parts, tmp_path / "a.h5", make_header())
    assert all(part.exists() for part in parts)
    with pytest.raises(PipelineError, match="exists already"):
        merge_parts(parts, tmp_path / "a.h5", make_header(), delete=True)
    assert all(part.exists() for part in parts)
    merge_parts(parts, tmp_path / "b.h5", make_header(), delete=True)
    assert not any(part.exists() for part in parts)


def test_parts_that_do_not_fit_are_all_named(tmp_path: Path) -> None:
    parts = [raw_shard(tmp_path / f"{g}.h5", (3,), game=g) for g in ("tiny", "one", "two")]
    with pytest.raises(PipelineError) as error:
        merge_parts(parts, tmp_path / "a.h5", make_header())
    assert str(error.value) == (
        f"{parts[1]}: the game is one, not tiny; {parts[2]}: the game is two, not tiny"
    )
    assert not (tmp_path / "a.h5").exists()


def test_parts_with_other_milestones_are_refused(tmp_path: Path) -> None:
    part = raw_shard(tmp_path / "p.h5", (3,), milestones=("left_home", "hall_of_fame"))
    with pytest.raises(PipelineError) as error:
        merge_parts([part], tmp_path / "a.h5", make_header())
    assert str(error.value) == (
        f"{part}: the milestones are left_home hall_of_fame, not left_home badge"
    )


def test_no_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as error:
        merge_parts([], tmp_path / "a.h5", make_header())
    assert str(error.value) == f"{tmp_path / 'a.h5'}: there are no parts to merge"
