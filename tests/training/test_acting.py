"""A checkpoint as player: the contract's resize, argmax and sampling, and one game at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.agents.network import NetworkActor, less_tried
from pipeline.agents.protocol import Turn
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.shards.format.frames import FrameContract, Frames, resize
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.machine import has_bf16
from tests.loading import made
from tests.training.test_checkpoint import checkpoint, told


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "final.pt"
    kept = checkpoint()
    # A sharper head, so that the buttons differ between frames.
    kept.weights["head.weight"] = kept.weights["head.weight"] * 40
    save_checkpoint(path, kept)
    return path


@pytest.fixture
def game(tmp_path: Path) -> GameDescription:
    return load_game(made.game_folder(tmp_path / "paper"))


def screens(count: int) -> Frames:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 20, 30, 3), np.uint8)
    return np.repeat(np.repeat(small, 8, axis=1), 8, axis=2)


def turns(goals: Sequence[int]) -> list[Turn]:
    return [Turn({}, np.random.default_rng([seed, 1]), goal) for seed, goal in enumerate(goals)]


def test_argmax_presses_the_likeliest_button(saved: Path, game: GameDescription) -> None:
    actor, frames = NetworkActor(saved, game), screens(6)
    choices = actor.act(frames, turns([0] * 6))
    assert [c.button for c in choices] == actor.probabilities(frames).argmax(axis=1).tolist()
    assert [c.expert for c in choices] == [255] * 6
    assert np.allclose(actor.probabilities(frames).sum(axis=1), 1)


def test_the_screen_is_resized_as_the_checkpoint_says(saved: Path, game: GameDescription) -> None:
    actor, frames = NetworkActor(saved, game), screens(3)
    small = resize(frames, FrameContract(84, 84, "bilinear"))
    assert (actor.probabilities(frames) == actor.probabilities(small)).all()


def test_sampling_follows_the_probabilities(saved: Path, game: GameDescription) -> None:
    actor = NetworkActor(saved, game, mode="sampled")
    frames = np.repeat(screens(1), 10, axis=0)
    probabilities = actor.probabilities(frames[:1])[0]
    chosen = [
        choice.button
        for start in range(0, 400, 10)
        for choice in actor.act(
            frames, [Turn({}, np.random.default_rng(start + i)) for i in range(10)]
        )
    ]
    seen = np.bincount(chosen, minlength=10) / 400
    # Four standard deviations of a share of 400 draws.
    assert (np.abs(seen - probabilities) <= 4 * np.sqrt(0.25 / 400)).all()
    assert len(set(chosen)) > 1


def test_sampling_takes_one_number_of_each_games_own_randomness(
    saved: Path, game: GameDescription
) -> None:
    actor, mine = NetworkActor(saved, game, mode="sampled"), turns([0, 0])
    actor.act(screens(2), mine)
    fresh = turns([0, 0])
    for turn in fresh:
        turn.rng.random()
    assert [turn.rng.random() for turn in mine] == [turn.rng.random() for turn in fresh]


@pytest.mark.parametrize("bf16", [True, False])
def test_an_answer_does_not_depend_on_the_other_games_of_the_batch(
    saved: Path, game: GameDescription, bf16: bool
) -> None:
    if bf16 and not has_bf16(torch.device("cpu")):
        pytest.skip("the machine has no bfloat16")
    actor, frames = NetworkActor(saved, game), screens(11)
    actor.network = actor.network.to(torch.bfloat16 if bf16 else torch.float32)
    together = actor.probabilities(frames)
    for company in ([3], [3, 0], [9, 10, 3], [1, 3, 5, 7], [3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3]):
        assert (actor.probabilities(frames[company]) == together[company]).all()
    shuffled = np.random.default_rng(0).permutation(11)
    assert (actor.probabilities(frames[shuffled]) == together[shuffled]).all()
    assert len(np.unique(together, axis=0)) == 11


def test_a_checkpoint_of_another_game_does_not_play(saved: Path, tmp_path: Path) -> None:
    folder = made.game_folder(tmp_path / "other")
    (folder / "game.yaml").write_text(
        (folder / "game.yaml").read_text().replace("name: paper", "name: other")
    )
    with pytest.raises(PipelineError, match="does not fit other: its game paper is not the game"):
        NetworkActor(saved, load_game(folder))


def test_a_told_network_answers_by_the_goal_and_no_other_looks_at_it(
    saved: Path, game: GameDescription, tmp_path: Path
) -> None:
    kept, path = told(), tmp_path / "told.pt"
    kept.weights["goals.weight"] = torch.randn(2, 8) * 9
    kept.weights["head.weight"] = kept.weights["head.weight"] * 40
    save_checkpoint(path, kept)
    actor, frames = NetworkActor(path, game), np.repeat(screens(1), 5, axis=0)
    assert actor.told
    goals = [0, 1, 1, 0, 0]
    by_goal = actor.probabilities(frames, goals)
    assert (by_goal[0] != by_goal[1]).any()
    assert (by_goal[[0, 1, 1, 0, 0]] == by_goal).all()
    pressed = [choice.button for choice in actor.act(frames, turns(goals))]
    assert pressed == by_goal.argmax(axis=1).tolist()
    assert len(set(pressed)) == 2
    plain = NetworkActor(saved, game)
    assert not plain.told
    assert plain.act(frames, turns(goals)) == plain.act(frames, turns([0] * 5))


def test_a_button_that_changed_nothing_gives_way(saved: Path, game: GameDescription) -> None:
    actor, frames = NetworkActor(saved, game, mode="unstuck"), screens(1)
    likely = actor.probabilities(frames)[0]
    (turn,) = turns([0])
    pressed = [actor.act(frames, [turn])[0].button for _ in range(40)]
    assert pressed[0] == likely.argmax()
    counts = np.bincount(pressed, minlength=10)
    # Each press divides by ten: in the end all that are tried are about equally likely.
    left = np.log10(likely) - counts
    assert left[counts > 0].max() - left[counts > 0].min() <= 1 + 1e-9
    assert (counts > 0).sum() > 1


def test_another_picture_and_another_episode_begin_anew(saved: Path, game: GameDescription) -> None:
    actor, (one, other) = NetworkActor(saved, game, mode="unstuck"), screens(2)
    best = actor.probabilities(np.stack([one, other])).argmax(axis=1).tolist()
    (turn,) = turns([0])
    for _ in range(10):
        actor.act(one[None], [turn])
    assert actor.act(other[None], [turn])[0].button == best[1]
    assert actor.act(one[None], turns([0]))[0].button == best[0]


def test_a_loop_over_two_pictures_ends(saved: Path, game: GameDescription) -> None:
    actor, frames = NetworkActor(saved, game, mode="unstuck"), screens(2)
    (turn,) = turns([0])
    pressed = [actor.act(frames[[step % 2]], [turn])[0].button for step in range(40)]
    assert len(set(pressed[::2])) > 1
    assert len(set(pressed[1::2])) > 1


def test_impossible_buttons_are_never_tried_before_possible_ones() -> None:
    memory: dict[str, Any] = {}
    frame = np.zeros((2, 2, 3), np.uint8)
    likely = np.array([0.0, 0.7, 0.3])
    pressed = [less_tried(likely, frame, memory) for _ in range(600)]
    assert set(pressed) == {1, 2}  # and a count beyond 255 breaks nothing
    assert pressed[:3] == [1, 2, 1]


def test_the_same_picture_with_another_goal_is_another_one() -> None:
    memory: dict[str, Any] = {}
    frame = np.zeros((2, 2, 3), np.uint8)
    likely = np.array([0.95, 0.05])
    assert [less_tried(likely, frame, memory, goal) for goal in (0, 0, 0, 1)] == [0, 0, 1, 0]
