"""The RAM reader on RAM that these tests write: moving save blocks, secrets, hostile pointers."""

import dataclasses
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.emulator.core import Emulator
from pipeline.emulator.ram import State, StateReader
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game

VARIABLES = """
pointers: {save1: 0x03000010, save2: 0x03000014}
variables:
  x: {pointer: save1, offset: 0, type: s16}
  y: {pointer: save1, offset: 2, type: s16}
  both: {pointer: save1, offset: 0, type: u32}
  money: {pointer: save1, offset: 0x490, type: u32, xor: {pointer: save2, offset: 0xAC, type: u32}}
  coins: {pointer: save1, offset: 0x494, type: u16, xor: {pointer: save2, offset: 0xAC, type: u16}}
  flag_3: {pointer: save1, offset: 0x1270, type: u8, bit: 3}
  flag_4: {pointer: save1, offset: 0x1270, type: u8, bit: 4}
  badges: {pointer: save1, offset: 0x1271, type: u8, count: 2, bit: 7}
  secrets:
    {pointer: save1, offset: 0x500, type: u16, count: 3,
     xor: {pointer: save2, offset: 0xAC, type: u16}}
  hp: {address: 0x02001000, type: u16, count: 6, stride: 100}
  signed: {address: 0x02001002, type: s8, count: 3, stride: 100}
  last_byte: {address: 0x03007FFF, type: u8}
  phase: {address: 0x03000100, type: u16, mask: 0x0FF0}
  facing:
    {address: 0x02037368, type: u8, mask: 0x0F,
     index: {address: 0x02037595, type: u8, stride: 0x24}}
  map:
    type: u16
    map: {width: 0x03005DC0, height: 0x03005DC4, cells: 0x03005DC8, x: x, y: y, border: 7,
          columns: 15, rows: 10, above: 5}
    outside: 0x0400
milestones: []
success: "x == 1"
"""
ROW = """format: 1
name: ram
title: RAM
platform: gba
rom: {sha1: "0000000000000000000000000000000000000000"}
timing: {hold: 4, release: 6}
max_steps: 50
"""


class Blocks:
    """The two blocks of RAM, empty, without a console."""

    def __init__(self) -> None:
        self.ewram = bytearray(0x40000)
        self.iwram = bytearray(0x8000)
        self.ram = self.ewram, self.iwram

    def put(self, address: int, form: str, *values: int) -> None:
        block, start = (
            (self.iwram, 0x03000000) if address >= 0x03000000 else (self.ewram, 0x02000000)
        )
        struct.pack_into("<" + form, block, address - start, *values)


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> GameDescription:
    folder = tmp_path_factory.mktemp("ram")
    (folder / "game.yaml").write_text(ROW + VARIABLES)
    return load_game(folder)


def fill(ram: Blocks, save1: int, save2: int) -> None:
    key = 0xDEADBEEF
    ram.put(0x03000010, "II", save1, save2)
    ram.put(save1, "hh", -3, 4)
    ram.put(save1 + 0x490, "IH", 3000 ^ key, 77 ^ (key & 0xFFFF))
    ram.put(save1 + 0x500, "3H", *(value ^ (key & 0xFFFF) for value in (1, 2, 65535)))
    ram.put(save1 + 0x1270, "BBB", 0b0000_1000, 0x80, 0x7F)
    ram.put(save2 + 0xAC, "I", key)
    for i in range(6):
        ram.put(0x02001000 + 100 * i, "Hb", 20 + i, -i)
    ram.put(0x03007FFF, "B", 9)
    ram.put(0x03000100, "H", 0xABCD)
    ram.put(0x02037595, "B", 2)
    ram.put(0x02037368 + 2 * 0x24, "B", 0xF3)


def expect_filled(state: State) -> None:
    assert {name: value for name, value in state.items() if isinstance(value, int)} == {
        "x": -3,
        "y": 4,
        "both": 0x0004FFFD,
        "money": 3000,
        "coins": 77,
        "flag_3": 1,
        "flag_4": 0,
        "last_byte": 9,
        "phase": 0x0BC0,
        "facing": 3,
    }
    for name, expected in {
        "badges": [1, 0],
        "secrets": [1, 2, 65535],
        "hp": [20, 21, 22, 23, 24, 25],
        "signed": [0, -1, -2],
    }.items():
        assert np.asarray(state[name]).tolist() == expected, name


def test_every_kind_of_variable_is_read(game: GameDescription) -> None:
    ram = Blocks()
    fill(ram, 0x02004000, 0x02009000)
    state = StateReader(game, ram).read()
    expect_filled(state)
    assert list(state) == list(game.variables)
    for name, variable in game.variables.items():
        value = state[name]
        if variable.shape:
            assert isinstance(value, np.ndarray)
            assert (value.shape, value.dtype) == (variable.shape, variable.dtype)
        else:
            assert type(value) is int


def test_variables_follow_save_blocks_that_move(game: GameDescription) -> None:
    ram = Blocks()
    reader = StateReader(game, ram)
    for shift in (0, 4, 60, 124, 0x1001):
        fill(ram, 0x02004000 + shift, 0x03001000 + shift)
        expect_filled(reader.read())


def test_arrays_are_copies_that_later_frames_do_not_change(game: GameDescription) -> None:
    ram = Blocks()
    reader = StateReader(game, ram)
    fill(ram, 0x02004000, 0x02009000)
    state = reader.read()
    ram.ewram[:] = bytes(len(ram.ewram))
    assert np.asarray(state["hp"]).tolist() == [20, 21, 22, 23, 24, 25]


def test_a_null_pointer_gives_zeros(game: GameDescription) -> None:
    state = StateReader(game, Blocks()).read()
    assert all(not np.any(np.asarray(value)) for value in state.values())


def test_what_hangs_over_the_end_of_ram_is_zero_and_the_rest_is_read(game: GameDescription) -> None:
    ram = Blocks()
    save1 = 0x02040000 - 0x492  # x, y inside; money's upper half is not
    ram.put(0x03000010, "I", save1)
    ram.put(save1, "hh", 5, 6)
    ram.put(save1 + 0x490, "H", 0xFFFF)
    state = StateReader(game, ram).read()
    assert (state["x"], state["y"], state["money"], state["flag_3"]) == (5, 6, 0, 0)
    assert np.asarray(state["badges"]).tolist() == [0, 0]


def lay_map(ram: Blocks, width: int, height: int, x: int, y: int) -> None:
    ram.put(0x03000010, "I", 0x02004000)
    ram.put(0x02004000, "hh", x, y)
    ram.put(0x03005DC0, "iiI", width, height, 0x02010000)
    ram.put(0x02010000, f"{width * height}H", *range(width * height))


def test_the_map_window_has_the_player_in_its_place(game: GameDescription) -> None:
    ram = Blocks()
    lay_map(ram, width=40, height=30, x=12, y=9)
    window = np.asarray(StateReader(game, ram).read()["map"])
    grid = np.arange(1200).reshape(30, 40)
    assert window[5, 7] == grid[9 + 7, 12 + 7]
    assert np.array_equal(window, grid[11:21, 12:27])


@pytest.mark.parametrize(
    "x, y", [(-7, -7), (19, 9), (0, 0), (-40, 3), (300, -300), (32767, -32768)]
)
def test_cells_beyond_the_map_s_edge_hold_the_outside_value(
    game: GameDescription, x: int, y: int
) -> None:
    ram = Blocks()
    lay_map(ram, width=20, height=17, x=x, y=y)
    window = np.asarray(StateReader(game, ram).read()["map"])
    for row in range(10):
        for column in range(15):
            at_y, at_x = y + 7 - 5 + row, x + 7 - 7 + column
            inside = 0 <= at_y < 17 and 0 <= at_x < 20
            assert window[row, column] == (at_y * 20 + at_x if inside else 0x0400)


@pytest.mark.parametrize(
    "width, height, cells",
    [
        (0, 10, 0x02010000),
        (-1, 10, 0x02010000),
        (2**31 - 1, 2**31 - 1, 0x02010000),
        (20, 20, 0),
        (20, 20, 0x0203FFF0),
        (20, 20, 0x08000000),
        (20, 20, 0xFFFFFFFF),
    ],
)
def test_a_map_that_is_not_in_ram_is_all_zeros(
    game: GameDescription, width: int, height: int, cells: int
) -> None:
    ram = Blocks()
    ram.put(0x03005DC0, "iiI", width, height, cells)
    assert not np.asarray(StateReader(game, ram).read()["map"]).any()


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.integers(0, 2**32 - 1),
            st.integers(0x0203F000, 0x02040010),
            st.integers(0x03007000, 0x03008010),
        ),
        min_size=5,
        max_size=5,
    ),
    st.integers(0, 2**32 - 1),
)
def test_no_ram_content_can_make_the_reader_fail(
    game: GameDescription, pointers: list[int], noise: int
) -> None:
    ram = Blocks()
    generator = np.random.default_rng(noise)
    ram.ewram[:] = generator.bytes(len(ram.ewram))
    ram.iwram[:] = generator.bytes(len(ram.iwram))
    ram.put(0x03000010, "II", *pointers[:2])
    ram.put(0x03005DC0, "III", *pointers[2:])
    state = StateReader(game, ram).read()
    for name, variable in game.variables.items():
        assert np.asarray(state[name]).shape == variable.shape
        bounds = np.iinfo(variable.dtype)
        assert np.all(np.asarray(state[name], np.int64) >= bounds.min)
        assert np.all(np.asarray(state[name], np.int64) <= bounds.max)


def test_the_real_console_s_ram_is_read_without_copying_it(
    game: GameDescription, standing: Path
) -> None:
    emulator = Emulator(standing)
    reader = StateReader(game, emulator)
    emulator.write(0x03000010, 0x02004000, 4)
    emulator.write(0x02004000, 41, 2)
    assert reader.read()["x"] == 41
    state = emulator.save_state()
    emulator.write(0x02004000, 42, 2)
    emulator.run(1)
    assert reader.read()["x"] == 42
    emulator.load_state(state)
    assert reader.read()["x"] == 41
    emulator.reset()
    assert reader.read()["x"] == 0


def test_a_game_without_variables_has_an_empty_state(game: GameDescription) -> None:
    assert StateReader(dataclasses.replace(game, variables={}), Blocks()).read() == {}
