"""Is a game described rightly? Its start states, variables and conditions, looked at live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.emulator.env import GBAEnv
from pipeline.emulator.ram import State
from pipeline.emulator.starting import load_file, warning_of
from pipeline.errors import PipelineError
from pipeline.frames import Frames
from pipeline.games.cartridge import read_cartridge
from pipeline.games.conditions import Condition
from pipeline.games.description import GameDescription, Location, Reset, Variable
from pipeline.games.platforms import PLATFORMS, Platform

_SHOWN = 6
"""Elements of an array that are shown."""


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


@dataclass(frozen=True)
class Examination:
    """What was found. A game with no ``problems`` can be played as it is described."""

    variables: list[dict[str, Any]]
    """name, where, type, value at the beginning, value at the end, how many values were seen."""
    conditions: list[dict[str, Any]]
    """name, when, whether it holds at the beginning, the step after which it first held."""
    problems: list[str]
    warnings: list[str]


def examine(
    game: GameDescription, rom: Path, *, start: str | None, state: Path | None, steps: int
) -> Examination:
    """Load every start state, then play ``steps`` random buttons (always the same ones) and watch.

    Args:
        start: the start state to play from; None takes the first.
        state: a save state to play from instead.

    Raises:
        PipelineError: the start state that is to be played from cannot be loaded.
    """
    env = GBAEnv(still(game), rom, sticky_action_probability=0.0, max_steps=steps + 1)
    problems = [] if state is not None else list(_broken_start_states(env, start))
    seen, pointers = _play(env, start, state, steps)
    conditions, mistakes = _conditions(game, seen)
    problems += mistakes
    warnings = [
        *_of_header(game, rom),
        *_of_states(env),
        *_of_pointers(game, pointers),
        *_of_values(game, seen),
    ]
    return Examination(_variables(game, seen), conditions, problems, warnings)


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
) -> tuple[list[State], dict[str, list[int]]]:
    """The states before each step and after the last, and what each pointer held."""
    saved = saved_state(env, start, state)
    info = env.reset(seed=0, options={"state": saved})[1]
    pointers: dict[str, list[int]] = {name: [] for name in env.game.pointers}
    seen = [info["state"]]
    buttons = np.random.default_rng(0).integers(len(env.game.buttons), size=steps).tolist()
    for button in [*buttons, None]:
        for name, address in env.game.pointers.items():
            pointers[name].append(_word(env, address))
        if button is not None:
            seen.append(env.step(button)[4]["state"])
    return seen, pointers


def _word(env: GBAEnv, address: int) -> int:
    """What a pointer holds."""
    console = env.emulator.platform
    for block, data in zip(console.blocks, env.emulator.ram, strict=True):
        if block.start <= address < block.end:
            at = address - block.start
            return int.from_bytes(data[at : at + int(console.pointer[1:]) // 8], "little")
    return 0


def _variables(game: GameDescription, seen: list[State]) -> list[dict[str, Any]]:
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


def _conditions(game: GameDescription, seen: list[State]) -> tuple[list[dict[str, Any]], list[str]]:
    shapes = {name: variable.shape for name, variable in game.variables.items()}
    named = [(f"milestone {one.name}", one.when) for one in game.milestones]
    named += [("success", game.success), ("failure", game.failure or "False")]
    rows, problems = [], []
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
            problems.append(f"{name} holds at the beginning already: '{when}'")
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
                yield f"milestone {milestone.name} holds at the beginning already"
        except PipelineError:
            continue
