"""What reading the game's variables costs, beside a step's emulation.

The same process, turn by turn: all variables of Pokemon Emerald with its four map windows, out of
RAM that moves as a walking player's does (each reading another tile, the save blocks elsewhere
every 20th, another map every 100th); all of quest's; and a step of quest. Processor time, so that
a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import time
from collections.abc import Callable

from pipeline.emulator.core import KEY_BITS
from pipeline.emulator.env import GBAEnv
from pipeline.emulator.ram import StateReader
from pipeline.games.loading import load_game
from tests.bench.machine import machine

TURN = 200


class Ram:
    """Blocks of RAM without a console, in which somebody walks through Littleroot."""

    def __init__(self) -> None:
        self.ram = (bytearray(0x40000), bytearray(0x8000))
        self._steps = 0
        self._put(0x030022C4, "I", 0x08085E5D)
        self._put(0x03005DC0, "iiI", 35, 34, 0x02032318)
        self._put(0x020244E9, "B", 3)
        self.walk()

    def walk(self) -> None:
        step = self._steps = self._steps + 1
        shift = step // 20 % 32 * 4
        save1, save2 = 0x02025A00 + shift, 0x02024A54 + shift
        self._put(0x03005D8C, "II", save1, save2)
        self._put(save1, "hhbb", step % 20, step % 17, 0, 9 + step // 100 % 11)

    def _put(self, address: int, form: str, *values: int) -> None:
        struct.pack_into("<" + form, self.ram[address >> 24 & 1], address & 0xFFFFFF, *values)


def contenders() -> dict[str, Callable[[], object]]:
    """What is done once in a turn's loop; Emerald's walk is counted in."""
    ram = Ram()
    emerald = StateReader(load_game("emerald"), ram).read
    env = GBAEnv("quest", sticky_action_probability=0.0)
    env.reset(seed=1)
    timing, keys = env.game.timing, KEY_BITS["RIGHT"]
    quest = StateReader(env.game, env.emulator).read

    def walk_and_read() -> None:
        ram.walk()
        emerald()

    return {
        "Emerald's variables": walk_and_read,
        "quest's variables": quest,
        "a step of quest, emulation": lambda: env.emulator.step(keys, timing.hold, timing.release),
    }


def measure(repeats: int) -> dict[str, float]:
    """Microseconds each: the median of ``repeats`` turns."""
    doing = contenders()
    spent: dict[str, list[float]] = {name: [] for name in doing}
    for turn in range(repeats + 1):
        for name, once in doing.items():
            started = time.thread_time()
            for _ in range(TURN):
                once()
            if turn:  # the first one warms up
                spent[name].append((time.thread_time() - started) / TURN * 1e6)
    return {name: statistics.median(values) for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=25)
    chosen = parser.parse_args()
    figures = measure(chosen.repeats)
    print(f"python -m tests.bench.bench_ram on {machine()}")
    game = load_game("emerald")
    arrays = [variable for variable in game.variables.values() if variable.shape]
    print(
        f"Emerald: {len(game.variables)} variables, {len(arrays)} of them arrays, "
        f"{sum(one.window is not None for one in arrays)} map windows; median of "
        f"{chosen.repeats} turns of {TURN}"
    )
    for name, microseconds in figures.items():
        print(f"{name:28} {microseconds:8.1f} us a step")
    if chosen.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
