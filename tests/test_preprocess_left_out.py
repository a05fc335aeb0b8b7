"""Steps and episodes that the preprocess stage leaves out when it is asked to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.shards.format.schema import Episode
from pipeline.system.errors import PipelineError
from pipeline.system.workers import MOST_THREADS
from tests.shards.factory import make_episode, make_header, raw_shard, write, write_game
from tests.test_preprocess import SMALL, episodes_of, run


@pytest.fixture
def game(tmp_path: Path) -> Path:
    return write_game(tmp_path / "game")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "datasets" / "tiny"


def with_nulls() -> tuple[Episode, list[int]]:
    """An episode and its steps that change neither screen nor state: 3, 4, and 8."""
    episode = make_episode(10, milestones=(4, 9))
    for step in (3, 4, 6, 8):
        episode.frames[step + 1] = episode.frames[step]
        if step != 6:  # step 6 changes the state and nothing on the screen
            for values in episode.state.values():
                values[step + 1] = values[step]
    episode.state["x"][6], episode.state["x"][7] = 5, 6
    episode.rewards[:] = np.arange(10)
    return episode, [0, 1, 2, 5, 6, 7, 9]


def test_steps_that_change_nothing_can_be_left_out(game: Path, folder: Path) -> None:
    episode, kept = with_nulls()
    second = replace(episode, root="power_on-2", seed=2)
    write(folder / "a-raw-v001.h5", make_header(), [episode, second])
    plain = run(game, validation=0)["shards"][0]
    result = run(game, validation=0, drop_null_actions=True)
    assert result["dropped_steps"] == 6
    for all_steps, found in zip(episodes_of(plain), episodes_of(result["shards"][0]), strict=True):
        assert (found.frames == all_steps.frames[kept]).all()
        assert (found.final_frame == all_steps.final_frame).all()
        assert (found.actions == all_steps.actions[kept]).all()
        assert (found.state["x"] == all_steps.state["x"][kept]).all()
        assert found.rewards.tolist() == [0, 1, 2 + 3 + 4, 5, 6, 7 + 8, 9]
        assert found.return_ == all_steps.return_
        assert found.terminated.tolist() == [False] * 6 + [True]
        assert found.milestones.tolist() == [3, 6]


def test_the_last_step_of_an_episode_is_never_left_out(game: Path, folder: Path) -> None:
    still = make_episode(4)
    still.frames[:] = still.frames[0]
    still = replace(still, final_frame=still.frames[0])
    for values in still.state.values():
        values[:] = values[0]
    other = replace(still, root="other")  # begins as the first one ends
    write(folder / "a-raw-v001.h5", make_header(), [still, other])
    result = run(game, drop_null_actions=True)
    assert [len(e) for e in episodes_of(result["shards"][0])] == [1, 1]
    assert [e.return_ for e in episodes_of(result["shards"][0])] == [still.return_] * 2


def test_steps_left_out_across_jobs_and_processes_are_the_same(game: Path, folder: Path) -> None:
    episodes = []
    for seed in range(3):
        episode = make_episode(900, seed, size=(40, 60))
        for step in np.random.default_rng(seed).choice(899, 300, replace=False):
            episode.frames[step + 1] = episode.frames[step]
            for values in episode.state.values():
                values[step + 1] = values[step]
        episodes.append(episode)
    write(folder / "a-raw-v001.h5", SMALL, episodes)
    one = run(game, drop_null_actions=True)
    assert one["dropped_steps"] > 450
    alone = Path(one["shards"][0]).read_bytes()
    Path(one["shards"][0]).unlink()
    two = run(game, drop_null_actions=True, workers=MOST_THREADS + 1)
    assert Path(two["shards"][0]).read_bytes() == alone


def test_episodes_without_an_end_can_be_left_out(game: Path, folder: Path) -> None:
    ends = ("terminated", "broken", "truncated")
    episodes = [make_episode(20 + i, i, ends=end) for i, end in enumerate(ends)]
    write(folder / "a-raw-v001.h5", make_header(), episodes)
    assert run(game)["episodes"] == 3
    result = run(game, drop_broken_episodes=True)
    assert (result["episodes"], result["dropped_episodes"]) == (2, 1)
    assert [e.seed for e in episodes_of(result["shards"][0])] == [0, 2]


def test_a_shard_of_broken_episodes_alone_gives_none(game: Path, folder: Path) -> None:
    write(folder / "a-raw-v001.h5", make_header(), [make_episode(9, ends="broken")])
    with pytest.raises(PipelineError) as error:
        run(game, drop_broken_episodes=True)
    assert str(error.value) == (
        f"{folder}: every episode is broken, so nothing is left; "
        "set preprocess.drop_broken_episodes to false, or collect anew"
    )
    raw_shard(folder / "b-raw-v001.h5")
    assert run(game, drop_broken_episodes=True)["shards"] == [str(folder / "b-84-v001.h5")]
    assert sorted(p.name for p in folder.glob("[!.]*")) == [
        "a-raw-v001.h5",
        "b-84-v001.h5",
        "b-raw-v001.h5",
    ]
