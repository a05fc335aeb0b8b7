"""Parts of numbers and cells, arrays that know their length, and variables that are computed."""

import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.emulator.ram import State, StateReader
from pipeline.games.loading import load_game

HEAD = """format: 1
name: parts
title: PARTS
platform: gba
rom: {sha1: "0000000000000000000000000000000000000000"}
timing: {hold: 4, release: 6}
max_steps: 50
pointers: {save: 0x03000010}
success: "False"
variables:
"""


class Blocks:
    """The console's RAM, empty, without the console."""

    def __init__(self) -> None:
        self.ram = (bytearray(0x40000), bytearray(0x8000))

    def put(self, address: int, form: str, *values: int) -> None:
        block = self.ram[address >> 24 & 1]
        struct.pack_into("<" + form, block, address & 0xFFFFFF, *values)


Read = tuple[Blocks, StateReader]


@pytest.fixture
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Read:
    (tmp_path / "game.yaml").write_text(HEAD + request.param)
    ram = Blocks()
    return ram, StateReader(load_game(tmp_path), ram)


def plain(state: State) -> dict[str, object]:
    return {name: np.asarray(value).tolist() for name, value in state.items()}


@pytest.mark.parametrize(
    "reader",
    [
        """
  middle: {address: 0x02000000, type: u16, mask: 0x0FF0, shift: 4}
  high: {address: 0x02000000, type: u16, shift: 12}
  ones: {address: 0x02000000, type: u16, ones: true}
  some_ones: {address: 0x02000000, type: u16, mask: 0x00FF, ones: true}
  each: {address: 0x02000000, type: u16, count: 2, mask: 0xFF00, shift: 8}
  each_ones: {address: 0x02000000, type: u16, count: 2, ones: true}
  secret: {address: 0x02000000, type: u16, xor: {address: 0x02000002, type: u16}, shift: 8}
"""
    ],
    indirect=True,
)
def test_bits_are_decrypted_masked_shifted_and_counted_in_that_order(reader: Read) -> None:
    ram, values = reader
    ram.put(0x02000000, "HH", 0xA5C3, 0x8001)
    assert plain(values.read()) == {
        "middle": 0x5C,
        "high": 0xA,
        "ones": 8,
        "some_ones": 4,
        "each": [0xA5, 0x80],
        "each_ones": [8, 2],
        "secret": 0x25,
    }


@pytest.mark.parametrize(
    "reader",
    [
        """
  used: {address: 0x02000000, type: s8}
  values: {address: 0x02000010, type: u16, count: 3, stride: 4, length: used}
  bits: {pointer: save, offset: 0, type: u8, count: 3, bit: 0, length: used}
"""
    ],
    indirect=True,
)
def test_an_array_reads_as_zero_beyond_the_length_that_another_variable_gives(
    reader: Read,
) -> None:
    ram, values = reader
    ram.put(0x03000010, "I", 0x02000010)
    ram.put(0x02000010, "H2xH2xH", 11, 13, 15)
    for used, expected in ((0, []), (1, [11]), (2, [11, 13]), (3, [11, 13, 15])):
        ram.put(0x02000000, "b", used)
        state = values.read()
        assert np.asarray(state["values"]).tolist() == expected + [0] * (3 - used)
    for used in (4, 127):
        ram.put(0x02000000, "b", used)
        assert np.asarray(values.read()["values"]).tolist() == [11, 13, 15]
    ram.put(0x02000000, "b", -1)
    assert np.asarray(values.read()["values"]).tolist() == [0, 0, 0]
    ram.put(0x02000000, "b", 1)
    assert np.asarray(values.read()["bits"]).tolist() == [1, 0, 0]
    assert bytes(ram.ram[0][0x18:0x1A]) == b"\x0f\0"  # the RAM itself is left alone


@pytest.mark.parametrize(
    "reader",
    [
        """
  mode: {address: 0x02000000, type: u8}
  hp: {address: 0x02000010, type: u16, count: 3}
  walking: {when: "mode == 2 or mode == 3"}
  alive: {when: "walking == 1 and sum(hp) > 0"}
"""
    ],
    indirect=True,
)
def test_a_computed_variable_says_whether_its_condition_holds(reader: Read) -> None:
    ram, values = reader
    for mode, hp, expected in ((0, 5, (0, 0)), (2, 0, (1, 0)), (3, 5, (1, 1)), (1, 5, (0, 0))):
        ram.put(0x02000000, "B", mode)
        ram.put(0x02000012, "H", hp)
        state = values.read()
        assert (state["walking"], state["alive"]) == expected
        assert type(state["walking"]) is int


WINDOW = (
    "{width: 0x03000020, height: 0x03000024, cells: 0x03000028, x: x, y: y, columns: 3, rows: 3}"
)


@pytest.mark.parametrize(
    "reader",
    [
        f"""
  x: {{address: 0x02000000, type: s16}}
  y: {{address: 0x02000002, type: s16}}
  wall: {{type: u8, map: &window {WINDOW}, mask: 0x0C00, shift: 10, outside: 3}}
  height: {{type: u8, map: *window, mask: 0xF000, shift: 12}}
  whole: {{type: u16, map: *window, outside: 0xFFFF}}
  other: {{type: u16, map: {WINDOW.replace("columns: 3", "columns: 1")}}}
"""
    ],
    indirect=True,
)
def test_cells_of_a_map_are_taken_apart(reader: Read) -> None:
    ram, values = reader
    cells = np.array([[0x1400, 0x2801, 0x3C02], [0xF003, 0x0404, 0xFFFF]], "<u2")
    ram.put(0x03000020, "iiI", 3, 2, 0x02001000)
    ram.put(0x02001000, "6H", *cells.reshape(-1).tolist())
    ram.put(0x02000000, "hh", 1, 0)
    state = values.read()
    assert {name: np.asarray(state[name]).dtype.str for name in ("wall", "height", "whole")} == {
        "wall": "|u1",
        "height": "|u1",
        "whole": "<u2",
    }
    outside = np.full((1, 3), 0xFFFF)
    assert np.array_equal(state["whole"], np.vstack([outside, cells]))
    assert np.asarray(state["wall"]).tolist() == [[3, 3, 3], [1, 2, 3], [0, 1, 3]]
    assert np.asarray(state["height"]).tolist() == [[0, 0, 0], [1, 2, 3], [15, 0, 15]]
    assert np.asarray(state["other"]).tolist() == [[0], [0x2801], [0x0404]]
    ram.put(0x02000000, "hh", 0, 1)  # the sight is taken anew in every step
    assert np.asarray(values.read()["wall"]).tolist() == [[3, 1, 2], [3, 0, 1], [3, 3, 3]]


@pytest.mark.parametrize(
    "reader",
    [
        f"""
  x: {{address: 0x02000000, type: s16}}
  y: {{address: 0x02000002, type: s16}}
  wall: {{type: u8, map: &window {WINDOW}, mask: 0x0C00, shift: 10, outside: 3}}
  whole: {{type: u16, map: *window, outside: 0xFFFF}}
"""
    ],
    indirect=True,
)
def test_windows_are_copies_that_later_frames_do_not_change(reader: Read) -> None:
    ram, values = reader
    ram.put(0x03000020, "iiI", 9, 9, 0x02001000)
    ram.put(0x02001000, "81H", *[0x0401] * 81)
    ram.put(0x02000000, "hh", 4, 4)
    state = values.read()
    ram.put(0x02001000, "81H", *[0] * 81)
    assert np.asarray(state["whole"]).tolist() == [[0x0401] * 3] * 3
    assert np.asarray(state["wall"]).tolist() == [[1] * 3] * 3
    assert not np.shares_memory(state["whole"], values.read()["whole"])
