"""Every variable of Emerald, read from a console's RAM that was written by the facts."""

import struct

import numpy as np
import pytest

from pipeline.emulator.env import GBAEnv
from pipeline.emulator.ram import State, StateReader
from tests.games.emerald.standin import BATTLE, GIRL, MAIN_MENU, OVERWORLD, Memory, cell

PLACES = [
    (0x02025A00, 0x02024A54),
    (0x02025A00 + 124, 0x02024A54 + 124),
    (0x02000000, 0x0203FF50),
    (0x0203EA4C, 0x02000000),
]


def read(env: GBAEnv) -> State:
    return StateReader(env.game, env.emulator).read()


def numbers(state: State) -> dict[str, int]:
    return {name: value for name, value in state.items() if isinstance(value, int)}


@pytest.mark.parametrize("save1, save2", PLACES)
@pytest.mark.parametrize("key", [0, 0x5A17C0DE, 0xFFFFFFFF])
def test_every_variable_is_read_wherever_the_save_blocks_lie(
    env: GBAEnv, save1: int, save2: int, key: int
) -> None:
    memory = Memory(env.emulator, save1, save2, key)
    memory.enter_game(GIRL)
    memory.place(0, 19, x=-3, y=38)
    memory.put(save1 + 0x490, "I", 3000 ^ key)
    memory.put(save1 + 0x494, "H", 50 ^ (key & 0xFFFF))
    memory.put(save1 + 0x159C + 20, "I", 123456 ^ key)
    memory.put(save2 + 0x0E, "H", 999)
    memory.put(save2 + 0x10, "B", 59, 58)
    memory.put(0x03000F2C, "B", 1)
    memory.put(0x03000E38, "B", 2)
    memory.put(0x030026F9, "B", 0b1111_1101)
    memory.put(0x02022FEC, "I", 0x0000000C)
    memory.put(0x0202433A, "B", 1)
    memory.put(0x02037595, "B", 3)
    memory.put(0x02037350 + 0x24 * 3 + 0x18, "B", 0xF4)
    state = read(env)
    wanted = {
        "x": -3, "y": 38, "map_group": 0, "map_number": 19, "money": 3000, "coins": 50,
        "steps": 123456, "play_hours": 999, "play_minutes": 59, "play_seconds": 58, "locked": 1,
        "script_status": 2, "in_battle": 0, "battle_type": 12, "battle_outcome": 1, "facing": 4,
        "gender": 1, "name_set": 1, "in_game": 1, "at_main_menu": 0, "callback2": OVERWORLD,
        "save1_at": save1, "save2_at": save2,
    }  # fmt: skip
    assert {name: numbers(state)[name] for name in wanted} == wanted
    assert np.asarray(state["player_name"])[:3].tolist() == [0xBB, 0xBC, 0xFF]


FLAGS = {
    0x51: "clock_set", 0x82: "rival_beaten", 0x112: "running_shoes", 0x4F0: "rustboro_gym_beaten",
    0x500 + 10: "woods_grunt_beaten", 0x500 + 265: "roxanne_beaten", 0x860: "has_starter",
    0x861: "has_pokedex", 0x867: "stone_badge", 0x86F: "visited_littleroot",
    0x870: "visited_oldale", 0x876: "visited_petalburg", 0x879: "visited_rustboro",
}  # fmt: skip
VARS = {
    0x4092: "intro",
    0x408D: "rival_house",
    0x4060: "route101",
    0x4084: "birch_lab",
    0x4085: "petalburg_gym",
}


@pytest.mark.parametrize("number, name", FLAGS.items(), ids=FLAGS.values())
def test_a_flag_is_its_own_bit_and_no_other(
    env: GBAEnv, memory: Memory, number: int, name: str
) -> None:
    memory.enter_game()
    before = numbers(read(env))
    memory.flag(number)
    state = read(env)
    changed = {n for n, value in numbers(state).items() if value != before[n]}
    assert changed - {"badges", "badge_bits"} == {name}
    assert numbers(state)[name] == 1
    flags = np.unpackbits(np.asarray(state["flags"]), bitorder="little")
    assert np.flatnonzero(flags).tolist() == [number]
    memory.put(memory.save1 + 0x1270, "B", *[0xFF] * 300)
    memory.flag(number, on=False)
    state = read(env)
    assert numbers(state)[name] == 0
    assert sum(numbers(state)[other] for other in FLAGS.values()) == len(FLAGS) - 1


@pytest.mark.parametrize("number, name", VARS.items(), ids=VARS.values())
def test_a_variable_of_the_story_is_its_own_word(
    env: GBAEnv, memory: Memory, number: int, name: str
) -> None:
    memory.enter_game()
    before = numbers(read(env))
    memory.var(number, 0x1234)
    state = read(env)
    assert {n for n, value in numbers(state).items() if value != before[n]} == {name}
    assert np.flatnonzero(state["vars"]).tolist() == [number - 0x4000]
    assert np.asarray(state["vars"])[number - 0x4000] == state[name] == 0x1234


@pytest.mark.parametrize("badge", range(8))
def test_badges_are_counted(env: GBAEnv, memory: Memory, badge: int) -> None:
    memory.enter_game()
    memory.flag(0x866)  # the neighbours are no badges
    memory.flag(0x86F)
    memory.flag(0x867 + badge)
    assert (read(env)["badges"], read(env)["badge_bits"]) == (1, 1 << badge)
    for other in range(8):
        memory.flag(0x867 + other)
    assert (read(env)["badges"], read(env)["badge_bits"]) == (8, 0xFF)


def test_the_party_ends_where_its_count_says(env: GBAEnv, memory: Memory) -> None:
    memory.enter_game()
    stale = [(5 + i, 10 + i, 20 + i) for i in range(6)]
    for count in range(7):
        memory.party(*stale, count=count)
        state = read(env)
        assert state["party_count"] == count
        for name, column in (("party_levels", 0), ("party_hp", 1), ("party_max_hp", 2)):
            expected = [member[column] for member in stale[:count]] + [0] * (6 - count)
            assert np.asarray(state[name]).tolist() == expected
    memory.party(*stale, count=255)
    assert np.asarray(read(env)["party_levels"]).tolist() == [5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("bits, battle", [(0b10, 1), (0b1111_1101, 0), (0xFF, 1)])
def test_a_battle_is_one_bit(env: GBAEnv, memory: Memory, bits: int, battle: int) -> None:
    memory.enter_game()
    memory.callback(BATTLE)
    memory.put(0x030026F9, "B", bits)
    assert (read(env)["in_battle"], read(env)["in_game"]) == (battle, 1)


def test_facing_follows_the_player_s_place_in_the_table_of_objects(
    env: GBAEnv, memory: Memory
) -> None:
    memory.enter_game()
    for place in (0, 1, 15, 255):
        memory.put(0x02037595, "B", place)
        for direction in (1, 2, 3, 4):
            memory.put(0x02037350 + 0x24 * place + 0x18, "B", 0x50 | direction)
            assert read(env)["facing"] == direction


@pytest.mark.parametrize("x, y", [(10, 9), (0, 0), (-7, -7), (25, 23), (-300, 4), (4, 300)])
def test_the_live_map_is_seen_with_the_player_in_its_middle(
    env: GBAEnv, memory: Memory, x: int, y: int
) -> None:
    memory.enter_game()
    memory.lay_map(35, 34)
    memory.place(0, 9, x, y)
    state = read(env)
    assert (state["map_width"], state["map_height"]) == (35, 34)
    maps = {n: np.asarray(state[n]) for n in env.game.variables if env.game.variables[n].window}
    assert list(maps) == ["map", "map_metatile", "map_collision", "map_elevation"]
    for row in range(11):
        for column in range(15):
            at_x, at_y = x + 7 + column - 7, y + 7 + row - 5
            if 0 <= at_x < 35 and 0 <= at_y < 34:
                value = cell(35 * at_y + at_x)
                expected = [value, value & 0x3FF, value >> 10 & 3, value >> 12]
            else:
                expected = [0x0400, 0, 1, 0]
            assert [int(one[row, column]) for one in maps.values()] == expected


@pytest.mark.parametrize(
    "width, height, cells",
    [(-35, 34, 0x02032318), (35, -1, 0x02032318), (0, 0, 0), (35, 34, 0), (35, 34, 0x08000000),
     (35, 34, 0x0203FFF0), (2**31 - 1, 2**31 - 1, 0x02032318)],
)  # fmt: skip
def test_a_map_that_is_not_there_is_all_zeros(
    env: GBAEnv, memory: Memory, width: int, height: int, cells: int
) -> None:
    memory.enter_game()
    memory.lay_map(width, height, cells)
    state = read(env)
    assert (state["map_width"], state["map_height"]) == (width, height)
    assert not np.asarray(state["map"]).any()
    assert not np.asarray(state["map_collision"]).any()


@pytest.mark.parametrize("save1, save2", [(0, 0), (0x02025A00, 0), (0, 0x02024A54),
    (0x08000000, 0x02024A54), (0x0203FFFF, 0x02024A54), (0x02025A00, 0xFFFFFFFF)])  # fmt: skip
def test_without_save_blocks_in_ram_there_is_no_game(
    env: GBAEnv, memory: Memory, save1: int, save2: int
) -> None:
    memory.callback(OVERWORLD)
    memory.lay_map(35, 34)
    memory.put(0x03005D8C, "I", save1, save2)
    assert read(env)["in_game"] == 0


def test_a_saved_game_that_the_title_has_loaded_is_no_game_yet(env: GBAEnv, memory: Memory) -> None:
    memory.enter_game()
    memory.flag(0x86F)
    for mode in (0, 0x080AA555, MAIN_MENU):
        memory.callback(mode)
        assert read(env)["in_game"] == 0
    memory.callback(0x081AAD91)  # a menu over a loaded map
    memory.lay_map(35, 34)
    assert read(env)["in_game"] == 1


def test_the_reader_reads_what_the_facts_say_bit_for_bit(env: GBAEnv, memory: Memory) -> None:
    """Random RAM, and a few places read once more by hand."""
    rng = np.random.default_rng(5)
    for block in (env.emulator.ewram, env.emulator.iwram):
        block[:] = rng.bytes(len(block))
    memory.put(0x03005D8C, "I", memory.save1, memory.save2)
    state = read(env)
    key = memory.get(memory.save2 + 0xAC, "I")
    assert state["money"] == memory.get(memory.save1 + 0x490, "I") ^ key
    assert state["coins"] == memory.get(memory.save1 + 0x494, "H") ^ (key & 0xFFFF)
    assert state["in_battle"] == memory.get(0x030026F9, "B") >> 1 & 1
    start = memory.save1 + 0x1270 - 0x02000000
    assert np.asarray(state["flags"]).tobytes() == bytes(env.emulator.ewram[start : start + 300])
    start = memory.save2 + 0x28 - 0x02000000
    raw = bytes(env.emulator.ewram[start : start + 104])
    assert np.asarray(state["dex_owned"]).tobytes() + np.asarray(state["dex_seen"]).tobytes() == raw
    assert struct.unpack("<H", raw[:2])  # the two lists lie one behind the other
