"""The tools of expert programs: one source for what they do and for what their authors read."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TypedDict

from pipeline.games.description import GameDescription, Terrain

SOURCE = Path(__file__).with_name("functions.py").read_text(encoding="utf-8")
"""What a sandbox runs before the program."""


def tool_names() -> list[str]:
    """The names that a program may call."""
    return [node.name for node in _public()]


def tools_text() -> str:
    """Signature and docstring of every tool, as an author of programs reads them."""
    parts = []
    for node in _public():
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        said = inspect.cleandoc(ast.get_docstring(node) or "")
        body = "\n".join(f"    {line}".rstrip() for line in said.splitlines())
        parts.append(f"{node.name}({ast.unparse(node.args)}){returns}\n{body}")
    return "\n\n".join(parts)


def _public() -> list[ast.FunctionDef]:
    body = ast.parse(SOURCE).body
    return [
        node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


class WarpsData(TypedDict):
    """Tiles that lead elsewhere, on the maps that ``at`` says."""

    at: dict[str, int]
    """Variable -> value."""
    tiles: list[list[int]]
    """[x, y]."""


class TerrainData(TypedDict):
    """``tools.map`` of game.yaml, with the window that it explains."""

    variable: str
    x: str
    y: str
    """The variables with the player's place."""
    column: int
    row: int
    """The player's cell in the window."""
    walls: int
    tile: int
    """Bits of a cell."""
    ledges: dict[str, list[int]]
    costly: list[int]
    cost: int
    levels: int
    any_level: list[int]
    warps: list[WarpsData]


class PeopleData(TypedDict):
    """``tools.people`` of game.yaml."""

    active: str
    x: str
    y: str
    offset: int
    kind: str | None
    ignore: list[int]


class FacingData(TypedDict):
    """``tools.facing`` of game.yaml."""

    variable: str
    values: list[list[int | str]]
    """[number, way] each."""


class ToolsData(TypedDict):
    """The section ``tools`` of game.yaml, as the functions of `functions.py` read it."""

    map: TerrainData | None
    people: PeopleData | None
    facing: FacingData | None
    in_dialog: dict[str, list[int]]
    in_battle: dict[str, list[int]]


def tools_data(game: GameDescription) -> ToolsData:
    """The section ``tools`` of game.yaml as plain lists and dicts, as the tools read it."""
    tools = game.tools
    people: PeopleData | None = None
    if (shown := tools.people) is not None:
        people = {
            "active": shown.active,
            "x": shown.x,
            "y": shown.y,
            "kind": shown.kind,
            "ignore": list(shown.ignore),
            "offset": shown.offset,
        }
    facing: FacingData | None = None
    if tools.facing is not None:
        variable, values = tools.facing
        facing = {"variable": variable, "values": [[n, way] for n, way in values.items()]}
    return {
        "map": None if tools.terrain is None else _terrain(game, tools.terrain),
        "people": people,
        "facing": facing,
        "in_dialog": {name: list(values) for name, values in tools.in_dialog.items()},
        "in_battle": {name: list(values) for name, values in tools.in_battle.items()},
    }


def _terrain(game: GameDescription, terrain: Terrain) -> TerrainData:
    window = game.variables[terrain.map].window
    assert window is not None  # the parser saw to it
    return {
        "variable": terrain.map,
        "x": window.x,
        "y": window.y,
        "column": window.columns // 2,
        "row": window.above,
        "walls": terrain.walls,
        "tile": terrain.tile,
        "ledges": {way: list(tiles) for way, tiles in terrain.ledges.items()},
        "costly": list(terrain.costly),
        "cost": terrain.cost,
        "levels": terrain.levels,
        "any_level": list(terrain.any_level),
        "warps": [
            {"at": dict(warps.at), "tiles": [list(tile) for tile in warps.tiles]}
            for warps in terrain.warps
        ],
    }
