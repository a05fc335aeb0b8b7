"""Switching policies: a network for each milestone, and policies' files of either kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import evaluate
from pipeline.agents.network import NetworkActor
from pipeline.agents.policy import (
    check_policy,
    goal_conditioned,
    make_actor,
    policy_sha256,
    sees,
    shard_ids,
    trained_seeds,
)
from pipeline.agents.switching import (
    SwitchingActor,
    load_switching_policy,
    read_switching_policy,
    write_switching_policy,
)
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.rollouts.seeds import episode_seeds
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from tests.loading import made
from tests.training.test_acting import screens, turns
from tests.training.test_checkpoint import checkpoint, told

NAMES = ("near", "far", "farther")


@pytest.fixture
def game(tmp_path: Path) -> GameDescription:
    """The game of paper with three milestones."""
    folder = made.game_folder(tmp_path / "paper")
    text = (folder / "game.yaml").read_text()
    rows = ", ".join(f"{{name: {name}, when: 'x > {i}'}}" for i, name in enumerate(NAMES))
    (folder / "game.yaml").write_text(text.replace("{name: far, when: 'x > 1'}", rows))
    return load_game(folder)


def pressing(path: Path, button: int, **changes: Any) -> Path:
    """A checkpoint of a network that always presses one button."""
    kept = checkpoint(**changes)
    kept.weights["head.bias"][button] += 1000
    save_checkpoint(path, kept)
    return path


@pytest.fixture
def switching(tmp_path: Path) -> Path:
    """Presses button 1 on the way to near, 2 to far and 1, of the same file, to farther."""
    one = pressing(tmp_path / "runs/one/final.pt", 1, shard_ids=("a",))
    two = pressing(
        tmp_path / "runs/two/final.pt",
        2,
        shard_ids=("a", "b"),
        trained_seeds=np.array([7, 1], np.uint32),
    )
    path = tmp_path / "runs/switching-policy.json"
    write_switching_policy(path, dict(zip(NAMES, (one, two, one), strict=True)))
    return path


def error(path: Path, game: GameDescription) -> str:
    with pytest.raises(PipelineError) as caught:
        load_switching_policy(path, game)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pressed(actor: Any, goals: Sequence[int]) -> list[int]:
    count = len(goals)
    choices = actor.act(screens(count), turns(goals))
    return [choice.button for choice in choices]


def test_each_network_plays_while_its_milestone_is_next(
    switching: Path, game: GameDescription
) -> None:
    actor = SwitchingActor(switching, game)
    assert pressed(actor, [0, 1, 2, 1, 0, 3]) == [1, 2, 1, 2, 1, 1]
    assert pressed(actor, [1]) == [2]
    assert len(actor.actors) == 2  # the same file is loaded once


def test_a_network_of_a_switching_policy_is_asked_as_it_would_be_alone(
    switching: Path, game: GameDescription
) -> None:
    kept = load_checkpoint(switching.parent / "one/final.pt")
    kept.weights["head.bias"][1] -= 1000
    kept.weights["head.weight"] = kept.weights["head.weight"] * 40
    save_checkpoint(switching.parent / "one/final.pt", kept)
    alone = NetworkActor(switching.parent / "one/final.pt", game, mode="sampled")
    expected = alone.act(screens(6), turns([0] * 6))
    mixed = SwitchingActor(switching, game, mode="sampled").act(
        screens(6), turns([0, 1, 2, 0, 1, 3])
    )
    assert [mixed[i] for i in (0, 2, 3, 5)] == [expected[i] for i in (0, 2, 3, 5)]
    assert [mixed[i].button for i in (1, 4)] == [2, 2]


def test_a_switching_policy_of_a_part_of_the_game_leaves_the_rest_to_its_ends(
    switching: Path, game: GameDescription
) -> None:
    one, two = switching.parent / "one/final.pt", switching.parent / "two/final.pt"
    write_switching_policy(switching, {"far": two})
    assert load_switching_policy(switching, game).first == 1
    assert pressed(SwitchingActor(switching, game), [0, 1, 2, 3]) == [2, 2, 2, 2]
    write_switching_policy(switching, {"far": two, "near": one})  # the order is the game's
    assert list(load_switching_policy(switching, game).checkpoints) == ["near", "far"]
    assert pressed(SwitchingActor(switching, game), [0, 1, 2, 3]) == [1, 2, 2, 2]


def test_a_network_of_a_switching_policy_may_be_told_its_goal_too(
    switching: Path, game: GameDescription
) -> None:
    both = told(goals=NAMES)
    both.weights["goals.weight"] = torch.arange(4.0)[:, None].expand(4, 8) * 9
    save_checkpoint(switching.parent / "one/final.pt", both)
    goals = [0, 2, 3]
    alone = NetworkActor(switching.parent / "one/final.pt", game)
    assert pressed(SwitchingActor(switching, game), goals) == pressed(alone, goals)


def test_a_switching_policy_is_a_small_text_with_paths_from_its_folder(switching: Path) -> None:
    assert json.loads(switching.read_text()) == {
        "format": "pokemon-il switching policy",
        "version": 1,
        "checkpoints": {
            "near": "one/final.pt",
            "far": "two/final.pt",
            "farther": "one/final.pt",
        },
    }
    assert sorted(path.name for path in switching.parent.iterdir()) == [
        "one",
        "switching-policy.json",
        "two",
    ]
    moved = switching.parent.rename(switching.parent.parent / "moved")
    assert all(
        path.is_file() for path in read_switching_policy(moved / "switching-policy.json").values()
    )


def test_writing_a_switching_policy_that_the_disk_refuses_leaves_the_old_one(
    switching: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(PipelineError) as caught:
        write_switching_policy(
            blocked / "switching-policy.json", {"near": switching.parent / "one/final.pt"}
        )
    assert str(caught.value) == (
        f"{blocked / 'switching-policy.json'}: cannot write the switching policy (File exists); "
        "fix that, then the same command carries on"
    )
    with pytest.raises(ValueError, match=r"a switching policy's name ends in \.json"):
        write_switching_policy(tmp_path / "switching policy.pt", {})


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", '{"format": "other"}', "[" * 99_999, "\x00\x80"]
)
def test_a_file_that_is_no_switching_policy(
    switching: Path, game: GameDescription, text: str
) -> None:
    switching.write_bytes(text.encode("latin-1"))
    assert error(switching, game) == (
        f"{switching}: no switching policy of this pipeline; give a checkpoint, or a switching "
        "policy that curriculum wrote"
    )


def test_a_switching_policy_that_is_not_there(tmp_path: Path, game: GameDescription) -> None:
    path = tmp_path / "switching-policy.json"
    assert error(path, game) == f"{path}: no such switching policy; run the curriculum first"
    path.mkdir()
    assert (
        error(path, game) == f"{path}: cannot read the switching policy (Is a directory); fix that"
    )


@pytest.mark.parametrize("version", [2, None, "1", True, 1.5])
def test_a_switching_policy_of_a_newer_version_is_refused_with_both_versions(
    switching: Path, game: GameDescription, version: object
) -> None:
    switching.write_text(json.dumps({**json.loads(switching.read_text()), "version": version}))
    assert error(switching, game) == (
        f"{switching}: switching policy version {version}, but this pipeline reads up to version "
        "1; "
        "update the pipeline"
    )


@pytest.mark.parametrize("named", [None, {}, [], {"near": 1}, {"near": "a\0"}, {"near": None}])
def test_a_switching_policy_that_names_no_files(
    switching: Path, game: GameDescription, named: object
) -> None:
    switching.write_text(json.dumps({**json.loads(switching.read_text()), "checkpoints": named}))
    assert error(switching, game) == (
        f"{switching}: 'checkpoints' must name a file for each milestone; write it anew with "
        "curriculum"
    )


def test_milestones_that_a_switching_policy_leaves_out_or_the_game_does_not_have(
    switching: Path, game: GameDescription
) -> None:
    one = switching.parent / "one/final.pt"
    write_switching_policy(switching, {"near": one, "farther": one})
    assert error(switching, game) == (
        f"{switching}: names no checkpoint for the milestone 'far', though for others before and "
        "after it; add one, or run the curriculum again"
    )
    write_switching_policy(switching, {"near": one, "fat": one})
    assert error(switching, game) == (
        f"{switching}: paper has no milestone 'fat'; the nearest one is 'far'"
    )


def test_a_checkpoint_that_is_gone_or_does_not_fit(switching: Path, game: GameDescription) -> None:
    two = switching.parent / "two/final.pt"
    pressing(two, 2, rom_sha1="0" * 40)
    with pytest.raises(PipelineError) as caught:
        check_policy(switching, game)
    assert str(caught.value) == (
        f"{two}: does not fit paper: its ROM sha1 {'0' * 40} is not the game's {made.ROM}; "
        "give a checkpoint that was trained for it"
    )
    two.unlink()
    line = f"{switching}: its checkpoint for 'far' is gone ({two}); put it back, or run the "
    assert error(switching, game) == line + "curriculum again"
    for ask in (trained_seeds, shard_ids, policy_sha256, sees):
        with pytest.raises(PipelineError) as caught:
            ask(switching)
        assert str(caught.value) == line + "curriculum again"


def test_a_switching_policy_is_refused_where_a_single_network_is_needed(switching: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        load_checkpoint(switching)
    assert str(caught.value) == (
        f"{switching}: no single network, but a switching policy of several; give one of its "
        "checkpoints"
    )


def test_what_stages_ask_of_a_policy_be_it_a_checkpoint_or_a_switching_policy(
    switching: Path, game: GameDescription, tmp_path: Path
) -> None:
    one = switching.parent / "one/final.pt"
    check_policy(one, game)
    check_policy(switching, game)
    assert trained_seeds(one).tolist() == [1, 4_000_000_000]
    assert trained_seeds(switching).tolist() == [1, 7, 4_000_000_000]
    assert (shard_ids(one), shard_ids(switching)) == ({"a"}, {"a", "b"})
    assert isinstance(make_actor(one, game, "argmax"), NetworkActor)
    assert isinstance(make_actor(switching, game, "sampled"), SwitchingActor)
    save_checkpoint(tmp_path / "told.pt", told())
    assert [goal_conditioned(path) for path in (one, switching, tmp_path / "told.pt")] == [
        False,
        True,
        True,
    ]
    assert sees(one) == "the screen alone, 84x84"
    assert sees(one, "unstuck") == (
        "the screen, 84x84, and the buttons that it pressed on the same screen before"
    )
    assert sees(switching) == "the screen, 84x84, and which milestone is next"


def test_a_switching_policy_is_known_by_who_plays_for_which_milestone(
    switching: Path, tmp_path: Path
) -> None:
    one, two = switching.parent / "one/final.pt", switching.parent / "two/final.pt"
    known = {policy_sha256(one), policy_sha256(two), policy_sha256(switching)}
    assert len(known) == 3
    before = policy_sha256(switching)
    switching.write_text(switching.read_text() + "\n")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(switching.parent, elsewhere)
    (elsewhere / "one/final.pt").rename(elsewhere / "first.pt")
    moved = elsewhere / "moved.json"
    one, two = elsewhere / "first.pt", elsewhere / "two/final.pt"
    write_switching_policy(moved, {"near": one, "far": two, "farther": one})
    assert policy_sha256(moved) == policy_sha256(switching) == before
    write_switching_policy(moved, {"near": two, "far": one, "farther": one})
    pressing(switching.parent / "one/final.pt", 3)
    assert len({before, policy_sha256(moved), policy_sha256(switching)}) == 3


def test_a_switching_policy_is_evaluated_like_a_checkpoint(tmp_path: Path) -> None:
    quest = load_game("quest")
    fits: dict[str, Any] = {
        "game": "quest",
        "rom_sha1": quest.rom_sha1,
        "actions": quest.buttons,
        "timing": quest.timing.contract,
    }
    names = [one.name for one in quest.milestones]
    start, right = quest.buttons.index("START"), quest.buttons.index("RIGHT")
    first = pressing(tmp_path / "first.pt", start, **fits)
    then = pressing(tmp_path / "then.pt", right, **fits)
    switching = tmp_path / "switching-policy.json"
    write_switching_policy(switching, {name: then if i else first for i, name in enumerate(names)})
    settings = Settings.model_validate(
        {
            "paths": {"datasets": tmp_path / "datasets", "checkpoints": tmp_path / "checkpoints"},
            "evaluate": {
                "checkpoint": str(switching), "episodes": 1, "max_steps": 30, "workers": 1,
                "sticky": 0,
            },
        }
    )  # fmt: skip
    result = evaluate.run(settings)
    with Shard(Path(result.rollouts)) as shard:
        at = int(shard.milestones[0, 0])
        pressed = shard.column("actions").tolist()
        assert pressed == [start] * at + [right] * (30 - at)
        assert shard.header.provenance["actor"]["checkpoint"] == {
            "path": "switching-policy.json", "sha256": policy_sha256(switching), "mode": "unstuck",
        }  # fmt: skip
    seeds = episode_seeds("evaluate", 0, 1)
    save_checkpoint(then, replace(load_checkpoint(then), trained_seeds=np.asarray(seeds)))
    with pytest.raises(PipelineError) as caught:
        evaluate.run(settings)
    assert str(caught.value) == (
        f"{switching}: was trained on 1 of these 1 games; choose another --evaluate.seed"
    )


def test_a_checkpoint_that_was_replaced_is_read_anew(tmp_path: Path, game: GameDescription) -> None:
    path = pressing(tmp_path / "one.pt", 1)
    before = policy_sha256(path)
    assert policy_sha256(path) == before
    pressing(path, 2)
    assert policy_sha256(path) == load_checkpoint(path).sha256 != before
    path.unlink()
    with pytest.raises(PipelineError) as caught:
        policy_sha256(path)
    assert str(caught.value) == f"{path}: no such checkpoint; run the train stage first"
