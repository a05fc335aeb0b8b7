"""Relays: a network for each milestone, and policies' files of either kind."""

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
    make_actor,
    policy_sha256,
    sees,
    shard_ids,
    told_goal,
    trained_seeds,
)
from pipeline.agents.relay import RelayActor, load_relay, read_relay, write_relay
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.rollouts.seeds import episode_seeds
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from tests.loading import made
from tests.training.test_acting import rngs, screens
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
def relay(tmp_path: Path) -> Path:
    """Presses button 1 on the way to near, 2 to far and 1, of the same file, to farther."""
    one = pressing(tmp_path / "runs/one/final.pt", 1, shard_ids=("a",))
    two = pressing(
        tmp_path / "runs/two/final.pt",
        2,
        shard_ids=("a", "b"),
        trained_seeds=np.array([7, 1], np.uint32),
    )
    path = tmp_path / "runs/relay.json"
    write_relay(path, dict(zip(NAMES, (one, two, one), strict=True)))
    return path


def error(path: Path, game: GameDescription) -> str:
    with pytest.raises(PipelineError) as caught:
        load_relay(path, game)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pressed(actor: Any, goals: Sequence[int]) -> list[int]:
    count = len(goals)
    choices = actor.act(screens(count), [{}] * count, rngs(count), list(goals))
    return [choice.button for choice in choices]


def test_each_network_plays_while_its_milestone_is_next(relay: Path, game: GameDescription) -> None:
    actor = RelayActor(relay, game)
    assert pressed(actor, [0, 1, 2, 1, 0, 3]) == [1, 2, 1, 2, 1, 1]
    assert pressed(actor, [1]) == [2]
    assert len(actor.actors) == 2  # the same file is loaded once


def test_a_network_of_a_relay_is_asked_as_it_would_be_alone(
    relay: Path, game: GameDescription
) -> None:
    kept = load_checkpoint(relay.parent / "one/final.pt")
    kept.weights["head.bias"][1] -= 1000
    kept.weights["head.weight"] = kept.weights["head.weight"] * 40
    save_checkpoint(relay.parent / "one/final.pt", kept)
    alone = NetworkActor(relay.parent / "one/final.pt", game, mode="sampled")
    expected = alone.act(screens(6), [{}] * 6, rngs(6), [0] * 6)
    mixed = RelayActor(relay, game, mode="sampled").act(
        screens(6), [{}] * 6, rngs(6), [0, 1, 2, 0, 1, 3]
    )
    assert [mixed[i] for i in (0, 2, 3, 5)] == [expected[i] for i in (0, 2, 3, 5)]
    assert [mixed[i].button for i in (1, 4)] == [2, 2]


def test_a_relay_of_a_part_of_the_game_leaves_the_rest_to_its_ends(
    relay: Path, game: GameDescription
) -> None:
    one, two = relay.parent / "one/final.pt", relay.parent / "two/final.pt"
    write_relay(relay, {"far": two})
    assert load_relay(relay, game).first == 1
    assert pressed(RelayActor(relay, game), [0, 1, 2, 3]) == [2, 2, 2, 2]
    write_relay(relay, {"far": two, "near": one})  # the order is the game's
    assert list(load_relay(relay, game).checkpoints) == ["near", "far"]
    assert pressed(RelayActor(relay, game), [0, 1, 2, 3]) == [1, 2, 2, 2]


def test_a_network_of_a_relay_may_be_told_its_goal_too(relay: Path, game: GameDescription) -> None:
    both = told(goals=NAMES)
    both.weights["goals.weight"] = torch.arange(4.0)[:, None].expand(4, 8) * 9
    save_checkpoint(relay.parent / "one/final.pt", both)
    goals = [0, 2, 3]
    alone = NetworkActor(relay.parent / "one/final.pt", game)
    assert pressed(RelayActor(relay, game), goals) == pressed(alone, goals)


def test_a_relay_is_a_small_text_with_paths_from_its_folder(relay: Path) -> None:
    assert json.loads(relay.read_text()) == {
        "format": "pokemon-il relay",
        "version": 1,
        "checkpoints": {
            "near": "one/final.pt",
            "far": "two/final.pt",
            "farther": "one/final.pt",
        },
    }
    assert sorted(path.name for path in relay.parent.iterdir()) == ["one", "relay.json", "two"]
    moved = relay.parent.rename(relay.parent.parent / "moved")
    assert all(path.is_file() for path in read_relay(moved / "relay.json").values())


def test_writing_a_relay_that_the_disk_refuses_leaves_the_old_one(
    relay: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(PipelineError) as caught:
        write_relay(blocked / "relay.json", {"near": relay.parent / "one/final.pt"})
    assert str(caught.value) == (
        f"{blocked / 'relay.json'}: cannot write the relay (File exists); "
        "fix that, then the same command carries on"
    )
    with pytest.raises(ValueError, match=r"a relay's name ends in \.json"):
        write_relay(tmp_path / "relay.pt", {})


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", '{"format": "other"}', "[" * 99_999, "\x00\x80"]
)
def test_a_file_that_is_no_relay(relay: Path, game: GameDescription, text: str) -> None:
    relay.write_bytes(text.encode("latin-1"))
    assert error(relay, game) == (
        f"{relay}: no relay of this pipeline; give a checkpoint, or a relay that curriculum wrote"
    )


def test_a_relay_that_is_not_there(tmp_path: Path, game: GameDescription) -> None:
    path = tmp_path / "relay.json"
    assert error(path, game) == f"{path}: no such relay; run the curriculum first"
    path.mkdir()
    assert error(path, game) == f"{path}: cannot read the relay (Is a directory); fix that"


@pytest.mark.parametrize("version", [2, None, "1", True, 1.5])
def test_a_relay_of_a_newer_version_is_refused_with_both_versions(
    relay: Path, game: GameDescription, version: object
) -> None:
    relay.write_text(json.dumps({**json.loads(relay.read_text()), "version": version}))
    assert error(relay, game) == (
        f"{relay}: relay version {version}, but this pipeline reads up to version 1; "
        "update the pipeline"
    )


@pytest.mark.parametrize("named", [None, {}, [], {"near": 1}, {"near": "a\0"}, {"near": None}])
def test_a_relay_that_names_no_files(relay: Path, game: GameDescription, named: object) -> None:
    relay.write_text(json.dumps({**json.loads(relay.read_text()), "checkpoints": named}))
    assert error(relay, game) == (
        f"{relay}: 'checkpoints' must name a file for each milestone; write it anew with curriculum"
    )


def test_milestones_that_a_relay_leaves_out_or_the_game_does_not_have(
    relay: Path, game: GameDescription
) -> None:
    one = relay.parent / "one/final.pt"
    write_relay(relay, {"near": one, "farther": one})
    assert error(relay, game) == (
        f"{relay}: names no checkpoint for the milestone 'far', though for others before and "
        "after it; add one, or run the curriculum again"
    )
    write_relay(relay, {"near": one, "fat": one})
    assert error(relay, game) == (
        f"{relay}: paper has no milestone 'fat'; the nearest one is 'far'"
    )


def test_a_checkpoint_that_is_gone_or_does_not_fit(relay: Path, game: GameDescription) -> None:
    two = relay.parent / "two/final.pt"
    pressing(two, 2, rom_sha1="0" * 40)
    with pytest.raises(PipelineError) as caught:
        check_policy(relay, game)
    assert str(caught.value) == (
        f"{two}: does not fit paper: its ROM sha1 {'0' * 40} is not the game's {made.ROM}; "
        "give a checkpoint that was trained for it"
    )
    two.unlink()
    line = f"{relay}: its checkpoint for 'far' is gone ({two}); put it back, or run the "
    assert error(relay, game) == line + "curriculum again"
    for ask in (trained_seeds, shard_ids, policy_sha256, sees):
        with pytest.raises(PipelineError) as caught:
            ask(relay)
        assert str(caught.value) == line + "curriculum again"


def test_a_relay_is_refused_where_a_single_network_is_needed(relay: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        load_checkpoint(relay)
    assert str(caught.value) == (
        f"{relay}: no single network, but a relay of several; give one of its checkpoints"
    )


def test_what_stages_ask_of_a_policy_be_it_a_checkpoint_or_a_relay(
    relay: Path, game: GameDescription, tmp_path: Path
) -> None:
    one = relay.parent / "one/final.pt"
    check_policy(one, game)
    check_policy(relay, game)
    assert trained_seeds(one).tolist() == [1, 4_000_000_000]
    assert trained_seeds(relay).tolist() == [1, 7, 4_000_000_000]
    assert (shard_ids(one), shard_ids(relay)) == ({"a"}, {"a", "b"})
    assert isinstance(make_actor(one, game, "argmax"), NetworkActor)
    assert isinstance(make_actor(relay, game, "sampled"), RelayActor)
    save_checkpoint(tmp_path / "told.pt", told())
    assert [told_goal(path) for path in (one, relay, tmp_path / "told.pt")] == [False, True, True]
    assert sees(one) == "the screen alone, 84x84"
    assert sees(relay) == "the screen, 84x84, and which milestone is next"


def test_a_relay_is_known_by_who_plays_for_which_milestone(relay: Path, tmp_path: Path) -> None:
    one, two = relay.parent / "one/final.pt", relay.parent / "two/final.pt"
    known = {policy_sha256(one), policy_sha256(two), policy_sha256(relay)}
    assert len(known) == 3
    before = policy_sha256(relay)
    relay.write_text(relay.read_text() + "\n")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(relay.parent, elsewhere)
    (elsewhere / "one/final.pt").rename(elsewhere / "first.pt")
    moved = elsewhere / "moved.json"
    one, two = elsewhere / "first.pt", elsewhere / "two/final.pt"
    write_relay(moved, {"near": one, "far": two, "farther": one})
    assert policy_sha256(moved) == policy_sha256(relay) == before
    write_relay(moved, {"near": two, "far": one, "farther": one})
    pressing(relay.parent / "one/final.pt", 3)
    assert len({before, policy_sha256(moved), policy_sha256(relay)}) == 3


def test_a_relay_is_evaluated_like_a_checkpoint(tmp_path: Path) -> None:
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
    relay = tmp_path / "relay.json"
    write_relay(relay, {name: then if i else first for i, name in enumerate(names)})
    settings = Settings.model_validate(
        {
            "paths": {"datasets": tmp_path / "datasets", "checkpoints": tmp_path / "checkpoints"},
            "evaluate": {
                "checkpoint": str(relay), "episodes": 1, "max_steps": 30, "workers": 1, "sticky": 0,
            },
        }
    )  # fmt: skip
    result = evaluate.run(settings)
    with Shard(Path(result["rollouts"])) as shard:
        at = int(shard.milestones[0, 0])
        pressed = shard.column("actions").tolist()
        assert pressed == [start] * at + [right] * (30 - at)
        assert shard.header.provenance["actor"]["checkpoint"] == {
            "path": "relay.json", "sha256": policy_sha256(relay), "mode": "argmax",
        }  # fmt: skip
    seeds = episode_seeds("evaluate", 0, 1)
    save_checkpoint(then, replace(load_checkpoint(then), trained_seeds=np.asarray(seeds)))
    with pytest.raises(PipelineError) as caught:
        evaluate.run(settings)
    assert str(caught.value) == (
        f"{relay}: was trained on 1 of these 1 games; choose another --evaluate.seed"
    )
