"""Is a game described rightly? Its start states, variables and conditions, looked at live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from pipeline.emulator.core import Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.emulator.ram import State
from pipeline.emulator.starting import load_file, warning_of
from pipeline.emulator.stock import Comparison, compare_with_stock
from pipeline.games.cartridge import read_cartridge
from pipeline.games.conditions import Condition
from pipeline.games.description import GameDescription, Location, Reset, Variable
from pipeline.games.platforms import GBA, PLATFORMS, Platform
from pipeline.shards.format.frames import Frames
from pipeline.system.errors import PipelineError

_SHOWN = 6
"""Elements of an array that are shown."""
COMPARED = 300
"""Steps that a game is played beside a stock mGBA."""
_CARTRIDGE = 0x08, 0x0D
"""The highest byte of a Game Boy Advance's addresses in the cartridge."""


@dataclass(frozen=True)
class Sight:
    """One moment of a game."""

    screen: Frames
    """(height,width,3) u8."""
    state: State
    milestones: dict[str, bool]
    """Which of the conditions hold now."""
    success: bool
    failure: bool


def look(
    game: GameDescription, rom: Path, *, start: str | None = None, state: Path | None = None
) -> Sight:
    """The game in a start state (None takes the first), or in a save state of the user's.

    Raises:
        PipelineError: no such start state, a state of another cartridge, or a condition divides
            by zero.
    """
    env = GBAEnv(still(game), rom)
    saved = saved_state(env, start, state)
    screen, info = env.reset(seed=0, options={"state": saved})
    shapes = {name: variable.shape for name, variable in game.variables.items()}
    named = {one.name: one.when for one in game.milestones}
    holds = {name: Condition(when, shapes).holds(info["state"]) for name, when in named.items()}
    success = Condition(game.success, shapes).holds(info["state"])
    failure = Condition(game.failure or "False", shapes).holds(info["state"])
    return Sight(screen, info["state"], holds, success, failure and not success)


def saved_state(env: GBAEnv, start: str | None, file: Path | None) -> bytes:
    """A start state (None: the first), or what a file holds, if there is one.

    Raises:
        PipelineError: no such start state or file, or a state of another cartridge.
    """
    if file is None:
        return env.start_state(start)
    return load_file(env.emulator, env.rom, file)


def still(game: GameDescription) -> GameDescription:
    """The game to be looked at only: a reset changes nothing, and no condition is asked."""
    return replace(game, reset=Reset(), milestones=(), success="False", failure=None)


VariableRow = TypedDict(
    "VariableRow",
    {
        "name": str,
        "where": str,
        "type": str,
        "value": str,
        "at the end": str,
        "values": int,
        "about": str,
    },
)
"""A variable as it was seen: its value at the beginning and at the end, and how many there were."""

ConditionRow = TypedDict(
    "ConditionRow", {"name": str, "when": str, "holds": bool, "first at step": int | None}
)
"""A condition: whether it holds at the beginning, and the step after which it first held."""


@dataclass(frozen=True)
class Examination:
    """What was found. A game with no ``problems`` can be played as it is described."""

    variables: list[VariableRow]
    conditions: list[ConditionRow]
    problems: list[str]
    warnings: list[str]
    stock: Comparison
    """What a stock mGBA did with the same buttons."""


def examine(
    game: GameDescription,
    rom: Path,
    *,
    start: str | None,
    state: Path | None,
    steps: int,
    compared: int = COMPARED,
) -> Examination:
    """Load every start state, then play ``steps`` random buttons (always the same ones) and watch.

    Args:
        start: the start state to play from; None takes the first.
        state: a save state to play from instead.
        compared: steps that are played beside a stock mGBA, too.

    Raises:
        PipelineError: the start state that is to be played from cannot be loaded.
    """
    env = GBAEnv(still(game), rom, sticky_action_probability=0.0, max_steps=steps + 1)
    problems = [] if state is not None else list(_broken_start_states(env, start))
    seen, pointers, counters = _play(env, start, state, steps)
    conditions, mistakes = _conditions(game, seen)
    problems += mistakes
    warnings = [
        *_of_header(game, rom),
        *_of_states(env),
        *_of_pointers(game, pointers),
        *_of_values(game, seen),
        *_of_code(PLATFORMS[game.platform], counters),
    ]
    saved = saved_state(env, start, state)
    stock = compare_with_stock(game, rom, env.emulator, saved, compared)
    if stock.first is not None:
        warnings.append(f"{stock}; {_advice(game, rom, saved, compared)}")
    return Examination(_variables(game, seen), conditions, problems, warnings, stock)


def _advice(game: GameDescription, rom: Path, saved: bytes, compared: int) -> str:
    """What to do about a game that plays otherwise than in a stock mGBA."""
    if not game.sound:
        console = PLATFORMS[game.platform]
        sounding = Emulator(rom, game.rtc_ms, console, sound=True)
        if compare_with_stock(game, rom, sounding, saved, compared).first is None:
            return "with 'sound: true' in game.yaml they are identical: write it there"
    return "'sound: true' in game.yaml does not change that; report this"


def place_of(variable: Variable, console: Platform) -> str:
    """Where a variable lies, in the fewest words."""
    if variable.when is not None:
        return f"when {variable.when}"
    if variable.window is not None:
        window = variable.window
        return f"map at [{console.written(window.cells)}] round ({window.x}, {window.y})"
    text = _place(variable.location, console)
    if variable.index is not None:
        index = variable.index
        text += f" + {index.stride} x [{_place(index.location, console)}]"
    if variable.count is not None:
        text += f", every {variable.stride}"
    if variable.bit is not None:
        text += f", bit {variable.bit}"
    if variable.mask is not None:
        text += f", mask 0x{variable.mask:X}"
    if variable.xor is not None:
        text += f", xor {_place(variable.xor, console)}"
    return text


def type_of(variable: Variable) -> str:
    """Its type, with the shape of an array."""
    return variable.location.type + "".join(f"[{size}]" for size in variable.shape)


def value_text(value: Any) -> str:
    """A number, or the first elements of an array."""
    if isinstance(value, int):
        return str(value)
    elements = np.asarray(value).reshape(-1).tolist()
    text = " ".join(str(element) for element in elements[:_SHOWN])
    return text + (" ..." if len(elements) > _SHOWN else "")


def _place(location: Location, console: Platform) -> str:
    if location.address is not None:
        return console.written(location.address)
    return f"{location.pointer} + 0x{location.offset:X}"


def _broken_start_states(env: GBAEnv, start: str | None) -> Iterator[str]:
    for name in env.game.start_states:
        if name == start:
            continue  # this one is played from, and raises
        try:
            env.start_state(name)
        except PipelineError as error:
            yield str(error).removeprefix(f"{env.game.folder / 'game.yaml'}, ")


def _play(
    env: GBAEnv, start: str | None, state: Path | None, steps: int
) -> tuple[list[State], dict[str, list[int]], list[int]]:
    """The states before each step and after the last one, and what belongs to them.

    That is what each pointer held, and where the processor was.
    """
    saved = saved_state(env, start, state)
    info = env.reset(seed=0, options={"state": saved})[1]
    pointers: dict[str, list[int]] = {name: [] for name in env.game.pointers}
    seen, counters = [info["state"]], []
    buttons = np.random.default_rng(0).integers(len(env.game.buttons), size=steps).tolist()
    for button in [*buttons, None]:
        for name, address in env.game.pointers.items():
            pointers[name].append(_word(env, address))
        if button is not None:
            seen.append(env.step(button)[4]["state"])
            counters.append(env.emulator.program_counter())
    return seen, pointers, counters


def _word(env: GBAEnv, address: int) -> int:
    """What a pointer holds."""
    console = env.emulator.platform
    for block, data in zip(console.blocks, env.emulator.ram, strict=True):
        if block.start <= address < block.end:
            at = address - block.start
            return int.from_bytes(data[at : at + int(console.pointer[1:]) // 8], "little")
    return 0


def _variables(game: GameDescription, seen: list[State]) -> list[VariableRow]:
    console = PLATFORMS[game.platform]
    return [
        {
            "name": name,
            "where": place_of(variable, console),
            "type": type_of(variable),
            "value": value_text(seen[0][name]),
            "at the end": value_text(seen[-1][name]),
            "values": len(_distinct(seen, name)),
            "about": variable.about,
        }
        for name, variable in game.variables.items()
    ]


def _distinct(seen: list[State], name: str) -> set[bytes]:
    return {np.asarray(state[name]).tobytes() for state in seen}


def _conditions(game: GameDescription, seen: list[State]) -> tuple[list[ConditionRow], list[str]]:
    shapes = {name: variable.shape for name, variable in game.variables.items()}
    named = [(f"milestone {one.name}", one.when) for one in game.milestones]
    named += [("success", game.success), ("failure", game.failure or "False")]
    rows: list[ConditionRow] = []
    problems: list[str] = []
    for name, when in named:
        condition = Condition(when, shapes)
        try:
            answers = [condition.holds(state) for state in seen]
        except PipelineError as error:
            problems.append(f"{name}: {error}")
            continue
        first = answers.index(True) if True in answers else None
        rows.append({"name": name, "when": when, "holds": answers[0], "first at step": first})
        if answers[0] and name in ("success", "failure"):
            problems.append(f"{name} already holds at the beginning: '{when}'")
    return rows, problems


def _of_header(game: GameDescription, rom: Path) -> Iterator[str]:
    cartridge = read_cartridge(rom)
    told = {"title": (game.rom_title, cartridge.title), "code": (game.rom_code, cartridge.code)}
    for key, (written, found) in told.items():
        if written is not None and written != found:
            yield f"rom.{key} is '{written}', but the cartridge says '{found}'"


def _of_states(env: GBAEnv) -> Iterator[str]:
    for start in env.game.start_states.values():
        try:
            found = start.file and warning_of(env.emulator, env.rom, start.file)
        except PipelineError:
            continue  # told as a problem
        if found:
            yield f"start state {start.name}: {found}"


def _of_pointers(game: GameDescription, pointers: Mapping[str, list[int]]) -> Iterator[str]:
    console = PLATFORMS[game.platform]
    for name, values in pointers.items():
        outside = [value for value in values if not console.holds(value, 1)]
        if outside:
            always = (
                "always"
                if len(outside) == len(values)
                else f"in {len(outside)} of {len(values)} states"
            )
            yield (
                f"pointer {name} at {console.written(game.pointers[name])} points outside the RAM "
                f"{always} (to {console.written(outside[0])}): what lies behind it reads 0"
            )


def _of_code(console: Platform, counters: Sequence[int]) -> Iterator[str]:
    """Whether the game's code lies where a cartridge's does."""
    if console is not GBA:
        return
    lost = next((at for at in counters if not _is_code(at)), None)
    if lost is not None:
        yield f"the processor is at 0x{lost:08X}, where no code can lie: the game has crashed"
        return
    in_ram = [at for at in counters if at >> 24 == 2]
    if in_ram and not any(_CARTRIDGE[0] <= at >> 24 <= _CARTRIDGE[1] for at in counters):
        yield (
            f"the game runs in RAM (at 0x{in_ram[0]:08X}) and was never seen in the cartridge at "
            "0x08000000: an image for multiboot?"
        )


def _is_code(at: int) -> bool:
    """Whether a Game Boy Advance has memory at an address that can hold code."""
    region = at >> 24
    return at < 0x4000 or region in (2, 3, 6) or _CARTRIDGE[0] <= region <= _CARTRIDGE[1]


def _of_values(game: GameDescription, seen: list[State]) -> Iterator[str]:
    zero = [
        name
        for name in game.variables
        if not any(np.any(np.asarray(state[name])) for state in seen)
    ]
    if zero:
        yield f"always 0 in {len(seen)} states: {', '.join(zero)}"
    shapes = {name: variable.shape for name, variable in game.variables.items()}
    for milestone in game.milestones:
        try:
            if Condition(milestone.when, shapes).holds(seen[0]):
                yield f"milestone {milestone.name} already holds at the beginning"
        except PipelineError:
            continue
