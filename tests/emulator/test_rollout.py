"""Rollouts: several emulators in step play exactly what each would have played alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.agents.protocol import Choice, Turn
from pipeline.emulator.env import GBAEnv
from pipeline.rollouts.episodes import Frames, play_episodes
from pipeline.shards.format.schema import NO_ACTION, Episode, LabelStatus, recording_id

MakeGame = Callable[..., Path]


class RandomActor:
    """Presses random buttons; asks its "expert" at every other step."""

    def __init__(self, buttons: int) -> None:
        self.buttons = buttons
        self.batches: list[int] = []
        self.goals: list[list[int]] = []

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        assert len(frames) == len(turns)
        assert frames.shape[1:] == (160, 240, 3)
        self.batches.append(len(frames))
        self.goals.append([turn.goal for turn in turns])
        return [self.choose(rng) for rng in [turn.rng for turn in turns]]

    def choose(self, rng: np.random.Generator) -> Choice:
        button = int(rng.integers(self.buttons))
        return Choice(button, expert=button if rng.random() < 0.5 else NO_ACTION)


def quest(count: int) -> list[GBAEnv]:
    return [GBAEnv("quest") for _ in range(count)]


def assert_same(one: Episode, other: Episode) -> None:
    assert (one.seed, one.success, one.root) == (other.seed, other.success, other.root)
    for name in ("frames", "actions", "expert_actions", "rewards", "terminated", "truncated"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.final_frame, other.final_frame)
    assert np.array_equal(one.milestones, other.milestones)
    assert one.ram_crc32 is not None
    assert other.ram_crc32 is not None
    assert one.ram_crc32.tolist() == other.ram_crc32.tolist()
    for name in one.state:
        assert np.array_equal(one.state[name], other.state[name]), name


def test_an_episode_does_not_depend_on_how_many_are_played_beside_it() -> None:
    seeds = [11, 12, 13, 14, 15]
    actor = RandomActor(10)
    alone = {e.seed: e for e in play_episodes(quest(1), RandomActor(10), seeds, max_steps=40)}
    together = {e.seed: e for e in play_episodes(quest(3), actor, seeds, max_steps=40)}
    assert list(alone) == seeds
    assert sorted(together) == seeds
    assert actor.batches == [3] * 40 + [2] * 40
    for seed in seeds:
        assert_same(alone[seed], together[seed])


def test_an_episode_holds_what_the_environment_gave() -> None:
    (episode,) = play_episodes(quest(1), RandomActor(10), [21], max_steps=60)
    env, rng, actor = quest(1)[0], np.random.default_rng([21, 1]), RandomActor(10)
    frame, info = env.reset(seed=21)
    for i in range(60):
        assert np.array_equal(episode.frames[i], frame)
        for name, value in info["state"].items():
            assert np.array_equal(episode.state[name][i], value)
        choice = actor.choose(rng)
        frame, reward, terminated, _, info = env.step(choice.button)
        assert (episode.actions[i], episode.expert_actions[i]) == (info["action"], choice.expert)
        labelled = choice.expert != NO_ACTION
        expected = LabelStatus.LABELLED if labelled else LabelStatus.UNLABELLED
        assert episode.label_status[i] == expected
        assert (episode.rewards[i], episode.terminated[i]) == (np.float32(reward), terminated)
    assert np.array_equal(episode.final_frame, frame)
    assert episode.truncated.tolist() == [False] * 59 + [True]
    for name, variable in env.game.variables.items():
        assert episode.state[name].dtype == variable.dtype
        assert episode.state[name].shape == (60, *variable.shape)


class Winner:
    """Wins its game after ``steps`` steps by writing to its RAM; presses A meanwhile."""

    def __init__(self, env: GBAEnv, steps: int, address: int) -> None:
        self.env, self.left, self.address = env, steps, address

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        self.left -= 1
        if self.left == 0:
            self.env.emulator.write(self.address, 1, 1)
        return [Choice(0)]


@pytest.mark.parametrize("address, success", [(0x02000100, True), (0x02000101, False)])
def test_success_and_failure_terminate(make_game: MakeGame, address: int, success: bool) -> None:
    env = GBAEnv(make_game())
    (episode,) = play_episodes([env], Winner(env, 5, address), [1], max_steps=5)
    assert episode.success == success
    assert episode.terminated.tolist() == [False] * 4 + [True]
    assert not episode.truncated.any()  # it ended by itself, on its last step allowed


def test_patience_truncates_a_game_that_gets_nowhere(make_game: MakeGame) -> None:
    env = GBAEnv(make_game(('"money > 100"', '"has_partner == 1"')))
    (episode,) = play_episodes([env], RandomActor(10), [1], patience=7)
    assert (len(episode), bool(episode.truncated[-1])) == (7, True)

    class Finder(RandomActor):
        def choose(self, rng: np.random.Generator) -> Choice:
            env.emulator.write(0x03000010, 0x02004000, 4)
            env.emulator.write(0x02005270, 8, 1)
            return super().choose(rng)

    (episode,) = play_episodes([env], Finder(10), [1], patience=7)
    assert (len(episode), episode.milestones.tolist()) == (8, [1, -1])


@pytest.mark.parametrize("first_goal, goals", [(0, [0, 0, 0, 0, 2]), (1, [1, 1, 2, 2, 2])])
def test_the_actor_is_told_the_number_of_the_next_milestone(
    make_game: MakeGame, first_goal: int, goals: list[int]
) -> None:
    partner = '"has_partner == 1 and hp[0] > 0"'
    env = GBAEnv(make_game(('"money > 100"', '"lost == 2"'), (partner, '"lost == 3"')))

    class Finder(RandomActor):
        def choose(self, rng: np.random.Generator) -> Choice:
            # The second milestone in the second step, the first one in the fourth.
            env.emulator.write(0x02000101, {2: 3, 4: 2}.get(len(self.batches), 0), 1)
            return super().choose(rng)

    actor = Finder(10)
    list(play_episodes([env], actor, [1], max_steps=5, first_goal=first_goal))
    assert actor.goals == [[goal] for goal in goals]


def test_the_environment_s_own_limit_holds_without_another(make_game: MakeGame) -> None:
    (episode,) = play_episodes([GBAEnv(make_game())], RandomActor(10), [1])
    assert (len(episode), bool(episode.truncated[-1])) == (50, True)


def test_frames_may_be_left_out(make_game: MakeGame) -> None:
    (episode,) = play_episodes([GBAEnv(make_game())], RandomActor(10), [1], keep_frames=False)
    assert episode.frames.shape == (0, 160, 240, 3)
    assert len(episode) == 50
    assert episode.ram_crc32 is None
    assert episode.final_frame.shape == (160, 240, 3)


def test_start_states_and_progress_are_reported(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    played: list[int] = []
    (episode,) = play_episodes(
        [env], RandomActor(10), [1], start_state="later", max_steps=9, on_step=played.append
    )
    assert (episode.start_state, episode.root) == (1, "standing/later/00000001")
    assert episode.recording == recording_id(episode.root, episode.actions)
    assert sum(played) == 9


def test_no_seeds_give_no_episodes(make_game: MakeGame) -> None:
    assert list(play_episodes([GBAEnv(make_game())], RandomActor(10), [])) == []


def test_the_ram_is_checked_before_each_step(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    found: list[int] = []

    class Writer(RandomActor):
        def choose(self, rng: np.random.Generator) -> Choice:
            found.append(env.ram_crc32())
            return super().choose(rng)

    (episode,) = play_episodes([env], Writer(10), [1], max_steps=9)
    assert episode.ram_crc32 is not None
    assert episode.ram_crc32.dtype == np.uint32
    assert episode.ram_crc32.tolist() == found
