"""A map window as a model reads it best: a row of signs for a row of tiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.games.description import GameDescription, Terrain

LEDGES = {"UP": "^", "DOWN": "v", "LEFT": "<", "RIGHT": ">"}
LEGEND = (
    "In place of the map's numbers the state shows signs, a row for a row and a sign for a tile: "
    "'@' the player, '#' nobody can walk there, '.' free, ',' better avoided (tall grass), '^' 'v' "
    "'<' '>' a ledge that is jumped in that direction only, 'O' a warp to another map, '&' a "
    "person or thing."
)


def map_rows(game: GameDescription, name: str, state: Mapping[str, Any]) -> list[str]:
    """The rows of the (rows, columns) variable ``name``: signs where ``tools`` explains the map,
    else its numbers."""
    terrain, window = game.tools.terrain, game.variables[name].window
    cells = state[name].tolist()
    if terrain is None or terrain.map != name or window is None:
        return [" ".join(str(cell) for cell in row) for row in cells]
    rows = [[_sign(cell, terrain) for cell in row] for row in cells]
    left = int(state[window.x]) - window.columns // 2
    top = int(state[window.y]) - window.above
    for x, y in _warps(terrain, state):
        _put(rows, x - left, y - top, "O")
    for x, y in _people(game, state):
        _put(rows, x - left, y - top, "&")
    _put(rows, window.columns // 2, window.above, "@")
    return ["".join(row) for row in rows]


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


def _warps(terrain: Terrain, state: Mapping[str, Any]) -> list[tuple[int, int]]:
    return [
        tile
        for warps in terrain.warps
        if all(name in state and int(state[name]) == value for name, value in warps.at.items())
        for tile in warps.tiles
    ]


def _people(game: GameDescription, state: Mapping[str, Any]) -> list[tuple[int, int]]:
    people = game.tools.people
    if people is None or any(name not in state for name in (people.active, people.x, people.y)):
        return []
    places = zip(state[people.x].tolist(), state[people.y].tolist(), strict=True)
    kinds = state[people.kind].tolist() if people.kind and people.kind in state else None
    return [
        (x - people.offset, y - people.offset)
        for i, (x, y) in enumerate(places)
        if state[people.active][i] and not (kinds and kinds[i] in people.ignore)
    ]
