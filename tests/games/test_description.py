"""game.yaml: strict, and every mistake in it ends in one line that names the place."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError

VALID = """format: 1
name: little
title: LITTLE
platform: gba
rom: {file: little.gba, sha1: "SHA1", title: LITTLE, code: LTLE}
buttons: [A, UP, DOWN]
timing: {hold: 4, release: 6}
sticky_action_probability: 0.2
max_steps: 1000
rtc: 2024-01-01T00:00:00Z
reset:
  idle_frames: [0, 120]
  seed: {address: 0x0203FF00, type: u32}
start_states:
  power_on: {frames: 60}
  town: {file: town.state}
pointers:
  save1: 0x03000010
  save2: 0x03000014
variables:
  x: {pointer: save1, offset: 0x0, type: s16}
  y: {pointer: save1, offset: 0x2, type: s16}
  money: {pointer: save1, offset: 0x490, type: u32, xor: {pointer: save2, offset: 0xAC, type: u32}}
  badge: {pointer: save1, offset: 0x1270, type: u8, bit: 3}
  hp: {address: 0x02001000, type: u16, count: 6, stride: 100}
  facing: {address: 0x02037368, type: u8, mask: 0x0F}
  map:
    type: u16
    map: {width: 0x03005DC0, height: 0x03005DC4, cells: 0x03005DC8, x: x, y: y, border: 7,
          columns: 15, rows: 10, above: 5}
    outside: 0x0400
milestones:
  - {name: rich, when: "money > 100"}
  - {name: brave, when: "badge == 1 and hp[0] > 0"}
success: "badge == 1"
failure: "sum(hp) == 0"
reward: {milestone: 1.0, success: 2.0, failure: -3.0, step: -0.5}
""".replace("SHA1", hashlib.sha1(b"cartridge").hexdigest())

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the valid description, with one replacement, into a folder."""

    def writer(old: str = "", new: str = "") -> Path:
        assert old in VALID
        (tmp_path / "game.yaml").write_text(VALID.replace(old, new, 1) if old else VALID)
        (tmp_path / "little.gba").write_bytes(b"cartridge")
        (tmp_path / "town.state").write_bytes(b"state")
        return tmp_path

    return writer


def test_everything_a_description_says_is_there(write: Write) -> None:
    folder = write()
    game = load_game(str(folder))
    assert (game.name, game.title, game.platform, game.folder) == (
        "little",
        "LITTLE",
        "gba",
        folder,
    )
    assert (game.rom_file, game.rom_title, game.rom_code) == (
        folder / "little.gba",
        "LITTLE",
        "LTLE",
    )
    assert game.buttons == ("A", "UP", "DOWN")
    assert (game.timing.hold, game.timing.release) == (4, 6)
    assert (game.sticky_action_probability, game.max_steps) == (0.2, 1000)
    assert game.rtc_ms == 1_704_067_200_000
    assert game.reset.idle_frames == (0, 120)
    assert game.reset.seed is not None
    assert game.reset.seed.address == 0x0203FF00
    assert list(game.start_states) == ["power_on", "town"]
    assert game.start_states["power_on"].frames == 60
    assert game.start_states["town"].file == folder / "town.state"
    assert game.pointers == {"save1": 0x03000010, "save2": 0x03000014}
    assert [milestone.name for milestone in game.milestones] == ["rich", "brave"]
    assert (game.success, game.failure) == ("badge == 1", "sum(hp) == 0")
    assert (game.reward.milestone, game.reward.success) == (1.0, 2.0)
    assert (game.reward.failure, game.reward.step) == (-3.0, -0.5)


def test_variables_know_the_type_and_shape_in_which_shards_store_them(write: Write) -> None:
    variables = load_game(write()).variables
    assert {name: (v.dtype, v.shape) for name, v in variables.items()} == {
        "x": (np.dtype("<i2"), ()),
        "y": (np.dtype("<i2"), ()),
        "money": (np.dtype("<u4"), ()),
        "badge": (np.dtype("u1"), ()),
        "hp": (np.dtype("<u2"), (6,)),
        "facing": (np.dtype("u1"), ()),
        "map": (np.dtype("<u2"), (10, 15)),
    }


def test_what_may_be_left_out_has_a_default(tmp_path: Path) -> None:
    (tmp_path / "game.yaml").write_text(
        "format: 1\nname: bare\ntitle: BARE\nplatform: gba\n"
        'rom: {sha1: "0000000000000000000000000000000000000000"}\n'
        "timing: {hold: 1, release: 0}\nmax_steps: 1\n"
        'variables: {x: {address: 0x02000000, type: u8}}\nsuccess: "x"\n'
    )
    game = load_game(tmp_path)
    assert len(game.buttons) == 10
    assert list(game.start_states) == ["power_on"]
    assert (game.sticky_action_probability, game.rom_file, game.failure) == (0.0, None, None)
    assert game.reset.idle_frames == (0, 0)
    assert game.reward.milestone == 1.0


def test_a_game_that_comes_with_the_pipeline_is_found_by_its_name() -> None:
    assert load_game("quest").name == "quest"


def test_an_unknown_game_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PipelineError) as error:
        load_game("qest")
    assert str(error.value) == (
        "game 'qest' is unknown; give one of: emerald, quest, or a folder that holds a game.yaml"
    )


MISTAKES = [
    (
        "max_steps: 1000",
        "max_step: 1000",
        "unknown key 'max_step'; the nearest valid one is 'max_steps'",
    ),
    (
        "offset: 0x490",
        "offest: 0x490",
        "variables.money: unknown key 'offest'; the nearest valid one is 'offset'",
    ),
    (
        "border: 7",
        "boarder: 7",
        "variables.map.map: unknown key 'boarder'; the nearest valid one is 'border'",
    ),
    ("max_steps: 1000\n", "", "the key 'max_steps' is missing; add it"),
    ("format: 1\n", "", "the key 'format' is missing; begin the file with 'format: 1'"),
    (
        "format: 1",
        "format: 2",
        "written in format 2, but this version reads formats up to 1; update the pipeline",
    ),
    ("format: 1", "format: '1'", "format is '1'; write 'format: 1'"),
    ("name: little", "name: Little Game", None),
    (
        "platform: gba",
        "platform: gbq",
        "platform: unknown 'gbq'; the nearest valid one is 'gb'",
    ),
    (
        "platform: gba",
        "platform: gbc",
        "pointers.save1: 0x3000010 with 2 bytes is outside the console's RAM (0xC000-0xDFFF, "
        "0xFF80-0xFFFE, 0x2D000-0x2DFFF, 0x3D000-0x3DFFF, 0x4D000-0x4DFFF, 0x5D000-0x5DFFF, "
        "0x6D000-0x6DFFF and 0x7D000-0x7DFFF)",
    ),
    (
        "buttons: [A, UP",
        "buttons: [A, UPP",
        "buttons.1: unknown 'UPP'; the nearest valid one is 'UP'",
    ),
    (
        "buttons: [A, UP, DOWN]",
        "buttons: [A, A]",
        "buttons: expected one or more buttons, each once",
    ),
    ("buttons: [A, UP, DOWN]", "buttons: A", "buttons: expected a list, found 'A'"),
    (
        "hold: 4",
        "hold: 0",
        "timing.hold: expected a whole number from 1 to 10000, found 0",
    ),
    (
        "hold: 4",
        "hold: true",
        "timing.hold: expected a whole number from 1 to 10000, found True",
    ),
    (
        "sticky_action_probability: 0.2",
        "sticky_action_probability: 1.5",
        "sticky_action_probability: expected a number from 0 to 1, found 1.5",
    ),
    (
        "sticky_action_probability: 0.2",
        "sticky_action_probability: 1",
        "sticky_action_probability: expected a number below 1: at 1 the first button is held for "
        "ever",
    ),
    (
        "rtc: 2024-01-01T00:00:00Z",
        "rtc: today",
        "rtc: expected a moment such as 2024-01-01T00:00:00Z, found 'today'",
    ),
    (
        "idle_frames: [0, 120]",
        "idle_frames: [9, 3]",
        "reset.idle_frames: expected [lowest, highest], found [9, 3]",
    ),
    (
        "seed: {address: 0x0203FF00, type: u32}",
        "seed: {pointer: save1, offset: 4, type: u32}",
        "reset.seed: the seed is written to an 'address', not behind a pointer",
    ),
    ("{frames: 60}", "{frames: 60, file: a}", None),
    (
        "save1: 0x03000010",
        "save1: 0x08000000",
        "pointers.save1: 0x08000000 with 4 bytes is outside the console's RAM "
        "(0x02000000-0x0203FFFF and 0x03000000-0x03007FFF)",
    ),
    (
        "address: 0x02001000, type: u16, count: 6",
        "address: 0x0203FF00, type: u16, count: 6",
        "variables.hp.address: 0x0203FF00 with 502 bytes is outside the console's RAM "
        "(0x02000000-0x0203FFFF and 0x03000000-0x03007FFF)",
    ),
    (
        "address: 0x02001000",
        "address: '0x02001000'",
        "variables.hp.address: expected an address such as 0x02001000, found '0x02001000'",
    ),
    (
        "pointer: save2, offset: 0xAC",
        "pointer: save3, offset: 0xAC",
        None,
    ),
    (
        "type: s16}\n  y",
        "type: i16}\n  y",
        "variables.x.type: unknown 'i16'; the nearest valid one is 'u16'",
    ),
    (
        "x: {pointer: save1, offset: 0x0",
        "x: {pointer: save1, address: 0x02000000, offset: 0x0",
        "variables.x: give either 'address' or 'pointer' with 'offset'",
    ),
    (
        "facing: {address: 0x02037368",
        "facing: {address: 0x02037368, offset: 3",
        "variables.facing: 'offset' needs a 'pointer'",
    ),
    ("bit: 3", "bit: 8", "variables.badge.bit: expected a whole number from 0 to 7, found 8"),
    ("bit: 3", "bit: 3, mask: 1", "variables.badge: give either 'bit' or 'mask', not both"),
    (
        "offset: 0x2, type: s16",
        "offset: 0x2, type: s16, mask: 1",
        "variables.y: 'mask' needs an unsigned type; use u16",
    ),
    ("count: 6, stride: 100", "stride: 100", "variables.hp: 'stride' needs a 'count'"),
    (
        "type: u8, bit: 3",
        "type: u8, outside: 3",
        "variables.badge: 'outside' is only for a 'map'",
    ),
    (
        "x: x, y: y",
        "x: z, y: y",
        "variables.map.map.x: 'z' is not a variable declared above this one",
    ),
    (
        "x: x, y: y",
        "x: hp, y: y",
        "variables.map.map.x: 'hp' is an array; expected a single number",
    ),
    ("  facing:", "  2facing:", None),
    (
        "name: brave",
        "name: rich",
        "milestones.1: the milestone 'rich' is given twice",
    ),
    (
        '"money > 100"',
        '"money >> > 100"',
        "milestones.0.when: condition 'money >> > 100', column 10: invalid syntax; write it like "
        "'badge == 1 and money > 0'",
    ),
    (
        '"sum(hp) == 0"',
        '"x == 1 or sum(hq) == 0"',
        "failure: condition 'x == 1 or sum(hq) == 0', column 15: unknown variable 'hq'; the "
        "nearest one is 'hp'",
    ),
    ("success: 2.0", "success: yes", None),
]


@pytest.mark.parametrize("old, new, problem", MISTAKES, ids=[new.strip() for _, new, _ in MISTAKES])
def test_a_mistake_is_named_with_its_place_in_one_line(
    write: Write, old: str, new: str, problem: str | None
) -> None:
    folder = write(old, new)
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert "\n" not in str(error.value)
    file = folder / "game.yaml"
    told = re.fullmatch(rf"{re.escape(str(file))}(, line \d+)?: (.*)", str(error.value))
    assert told is not None
    if problem is not None:
        assert told[2] == problem


def test_a_mistake_is_named_with_the_line_of_its_key(write: Write) -> None:
    folder = write('"money > 100"', '"monney > 100"')
    lines = (folder / "game.yaml").read_text().splitlines()
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    line = next(i for i, text in enumerate(lines, 1) if "monney" in text)
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line {line}: milestones.0.when: condition 'monney > 100', column "
        "1: unknown variable 'monney'; the nearest one is 'money'"
    )


def test_text_that_is_no_yaml_is_refused_with_its_line(write: Write) -> None:
    folder = write("title: LITTLE", "title: [LITTLE")
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value).startswith(f"{folder / 'game.yaml'}, line 4: not valid YAML (")


def test_a_key_that_stands_twice_is_refused_with_its_line(write: Write) -> None:
    folder = write("  save2: 0x03000014", "  save1: 0x03000014")
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line 19: not valid YAML (the key 'save1' is given twice); fix it"
    )


def test_a_start_state_whose_file_is_missing_is_refused(write: Write) -> None:
    folder = write("file: town.state", "file: city.state")
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line 16: start_states.town: there is no save state "
        f"{folder / 'city.state'}"
    )


def test_the_right_rom_is_found(write: Write) -> None:
    game = load_game(write())
    assert find_rom(game) == game.folder / "little.gba"
    copy = game.folder / "other name.gba"
    copy.write_bytes(b"cartridge")
    assert find_rom(game, copy) == copy


def test_a_missing_rom_is_refused_with_the_hash_of_the_one_to_give(write: Write) -> None:
    game = load_game(write())
    (game.folder / "little.gba").unlink()
    with pytest.raises(PipelineError) as error:
        find_rom(game)
    assert str(error.value) == (
        f"{game.folder / 'little.gba'}: there is no ROM; give one with --rom FILE "
        f"(sha1 {game.rom_sha1})"
    )


def test_a_game_that_brings_no_rom_asks_for_one(write: Write) -> None:
    game = load_game(write("file: little.gba, ", ""))
    with pytest.raises(PipelineError) as error:
        find_rom(game)
    assert str(error.value) == (
        f"little: this game comes without a ROM; give your own with --rom FILE "
        f"(sha1 {game.rom_sha1})"
    )
