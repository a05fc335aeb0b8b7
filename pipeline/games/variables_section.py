"""The section ``variables`` of ``game.yaml``: places in RAM, and what is made of their bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.games.checked import Place, Table
from pipeline.games.conditions import Condition
from pipeline.games.description import TYPES, Index, Location, MapWindow, Variable
from pipeline.games.platforms import GBA, Platform
from pipeline.system.errors import PipelineError

_BLOCK = 0x40000
_LOCATION_KEYS = ("address", "pointer", "offset", "type")
_BIT_KEYS = ("bit", "mask", "shift", "ones", "xor")
_ARRAY_KEYS = ("index", "count", "stride", "length")
_MAP_KEYS = ("width", "height", "cells", "x", "y", "border", "columns", "rows", "above")
_VARIABLE_KEYS = (
    *_LOCATION_KEYS, *_BIT_KEYS, *_ARRAY_KEYS, "map", "outside", "when", "about",
)  # fmt: skip

Variables = Mapping[str, Variable]


@dataclass(frozen=True)
class Places:
    """Where something may lie: in the RAM of a console, also behind one of the game's pointers."""

    console: Platform
    pointers: Mapping[str, int]


def parse_pointers(place: Place, console: Platform) -> Places:
    """Read and check the section ``pointers``: names and the addresses at which they lie."""
    size = int(console.pointer[1:]) // 8
    return Places(console, {name: parse_address(at, size, console) for name, at in place.items()})


def parse_variables(place: Place, places: Places) -> dict[str, Variable]:
    """Read and check the section.

    Raises:
        PipelineError: an unknown key, type, pointer or variable, a place outside the RAM, or keys
            that do not go together.
    """
    variables: dict[str, Variable] = {}
    for name, entry in place.items():
        table = entry.table(_VARIABLE_KEYS)
        if "when" in table:
            variables[name] = _computed(name, table, variables)
        elif "map" in table:
            variables[name] = _window(name, table, places, variables)
        else:
            variables[name] = _in_ram(name, table, places, variables)
    return variables


def parse_condition(place: Place, variables: Variables) -> str:
    """The text of a condition over ``variables``, checked."""
    expression = place.text()
    try:
        Condition(expression, {name: variable.shape for name, variable in variables.items()})
    except PipelineError as error:
        raise place.mistake(str(error)) from None
    return expression


def parse_location(place: Place, places: Places) -> Location:
    """A single number's place: type, and address, or pointer and offset."""
    return _location(place.table(_LOCATION_KEYS), places, None)


def parse_address(place: Place, span: int, console: Platform) -> int:
    """An address in the console's RAM with room for ``span`` bytes."""
    address = place.value
    if type(address) is not int:
        example = console.written(console.blocks[0].start + 0x1000)
        raise place.mistake(f"expected an address such as {example}, found {address!r}")
    if not console.holds(address, span):
        raise place.mistake(
            f"{console.written(address)} with {span} bytes is outside the console's RAM "
            f"({console.ranges()})"
        )
    return address


def parse_number_name(place: Place, earlier: Variables) -> str:
    """The name of a variable among ``earlier`` that is a single number."""
    name = place.text()
    if name not in earlier:
        raise place.mistake(f"'{name}' is not a variable declared above this one")
    if earlier[name].shape != ():
        raise place.mistake(f"'{name}' is an array; expected a single number")
    return name


def about_of(table: Table) -> str:
    """The text of ``about``, or none, with its lines and blanks run together."""
    return " ".join(table.get("about", "").text().split())


def _computed(name: str, table: Table, earlier: Variables) -> Variable:
    for key in _VARIABLE_KEYS:
        if key in table and key not in ("when", "about"):
            raise table.place.mistake(f"'{key}' cannot be used with 'when'")
    return Variable(
        name,
        Location("u8"),
        when=parse_condition(table.get("when"), earlier),
        about=about_of(table),
    )


def _in_ram(name: str, table: Table, places: Places, earlier: Variables) -> Variable:
    entry = table.place
    if "outside" in table:
        raise entry.mistake("'outside' is only for a 'map'")
    for key in ("stride", "length"):
        if key in table and "count" not in table:
            raise entry.mistake(f"'{key}' needs a 'count'")
    size = int(table.get("type").one_of(TYPES)[1:]) // 8
    count = table.get("count").integer(1, _BLOCK) if "count" in table else None
    stride = table.get("stride", size).integer(1, _BLOCK)
    span = size if count is None else (count - 1) * stride + size
    location = _location(table, places, span)
    index = None
    if "index" in table:
        inner = table.get("index").table((*_LOCATION_KEYS, "stride"))
        index = Index(_location(inner, places, None), inner.get("stride").integer(1, _BLOCK))
    changes = [key for key in _BIT_KEYS if key in table]
    if changes and location.type[0] == "s":
        raise entry.mistake(f"'{changes[0]}' needs an unsigned type; use u{location.type[1:]}")
    if "bit" in table and ("mask" in table or "shift" in table):
        other = "mask" if "mask" in table else "shift"
        raise entry.mistake(f"give either 'bit' or '{other}', not both")
    return Variable(
        name,
        location,
        bit=table.get("bit").integer(0, 8 * size - 1) if "bit" in table else None,
        mask=table.get("mask").integer(1, (1 << 8 * size) - 1) if "mask" in table else None,
        shift=table.get("shift", 0).integer(0, 8 * size - 1),
        ones=table.get("ones", False).flag(),
        xor=parse_location(table.get("xor"), places) if "xor" in table else None,
        index=index,
        count=count,
        stride=stride if count is not None else 0,
        length=parse_number_name(table.get("length"), earlier) if "length" in table else None,
        about=about_of(table),
    )


def _window(name: str, table: Table, places: Places, earlier: Variables) -> Variable:
    if places.console is not GBA:
        raise table.place.mistake(
            f"a 'map' is read on a Game Boy Advance only; on a {places.console.title} give its "
            "cells as an array with 'count'"
        )
    for key in ("address", "pointer", "offset", "bit", "ones", "xor", *_ARRAY_KEYS):
        if key in table:
            raise table.place.mistake(f"'{key}' cannot be used with 'map'")
    kind = table.get("type").one_of(("u8", "u16"))
    mask = table.get("mask").integer(1, 0xFFFF) if "mask" in table else None
    shift = table.get("shift", 0).integer(0, 15)
    largest = (1 << int(kind[1:])) - 1
    if (0xFFFF if mask is None else mask) >> shift > largest:
        raise table.place.mistake(f"cells of a map have 16 bits; {kind} holds no more than a byte")
    grid = table.get("map").table(_MAP_KEYS)
    columns, rows = grid.get("columns").integer(1, 255), grid.get("rows").integer(1, 255)
    window = MapWindow(
        width=parse_address(grid.get("width"), 4, GBA),
        height=parse_address(grid.get("height"), 4, GBA),
        cells=parse_address(grid.get("cells"), 4, GBA),
        x=parse_number_name(grid.get("x"), earlier),
        y=parse_number_name(grid.get("y"), earlier),
        border=grid.get("border", 0).integer(0, 255),
        columns=columns,
        rows=rows,
        above=grid.get("above", rows // 2).integer(0, rows - 1),
    )
    return Variable(
        name,
        Location(kind, address=window.cells),
        mask=mask,
        shift=shift,
        window=window,
        outside=table.get("outside", 0).integer(0, largest),
        about=about_of(table),
    )


def _location(table: Table, places: Places, span: int | None) -> Location:
    """A place in RAM with room for ``span`` bytes; None asks for that of one number."""
    kind = table.get("type").one_of(TYPES)
    span = span or int(kind[1:]) // 8
    if ("address" in table) == ("pointer" in table):
        raise table.place.mistake("give either 'address' or 'pointer' with 'offset'")
    if "address" in table:
        if "offset" in table:
            raise table.place.mistake("'offset' needs a 'pointer'")
        address = parse_address(table.get("address"), span, places.console)
        return Location(kind, address=address)
    pointer = table.get("pointer").one_of(places.pointers)
    return Location(kind, pointer=pointer, offset=table.get("offset", 0).integer(0, _BLOCK - span))
