"""The section ``tools`` and the texts ``about`` of game.yaml: what programs and authors know."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.experts.tools import tools_data
from pipeline.games.description import People, Terrain, Tools, Warps
from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError

# As Pokemon Emerald has it: u16 cells with the tile in the low 10 bits, collision in 10 and 11,
# elevation above; objects of 36 bytes that count from the border of 7 cells.
VALID = """format: 1
name: little
about: >
  A game of
  walking.
title: LITTLE
platform: gba
rom: {sha1: "0000000000000000000000000000000000000000"}
timing: {hold: 4, release: 6}
max_steps: 1000
pointers: {save1: 0x03005D8C}
variables:
  x: {pointer: save1, offset: 0x0, type: s16, about: "from the  left"}
  y: {pointer: save1, offset: 0x2, type: s16}
  map_group: {pointer: save1, offset: 0x4, type: s8}
  map_number: {pointer: save1, offset: 0x5, type: s8}
  callback: {address: 0x030022C4, type: u32}
  locked: {address: 0x03000F2C, type: u8}
  facing: {address: 0x02037368, type: u8, mask: 0x0F}
  object_active: {address: 0x02037350, type: u8, bit: 0, count: 16, stride: 36}
  object_graphics: {address: 0x02037355, type: u8, count: 16, stride: 36}
  object_local: {address: 0x02037358, type: u8, count: 16, stride: 36}
  object_x: {address: 0x02037360, type: s16, count: 16, stride: 36}
  object_y: {address: 0x02037362, type: s16, count: 16, stride: 36}
  party_hp: {address: 0x02024542, type: u16, count: 6, stride: 100}
  map:
    type: u16
    map: {width: 0x03005DC0, height: 0x03005DC4, cells: 0x03005DC8, x: x, y: y, border: 7,
          columns: 15, rows: 10, above: 5}
    outside: 0x0400
    about: "tiles"
milestones:
  - {name: far, when: "x > 100", about: "walk"}
success: "x > 100"
tools:
  map:
    variable: map
    walls: 0x0C00
    tile: 0x03FF
    ledges: {DOWN: [59]}
    costly: [13, 21]
    cost: 3
    levels: {mask: 0xF000, any: [0x0000, 0xF000]}
    warps:
      - {at: {map_group: 0, map_number: 9}, tiles: [[14, 8], [5, 8]]}
  people: {active: object_active, kind: object_local, x: object_x, y: object_y,
           ignore: [255], offset: 7}
  facing: {variable: facing, values: {1: DOWN, 2: UP, 3: LEFT, 4: RIGHT}}
  in_dialog: {locked: [1, 2]}
  in_battle: {callback: [0x0803816D]}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(old: str = "", new: str = "") -> Path:
        assert old in VALID
        (tmp_path / "game.yaml").write_text(VALID.replace(old, new, 1) if old else VALID)
        return tmp_path

    return writer


def test_a_game_of_the_usual_kind_is_described_by_data_alone(write: Write) -> None:
    assert load_game(write()).tools == Tools(
        Terrain(
            "map", walls=0x0C00, tile=0x03FF, ledges={"DOWN": (59,)}, costly=(13, 21), cost=3,
            levels=0xF000, any_level=(0, 0xF000),
            warps=(Warps({"map_group": 0, "map_number": 9}, ((14, 8), (5, 8))),),
        ),
        People("object_active", "object_x", "object_y", "object_local", (255,), 7),
        ("facing", {1: "DOWN", 2: "UP", 3: "LEFT", 4: "RIGHT"}),
        {"locked": (1, 2)},
        {"callback": (0x0803816D,)},
    )  # fmt: skip


def test_texts_about_the_game_lose_their_line_ends(write: Write) -> None:
    game = load_game(write())
    assert game.about == "A game of walking."
    assert game.variables["x"].about == "from the left"
    assert game.variables["map"].about == "tiles"
    assert game.variables["y"].about == ""
    assert game.milestones[0].about == "walk"


def test_a_game_may_say_nothing_of_tools(write: Write) -> None:
    folder = write()
    (folder / "game.yaml").write_text(VALID[: VALID.index("tools:")])
    game = load_game(folder)
    assert game.tools == Tools()
    assert tools_data(game) == {
        "map": None, "people": None, "facing": None, "in_dialog": {}, "in_battle": {},
    }  # fmt: skip


def test_quest_is_explained_in_every_part() -> None:
    quest = load_game("quest")
    assert len(quest.about) > 1000
    assert [name for name, variable in quest.variables.items() if not variable.about] == []
    assert [milestone.name for milestone in quest.milestones if not milestone.about] == []


MISTAKES = [
    ("  map:\n    variable: map", "  maps:\n    variable: map",
     "tools: unknown key 'maps'; the nearest valid one is 'map'"),
    ("variable: map\n", "variable: mop\n",
     "tools.map.variable: unknown variable 'mop'; the nearest one is 'map'"),
    ("variable: map\n", "variable: x\n", "tools.map.variable: 'x' is not a map window"),
    ("walls: 0x0C00\n    ", "", "tools.map: the key 'walls' is missing; add it"),
    ("walls: 0x0C00", "walls: 0x10000",
     "tools.map.walls: expected a whole number from 0 to 65535, found 65536"),
    ("{DOWN: [59]}", "{SOUTH: [59]}",
     "tools.map.ledges.SOUTH: 'SOUTH' is not a direction; use UP, DOWN, LEFT, RIGHT"),
    ("{DOWN: [59]}", "{DOWN: 59}", "tools.map.ledges.DOWN: expected a list, found 59"),
    ("at: {map_group", "at: {map_grp",
     "tools.map.warps.0.at.map_grp: unknown variable 'map_grp'; the nearest one is 'map_group'"),
    ("at: {map_group", "at: {party_hp",
     "tools.map.warps.0.at.party_hp: 'party_hp' is an array; expected a single number"),
    ("[14, 8]", "[14, 8, 1]", "tools.map.warps.0.tiles.0: expected [x, y], found [14, 8, 1]"),
    ("any: [0x0000", "all: [0x0000",
     "tools.map.levels: unknown key 'all'; the nearest valid one is 'any'"),
    ("x: object_x", "x: objects_x",
     "tools.people.x: unknown variable 'objects_x'; the nearest one is 'object_x'"),
    ("x: object_x", "x: x", "tools.people.x: 'x' is not an array; people come as arrays"),
    ("x: object_x", "x: party_hp",
     "tools.people: active, kind, x and y must be arrays of the same length"),
    ("{variable: facing", "{variable: object_x",
     "tools.facing.variable: 'object_x' is an array; expected a single number"),
    ("values: {1: DOWN", "values: {1: SOUTH",
     "tools.facing.values: expected a whole number and one of UP, DOWN, LEFT, RIGHT, found "
     "1: 'SOUTH'"),
    ("values: {1: DOWN, 2: UP, 3: LEFT, 4: RIGHT}", "values: [1]",
     "tools.facing.values: expected values and directions, found [1]"),
    ("in_dialog: {locked", "in_dialog: {lock",
     "tools.in_dialog.lock: unknown variable 'lock'; the nearest one is 'locked'"),
    ("in_battle: {callback: [0x0803816D]", "in_battle: {callback: yes",
     "tools.in_battle.callback: expected a list, found True"),
    ("about: \"walk\"", "about: 3", "milestones.0.about: expected text, found 3; put it in quotes"),
    ("about: \"from the  left\"", "abuot: \"from the left\"", None),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "problem"), MISTAKES, ids=[str(m[2]) for m in MISTAKES])
def test_a_mistake_is_named_with_its_place(
    write: Write, old: str, new: str, problem: str | None
) -> None:
    folder = write(old, new)
    with pytest.raises(PipelineError) as caught:
        load_game(folder)
    file = re.escape(str(folder / "game.yaml"))
    told = re.fullmatch(rf"{file}, line \d+: (.*)", str(caught.value))
    assert told is not None
    if problem is not None:
        assert told[1] == problem
