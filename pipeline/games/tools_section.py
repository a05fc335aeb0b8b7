"""The section ``tools`` of ``game.yaml``: which variables the tools of expert programs read."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.games.checked import Place, Table, nearest
from pipeline.games.description import People, Terrain, Tools, Variable, Warps

WAYS = ("UP", "DOWN", "LEFT", "RIGHT")
_MAP_KEYS = ("variable", "walls", "tile", "ledges", "costly", "cost", "levels", "warps")
_PEOPLE_KEYS = ("active", "kind", "x", "y", "ignore", "offset")

Variables = Mapping[str, Variable]


def parse_tools(place: Place, variables: Variables) -> Tools:
    """Read and check the section; without it every tool says that the game has not described it.

    Raises:
        PipelineError: an unknown key, variable or direction, or a value out of range.
    """
    table = place.table(("map", "people", "facing", "in_dialog", "in_battle"))
    return Tools(
        terrain=_terrain(table.get("map"), variables) if "map" in table else None,
        people=_people(table.get("people"), variables) if "people" in table else None,
        facing=_facing(table.get("facing"), variables) if "facing" in table else None,
        in_dialog=_any_of(table.get("in_dialog", {}), variables),
        in_battle=_any_of(table.get("in_battle", {}), variables),
    )


def _terrain(place: Place, variables: Variables) -> Terrain:
    table = place.table(_MAP_KEYS)
    name = _known(table.get("variable"), variables)
    if variables[name].window is None:
        raise table.get("variable").mistake(f"'{name}' is not a map window")
    ledges = {}
    for way, tiles in table.get("ledges", {}).items():
        if way not in WAYS:
            raise tiles.mistake(f"'{way}' is not a direction; use {', '.join(WAYS)}")
        ledges[way] = _numbers(tiles)
    levels = table.get("levels", {"mask": 0}).table(("mask", "any"))
    return Terrain(
        name,
        walls=table.get("walls").integer(0, 0xFFFF),
        tile=table.get("tile", 0xFFFF).integer(0, 0xFFFF),
        ledges=ledges,
        costly=_numbers(table.get("costly", [])),
        cost=table.get("cost", 1).integer(1, 1000),
        levels=levels.get("mask").integer(0, 0xFFFF),
        any_level=_numbers(levels.get("any", [])),
        warps=tuple(_warps(entry, variables) for entry in table.get("warps", []).elements()),
    )


def _warps(place: Place, variables: Variables) -> Warps:
    table = place.table(("at", "tiles"))
    at = {
        _known_name(name, value, variables): value.integer(-(2**31), 2**32)
        for name, value in table.get("at").items()
    }
    tiles = []
    for tile in table.get("tiles").elements():
        pair = [number.integer(-(2**15), 2**15) for number in tile.elements()]
        if len(pair) != 2:
            raise tile.mistake(f"expected [x, y], found {tile.value!r}")
        tiles.append((pair[0], pair[1]))
    return Warps(at, tuple(tiles))


def _people(place: Place, variables: Variables) -> People:
    table = place.table(_PEOPLE_KEYS)
    arrays = {key: _array(table, key, variables) for key in ("active", "x", "y")}
    if "kind" in table:
        arrays["kind"] = _array(table, "kind", variables)
    lengths = {variables[name].shape for name in arrays.values()}
    if len(lengths) > 1:
        raise place.mistake("active, kind, x and y must be arrays of the same length")
    return People(
        **arrays,
        ignore=_numbers(table.get("ignore", [])),
        offset=table.get("offset", 0).integer(-255, 255),
    )


def _array(table: Table, key: str, variables: Variables) -> str:
    place = table.get(key)
    name = _known(place, variables)
    if len(variables[name].shape) != 1:
        raise place.mistake(f"'{name}' is not an array; people come as arrays")
    return name


def _facing(place: Place, variables: Variables) -> tuple[str, Mapping[int, str]]:
    table = place.table(("variable", "values"))
    values = table.get("values")
    if not isinstance(values.value, dict):
        raise values.mistake(f"expected values and directions, found {values.value!r}")
    ways = {}
    for number, way in values.value.items():
        if type(number) is not int or way not in WAYS:
            raise values.mistake(
                f"expected a whole number and one of {', '.join(WAYS)}, found {number!r}: {way!r}"
            )
        ways[number] = way
    return _single(table.get("variable"), variables), ways


def _any_of(place: Place, variables: Variables) -> dict[str, tuple[int, ...]]:
    return {
        _known_name(name, values, variables): _numbers(values) for name, values in place.items()
    }


def _numbers(place: Place) -> tuple[int, ...]:
    return tuple(element.integer(-(2**31), 2**32) for element in place.elements())


def _known(place: Place, variables: Variables) -> str:
    name = place.text()
    if name not in variables:
        raise place.mistake(
            f"unknown variable '{name}'; the nearest one is '{nearest(name, variables)}'"
        )
    return name


def _single(place: Place, variables: Variables) -> str:
    return _known_name(_known(place, variables), place, variables)


def _known_name(name: str, place: Place, variables: Variables) -> str:
    """A name that stands as a key, with its value at ``place``: a variable that is one number."""
    if name not in variables:
        raise place.mistake(
            f"unknown variable '{name}'; the nearest one is '{nearest(name, variables)}'"
        )
    if variables[name].shape != ():
        raise place.mistake(f"'{name}' is an array; expected a single number")
    return name
