"""Steps a second of the environment beside a bare mGBA loop, and beside pygba.

``python -m tests.bench.bench_emulator [--json]``: the expert plays one game of quest; then every
contender, each with a core of its own, plays the very same buttons from the same save state, 10
frames a step. They take turns every 20 steps, so that a busy machine slows all of them alike, and
what is counted is the thread's own processor time. A figure is the median over several games, a
ratio the median of the ratios inside a game. The bare loops are stock mGBA and only
run frames: they read neither the screen nor the RAM, but they do mix the sound, which the emulator
here leaves out. pygba (if installed) gets its own way of stepping with the same number of
frames, and this project's silent log, without which it is slower.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.experts.expert_actor import ExpertActor
from pipeline.experts.program import ProgramExpert
from pipeline.rollouts.episodes import play_episodes
from tests.bench.machine import machine
from tests.bench.stock import StockConsole

SEED = 1
TURN = 20


def record(env: GBAEnv) -> list[int]:
    """The buttons of one game that the expert plays."""
    with ProgramExpert(env.game.folder / "expert.py", env.game.buttons) as expert:
        (episode,) = play_episodes([env], ExpertActor(expert), [SEED])
    return [int(button) for button in episode.actions]


class Contender(NamedTuple):
    back: Callable[[], object]
    """Go to the beginning of the game; not timed."""
    play: Callable[[Sequence[int]], None]
    """Play some steps; takes buttons."""


def contenders(env: GBAEnv, game_state: bytes) -> dict[str, Contender]:
    hold, release = env.game.timing.hold, env.game.timing.release
    found = {
        "bare loop, every frame drawn": bare(env, game_state, skip=0),
        "bare loop, last frame drawn": bare(env, game_state, skip=hold + release - 1),
        "Emulator.step": emulator_step(env, game_state),
        "GBAEnv.step": environment_step(env),
    }
    if importlib.util.find_spec("pygba"):
        found["pygba 0.2.9 PyGBAEnv.step"] = pygba_step(env)
    return found


def key_of(env: GBAEnv) -> list[int]:
    return [KEY_BITS[name] for name in env.game.buttons]


def bare(env: GBAEnv, game_state: bytes, skip: int) -> Contender:
    console, keys = StockConsole(env.rom, env.game.rtc_ms), key_of(env)
    step = console.player(env.game.timing.hold, env.game.timing.release, skip)

    def play(buttons: Sequence[int]) -> None:
        for button in buttons:
            step(keys[button])

    return Contender(lambda: console.load_state(game_state), play)


def emulator_step(env: GBAEnv, game_state: bytes) -> Contender:
    console, keys = Emulator(env.rom, env.game.rtc_ms), key_of(env)
    hold, release = env.game.timing.hold, env.game.timing.release

    def play(buttons: Sequence[int]) -> None:
        for button in buttons:
            console.step(keys[button], hold, release)

    return Contender(lambda: console.load_state(game_state), play)


def environment_step(env: GBAEnv) -> Contender:
    def play(buttons: Sequence[int]) -> None:
        for button in buttons:
            env.step(button)

    return Contender(lambda: env.reset(seed=SEED), play)


def pygba_step(env: GBAEnv) -> Contender:
    """The same buttons through pygba, each held for the whole step, which is its only way."""
    from pygba import PyGBA, PyGBAEnv

    timing = env.game.timing
    env.reset(seed=SEED)
    ffi, core = env.emulator._mgba.ffi, env.emulator._core
    saved = ffi.new(f"unsigned char[{core.stateSize(core)}]")
    core.saveState(core, saved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it gives no reward without a wrapper of the game
        peer = PyGBAEnv(PyGBA.load(str(env.rom)), frameskip=timing.hold + timing.release - 1)
    actions = []
    for name in env.game.buttons:
        arrow = name.lower() if name in ("UP", "DOWN", "LEFT", "RIGHT") else None
        button = None if arrow else name if len(name) == 1 else name.lower()
        actions.append(peer.get_action_id(arrow, button))

    def play(buttons: Sequence[int]) -> None:
        for button in buttons:
            peer.step(actions[button])

    return Contender(lambda: peer.gba.core.load_raw_state(saved), play)


def measure(repeats: int) -> dict[str, Any]:
    env = GBAEnv("quest", sticky_action_probability=0.0)
    buttons = record(env)
    env.reset(seed=SEED)
    playing = contenders(env, env.emulator.save_state())
    rates: dict[str, list[float]] = {name: [] for name in playing}
    for game in range(repeats + 1):
        seconds = dict.fromkeys(playing, 0.0)
        for contender in playing.values():
            contender.back()
        for first in range(0, len(buttons), TURN):
            for name, contender in playing.items():
                started = time.thread_time()
                contender.play(buttons[first : first + TURN])
                seconds[name] += time.thread_time() - started
        for name in playing:
            if game:  # the first one warms up
                rates[name].append(len(buttons) / seconds[name])
    bare_rates = rates["bare loop, last frame drawn"]
    return {
        "steps": len(buttons),
        "frames_per_step": env.game.timing.hold + env.game.timing.release,
        "repeats": repeats,
        "contenders": {
            name: {
                "steps_per_second": statistics.median(values),
                "of_bare_last_frame": statistics.median(
                    value / base for value, base in zip(values, bare_rates, strict=True)
                ),
            }
            for name, values in rates.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=15)
    chosen = parser.parse_args()
    result = measure(chosen.repeats)
    print(f"python -m tests.bench.bench_emulator on {machine()}")
    print(
        f"one game of {result['steps']} steps of {result['frames_per_step']} frames, "
        f"median of {result['repeats']} games"
    )
    for name, figures in result["contenders"].items():
        print(
            f"{name:32} {figures['steps_per_second']:8.0f} steps/s"
            f"   {figures['of_bare_last_frame']:.3f} of the bare loop, last frame drawn"
        )
    if chosen.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
