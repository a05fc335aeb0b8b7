"""The section ``names`` of ``game.yaml``: what the numbers of a state are called."""

from __future__ import annotations

from pipeline.games.checked import Place, nearest
from pipeline.games.description import Badges, Maps, Names, Party
from pipeline.games.variables_section import Variables, parse_condition

_PARTY_KEYS = ("count", "level", "hp", "max_hp")


def parse_names(place: Place, variables: Variables) -> Names:
    """Read and check the section; what it leaves out is shown as numbers.

    Raises:
        PipelineError: an unknown key or variable, or a name that is none.
    """
    table = place.table(("maps", "badges", "party"))
    return Names(
        maps=_maps(table.get("maps"), variables) if "maps" in table else None,
        badges=_badges(table.get("badges"), variables) if "badges" in table else None,
        party=_party(table.get("party"), variables) if "party" in table else None,
    )


def _maps(place: Place, variables: Variables) -> Maps:
    """Entries are lists: the values of ``variables``, then the name."""
    table = place.table(("variables", "when", "names"))
    read = tuple(_known(one, variables, shape=()) for one in table.get("variables").elements())
    if not read:
        raise table.get("variables").mistake("name at least one variable")
    names: dict[tuple[int, ...], str] = {}
    for entry in table.get("names", []).elements():
        elements = entry.elements()
        if len(elements) != len(read) + 1:
            raise entry.mistake(f"expected [{', '.join(read)}, a name], found {entry.value!r}")
        at = tuple(number.integer(-(2**31), 2**32) for number in elements[:-1])
        if at in names:
            raise entry.mistake(f"the map {', '.join(map(str, at))} is listed twice")
        names[at] = elements[-1].text()
    when = parse_condition(table.get("when"), variables) if "when" in table else None
    return Maps(read, names, when)


def _badges(place: Place, variables: Variables) -> Badges:
    table = place.table(("variable", "bits"))
    name = _known(table.get("variable"), variables, shape=())
    bits = tuple(one.text() for one in table.get("bits").elements())
    size = 8 * variables[name].dtype.itemsize
    if not 1 <= len(bits) <= size:
        raise table.get("bits").mistake(f"expected 1 to {size} names, one a bit of '{name}'")
    return Badges(name, bits)


def _party(place: Place, variables: Variables) -> Party:
    table = place.table(_PARTY_KEYS)
    count = _known(table.get("count"), variables, shape=())
    level, hp, max_hp = (
        _known(table.get(key), variables, shape=None) for key in ("level", "hp", "max_hp")
    )
    if len({variables[name].shape for name in (level, hp, max_hp)}) > 1:
        raise place.mistake("level, hp and max_hp must be arrays of the same length")
    return Party(count, level, hp, max_hp)


def _known(place: Place, variables: Variables, shape: tuple[int, ...] | None) -> str:
    """The name of a variable that is a single number (shape ()), or an array (None)."""
    name = place.text()
    if name not in variables:
        near = nearest(name, variables)
        raise place.mistake(f"unknown variable '{name}'; the nearest one is '{near}'")
    found = variables[name].shape
    if shape == () and found != ():
        raise place.mistake(f"'{name}' is an array; expected a single number")
    if shape is None and len(found) != 1:
        raise place.mistake(f"'{name}' is not an array; the party's values come as arrays")
    return name
