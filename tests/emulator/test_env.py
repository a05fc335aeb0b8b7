"""The Gymnasium environment: its contract, its rewards, and that the seed decides everything."""

import multiprocessing
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import pipeline  # noqa: F401 - registers GBA/quest-v0
from pipeline.emulator.core import Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.system.errors import PipelineError

ROOT = Path(__file__).parents[2]
MakeGame = Callable[..., Path]


def test_gymnasium_s_own_checker_passes() -> None:
    env = gymnasium.make("GBA/quest-v0", render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)


def test_the_registered_game_has_the_observation_and_actions_of_its_description() -> None:
    env = gymnasium.make("GBA/quest-v0", sticky_action_probability=0.0, max_steps=3)
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (160, 240, 3), np.uint8)
    assert isinstance(env.unwrapped, GBAEnv)
    assert env.action_space == gymnasium.spaces.Discrete(len(env.unwrapped.game.buttons))
    frame, info = env.reset(seed=1)
    assert (frame.shape, frame.dtype) == ((160, 240, 3), np.uint8)
    assert set(info) == {"state", "milestones", "success", "action"}
    assert list(info["state"]) == list(env.unwrapped.game.variables)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    assert env.render() is None


def test_rgb_array_shows_the_observation() -> None:
    env = gymnasium.make("GBA/quest-v0", render_mode="rgb_array")
    env.reset(seed=1)
    frame = env.step(0)[0]
    assert np.array_equal(env.render(), frame)  # type: ignore[arg-type]


def trace(seed: int, steps: int, warm_up: int = 0) -> list[Any]:
    """Play random buttons; every screen, state, reward and button as plain data."""
    env = GBAEnv("quest")
    if warm_up:
        env.reset(seed=999)
        for i in range(warm_up):
            env.step(i % len(env.game.buttons))
    frame, info = env.reset(seed=seed)
    buttons = np.random.default_rng(3).integers(len(env.game.buttons), size=steps)
    seen: list[Any] = []
    for button in buttons.tolist():
        state = {name: np.asarray(value).tolist() for name, value in info["state"].items()}
        seen.append((frame.tobytes(), state, info["action"], info["milestones"]))
        frame, reward, terminated, truncated, info = env.step(button)
        seen.append((reward, terminated, truncated))
    return seen


def test_an_episode_is_the_same_again_in_a_used_env_and_in_another_process() -> None:
    first = trace(5, 200)
    assert trace(5, 200, warm_up=50) == first
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(trace, (5, 200)) == first


def test_another_seed_gives_another_game() -> None:
    assert trace(5, 100) != trace(6, 100)


def test_without_a_seed_the_next_episode_is_another_one(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    seeds = [env.reset(seed=1)[1]["state"]["game_seed"]]
    seeds += [env.reset()[1]["state"]["game_seed"] for _ in range(3)]
    assert len(set(seeds)) == 4
    env.reset(seed=1)
    assert [env.reset()[1]["state"]["game_seed"] for _ in range(3)] == seeds[1:]


def test_reset_hands_the_game_the_low_32_bits_of_the_seed(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    assert env.reset(seed=0xFFFFFFFE)[1]["state"]["game_seed"] == 0xFFFFFFFE
    assert env.reset(seed=(7 << 32) + 5)[1]["state"]["game_seed"] == 5


def test_the_seed_draws_the_idle_frames(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    frames = []
    for seed in range(300):
        env.reset(seed=seed)
        core = env.emulator._core
        frames.append(core.frameCounter(core))
    assert min(frames) == 3
    assert max(frames) == 3 + 12
    assert len(set(frames)) == 13


def test_a_sticky_action_repeats_the_button_before_it_with_the_given_probability(
    make_game: MakeGame,
) -> None:
    env = GBAEnv(make_game(), sticky_action_probability=0.2, max_steps=10_000)
    env.reset(seed=1)
    asked = [i % 10 for i in range(2000)]
    pressed = [env.step(button)[4]["action"] for button in asked]
    assert pressed[0] == asked[0]
    repeats = 0
    for i in range(1, len(asked)):
        assert pressed[i] in (asked[i], pressed[i - 1])
        repeats += pressed[i] != asked[i]
    # Asked buttons go round, so a repeat shows unless the one before was itself 10 repeats late.
    assert 0.18 < repeats / len(asked) < 0.22


def test_without_stickiness_the_asked_button_is_pressed(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    env.reset(seed=1)
    assert [env.step(i % 10)[4]["action"] for i in range(50)] == [i % 10 for i in range(50)]


def test_stickiness_does_not_change_which_game_the_seed_is(make_game: MakeGame) -> None:
    calm, sticky = (GBAEnv(make_game(), sticky_action_probability=p) for p in (0.0, 0.5))
    calm.reset(seed=4)
    sticky.reset(seed=4)
    assert calm.emulator.save_state() == sticky.emulator.save_state()


def enrich(env: GBAEnv, money: int = 0, partner: int = 0) -> None:
    env.emulator.write(0x03000010, 0x02004000, 4)
    env.emulator.write(0x03000014, 0x02009000, 4)
    env.emulator.write(0x02004490, money, 4)
    env.emulator.write(0x02005270, partner << 3, 1)
    env.emulator.write(0x02001000, 20, 2)


def test_milestones_are_rewarded_once_and_stay_reached(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    _, info = env.reset(seed=1)
    assert info["milestones"] == {"rich": -1, "partner": -1}
    assert env.step(0)[1] == -0.25
    enrich(env, money=200)
    _, reward, _, _, info = env.step(0)
    assert (reward, info["milestones"]) == (0.75, {"rich": 2, "partner": -1})
    enrich(env, money=0)
    _, reward, _, _, info = env.step(0)
    assert (reward, info["milestones"]) == (-0.25, {"rich": 2, "partner": -1})
    enrich(env, money=200, partner=1)
    _, reward, _, _, info = env.step(0)
    assert (reward, info["milestones"]) == (0.75, {"rich": 2, "partner": 4})
    _, info = env.reset(seed=1)
    assert info["milestones"] == {"rich": -1, "partner": -1}


def test_a_milestone_that_holds_at_the_start_has_step_0_and_no_reward(make_game: MakeGame) -> None:
    env = GBAEnv(make_game(('"money > 100"', '"game_seed == 7"')))
    assert env.reset(seed=7)[1]["milestones"] == {"rich": 0, "partner": -1}
    assert env.step(0)[1] == -0.25


def test_success_ends_the_episode(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    env.reset(seed=1)
    env.emulator.write(0x02000100, 1, 1)
    _, reward, terminated, truncated, info = env.step(0)
    assert (reward, terminated, truncated, info["success"]) == (9.75, True, False, True)


def test_failure_ends_the_episode(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    env.reset(seed=1)
    env.emulator.write(0x02000101, 1, 1)
    _, reward, terminated, truncated, info = env.step(0)
    assert (reward, terminated, truncated, info["success"]) == (-5.25, True, False, False)


def test_the_last_step_allowed_truncates(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    env.reset(seed=1)
    ends = [env.step(0)[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_an_episode_begins_in_the_start_state_that_is_asked_for(make_game: MakeGame) -> None:
    env = GBAEnv(make_game(("idle_frames: [0, 12]", "idle_frames: [0, 0]")))
    core = env.emulator._core
    for name, frames in (("power_on", 3), ("later", 9)):
        env.reset(seed=1, options={"start_state": name})
        assert core.frameCounter(core) == frames


def test_a_start_state_from_a_file_is_taken_up(make_game: MakeGame) -> None:
    folder = make_game(("later: {frames: 9}", "later: {file: later.png}"))
    emulator = Emulator(folder / "game.gba")
    emulator.run(20)
    emulator.write(0x02000200, 77, 1)
    (folder / "later.png").write_bytes(emulator.save_state())
    env = GBAEnv(folder)
    env.reset(seed=1, options={"start_state": "later"})
    assert env.emulator.ewram[0x200] == b"M"
    assert env.start_state("later") == (folder / "later.png").read_bytes()


def test_a_start_state_of_another_cartridge_is_refused_by_its_file(make_game: MakeGame) -> None:
    folder = make_game(("later: {frames: 9}", "later: {file: later.png}"))
    (folder / "later.png").write_bytes(b"something else")
    with pytest.raises(PipelineError) as error:
        GBAEnv(folder).reset(seed=1, options={"start_state": "later"})
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line 13: start_states.later: {folder / 'later.png'}: not a save "
        "state of mGBA, neither a raw one nor a PNG; save one in mGBA"
    )


def test_an_unknown_start_state_or_option_is_refused(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    with pytest.raises(PipelineError) as error:
        env.reset(seed=1, options={"start_state": "latter"})
    assert str(error.value) == ("standing has no start state 'latter'; the nearest one is 'later'")
    with pytest.raises(PipelineError) as error:
        env.reset(seed=1, options={"begin": "later"})
    assert str(error.value) == ("unknown reset option 'begin'; there are 'start_state' and 'state'")
    with pytest.raises(PipelineError) as error:
        env.reset(seed=1, options={"start_state": "later", "state": env.start_state()})
    assert str(error.value) == "the reset options 'start_state' and 'state' exclude each other"


def test_an_episode_can_begin_in_a_state_that_was_kept(make_game: MakeGame) -> None:
    kept = GBAEnv(make_game()).start_state("later")
    env = GBAEnv(make_game(("later: {frames: 9}", "later: {frames: 30}")))
    core = env.emulator._core
    env.reset(seed=1, options={"state": kept})
    frames = core.frameCounter(core)
    env.reset(seed=1, options={"start_state": "later"})
    assert core.frameCounter(core) == frames + 21


def test_the_checksum_of_the_ram_is_that_of_both_blocks_one_after_the_other(
    make_game: MakeGame,
) -> None:
    env = GBAEnv(make_game())
    env.reset(seed=1)
    before = env.ram_crc32()
    env.emulator.write(0x03007FFF, 1, 1)
    emulator = env.emulator
    assert env.ram_crc32() == zlib.crc32(bytes(emulator.ewram) + bytes(emulator.iwram)) != before


def test_a_wrong_button_a_step_too_early_and_an_unknown_render_mode_are_refused(
    make_game: MakeGame,
) -> None:
    env = GBAEnv(make_game())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=1)
    for button in (-1, 10):
        with pytest.raises(ValueError, match=f"there is no button {button}; standing has 0..9"):
            env.step(button)
    for action in (1.5, 1.0, np.float32(2), "A", None, True, np.bool_(False), np.array([1])):
        with pytest.raises(ValueError, match="not a whole number") as wrong:
            env.step(action)  # type: ignore[arg-type]
        assert str(wrong.value) == (
            f"the action is {action!r}, which is not a whole number; standing has the buttons 0..9"
        )
    for action in (1, np.int64(1), np.uint8(1), np.array(1)):
        assert env.step(action)[4]["action"] == 1  # type: ignore[arg-type]
    with pytest.raises(PipelineError) as error:
        GBAEnv(make_game(), render_mode="human")
    assert str(error.value) == "render_mode is 'human'; give None or 'rgb_array'"


def test_a_closed_environment_plays_no_more(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    env.reset(seed=1)
    env.close()
    env.close()
    for call in (lambda: env.step(0), lambda: env.reset(seed=1)):
        with pytest.raises(gymnasium.error.ClosedEnvironmentError) as error:
            call()
        assert str(error.value) == "the environment is closed; make another one"


@pytest.mark.parametrize("sticky, max_steps", [(1.0, 50), (-0.1, 50), (0.2, 0)])
def test_values_out_of_range_are_refused(
    make_game: MakeGame, sticky: float, max_steps: int
) -> None:
    with pytest.raises(PipelineError) as error:
        GBAEnv(make_game(), sticky_action_probability=sticky, max_steps=max_steps)
    assert str(error.value) == (
        f"sticky_action_probability is {sticky} and max_steps {max_steps}; the first must be from "
        "0 to below 1, the second at least 1"
    )


def test_buttons_may_be_a_subset(make_game: MakeGame) -> None:
    env = GBAEnv(make_game(("max_steps: 50", "max_steps: 50\nbuttons: [DOWN, A]")))
    assert env.action_space == gymnasium.spaces.Discrete(2)
    env.reset(seed=1)
    env.step(1)


def test_a_rom_with_another_hash_is_not_played(make_game: MakeGame, counting: Path) -> None:
    with pytest.raises(PipelineError, match=r"this ROM has sha1 \w+, but standing needs"):
        GBAEnv(make_game(), rom=counting)


def test_make_finds_the_game_after_importing_pipeline_alone() -> None:
    program = (
        "import pipeline, gymnasium\nprint(gymnasium.make('GBA/quest-v0').reset(seed=1)[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert (done.stdout, done.stderr) == ("(160, 240, 3)\n", "")
