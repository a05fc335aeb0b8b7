"""The tools of expert programs: on maps drawn here, and in the emulator through every sandbox."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.emulator.env import GBAEnv
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import get_action
from pipeline.experts.tools import SOURCE, tool_names, tools_data, tools_text
from pipeline.games.loading import load_game
from tests.experts.asked import ask, expert

WALL, GRASS, LEDGE = 0x0C00, 7, 8


def tools(**changes: Any) -> dict[str, Any]:
    """The tools, on a game whose window has the player at column 2 of row 1."""
    space: dict[str, Any] = {}
    exec(compile(SOURCE, "<tools>", "exec"), space)
    area = {
        "variable": "map", "x": "x", "y": "y", "column": 2, "row": 1, "walls": WALL, "tile": 0x3FF,
        "ledges": {"DOWN": [LEDGE]}, "costly": [GRASS], "cost": 3, "levels": 0, "any_level": [],
        "warps": [],
    }  # fmt: skip
    people = {"active": "on", "kind": "kind", "x": "ox", "y": "oy", "ignore": [1], "offset": 0}
    facing = {"variable": "facing", "values": [[1, "DOWN"], [2, "UP"], [3, "LEFT"], [4, "RIGHT"]]}
    space["_GAME"] = {"map": {**area, **changes}, "people": people, "facing": facing}
    return space


def state(*rows: str, x: int = 12, y: int = 21, facing: int = 1, **more: Any) -> dict[str, Any]:
    """The player is at (12, 21), so the window's top left cell is (10, 20)."""
    cells = {"#": WALL, '"': GRASS, "v": LEDGE | WALL, "~": 0x1000, "=": 0xF000}
    drawn = [[cells.get(letter, 0) for letter in row] for row in rows]
    empty = {"on": [1], "kind": [1], "ox": [12], "oy": [21]}
    return {"map": drawn, "x": x, "y": y, "facing": facing, **empty, **more}


ROOM = state(
    ".....",
    ".....",
    ".###.",
    ".....",
)


def test_the_way_goes_round_walls() -> None:
    find = tools()["find_path"]
    assert find(ROOM, 12, 23) == ["LEFT", "LEFT", "DOWN", "DOWN", "RIGHT", "RIGHT"]
    assert find(ROOM, 14, 23) == ["RIGHT", "RIGHT", "DOWN", "DOWN"]


def test_where_the_player_is_there_is_nothing_to_press() -> None:
    assert tools()["find_path"](ROOM, 12, 21) == []


def test_no_way_is_told_from_being_there() -> None:
    shut = state(".....", ".....", "#####", ".....")
    assert tools()["find_path"](shut, 12, 23) is None


def test_what_cannot_be_entered_is_reached_when_the_player_looks_at_it() -> None:
    find = tools()["find_path"]
    assert find(ROOM, 11, 22) == ["LEFT", "DOWN"]
    assert find({**ROOM, "facing": 4}, 12, 22) == ["DOWN"]
    assert find({**ROOM, "facing": 1}, 12, 22) == []


def test_people_are_in_the_way_and_can_be_gone_to() -> None:
    find = tools()["find_path"]
    corridor = state("#####", "#...#", "#####", on=[1, 1], kind=[1, 4], ox=[12, 13], oy=[21, 21])
    assert find(corridor, 13, 21) == ["RIGHT"]
    assert find({**corridor, "facing": 4}, 13, 21) == []
    free = state(".....", ".....", ".....", on=[1, 1], kind=[1, 4], ox=[12, 13], oy=[21, 21])
    assert find(free, 14, 21) == ["UP", "RIGHT", "RIGHT", "DOWN"]
    assert find({**free, "on": [1, 0]}, 14, 21) == ["RIGHT", "RIGHT"]


def test_people_may_be_counted_from_the_border_of_the_grid() -> None:
    space = tools()
    space["_GAME"]["people"]["offset"] = 7
    free = state(".....", ".....", ".....", on=[1, 1], kind=[1, 4], ox=[19, 20], oy=[28, 28])
    assert space["find_path"](free, 14, 21) == ["UP", "RIGHT", "RIGHT", "DOWN"]


def test_grass_is_avoided_where_the_detour_is_shorter_than_it_costs() -> None:
    meadow = state(".....", '.."".', ".....", x=12)
    meadow["map"][1][2] = 0
    assert tools()["find_path"](meadow, 14, 21) == ["RIGHT", "RIGHT"]
    assert tools(cost=4)["find_path"](meadow, 14, 21) == ["UP", "RIGHT", "RIGHT", "DOWN"]


def test_ledges_are_jumped_in_their_direction_only() -> None:
    find = tools()["find_path"]
    above = state(".....", ".....", "vvvvv", ".....")
    assert find(above, 12, 23) == ["DOWN"]
    assert find(above, 13, 23) == ["DOWN", "RIGHT"]
    below = state("vvvvv", ".....", ".....")
    below["map"].insert(0, [0] * 5)
    assert tools(row=2)["find_path"](below, 12, 19) is None


def test_a_ledge_is_not_for_standing() -> None:
    above = state(".....", ".....", "vvvvv", ".....")
    assert tools()["find_path"](above, 12, 22) == []  # before it, looking down
    assert tools()["find_path"](above, 11, 22) == ["LEFT", "DOWN"]


def test_warps_are_avoided_but_may_be_the_goal() -> None:
    warps = [{"at": {"group": 3}, "tiles": [[13, 21]]}, {"at": {"group": 4}, "tiles": [[11, 21]]}]
    find = tools(warps=warps)["find_path"]
    room = state(".....", ".....", ".....", group=3)
    assert find(room, 13, 21) == ["RIGHT"]
    assert find(room, 14, 21) == ["UP", "RIGHT", "RIGHT", "DOWN"]
    assert find(room, 10, 21) == ["LEFT", "LEFT"]
    assert find({**room, "group": 4}, 14, 21) == ["RIGHT", "RIGHT"]


def test_a_door_in_a_wall_can_be_gone_through() -> None:
    house = state("#####", ".....", ".....", group=3)
    assert tools(warps=[{"at": {"group": 3}, "tiles": [[13, 20]]}])["find_path"](house, 13, 20) == [
        "RIGHT",
        "UP",
    ]


def test_cells_of_other_heights_are_no_way_but_by_those_of_any() -> None:
    shore = state("..~~~", "..~~~", "..~~~")
    for row in shore["map"]:
        row[:2] = [0x3000, 0x3000]
    shore["map"][1][2] = 0x3000
    assert tools()["find_path"](shore, 14, 21) == ["RIGHT", "RIGHT"]
    assert tools(levels=0xF000)["find_path"](shore, 14, 21) is None
    shore["map"][0][2] = 0xF000
    any_level = {"levels": 0xF000, "any_level": [0, 0xF000]}
    assert tools(**any_level)["find_path"](shore, 14, 21) == ["UP", "RIGHT", "DOWN", "RIGHT"] or (
        tools(**any_level)["find_path"](shore, 14, 21) == ["UP", "RIGHT", "RIGHT", "DOWN"]
    )


def test_to_a_goal_outside_the_window_the_way_ends_at_its_edge() -> None:
    find = tools()["find_path"]
    assert find(ROOM, 12, 10) == ["UP"]
    assert find(ROOM, 40, 21) == ["RIGHT", "RIGHT"]
    assert find(ROOM, 12, 60) == ["LEFT", "LEFT", "DOWN", "DOWN", "RIGHT", "RIGHT"]
    assert find(ROOM, 15, 60) == ["RIGHT", "RIGHT", "DOWN", "DOWN"]
    assert find(state("#####", "#...#", "#####"), 12, 60) is None


def test_a_game_that_says_nothing_of_a_tool_is_named_as_the_reason(tmp_path: Path) -> None:
    with expert(tmp_path, "def act(state): return find_path(state, 1, 1)", "bwrap") as program:
        assert (
            ask(program, 0)
            .reasons[0]
            .startswith(
                "ValueError: find_path: game.yaml says nothing of it (section tools, key map)"
            )
        )


def test_what_an_author_reads_is_what_the_functions_say() -> None:
    text = tools_text()
    assert re.findall(r"^(\w+)\(", text, re.M) == tool_names()
    assert tool_names() == ["find_path", "facing", "in_dialog", "in_battle", "log"]
    assert "``None`` when there is no way inside the window" in text
    assert "_GAME" not in text


WALKER = """
    GOALS = {(1, 1): (7, 1), (1, 0): (4, 8), (0, 9): (15, 13), (1, 4): (5, 2)}

    def act(state):
        if state["screen"] == 0:
            return "START"
        if in_dialog(state):
            return "A"
        path = find_path(state, *GOALS[(state["map_group"], state["map_number"])])
        log([facing(state), in_battle(state), path])
        if path is None:
            return "B"
        return path[0] if path else "A"
"""


@pytest.fixture(scope="module")
def quest() -> GBAEnv:
    return GBAEnv("quest", sticky_action_probability=0.2, max_steps=400)


def walk(env: GBAEnv, program: ProgramExpert, seed: int, milestone: str) -> list[int]:
    """Play until the milestone; the buttons."""
    frame, info = env.reset(seed=seed)
    buttons = []
    while info["milestones"][milestone] < 0:
        button = get_action(program, frame, info)
        assert button is not None
        buttons.append(button)
        frame, _, terminated, truncated, info = env.step(button)
        assert not terminated
        assert not truncated
    return buttons


def test_a_program_of_tools_alone_runs_the_first_errand_in_every_sandbox(
    tmp_path: Path, quest: GBAEnv
) -> None:
    """From bed to the professor: stairs, a house, a town with people in the way, a talk."""
    game, played = load_game("quest"), []
    for isolation in ("bwrap", "monty"):
        program = expert(tmp_path, WALKER, isolation, tools=tools_data(game))
        program._index = {name: i for i, name in enumerate(game.buttons)}
        with program:
            played.append(walk(quest, program, 7, "errand_received"))
    assert played[0] == played[1]
    assert len(played[0]) < 200


def test_the_tools_know_of_quest_what_its_source_says() -> None:
    from pipeline.games.quest.source import maps

    game = load_game("quest")
    terrain = game.tools.terrain
    assert terrain is not None
    told = {tuple(w.at.values()): sorted(w.tiles) for w in terrain.warps}
    assert told == {(m.group, m.number): sorted(w[:2] for w in m.warps) for m in maps.MAPS}
    painted = (game.folder / "source" / "art.c").read_text()
    table = re.search(r"u8 behaviours\[\d+\] = \{(.*?)\}", painted, re.S)
    assert table is not None
    kinds = [int(number, 16) for number in re.findall(r"0x[0-9A-F]+", table[1])]
    named = [terrain.costly, *(terrain.ledges[way] for way in ("DOWN", "LEFT", "RIGHT"))]
    for kind, tiles in enumerate(named, start=1):
        assert [tile for tile, found in enumerate(kinds) if found == kind] == list(tiles)


def test_the_way_found_is_as_short_as_that_of_the_plan(quest: GBAEnv) -> None:
    """Where the whole map lies inside the window, the expert's own plan of it agrees."""
    from pipeline.games.quest import expert as planned

    space: dict[str, Any] = {}
    exec(compile(SOURCE, "<tools>", "exec"), space)
    space["_GAME"] = tools_data(load_game("quest"))
    _, info = quest.reset(seed=3)
    compared = 0
    for _ in range(40):
        now = {n: v.tolist() if isinstance(v, np.ndarray) else v for n, v in info["state"].items()}
        place = (now["map_group"], now["map_number"])
        if now["screen"] == 1 and place in ((1, 1), (1, 0)):
            target = planned.goal(now, place)
            ways = planned.field(place, target)
            path = space["find_path"](now, *target)
            assert path is not None
            assert len(path) == ways[(now["x"], now["y"])][0] or planned.on_screen(now)
            compared += 1
        _, _, _, _, info = quest.step(load_game("quest").buttons.index(planned.act(now)))
    assert compared > 5
