"""The 28 milestones of Emerald: in order, out of order, boy and girl, and in hostile RAM."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.emulator.env import GBAEnv
from pipeline.emulator.ram import StateReader
from pipeline.games.conditions import Condition
from pipeline.games.describing import describe
from pipeline.games.loading import load_game
from tests.games.emerald.oracle import NAMES, holding, in_game
from tests.games.emerald.standin import (
    BATTLE,
    BOY,
    GIRL,
    GYM,
    MAIN_MENU,
    OVERWORLD,
    TRUCK,
    Memory,
)  # fmt: skip

Happening = Callable[[Memory, int], None]


def house(gender: int, own: bool, floor: int) -> tuple[int, int]:
    return 1, (0 if (gender == BOY) == own else 2) + floor


STORY: list[tuple[str, Happening]] = [
    ("GAME_RUNNING", lambda m, g: (m.switch_on(), m.callback(MAIN_MENU))),
    ("PLAYER_NAME_SET", lambda m, g: (m.name(0xBB, 0xFF), m.put(m.save2 + 8, "B", g))),
    ("INTRO_CUTSCENE_COMPLETE", lambda m, g: (m.callback(OVERWORLD), m.place(*TRUCK))),
    ("LITTLEROOT_TOWN", lambda m, g: (m.place(0, 9), m.flag(0x86F), m.var(0x4092, 1))),
    ("PLAYER_HOUSE_ENTERED", lambda m, g: (m.place(*house(g, True, 0)), m.var(0x4092, 3))),
    ("PLAYER_BEDROOM", lambda m, g: m.place(*house(g, True, 1))),
    ("CLOCK_SET", lambda m, g: (m.flag(0x51), m.var(0x4092, 6))),
    ("RIVAL_HOUSE", lambda m, g: m.place(*house(g, False, 0))),
    ("RIVAL_BEDROOM", lambda m, g: m.place(*house(g, False, 1))),
    ("ROUTE_101", lambda m, g: (m.var(0x408D, 3), m.place(0, 16), m.var(0x4060, 1))),
    ("STARTER_CHOSEN", lambda m, g: (m.flag(0x860), m.party((5, 20, 20)))),
    ("BIRCH_LAB_VISITED", lambda m, g: (m.place(1, 4), m.var(0x4084, 3))),
    ("OLDALE_TOWN", lambda m, g: (m.place(0, 10), m.flag(0x870))),
    ("ROUTE_103", lambda m, g: m.place(0, 18)),
    ("RIVAL_BATTLE_WON", lambda m, g: m.flag(0x82)),
    ("RECEIVED_POKEDEX", lambda m, g: (m.place(1, 4), m.flag(0x861))),
    ("ROUTE_102", lambda m, g: m.place(0, 17)),
    ("PETALBURG_CITY", lambda m, g: (m.place(0, 0), m.flag(0x876))),
    ("DAD_FIRST_MEETING", lambda m, g: m.place(8, 1)),
    ("GYM_EXPLANATION", lambda m, g: m.var(0x4085, 1)),
    ("ROUTE_104_SOUTH", lambda m, g: m.place(0, 19, y=38)),
    ("PETALBURG_WOODS", lambda m, g: m.place(24, 11)),
    ("TEAM_AQUA_GRUNT_DEFEATED", lambda m, g: m.flag(0x50A)),
    ("ROUTE_104_NORTH", lambda m, g: m.place(0, 19, y=30)),
    ("RUSTBORO_CITY", lambda m, g: (m.place(0, 3), m.flag(0x879))),
    ("RUSTBORO_GYM_ENTERED", lambda m, g: m.place(*GYM)),
    ("ROXANNE_DEFEATED", lambda m, g: m.flag(0x867)),
    ("FIRST_GYM_COMPLETE", lambda m, g: m.place(0, 3)),
]


EMERALD = load_game("emerald")
SHAPES = {name: variable.shape for name, variable in EMERALD.variables.items()}
CONDITIONS = {one.name: Condition(one.when, SHAPES) for one in EMERALD.milestones}


def held(env: GBAEnv) -> set[str]:
    """The milestones whose conditions hold now."""
    state = StateReader(EMERALD, env.emulator).read()
    return {name for name, condition in CONDITIONS.items() if condition.holds(state)}


def test_the_milestones_are_the_28_of_the_speedrun_in_their_order(env: GBAEnv) -> None:
    assert [one.name for one in env.game.milestones] == NAMES == [name for name, _ in STORY]
    assert len(NAMES) == 28


@pytest.mark.parametrize("gender", [BOY, GIRL])
def test_a_game_played_to_the_first_badge_reaches_each_milestone_in_its_step(
    env: GBAEnv, memory: Memory, gender: int
) -> None:
    for step, (name, happen) in enumerate(STORY, start=1):
        happen(memory, gender)
        assert name in held(env)
        _, reward, terminated, _, info = env.step(0)
        assert (name, info["milestones"][name], reward) == (name, step, 1.0)
        assert terminated == info["success"] == (step == 28)
    assert list(info["milestones"].values()) == list(range(1, 29))


ALONE = dict(STORY[2:]) | {
    "LITTLEROOT_TOWN": lambda m, g: m.flag(0x86F),
    "PLAYER_HOUSE_ENTERED": lambda m, g: m.var(0x4092, 3),
    "CLOCK_SET": lambda m, g: m.flag(0x51),
    "ROUTE_101": lambda m, g: m.var(0x4060, 1),
    "FIRST_GYM_COMPLETE": lambda m, g: m.flag(0x867),
}
IMPLIED = {
    "PLAYER_HOUSE_ENTERED": {"INTRO_CUTSCENE_COMPLETE"},
    "RIVAL_BEDROOM": {"RIVAL_HOUSE"},
    "RIVAL_BATTLE_WON": {"ROUTE_103"},
    "ROXANNE_DEFEATED": {"FIRST_GYM_COMPLETE"},  # where the player stands, out of the gym
    "FIRST_GYM_COMPLETE": {"ROXANNE_DEFEATED"},
}


@pytest.mark.parametrize("gender", [BOY, GIRL])
@pytest.mark.parametrize("name", ALONE)
def test_a_milestone_reached_out_of_order_marks_no_other(
    env: GBAEnv, memory: Memory, gender: int, name: str
) -> None:
    memory.enter_game(gender)
    memory.place(0, 2)
    always = {"GAME_RUNNING", "PLAYER_NAME_SET"}
    assert held(env) == always
    ALONE[name](memory, gender)
    assert held(env) == always | {name} | IMPLIED.get(name, set())


@pytest.mark.parametrize("gender", [BOY, GIRL])
def test_the_other_one_s_house_is_not_the_player_s(
    env: GBAEnv, memory: Memory, gender: int
) -> None:
    memory.enter_game(gender)
    rooms = {"PLAYER_BEDROOM", "RIVAL_HOUSE", "RIVAL_BEDROOM"}
    for own, floor, expected in (
        (True, 0, set()),
        (True, 1, {"PLAYER_BEDROOM"}),
        (False, 0, {"RIVAL_HOUSE"}),
        (False, 1, {"RIVAL_HOUSE", "RIVAL_BEDROOM"}),
    ):
        memory.place(*house(gender, own, floor))
        assert held(env) & rooms == expected


def test_a_start_state_in_the_middle_has_reached_what_flags_tell_and_earns_nothing_for_it(
    env: GBAEnv, memory: Memory
) -> None:
    memory.enter_game()
    for flag in (0x86F, 0x51, 0x860, 0x870, 0x82, 0x861, 0x876):
        memory.flag(flag)
    for number, value in ((0x4092, 7), (0x408D, 4), (0x4060, 3), (0x4084, 5)):
        memory.var(number, value)
    memory.place(0, 0)
    memory.party((9, 25, 27))
    start = env.emulator.save_state()
    _, info = env.reset(seed=3, options={"state": start})
    reached = {name for name, step in info["milestones"].items() if step == 0}
    assert reached == set(NAMES[:18]) - {"ROUTE_102"}
    assert env.step(0)[1] == 0.0


@pytest.mark.parametrize("mode", [0, 0x080AA555, MAIN_MENU])
def test_before_the_game_no_later_milestone_holds_whatever_a_saved_game_says(
    env: GBAEnv, memory: Memory, mode: int
) -> None:
    memory.enter_game()
    memory.put(memory.save1 + 0x1270, "B", *[0xFF] * 300)
    memory.put(memory.save1 + 0x139C, "H", *[0xFFFF] * 256)
    memory.callback(mode)
    assert held(env) == ({"GAME_RUNNING", "PLAYER_NAME_SET"} if mode == MAIN_MENU else set())


@pytest.mark.parametrize("name", [[0] * 8, [0xFF] * 8, [0xFF, 0xBB, 0xBC, 0, 0, 0, 0, 0]])
def test_a_name_that_is_not_set_is_none(env: GBAEnv, memory: Memory, name: list[int]) -> None:
    memory.enter_game()
    memory.name(*name)
    assert "PLAYER_NAME_SET" not in held(env)


FALLEN, WELL = (5, 0, 20), (5, 1, 20)


@pytest.mark.parametrize(
    "members, count, failed",
    [
        ([FALLEN], 1, True),
        ([FALLEN, FALLEN, FALLEN], 3, True),
        ([FALLEN, WELL], 2, False),
        ([WELL, FALLEN], 2, False),
        ([FALLEN, WELL, WELL], 1, True),  # those beyond the count are stale
        ([FALLEN] * 6, 6, True),
        ([FALLEN] * 5 + [WELL], 6, False),
        ([FALLEN] * 6, 0, False),
        ([FALLEN] * 6, 7, False),
        ([FALLEN] * 6, 255, False),
    ],
)
def test_the_episode_fails_when_all_of_the_party_have_fainted(
    env: GBAEnv, memory: Memory, members: list[tuple[int, int, int]], count: int, failed: bool
) -> None:
    memory.enter_game()
    memory.callback(BATTLE)
    memory.party(*members, count=count)
    _, _, terminated, _, info = env.step(0)
    assert (terminated, info["success"]) == (failed, False)


@pytest.mark.parametrize(
    "count, chosen", [(0, False), (1, True), (6, True), (7, False), (255, False)]
)
def test_a_starter_is_one_in_the_party(
    env: GBAEnv, memory: Memory, count: int, chosen: bool
) -> None:
    memory.enter_game()
    memory.flag(0x860)
    memory.party((5, 20, 20), count=count)
    assert ("STARTER_CHOSEN" in held(env)) == chosen


ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 0x02000000, 0x02024A54, 0x02025A00, 0x0203EA4C, 0x0203EA4D, 0x0203FF51]),
    st.integers(0x0203E000, 0x02040010),
)
BYTES = st.sampled_from([0, 1, 3, 8, 9, 11, 16, 17, 18, 19, 24, 25, 40, 127, 128, 255])


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    noise=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.1, 1.0]),
    pointers=st.tuples(ADDRESSES, ADDRESSES),
    mode=st.sampled_from([0, OVERWORLD, BATTLE, MAIN_MENU, 0xFFFFFFFF]),
    live=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-40, 40), ADDRESSES),
    place=st.tuples(BYTES, BYTES, BYTES),
    party=BYTES,
)
def test_no_ram_makes_an_exception_or_a_wrong_milestone(
    env: GBAEnv, memory: Memory, noise: int, share: float, pointers: tuple[int, int], mode: int,
    live: tuple[int, int, int], place: tuple[int, int, int], party: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(noise)
    for block in (env.emulator.ewram, env.emulator.iwram):
        content = rng.integers(0, 256, len(block), np.uint8)
        content[rng.random(len(block), np.float32) >= share] = 0
        block[:] = content.tobytes()
    memory.put(0x03005D8C, "I", *pointers)
    memory.callback(mode)
    memory.put(0x03005DC0, "i", *live[:2])
    memory.put(0x03005DC8, "I", live[2])
    memory.put(0x020244E9, "B", party)
    save1 = pointers[0]
    if 0x02000000 <= save1 <= 0x02040000 - 6:
        memory.put(save1 + 2, "B", *place)
    state = StateReader(env.game, env.emulator).read()
    assert state["in_game"] == in_game(memory)
    assert held(env) == holding(memory)
    text = describe(state, env.game)
    assert text.startswith("Pokemon Emerald: ")
    assert in_game(memory) != ("not in a game" in text.splitlines()[0])
    if noise % 4 == 0:
        info = env.step(0)[4]
        assert holding(memory) <= {name for name, step in info["milestones"].items() if step >= 0}
        assert info["success"] == ("FIRST_GYM_COMPLETE" in holding(memory))
