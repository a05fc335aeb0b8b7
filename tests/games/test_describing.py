"""States in words: quest and a little of Emerald, as a person or a language model reads them."""

import numpy as np
import pytest

from pipeline.emulator.env import GBAEnv
from pipeline.games.describing import LEGEND, Describer, describe, map_rows
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game

QUEST, EMERALD = load_game("quest"), load_game("emerald")


def blank(game: GameDescription, **values: object) -> dict[str, object]:
    """A state in which all is 0 but ``values``."""
    state: dict[str, object] = {
        name: np.zeros(variable.shape, variable.dtype) if variable.shape else 0
        for name, variable in game.variables.items()
    }
    for name, value in values.items():
        assert name in state
        state[name] = value
    return state


def in_littleroot() -> dict[str, object]:
    cells = np.zeros((11, 15), "<u2")
    cells[0] = 0x0400
    cells[5, 9] = 0x000D
    flags = np.zeros(300, "u1")
    active, x, y = np.zeros(16, "u1"), np.zeros(16, "<i2"), np.zeros(16, "<i2")
    active[:2], x[:2], y[:2] = 1, (10 + 7, 12 + 7), (9 + 7, 8 + 7)  # the player, and somebody
    return blank(
        EMERALD, in_game=1, map_group=0, map_number=9, x=10, y=9, facing=2, visited_littleroot=1,
        name_set=1, intro=6, clock_set=1, money=3000, badge_bits=0b101, party_count=2,
        party_levels=np.array([7, 5, 0, 0, 0, 0]), party_hp=np.array([22, 0, 0, 0, 0, 0]),
        party_max_hp=np.array([25, 19, 0, 0, 0, 0]), map=cells, flags=flags, object_active=active,
        object_x=x, object_y=y,
    )  # fmt: skip


TOWN = """Pokemon Emerald: Littleroot Town (map_group 0, map_number 9), at (10, 9), facing UP
badges: 2 of 8: Stone Badge, Dynamo Badge
milestones: 7 of 28 hold now: GAME_RUNNING, PLAYER_NAME_SET, INTRO_CUTSCENE_COMPLETE, \
LITTLEROOT_TOWN, PLAYER_HOUSE_ENTERED, PLAYER_BEDROOM, CLOCK_SET
next milestone: RIVAL_HOUSE, go down, leave the house, and enter the other house of the town
party: level 7, 22 of 25 hit points; level 5, 0 of 19 hit points (fainted)
numbers that are not 0: in_game 1, name_set 1, money 3000, clock_set 1, visited_littleroot 1, \
intro 6
map, LEGEND:
###############
...............
...............
...............
.........&.....
.......@.,.....
...............
...............
...............
...............
...............""".replace("LEGEND", LEGEND)


def test_a_state_of_emerald_is_told_with_names_and_signs() -> None:
    assert describe(in_littleroot(), EMERALD) == TOWN


def test_lists_and_plain_numbers_as_programs_and_shards_have_them_are_told_alike() -> None:
    listed = {name: np.asarray(value).tolist() for name, value in in_littleroot().items()}
    assert describe(listed, EMERALD) == TOWN
    scalars = {
        name: np.asarray(value, EMERALD.variables[name].dtype)[()]
        for name, value in in_littleroot().items()
    }
    assert describe(scalars, EMERALD) == TOWN


def test_before_the_game_nothing_is_said_that_means_nothing() -> None:
    state = {**in_littleroot(), "in_game": 0}
    assert describe(state, EMERALD) == (
        "Pokemon Emerald: not in a game\n"
        "milestones: 0 of 28 hold now\n"
        "next milestone: GAME_RUNNING, press START and A through the title screens"
    )


def test_milestones_of_the_episode_count_where_they_are_known() -> None:
    reached = {one.name: -1 for one in EMERALD.milestones}
    reached |= {"GAME_RUNNING": 3, "ROUTE_102": 40}
    lines = describe(in_littleroot(), EMERALD, reached).splitlines()
    assert "milestones: 2 of 28 reached: GAME_RUNNING, ROUTE_102" in lines
    assert "next milestone: PETALBURG_CITY, go west over Route 102" in lines
    assert Describer(EMERALD).next_milestone(in_littleroot()) == 7
    assert Describer(EMERALD).next_milestone(in_littleroot(), reached) == 17


def test_after_the_last_milestone_there_is_no_next_one() -> None:
    reached = {one.name: 1 for one in QUEST.milestones}
    text = describe(blank(QUEST, in_game=1), QUEST, reached)
    assert "next milestone: none, the last is reached" in text


def test_battles_and_text_boxes_are_told() -> None:
    lines = describe(blank(EMERALD, in_game=1, in_battle=1, locked=1), EMERALD).splitlines()
    assert lines[1:3] == ["in a battle", "a text box or script is on"]


def test_a_map_without_a_name_is_told_by_its_numbers() -> None:
    text = describe(blank(EMERALD, in_game=1, map_group=33, map_number=7), EMERALD)
    assert text.startswith("Pokemon Emerald: map_group 33, map_number 7, at (0, 0)\n")


@pytest.mark.parametrize("count", [-1, 0, 255])
def test_a_party_s_count_is_not_believed_beyond_its_places(count: int) -> None:
    text = describe(blank(EMERALD, in_game=1, party_count=count), EMERALD)
    party = next(line for line in text.splitlines() if line.startswith("party: "))
    assert party.count("level") == (6 if count == 255 else 0)


def test_a_state_that_lacks_variables_is_told_as_far_as_it_goes() -> None:
    assert describe({}, EMERALD) == describe({"in_game": 0}, EMERALD)
    text = describe({"in_game": 1, "x": 3, "money": 5}, EMERALD)
    assert text.splitlines()[0] == "Pokemon Emerald: in the game"
    assert "money 5" in text


def test_a_running_quest_is_told_with_its_map() -> None:
    env = GBAEnv("quest", sticky_action_probability=0.0)
    _, info = env.reset(seed=3)
    assert describe(info["state"], QUEST).splitlines()[0] == "QUEST: not in a game"
    for name in ("START", "A", "A", "A", "A", "RIGHT"):
        _, _, _, _, info = env.step(QUEST.buttons.index(name))
    lines = describe(info["state"], QUEST, info["milestones"]).splitlines()
    assert lines[0].startswith("QUEST: the bedroom (map_group 1, map_number 1), at (")
    assert "milestones: 1 of 10 reached: game_started" in lines
    rows = lines[-10:]
    assert {len(row) for row in rows} == {15}
    assert rows[5][7] == "@"
    assert "#" in "".join(rows)
    assert rows == map_rows(QUEST, "map", info["state"])


def test_ledges_and_warps_have_their_signs() -> None:
    cells = np.zeros((10, 15), "<u2")
    cells[6, 7], cells[5, 6], cells[5, 8] = 166, 149, 169
    state = blank(QUEST, map=cells, map_group=1, map_number=1, x=5, y=1)
    rows = map_rows(QUEST, "map", state)
    assert (rows[6][7], rows[5][6], rows[5][8]) == ("v", "<", ">")
    assert rows[5][9] == "O"  # the stairs at (7, 1)


def test_a_window_that_tools_do_not_explain_comes_as_numbers() -> None:
    state = blank(EMERALD, map_collision=np.ones((11, 15), "u1"))
    assert map_rows(EMERALD, "map_collision", state) == [" ".join("1" * 15)] * 11
