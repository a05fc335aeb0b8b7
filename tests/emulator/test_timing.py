"""Steps of more frames than two: random ones, and waiting until the player can act again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.games.description import GameDescription, Reset, Timing, Until
from pipeline.games.loading import load_game
from pipeline.rollouts.replaying import play_again

MakeGame = Callable[..., Path]

TICKING = [
    0xE3A00403,  # mov r0, #0x03000000
    0xE5901000,  # loop: ldr r1, [r0]
    0xE2811001,  # add r1, r1, #1
    0xE5801000,  # str r1, [r0]
    0xEAFFFFFB,  # b loop
]
PLAIN = "timing: {hold: 4, release: 6}"
TICKS = ("variables:\n", "variables:\n  ticks: {address: 0x03000000, type: u32}\n")


def frames(env: GBAEnv) -> int:
    core = env.emulator._core
    return int(core.frameCounter(core))


def frames_of_steps(env: GBAEnv, steps: int, seed: int = 1) -> list[int]:
    env.reset(seed=seed)
    marks = [frames(env)]
    for _ in range(steps):
        env.step(0)
        marks.append(frames(env))
    return np.diff(marks).tolist()


def quest(timing: Timing) -> GameDescription:
    return replace(load_game("quest"), timing=timing)


def test_a_step_goes_on_until_its_condition_holds_and_then_one_frame_that_is_drawn(
    make_game: MakeGame,
) -> None:
    calm = ("idle_frames: [0, 12]", "idle_frames: [0, 0]")
    env = GBAEnv(make_game(TICKS, calm, words=TICKING))
    env.reset(seed=1)
    seen = []
    for _ in range(40):
        env.emulator.run(1)
        seen.append(int(env._reader.read()["ticks"]))
    # The condition comes true between frame 21 and 22 of the step: after 10 + 3 * 4 it is seen.
    when = f'until: {{when: "ticks > {seen[20]}", frames: 40, every: 4}}'
    timing = f"timing: {{hold: 4, release: 6, {when}}}"
    env = GBAEnv(make_game(TICKS, calm, (PLAIN, timing), words=TICKING))
    assert frames_of_steps(env, 3) == [10 + 3 * 4 + 1, 10, 10]


@pytest.mark.parametrize("bound, every", [(1, 4), (2, 4), (40, 4), (41, 4), (7, 100)])
def test_a_condition_that_never_holds_costs_its_frames_and_no_more(
    make_game: MakeGame, bound: int, every: int
) -> None:
    timing = f'timing: {{hold: 4, release: 6, until: {{when: "badge == 2", frames: {bound}'
    env = GBAEnv(make_game((PLAIN, f"{timing}, every: {every}}}}}")))
    assert frames_of_steps(env, 3) == [10 + bound] * 3


def test_a_step_that_waits_leaves_the_same_screen_and_ram_as_one_drawn_frame_by_frame() -> None:
    game = quest(Timing(4, 6, until=Until("screen == 99", 13, 4)))
    env = GBAEnv(replace(game, reset=Reset()), sticky_action_probability=0.0)
    slow = Emulator(env.rom, env.game.rtc_ms)
    slow.load_state(env.start_state())
    screen, _ = env.reset(seed=1)
    for name in ("START", "A", "DOWN", "RIGHT", "A", "UP") * 4:
        screen = env.step(env.game.buttons.index(name))[0]
        for keys in [KEY_BITS[name]] * 4 + [0] * 19:
            slow.run(1, keys)
        assert bytes(env.emulator.iwram) == bytes(slow.iwram)
        assert bytes(env.emulator.ewram) == bytes(slow.ewram)
        assert np.array_equal(screen, slow.screen())


def test_the_state_after_a_step_is_that_after_its_last_frame(make_game: MakeGame) -> None:
    timing = 'timing: {hold: 1, release: 0, until: {when: "badge == 2", frames: 9}}'
    env = GBAEnv(make_game(TICKS, (PLAIN, timing), words=TICKING))
    env.reset(seed=1)
    state = env.step(0)[4]["state"]
    assert state["ticks"] == int.from_bytes(bytes(env.emulator.iwram[:4]), "little")


def test_random_frames_are_drawn_from_the_seed(make_game: MakeGame) -> None:
    timing = "timing: {hold: 4, release: 6, release_random: [1, 5]}"
    env = GBAEnv(make_game((PLAIN, timing), ("max_steps: 50", "max_steps: 500")))
    first = frames_of_steps(env, 200, seed=7)
    assert set(first) == {11, 12, 13, 14, 15}
    assert frames_of_steps(env, 200, seed=7) == first
    assert frames_of_steps(env, 200, seed=8) != first


def test_an_episode_with_random_frames_and_waiting_is_played_again_from_its_seed() -> None:
    game = quest(Timing(4, 6, (0, 9), Until("locked == 0", 30, 4)))
    env = GBAEnv(game, sticky_action_probability=0.3)
    env.reset(seed=21)
    pressed, sums = [], [env.ram_crc32()]
    for button in np.random.default_rng(2).integers(10, size=60).tolist():
        pressed.append(env.step(button)[4]["action"])
        sums.append(env.ram_crc32())
    again = GBAEnv(game, sticky_action_probability=0.0)
    steps = play_again(again, env.start_state(), 21, np.array(pressed, np.uint8))
    assert [step.ram_crc32 for step in steps] == sums[:-1]
    assert again.ram_crc32() == sums[-1]


def test_a_shard_and_a_checkpoint_are_told_of_the_frames_that_are_not_plain() -> None:
    assert Timing(4, 6).contract == {"hold": 4, "release": 6}
    assert Timing(4, 6, (1, 5), Until("x == 1", 30, 4)).contract == {
        "hold": 4,
        "release": 6,
        "release_random_low": 1,
        "release_random_high": 5,
        "until": 30,
        "until_every": 4,
    }


MAPS = (
    "reward: {milestone: 1.0",
    "names:\n  maps: {variables: [badge, lost], names: [[0, 0, home]]}\n"
    "reward: {new_map: 0.5, milestone: 1.0",
)
NO_END = ('success: "badge == 1"\nfailure: "lost == 1"', 'success: "money == 1"')


def rewards_of_places(env: GBAEnv, places: list[tuple[int, int]], seed: int) -> list[float]:
    env.reset(seed=seed)
    rewards = []
    for group, number in places:
        env.emulator.write(0x02000100, group, 1)
        env.emulator.write(0x02000101, number, 1)
        rewards.append(env.step(0)[1] + 0.25)  # a step costs 0.25 here
    return rewards


def test_a_new_map_pays_once_an_episode_however_often_one_walks_through_its_door(
    make_game: MakeGame,
) -> None:
    env = GBAEnv(make_game(MAPS, NO_END))
    inside, outside, far = (1, 0), (0, 0), (3, 2)
    places = [outside, inside, outside, inside, outside, inside, far, inside, far]
    for seed in (1, 2):
        expected = [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0]
        assert rewards_of_places(env, places, seed) == expected
    assert sum(rewards_of_places(env, [outside, inside] * 20, 3)) == 0.5


def test_a_map_counts_only_while_the_description_says_that_the_player_is_on_one(
    make_game: MakeGame,
) -> None:
    when = ("{variables: [badge, lost], ", '{variables: [badge, lost], when: "hp[0] > 0", ')
    env = GBAEnv(make_game(MAPS, when, NO_END))
    env.reset(seed=1)
    env.emulator.write(0x02000100, 9, 1)
    assert env.step(0)[1] == -0.25  # not in the game: what is there means nothing
    env.emulator.write(0x02001000, 20, 2)
    assert env.step(0)[1] == 0.25  # the first map; no one was noted before
    assert env.step(0)[1] == -0.25


def test_without_the_option_maps_pay_nothing(make_game: MakeGame) -> None:
    env = GBAEnv(make_game((MAPS[0], MAPS[1].replace("new_map: 0.5, ", "")), NO_END))
    assert rewards_of_places(env, [(0, 0), (1, 0), (2, 0)], 1) == [0.0, 0.0, 0.0]
