"""Which milestones hold, told from the RAM by the facts alone, without ``game.yaml``."""

from __future__ import annotations

from tests.games.emerald.standin import BATTLE, MAIN_MENU, OVERWORLD, Memory

NAMES = [
    "GAME_RUNNING",
    "PLAYER_NAME_SET",
    "INTRO_CUTSCENE_COMPLETE",
    "LITTLEROOT_TOWN",
    "PLAYER_HOUSE_ENTERED",
    "PLAYER_BEDROOM",
    "CLOCK_SET",
    "RIVAL_HOUSE",
    "RIVAL_BEDROOM",
    "ROUTE_101",
    "STARTER_CHOSEN",
    "BIRCH_LAB_VISITED",
    "OLDALE_TOWN",
    "ROUTE_103",
    "RIVAL_BATTLE_WON",
    "RECEIVED_POKEDEX",
    "ROUTE_102",
    "PETALBURG_CITY",
    "DAD_FIRST_MEETING",
    "GYM_EXPLANATION",
    "ROUTE_104_SOUTH",
    "PETALBURG_WOODS",
    "TEAM_AQUA_GRUNT_DEFEATED",
    "ROUTE_104_NORTH",
    "RUSTBORO_CITY",
    "RUSTBORO_GYM_ENTERED",
    "ROXANNE_DEFEATED",
    "FIRST_GYM_COMPLETE",
]


def in_game(memory: Memory) -> bool:
    get = memory.get
    save1, save2, mode = (get(at, "I") for at in (0x03005D8C, 0x03005D90, 0x030022C4))
    if not 0x02000000 <= save1 <= 0x02040000 - 0x15B4:
        return False
    if not 0x02000000 <= save2 <= 0x02040000 - 0xB0:
        return False
    if mode in (OVERWORLD, BATTLE):
        return True
    loaded = get(0x03005DC0, "i") > 0 and get(0x03005DC4, "i") > 0
    return mode != MAIN_MENU and loaded and 0x02000000 <= get(0x03005DC8, "I") < 0x0203FFFF


def holding(memory: Memory) -> set[str]:
    """The names of the milestones that hold."""
    get = memory.get
    save1, save2 = get(0x03005D8C, "I"), get(0x03005D90, "I")
    running, playing = get(0x030022C4, "I") == MAIN_MENU or in_game(memory), in_game(memory)
    name = [get(save2 + i, "B") for i in range(8)]
    if not 0x02000000 <= save2 <= 0x02040000 - 8:
        name = [0] * 8  # an array is there wholly, or not at all
    here = get(save1 + 4, "b"), get(save1 + 5, "b")
    y, girl = get(save1 + 2, "h"), get(save2 + 8, "B") != 0
    own, other = ((1, 2), (1, 3)), ((1, 0), (1, 1))
    if not girl:
        own, other = other, own

    def flag(number: int) -> bool:
        return bool(get(save1 + 0x1270 + (number >> 3), "B") >> (number & 7) & 1)

    def var(number: int) -> int:
        return get(save1 + 0x139C + 2 * (number - 0x4000), "H")

    told = [
        here == (25, 40) or var(0x4092) >= 1,
        flag(0x86F),
        var(0x4092) >= 3,
        var(0x4092) >= 5 or here == own[1],
        flag(0x51),
        here in other or var(0x408D) >= 2,
        here == other[1] or var(0x408D) >= 2,
        var(0x4060) >= 1,
        flag(0x860) and 1 <= get(0x020244E9, "B") <= 6,
        var(0x4084) >= 3,
        flag(0x870),
        here == (0, 18) or flag(0x82),
        flag(0x82),
        flag(0x861),
        here == (0, 17),
        flag(0x876),
        here == (8, 1),
        var(0x4085) >= 1,
        here == (0, 19) and y >= 38,
        here == (24, 11),
        flag(0x50A),
        here == (0, 19) and y <= 30,
        flag(0x879),
        here == (11, 3),
        flag(0x867),
        flag(0x867) and here != (11, 3),
    ]
    answers = [running, running and any(name) and name[0] != 0xFF]
    answers += [playing and answer for answer in told]
    return {name for name, answer in zip(NAMES, answers, strict=True) if answer}
