"""Steps a second of the environment beside a bare mGBA loop, and beside pygba.

``python -m tests.bench.bench_emulator [--json]``: the expert plays one game of quest; then every
contender plays the very same buttons from the same save state, 10 frames a step, taking turns so
that a busy machine slows all of them alike. The figures are medians over the turns; a ratio is the
median of the ratios inside a turn. The bare loops only run frames: they read neither the screen nor
the RAM. pygba (if installed) gets its own way of stepping with the same number of frames, and this
project's silent log, without which it is slower.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.emulator.mgba_library import load_mgba
from pipeline.emulator.rollout import play_episodes
from pipeline.experts.acting import ExpertActor
from pipeline.experts.program import ProgramExpert
from tests.bench.machine import machine

Play = Callable[[], None]
SEED = 1


def record(env: GBAEnv) -> list[int]:
    """The buttons of one game that the expert plays."""
    with ProgramExpert(env.game.folder / "expert.py", env.game.buttons) as expert:
        (episode,) = play_episodes([env], ExpertActor(expert, env.game.buttons), [SEED])
    return [int(button) for button in episode.actions]


def contenders(env: GBAEnv, buttons: list[int]) -> dict[str, tuple[Play, Play]]:
    """For each its preparation, which is not timed, and its play."""
    hold, release = env.game.timing.hold, env.game.timing.release
    keys = [KEY_BITS[env.game.buttons[button]] for button in buttons]
    env.reset(seed=SEED)
    state = env.emulator.save_state()
    console = Emulator(env.rom, env.game.rtc_ms)
    core = console._core
    video = load_mgba().ffi.cast("struct GBA *", core.board).video

    def bare(skip: int) -> None:
        for key in keys:
            video.frameskip = video.frameskipCounter = skip
            core.setKeys(core, key)
            for _ in range(hold):
                core.runFrame(core)
            core.setKeys(core, 0)
            for _ in range(release):
                core.runFrame(core)

    def emulator_step() -> None:
        for key in keys:
            console.step(key, hold, release)

    def environment_step() -> None:
        for button in buttons:
            env.step(button)

    def back() -> None:
        console.load_state(state)

    found: dict[str, tuple[Play, Play]] = {
        "bare loop, every frame drawn": (back, lambda: bare(0)),
        "bare loop, last frame drawn": (back, lambda: bare(hold + release - 1)),
        "Emulator.step": (back, emulator_step),
        "GBAEnv.step": (lambda: void(env.reset(seed=SEED)), environment_step),
    }
    if importlib.util.find_spec("pygba"):
        found["pygba 0.2.9 PyGBAEnv.step"] = pygba(env, buttons)
    return found


def void(_: object) -> None:
    """Forget a result."""


def pygba(env: GBAEnv, buttons: list[int]) -> tuple[Play, Play]:
    """The same buttons through pygba, each held for the whole step, which is its only way."""
    from pygba import PyGBA, PyGBAEnv

    timing = env.game.timing
    env.reset(seed=SEED)
    saved = env.emulator._wrapper.save_raw_state()
    peer = PyGBAEnv(
        PyGBA.load(str(env.rom)), obs_type="rgb", frameskip=timing.hold + timing.release - 1
    )
    names = {name: name if name in "ABLR" else name.lower() for name in env.game.buttons}
    arrows = ("up", "down", "left", "right")
    actions = []
    for button in buttons:
        name = names[env.game.buttons[button]]
        pair = (name, None) if name in arrows else (None, name)
        actions.append(peer.get_action_id(*pair))

    def back() -> None:
        peer.gba.core.load_raw_state(saved)

    def play() -> None:
        for action in actions:
            peer.step(action)

    return back, play


def measure(repeats: int) -> dict[str, Any]:
    env = GBAEnv("quest", sticky_action_probability=0.0)
    buttons = record(env)
    playing = contenders(env, buttons)
    rates: dict[str, list[float]] = {}
    for turn in range(repeats + 1):
        for name, (prepare, play) in playing.items():
            prepare()
            started = time.perf_counter()
            play()
            seconds = time.perf_counter() - started
            if turn:  # the first turn warms up
                rates.setdefault(name, []).append(len(buttons) / seconds)
    bare = rates["bare loop, last frame drawn"]
    return {
        "steps": len(buttons),
        "frames_per_step": env.game.timing.hold + env.game.timing.release,
        "repeats": repeats,
        "contenders": {
            name: {
                "steps_per_second": statistics.median(values),
                "of_bare_last_frame": statistics.median(
                    value / base for value, base in zip(values, bare, strict=True)
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
        f"median of {result['repeats']} turns"
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
