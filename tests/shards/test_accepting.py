"""Whatever a writer accepts, a reader accepts; what it refuses leaves nothing behind."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.shards.format.checks import refuse_unreadable
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import STEP_COLUMNS
from pipeline.shards.reader import Shard
from pipeline.shards.repair.relabel import relabel
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from tests.shards.factory import MADE, make_episode, make_header, processed_shard, same, write

SMALL = make_header(frame_contract=FrameContract(8, 8, "none"))
STEPS = 3


def column(values: st.SearchStrategy[Any], kind: str) -> st.SearchStrategy[Any]:
    rows = st.lists(values, min_size=STEPS, max_size=STEPS)
    return rows.map(lambda row: np.array(row, kind))


BYTES = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 254, 255])
FLAGS = st.sampled_from([False, False, False, True])
FLOATS = st.floats(width=32) | st.sampled_from([0.0, 1.0, 3.4e38, -3.4e38])
WHOLE = st.sampled_from([-(2**40), -2, -1, 0, 1, 2, 3, 4, 255, 256, 65_536, 2**31, 2**32, 2**40])
TEXTS = st.sampled_from(["", "a", "a/b", "\0", "a\0", "\ud800", "ü" * 40, ".", "x" * 70_000])

EPISODES: dict[str, st.SearchStrategy[Any]] = {
    "actions": column(BYTES, "u1"),
    "expert_actions": column(BYTES, "u1"),
    "label_status": column(BYTES, "u1"),
    "rewards": column(FLOATS, "f4") | column(FLOATS, "f8"),
    "terminated": column(FLAGS, "?") | column(BYTES, "u1"),
    "truncated": column(FLAGS, "?"),
    "seed": WHOLE,
    "split": WHOLE,
    "start_state": WHOLE,
    "success": st.sampled_from([True, False, 7]),
    "root": TEXTS,
    "milestones": st.lists(WHOLE, max_size=3).map(lambda row: np.array(row, "i8")),
    "state": st.dictionaries(
        TEXTS, st.sampled_from(["u1", "f8", "f2", "?", "S3", "c8"]), max_size=2
    ).map(lambda kinds: {name: np.zeros(STEPS, kind) for name, kind in kinds.items()}),
    "final_frame": st.sampled_from([np.zeros((8, 8, 3), "u1"), np.zeros((8, 9, 3), "u1")]),
}
LABELS: dict[str, st.SearchStrategy[Any]] = {
    "expert": column(st.sampled_from([b"", b"0" * 16, b"no id", b"\xff"]), "S16"),
    "reason": column(st.sampled_from([b"", b"why", b"\xff"]), "S96"),
    "time": column(FLOATS, "f8"),
    "dollars": column(FLOATS, "f4"),
    "score": column(FLOATS, "f4"),
}
HEADERS: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["raw", "processed", "cooked"]),
    "game": TEXTS,
    "rom_sha1": TEXTS,
    "actions": st.lists(TEXTS, max_size=2).map(tuple)
    | st.sampled_from([tuple("ABCDEF"), tuple(map(str, range(300)))]),
    "timing": st.dictionaries(TEXTS, st.sampled_from([1, 2.5, float("nan")]), max_size=1),
    "frame_contract": st.sampled_from([FrameContract(8, 8, "none"), FrameContract(0, 8, "none")]),
    "milestones": st.lists(TEXTS, max_size=2).map(tuple),
    "provenance": st.sampled_from(
        [
            MADE,
            {},
            {"parents": 3},
            {"settings": float("inf")},
            {"settings": "x" * 70_000},
            {"settings": "\ud800"},
        ]
    ),
}


@st.composite
def changes(draw: st.DrawFn, strategies: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """New values for a few of the fields."""
    names = draw(st.lists(st.sampled_from(sorted(strategies)), max_size=2, unique=True))
    return {name: draw(strategies[name]) for name in names}


def read(path: Path) -> Shard:
    with Shard(path) as shard:
        for name in STEP_COLUMNS:
            shard.column(name)
        for number in range(shard.n_episodes):
            shard.episode(number)
        return shard


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    header=changes(HEADERS),
    episode=changes(EPISODES),
    labels=st.none() | changes(LABELS),
    states=st.sampled_from([(), (b"state",)]),
)
def test_what_is_published_can_be_read(
    tmp_path_factory: pytest.TempPathFactory,
    header: dict[str, Any],
    episode: dict[str, Any],
    labels: dict[str, Any] | None,
    states: tuple[bytes, ...],
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    good = make_episode(STEPS, size=(8, 8), labelled=True, labels=labels is not None)
    odd = replace(good, **episode)
    if odd.labels is not None and labels is not None:
        odd.labels |= labels
    try:
        write(folder / "a.h5", replace(SMALL, **header), [odd], states)
    except (PipelineError, ValueError):
        assert not list(folder.glob("*.h5*"))
        assert not list(folder.glob(".*.tmp-*"))
    else:
        read(folder / "a.h5")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rewards": np.array([0, np.inf, 0], "f4")}, "/rewards is not finite at 1"),
        ({"rewards": np.array([np.nan, 0, 0], "f4")}, "/rewards is not finite at 0"),
        ({"rewards": np.full(3, 3e38, "f4")}, "its rewards add up to more than float32 can hold"),
        ({"terminated": np.ones(3, "?")}, "/terminated is set before the end of an episode at 0"),
        ({"label_status": np.array([0, 1, 0], "u1")}, "/label_status contradicts /expert_actions"),
        ({"expert_actions": np.array([9] * 3, "u1")}, "/expert_actions is not below 4 at 0"),
        ({"label_status": np.array([6] * 3, "u1")}, "/label_status is above 5 at 0"),
        ({"milestones": np.array([4, -1])}, "/episodes/milestones is outside its episode at 0"),
        ({"split": 2}, "/episodes/split is neither 0 nor 1 at 0"),
        ({"start_state": 1}, "/episodes/start_state is not below 1"),
    ],
)
def test_a_value_that_readers_refuse_is_refused_before_it_is_written(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    good = make_episode(3, size=(8, 8))
    path = tmp_path / "a.h5"
    with pytest.raises(PipelineError) as error:
        write(path, SMALL, [good, replace(good, **change)], [b"state"])
    told = re.escape(f"{path}: not published, nobody could read its episode 1 (") + ".*"
    assert re.fullmatch(told + re.escape("); correct what it is made from"), str(error.value))
    assert why in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_episode_leaves_the_writer_as_it_was(tmp_path: Path) -> None:
    good = make_episode(3, size=(8, 8))
    with ShardWriter(tmp_path / "a.h5", SMALL) as writer:
        writer.append(good)
        with pytest.raises(PipelineError):
            writer.append(replace(good, rewards=np.full(3, np.inf, np.float32)))
        writer.append(good)
    with Shard(tmp_path / "a.h5") as shard:
        assert shard.n_episodes == 2
        assert same(shard.episode(1), good)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"actions": ()}, "game, rom_sha1, shard_id, actions and milestones must be text"),
        ({"actions": tuple(map(str, range(256)))}, "256 actions, more than 255"),
        ({"timing": {"hold": 1.5}}, "timing must be whole numbers"),
        ({"frame_contract": FrameContract(0, 8, "none")}, "frame_contract"),
        ({"provenance": {"parents": 3}}, "provenance has parents that are no list of objects"),
        ({"provenance": {"beta": float("nan")}}, "not JSON compliant"),
    ],
)
def test_a_header_that_readers_refuse_is_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    path = tmp_path / "a.h5"
    with (
        pytest.raises(PipelineError, match=re.escape(why)) as error,
        ShardWriter(path, replace(SMALL, **change)),
    ):
        raise AssertionError("the block is not entered")
    assert str(error.value).startswith(f"{path}: not published, nobody could read its header (")
    assert list(tmp_path.iterdir()) == []


def test_the_finished_file_is_read_before_it_gets_its_name(tmp_path: Path) -> None:
    made = write(tmp_path / "made.h5", SMALL, [make_episode(3, size=(8, 8))])
    with h5py.File(made, "r+") as file:
        file["rewards"][1] = np.inf
    with pytest.raises(PipelineError) as error:
        refuse_unreadable(made, tmp_path / "a.h5")
    assert str(error.value).startswith(f"{tmp_path}/a.h5: not published, nobody could read it (")
    assert str(error.value).endswith("); correct what it is made from")


def test_labels_that_readers_refuse_are_not_published(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a.h5", (3,))
    status = np.full(3, 9, np.uint8)
    with pytest.raises(PipelineError) as error:
        relabel(source, tmp_path / "b.h5", np.full(3, 255, np.uint8), status, MADE)
    assert str(error.value) == (
        f"{tmp_path}/b.h5: not published, nobody could read it (not a valid shard (/label_status "
        "is above 5 at 0)); correct what it is made from"
    )
    assert [path.name for path in tmp_path.glob("*.h5")] == ["a.h5"]
