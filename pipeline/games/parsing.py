"""From the YAML tree to a GameDescription: every key, range and reference is checked here."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.games.checked import Place, Table, read_tree
from pipeline.games.conditions import Condition
from pipeline.games.description import (
    BUTTONS,
    FORMAT,
    TYPES,
    GameDescription,
    Index,
    Location,
    MapWindow,
    Milestone,
    Reset,
    Reward,
    StartState,
    Timing,
    Variable,
)
from pipeline.games.tools_section import parse_tools

_RAM = ((0x02000000, 0x02040000), (0x03000000, 0x03008000))
_BLOCK = 0x40000
_KEYS = (
    "format",
    "name",
    "title",
    "platform",
    "rom",
    "buttons",
    "timing",
    "sticky_action_probability",
    "max_steps",
    "rtc",
    "reset",
    "start_states",
    "pointers",
    "variables",
    "milestones",
    "success",
    "failure",
    "reward",
    "about",
    "tools",
)
_LOCATION_KEYS = ("address", "pointer", "offset", "type")
_CHANGE_KEYS = ("bit", "mask", "xor", "index", "count", "stride")
_VARIABLE_KEYS = (*_LOCATION_KEYS, *_CHANGE_KEYS, "map", "outside", "about")
_MAP_KEYS = ("width", "height", "cells", "x", "y", "border", "columns", "rows", "above")


def parse_game(file: Path) -> GameDescription:
    """Read and check one ``game.yaml``.

    Raises:
        PipelineError: one line with the file, the place and what to do.
    """
    return _game(read_tree(file), file.parent)


def parse_recorded(text: str, shard: Path) -> GameDescription:
    """Read the ``game.yaml`` that a raw shard was recorded with, all but its start states.

    Those may lie in files that only the folder of the game had; the shard holds them itself.

    Raises:
        PipelineError: as :func:`parse_game`; the shard is named.
    """
    tree = read_tree(shard, text)
    if isinstance(tree.value, dict):
        tree.value.pop("start_states", None)
    return _game(tree, shard.parent)


def _game(tree: Place, folder: Path) -> GameDescription:
    _check_format(tree)
    top = tree.table(_KEYS)
    rom = top.get("rom").table(("file", "sha1", "title", "code"))
    pointers = {name: _address(place, 4) for name, place in top.get("pointers", {}).items()}
    variables = _variables(top.get("variables"), pointers)
    return GameDescription(
        name=_name(top.get("name")),
        folder=folder,
        title=top.get("title").text(),
        platform=top.get("platform").one_of(("gba",)),
        rom_file=folder / rom.get("file").text() if "file" in rom else None,
        rom_sha1=_sha1(rom.get("sha1")),
        rom_title=rom.get("title").text() if "title" in rom else None,
        rom_code=rom.get("code").text() if "code" in rom else None,
        buttons=_buttons(top.get("buttons", list(BUTTONS))),
        timing=_timing(top.get("timing")),
        sticky_action_probability=_sticky(top.get("sticky_action_probability", 0.0)),
        max_steps=top.get("max_steps").integer(1, 10**9),
        rtc_ms=_rtc(top.get("rtc", datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))),
        reset=_reset(top.get("reset", {}), pointers),
        start_states=_start_states(top.get("start_states", {"power_on": {"frames": 0}}), folder),
        pointers=pointers,
        variables=variables,
        milestones=_milestones(top.get("milestones", []), variables),
        success=_condition(top.get("success"), variables),
        failure=_condition(top.get("failure"), variables) if "failure" in top else None,
        reward=_reward(top.get("reward", {})),
        about=_about(top),
        tools=parse_tools(top.get("tools", {}), variables),
    )


def _about(table: Table) -> str:
    """The text of ``about``, or none, with its lines and blanks run together."""
    return " ".join(table.get("about", "").text().split())


def _check_format(tree: Place) -> None:
    if not isinstance(tree.value, dict) or "format" not in tree.value:
        raise tree.mistake(f"the key 'format' is missing; begin the file with 'format: {FORMAT}'")
    found = tree.value["format"]
    if type(found) is int and found > FORMAT:
        raise tree.mistake(
            f"written in format {found}, but this version reads formats up to {FORMAT}; "
            "update the pipeline"
        )
    if found != FORMAT:
        raise tree.mistake(f"format is {found!r}; write 'format: {FORMAT}'")


def _name(place: Place) -> str:
    name = place.text()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise place.mistake(f"'{name}' cannot name files; use small letters, digits, - and _")
    return name


def _sha1(place: Place) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", str(place.value)):
        raise place.mistake(
            f"expected 40 small hexadecimal digits in quotes, found {place.value!r}"
        )
    return str(place.value)


def _buttons(place: Place) -> tuple[str, ...]:
    names = tuple(element.one_of(BUTTONS) for element in place.elements())
    if not names or len(set(names)) != len(names):
        raise place.mistake("expected one or more buttons, each once")
    return names


def _timing(place: Place) -> Timing:
    table = place.table(("hold", "release"))
    return Timing(table.get("hold").integer(1, 10_000), table.get("release").integer(0, 10_000))


def _sticky(place: Place) -> float:
    probability = place.number(0, 1)
    if probability == 1:
        raise place.mistake("expected a number below 1: at 1 the first button is held for ever")
    return probability


def _rtc(place: Place) -> int:
    moment = place.value
    if not isinstance(moment, datetime.datetime) or moment.tzinfo is None:
        raise place.mistake(f"expected a moment such as 2024-01-01T00:00:00Z, found {moment!r}")
    return int(moment.timestamp()) * 1000


def _reset(place: Place, pointers: dict[str, int]) -> Reset:
    table = place.table(("idle_frames", "seed"))
    idle = table.get("idle_frames", [0, 0])
    bounds = [element.integer(0, 100_000) for element in idle.elements()]
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise idle.mistake(f"expected [lowest, highest], found {idle.value!r}")
    seed = None
    if "seed" in table:
        seed = _location_of(table.get("seed"), pointers)
        if seed.address is None:
            raise table.get("seed").mistake(
                "the seed is written to an 'address', not behind a pointer"
            )
    return Reset((bounds[0], bounds[1]), seed)


def _start_states(place: Place, folder: Path) -> dict[str, StartState]:
    states = {}
    for name, entry in place.items():
        table = entry.table(("frames", "file"))
        if "file" in table:
            if "frames" in table:
                raise entry.mistake("give either 'frames' or 'file', not both")
            file = folder / table.get("file").text()
            if not file.is_file():
                raise entry.mistake(f"there is no save state {file}")
            states[name] = StartState(name, file=file)
        else:
            states[name] = StartState(name, frames=table.get("frames").integer(0, 1_000_000))
    if not states:
        raise place.mistake("give at least one start state")
    return states


def _variables(place: Place, pointers: dict[str, int]) -> dict[str, Variable]:
    variables: dict[str, Variable] = {}
    for name, entry in place.items():
        variables[name] = _variable(name, entry, pointers, variables)
    return variables


def _variable(
    name: str, entry: Place, pointers: dict[str, int], earlier: dict[str, Variable]
) -> Variable:
    table = entry.table(_VARIABLE_KEYS)
    if "map" in table:
        return _map_variable(name, table, earlier)
    if "outside" in table:
        raise entry.mistake("'outside' belongs to a 'map'")
    if "stride" in table and "count" not in table:
        raise entry.mistake("'stride' needs a 'count'")
    size = int(table.get("type").one_of(TYPES)[1:]) // 8
    count = table.get("count").integer(1, _BLOCK) if "count" in table else None
    stride = table.get("stride", size).integer(1, _BLOCK)
    span = size if count is None else (count - 1) * stride + size
    location = _location(table, pointers, span)
    index = None
    if "index" in table:
        inner = table.get("index").table((*_LOCATION_KEYS, "stride"))
        index = Index(_location(inner, pointers, None), inner.get("stride").integer(1, _BLOCK))
    changes = [key for key in ("bit", "mask", "xor") if key in table]
    if changes and location.type[0] == "s":
        raise entry.mistake(f"'{changes[0]}' needs an unsigned type; use u{location.type[1:]}")
    if "bit" in table and "mask" in table:
        raise entry.mistake("give either 'bit' or 'mask', not both")
    xor = None
    if "xor" in table:
        xor = _location_of(table.get("xor"), pointers)
    return Variable(
        name,
        location,
        bit=table.get("bit").integer(0, 8 * size - 1) if "bit" in table else None,
        mask=table.get("mask").integer(1, (1 << 8 * size) - 1) if "mask" in table else None,
        xor=xor,
        index=index,
        count=count,
        stride=stride if count is not None else 0,
        about=_about(table),
    )


def _map_variable(name: str, table: Table, earlier: dict[str, Variable]) -> Variable:
    for key in ("address", "pointer", "offset", "bit", "xor", "index", "count", "stride"):
        if key in table:
            raise table.place.mistake(f"'{key}' does not go with 'map'")
    table.get("type").one_of(("u16",))
    grid = table.get("map").table(_MAP_KEYS)
    for key in ("x", "y"):
        place = grid.get(key)
        if place.text() not in earlier:
            raise place.mistake(f"'{place.value}' is not a variable declared above this one")
        if earlier[place.value].shape != ():
            raise place.mistake(f"'{place.value}' is an array; expected a single number")
    columns, rows = grid.get("columns").integer(1, 255), grid.get("rows").integer(1, 255)
    window = MapWindow(
        width=_address(grid.get("width"), 4),
        height=_address(grid.get("height"), 4),
        cells=_address(grid.get("cells"), 4),
        x=grid.get("x").text(),
        y=grid.get("y").text(),
        border=grid.get("border", 0).integer(0, 255),
        columns=columns,
        rows=rows,
        above=grid.get("above", rows // 2).integer(0, rows - 1),
    )
    return Variable(
        name,
        Location("u16", address=window.cells),
        mask=table.get("mask").integer(1, 0xFFFF) if "mask" in table else None,
        window=window,
        outside=table.get("outside", 0).integer(0, 0xFFFF),
        about=_about(table),
    )


def _location_of(place: Place, pointers: dict[str, int]) -> Location:
    return _location(place.table(_LOCATION_KEYS), pointers, None)


def _location(table: Table, pointers: dict[str, int], span: int | None) -> Location:
    """A place in RAM with room for ``span`` bytes; None asks for that of one number."""
    kind = table.get("type").one_of(TYPES)
    span = span or int(kind[1:]) // 8
    if ("address" in table) == ("pointer" in table):
        raise table.place.mistake("give either 'address' or 'pointer' with 'offset'")
    if "address" in table:
        if "offset" in table:
            raise table.place.mistake("'offset' needs a 'pointer'")
        return Location(kind, address=_address(table.get("address"), span))
    pointer = table.get("pointer").one_of(pointers)
    return Location(kind, pointer=pointer, offset=table.get("offset", 0).integer(0, _BLOCK - span))


def _address(place: Place, span: int) -> int:
    address = place.value
    if type(address) is not int:
        raise place.mistake(f"expected an address such as 0x02001000, found {address!r}")
    for low, high in _RAM:
        if low <= address <= high - span:
            return address
    raise place.mistake(
        f"0x{address:08X} with {span} bytes is outside the console's RAM "
        "(0x02000000-0x0203FFFF and 0x03000000-0x03007FFF)"
    )


def _milestones(place: Place, variables: dict[str, Variable]) -> tuple[Milestone, ...]:
    milestones: list[Milestone] = []
    for entry in place.elements():
        table = entry.table(("name", "when", "about"))
        name = table.get("name").text()
        if name in {milestone.name for milestone in milestones}:
            raise entry.mistake(f"the milestone '{name}' stands twice")
        when = _condition(table.get("when"), variables)
        milestones.append(Milestone(name, when, _about(table)))
    return tuple(milestones)


def _condition(place: Place, variables: dict[str, Variable]) -> str:
    expression = place.text()
    try:
        Condition(expression, {name: variable.shape for name, variable in variables.items()})
    except PipelineError as error:
        raise place.mistake(str(error)) from None
    return expression


def _reward(place: Place) -> Reward:
    table = place.table(("milestone", "success", "failure", "step"))
    default = Reward()
    return Reward(
        **{
            key: table.get(key, getattr(default, key)).number()
            for key in ("milestone", "success", "failure", "step")
        }
    )
