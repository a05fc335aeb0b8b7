"""Which states are kept: by purpose, in the order of the episodes, whoever plays and is killed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import collect, evaluate
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.games.task import task_of
from pipeline.loops import curriculum
from pipeline.rollouts.keeping_states import Gathering, Keep, Moment, harvest, keep_of
from pipeline.rollouts.parts import Parts
from pipeline.rollouts.player import make_player
from pipeline.rollouts.recording import Job, play_job
from pipeline.rollouts.seeds import Purpose, episode_seeds
from pipeline.rollouts.start_states import Library, library_of
from pipeline.settings.fields import Collect
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.changed import change

QUEST = load_game("quest")
EPISODES = 10
SEEDS = episode_seeds("collect", 0, EPISODES).tolist()
BRIEF = {"episodes": EPISODES, "max_steps": 3, "keep_states": True, "keep_states_most": 4}


def settings(folder: Path, **sections: Any) -> Settings:
    paths = {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"}
    return change(Settings(), paths=paths, **sections)


def library(folder: Path) -> Library:
    return library_of(folder / "datasets/quest")


def seeds(folder: Path, milestone: str = "game_started") -> list[int]:
    """The episodes whose states were kept."""
    found = library(folder)
    states = [found.read(milestone, file) for file in found.files(milestone)]
    return sorted(one.about["from"]["seed"] for one in states)


def files(folder: Path) -> dict[str, bytes]:
    found = library(folder)
    return {
        f"{name}/{file.name}": file.read_bytes()
        for name in found.milestones()
        for file in found.files(name)
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker keeps, four of ten."""
    folder = tmp_path_factory.mktemp("alone")
    assert collect.run(settings(folder, collect={**BRIEF, "workers": 1})).new_states == 4
    return folder


def test_the_first_episodes_states_are_kept_whatever_the_workers(
    alone: Path, tmp_path: Path
) -> None:
    assert seeds(alone) == sorted(SEEDS[:4])
    collect.run(settings(tmp_path, collect={**BRIEF, "workers": 3}))
    assert files(tmp_path) == files(alone)


def test_an_interrupted_collection_keeps_the_same_states(alone: Path, tmp_path: Path) -> None:
    mine = settings(tmp_path, collect={**BRIEF, "workers": 2})
    player = make_player(
        task_of(mine), Collect(max_steps=3), policy="expert", beta=1.0, purpose="collect"
    )
    told = player.header("collect", {})
    with Shard(alone / "datasets/quest/collect-raw-v001.h5") as shard:
        header = shard.header
    assert told.game == header.game
    with Parts(tmp_path / "datasets/quest", "collect-raw", header) as parts:
        play_job(Job(player.play, {SEEDS[n]: parts.path(n) for n in (2, 7, 9)}, header))
    collect.run(mine)
    assert files(tmp_path) == files(alone)
    # Killed while the states were put into the library: some are there.
    for file in library(tmp_path).files("game_started")[:3]:
        file.unlink()
    assert collect.run(mine).new_states == 3
    assert files(tmp_path) == files(alone)


def test_states_of_earlier_shards_have_their_places_and_a_wider_bound_adds_the_next(
    tmp_path: Path,
) -> None:
    found = Library(tmp_path)
    early = {"fingerprint": "e" * 64, "seed": SEEDS[9]}
    found.add("there", PNG, {"ram_sha256": "x" * 64, "from": early})
    found.add("there", PNG, {"ram_sha256": "b" * 64, "from": early})
    for most, places, wanted in ((3, [0], []), (5, [0, 3, 4], []), (6, [0, 3, 4, 5], [5])):
        for order in ([0, 1, 2, 3, 4], [4, 2, 3, 0, 1]):
            gathered = Gathering(Keep(tmp_path, most, {"fingerprint": "f" * 64}), SEEDS)
            for place in order:
                gathered.take(moment(place, "abacde"[place]))  # b is there from elsewhere
            assert list(gathered.wanted({"there": range(6)})) == wanted
        gathered.take(moment(5, "e"))
        gathered.settle()
        assert found.files("there") == sorted(
            tmp_path / f"there/{ram * 16}.png" for ram in ["x", "b", *["abacde"[n] for n in places]]
        )


def test_each_purpose_has_places_of_its_own(alone: Path, tmp_path: Path) -> None:
    mine = settings(tmp_path)
    shutil.copytree(alone, tmp_path, dirs_exist_ok=True)
    few = {**BRIEF, "checkpoint": "expert", "workers": 1, "keep_rollouts": False}
    bounds: list[tuple[Purpose, int]] = [("evaluate", 3), ("select", 2)]
    for purpose, most in bounds:
        own = {"purpose": purpose, "name": purpose, "keep_states_most": most}
        told = evaluate.run(change(mine, evaluate={**few, **own}))
        assert told.new_states == most
        states = library(tmp_path).states_for(QUEST, "game_started", purpose)
        assert [one.purpose for one in states] == [purpose] * most
        assert set(episode_seeds(purpose, 0, most).tolist()) < set(seeds(tmp_path))
    # And so have those that were put in by hand.
    found = library(tmp_path)
    one = found.read("game_started", found.files("game_started")[0])
    hand = [{**one.about, "ram_sha256": f"{n}" * 64, "from": {"file": "x.ss1"}} for n in range(4)]
    added = found.add_several("game_started", [(one.state, about) for about in hand], most=3)
    assert len(added) == 3
    assert len(found.files("game_started")) == 4 + 3 + 2 + 3


def test_a_curriculum_refuses_to_judge_where_trainings_begin(alone: Path) -> None:
    mine = settings(alone)
    with pytest.raises(PipelineError) as caught:
        curriculum.run(change(mine, subtask=("game_started", "left_home")))
    folder = alone / "datasets/quest/states"
    assert str(caught.value) == (
        f"{folder}: no state of 'game_started' was reached in an evaluation, so that 'left_home' "
        "would be judged in states that are learned from; keep some with: evaluate --checkpoint "
        "expert --milestone game_started --keep-states"
    )


PNG = b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IEND\xaeB`\x82"
"""A picture without pixels."""


def moment(place: int, ram: str) -> Moment:
    seed = SEEDS[place]
    about = {"ram_sha256": ram * 64, "from": {"fingerprint": "f" * 64, "seed": seed}}
    return Moment(seed, ("there",), PNG, about)


def test_the_same_ram_counts_once_in_whatever_order_the_episodes_end(tmp_path: Path) -> None:
    rams = "aabacdbe"
    for draw in range(20):
        gathered = Gathering(Keep(tmp_path, 3, {"fingerprint": "f" * 64}), SEEDS)
        order = random.Random(draw).sample(range(len(rams)), len(rams))
        for place in order:
            gathered.take(moment(place, rams[place]))
        assert gathered.wanted({"there": range(len(rams))}) == {}
        assert gathered.chosen("there") == [0, 2, 4]


def test_only_episodes_that_may_be_kept_are_played_again(alone: Path, tmp_path: Path) -> None:
    path = alone / "datasets/quest/collect-raw-v001.h5"
    with Shard(path) as shard:
        keep = keep_of(tmp_path, shard.header, "collect-raw", 4)
        gathered = Gathering(keep, SEEDS)
        assert list(gathered.wanted({"game_started": range(EPISODES)})) == [0, 1, 2, 3]
    harvest(path, QUEST, find_rom(QUEST), keep, workers=1)
    kept = {f"{file.parent.name}/{file.name}" for file in (tmp_path / "states").rglob("*.png")}
    assert kept == set(files(alone))
