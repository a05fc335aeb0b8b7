"""A state in words: for a person, a report, or a language model that is asked about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pipeline.games.conditions import Condition, State
from pipeline.games.description import GameDescription, Maps, MapWindow, Party, Terrain

LEDGES = {"UP": "^", "DOWN": "v", "LEFT": "<", "RIGHT": ">"}
LEGEND = (
    "a sign for a tile: '@' the player, '#' nobody can walk there, '.' free, ',' better avoided "
    "(tall grass), '^' 'v' '<' '>' a ledge that is jumped in that direction only, 'O' a warp to "
    "another map, '&' a person or thing"
)

"""Variables by name: numbers, and arrays or nested lists. Those it lacks are not spoken of."""


class Describer:
    """Puts states of one game into words; its conditions are read once.

    What it says: whether a game is on; the map by its name, the place and the direction; text box
    and battle; badges; milestones reached and the next one; the party; every other number that is
    not 0; and the tiles around the player, a sign for each. What ``game.yaml`` does not explain is
    left out. Cost: about 0.2 ms a state.
    """

    def __init__(self, game: GameDescription) -> None:
        self._game = game
        shapes = {name: variable.shape for name, variable in game.variables.items()}
        self._milestones = [Condition(one.when, shapes) for one in game.milestones]
        maps = game.names.maps
        self._in_game = Condition((maps and maps.when) or "True", shapes)

    def text(self, state: State, milestones: Mapping[str, int] | None = None) -> str:
        """Some lines about ``state``.

        Args:
            milestones: name -> step at which it was reached in the episode, or -1, as the
                environment's ``info`` has it; without, those count that hold in this state.
        """
        now = self._plain(state)
        lines = [self._place(now)]
        if self._holds(self._in_game, now):
            lines += [*self._holding(now), *self._badges(now)]
            lines += [*self._reached(now, milestones), *self._party(now)]
            lines += [*self._others(now), *self._around(now)]
        else:
            lines += self._reached(now, milestones)
        return "\n".join(lines)

    def next_milestone(self, state: State, milestones: Mapping[str, int] | None = None) -> int:
        """How many milestones there are up to the last one reached: the index of the next."""
        return _following(self._which(self._plain(state), milestones))

    def _plain(self, state: State) -> State:
        """Numbers as ``int``, arrays of the variable's own type for the rest."""
        return {
            name: np.asarray(state[name], variable.dtype) if variable.shape else int(state[name])
            for name, variable in self._game.variables.items()
            if name in state
        }

    def _holds(self, condition: Condition, now: State) -> bool:
        return all(name in now for name in condition.reads) and condition.holds(now)

    def _which(self, now: State, milestones: Mapping[str, int] | None) -> list[bool]:
        if milestones is None:
            return [self._holds(condition, now) for condition in self._milestones]
        return [milestones.get(one.name, -1) >= 0 for one in self._game.milestones]

    def _place(self, now: State) -> str:
        title, maps = self._game.title, self._game.names.maps
        if not self._holds(self._in_game, now):
            return f"{title}: not in a game"
        words = []
        if maps is not None and all(name in now for name in maps.variables):
            words.append(map_name(maps, now))
        window = _window(self._game)
        if window is not None and window.x in now and window.y in now:
            words.append(f"at ({now[window.x]}, {now[window.y]})")
        facing = self._game.tools.facing
        if facing is not None and now.get(facing[0]) in facing[1]:
            words.append(f"facing {facing[1][now[facing[0]]]}")
        return f"{title}: {', '.join(words) or 'in the game'}"

    def _holding(self, now: State) -> Iterator[str]:
        for text, wanted in (
            ("in a battle", self._game.tools.in_battle),
            ("a text box or script is on", self._game.tools.in_dialog),
        ):
            if any(now.get(name) in values for name, values in wanted.items()):
                yield text

    def _badges(self, now: State) -> Iterator[str]:
        badges = self._game.names.badges
        if badges is not None and badges.variable in now:
            bits = now[badges.variable]
            won = [name for i, name in enumerate(badges.names) if bits >> i & 1]
            names = f": {', '.join(won)}" if won else ""
            yield f"badges: {len(won)} of {len(badges.names)}{names}"

    def _reached(self, now: State, milestones: Mapping[str, int] | None) -> Iterator[str]:
        described = self._game.milestones
        if not described:
            return
        reached = self._which(now, milestones)
        following = _following(reached)
        said = "hold now" if milestones is None else "reached"
        yield f"milestones: {sum(reached)} of {len(reached)} {said}" + _names(
            [one.name for one, done in zip(described, reached, strict=True) if done]
        )
        if following < len(described):
            one = described[following]
            yield f"next milestone: {one.name}" + (f", {one.about}" if one.about else "")
        else:
            yield "next milestone: none, the last is reached"

    def _party(self, now: State) -> Iterator[str]:
        party = self._game.names.party
        if party is None or any(name not in now for name in _party_variables(party)):
            return
        levels, hit_points, most = (now[name] for name in _party_variables(party)[1:])
        count = min(max(now[party.count], 0), len(levels))
        members = [
            f"level {levels[i]}, {hit_points[i]} of {most[i]} hit points"
            + (" (fainted)" if not hit_points[i] else "")
            for i in range(count)
        ]
        yield f"party: {'; '.join(members) or 'nobody'}"

    def _others(self, now: State) -> Iterator[str]:
        said = self._said()
        rest = [
            f"{name} {value}"
            for name, value in now.items()
            if isinstance(value, int) and value and name not in said
        ]
        if rest:
            yield f"numbers that are not 0: {', '.join(rest)}"

    def _said(self) -> set[str]:
        names, tools = self._game.names, self._game.tools
        window = _window(self._game)
        said = set() if window is None else {window.x, window.y}
        said |= set(names.maps.variables) if names.maps is not None else set()
        said |= {names.badges.variable} if names.badges is not None else set()
        said |= {names.party.count} if names.party is not None else set()
        return said | ({tools.facing[0]} if tools.facing is not None else set())

    def _around(self, now: State) -> Iterator[str]:
        terrain = self._game.tools.terrain
        if terrain is None or terrain.map not in now or not now[terrain.map].any():
            return
        yield f"map, {LEGEND}:"
        yield from map_rows(self._game, terrain.map, now)


def describe(
    state: State, game: GameDescription, milestones: Mapping[str, int] | None = None
) -> str:
    """One state in words; see :class:`Describer`, which is cheaper for many."""
    return Describer(game).text(state, milestones)


def map_name(maps: Maps, state: State) -> str:
    """The name of the map the player is on, with the numbers that tell it."""
    at = tuple(int(state[name]) for name in maps.variables)
    numbers = ", ".join(f"{name} {n}" for name, n in zip(maps.variables, at, strict=True))
    return f"{maps.names[at]} ({numbers})" if at in maps.names else numbers


def map_rows(game: GameDescription, name: str, state: State) -> list[str]:
    """The map window ``name`` as rows of the LEGEND's signs, as far as ``tools`` explains it.

    A window that it does not explain comes as rows of numbers.
    """
    terrain, window = game.tools.terrain, game.variables[name].window
    cells = np.asarray(state[name]).tolist()
    if terrain is None or terrain.map != name or window is None:
        return [" ".join(str(cell) for cell in row) for row in cells]
    rows = [[_sign(cell, terrain) for cell in row] for row in cells]
    if window.x in state and window.y in state:
        left = int(state[window.x]) - window.columns // 2
        top = int(state[window.y]) - window.above
        for x, y in _warps(terrain, state):
            _put(rows, x - left, y - top, "O")
        for x, y in _people(game, state):
            _put(rows, x - left, y - top, "&")
    _put(rows, window.columns // 2, window.above, "@")
    return ["".join(row) for row in rows]


def _window(game: GameDescription) -> MapWindow | None:
    """The window that places the player: that of the terrain, or else the first one."""
    terrain = game.tools.terrain
    if terrain is not None:
        return game.variables[terrain.map].window
    windows = (variable.window for variable in game.variables.values())
    return next((window for window in windows if window is not None), None)


def _party_variables(party: Party) -> tuple[str, str, str, str]:
    return party.count, party.level, party.hp, party.max_hp


def _following(reached: list[bool]) -> int:
    return max((i + 1 for i, done in enumerate(reached) if done), default=0)


def _names(names: list[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _sign(cell: int, terrain: Terrain) -> str:
    tile = cell & terrain.tile
    for direction, tiles in terrain.ledges.items():
        if tile in tiles:
            return LEDGES.get(direction, "#")
    if cell & terrain.walls:
        return "#"
    return "," if tile in terrain.costly else "."


def _put(rows: list[list[str]], column: int, row: int, sign: str) -> None:
    if 0 <= row < len(rows) and 0 <= column < len(rows[0]):
        rows[row][column] = sign


def _warps(terrain: Terrain, state: State) -> list[tuple[int, int]]:
    return [
        tile
        for warps in terrain.warps
        if all(name in state and int(state[name]) == value for name, value in warps.at.items())
        for tile in warps.tiles
    ]


def _people(game: GameDescription, state: State) -> list[tuple[int, int]]:
    people = game.tools.people
    if people is None or any(name not in state for name in (people.active, people.x, people.y)):
        return []
    columns = [np.asarray(state[name]).tolist() for name in (people.active, people.x, people.y)]
    kind = people.kind
    kinds = None if kind is None or kind not in state else np.asarray(state[kind]).tolist()
    return [
        (x - people.offset, y - people.offset)
        for i, (active, x, y) in enumerate(zip(*columns, strict=True))
        if active and not (kinds and kinds[i] in people.ignore)
    ]
