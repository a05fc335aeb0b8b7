"""Names, longer steps, parts of numbers, computed variables: what game.yaml says, and mistakes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.games.description import Badges, Maps, Party, Until
from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError

VALID = """format: 1
name: little
title: LITTLE
platform: gba
rom:
  sha1: "0000000000000000000000000000000000000000"
  title: LITTLE
  code: LTLE
  size: 4096
  relatives: {OTH: Other}
timing: {hold: 4, release: 6, release_random: [1, 9], until: {when: "busy == 0", frames: 60}}
max_steps: 1000
variables:
  busy: {address: 0x02000000, type: u8}
  place: {address: 0x02000001, type: u8}
  medals: {address: 0x02000002, type: u16, mask: 0x0F00, shift: 8}
  count: {address: 0x02000002, type: u16, mask: 0x0F00, ones: true}
  level: {address: 0x02000010, type: u8, count: 2, length: count}
  hp: {address: 0x02000020, type: u8, count: 2}
  long: {address: 0x02000020, type: u8, count: 3}
  small: {address: 0x02000030, type: s8}
  free: {when: "busy == 0 and place > 1"}
  map:
    type: u8
    map: {width: 0x03005DC0, height: 0x03005DC4, cells: 0x03005DC8, x: place, y: busy,
          columns: 3, rows: 3}
    mask: 0x0C00
    shift: 10
success: "free == 1"
reward: {new_map: 0.25}
names:
  maps: {variables: [place], when: "busy == 0", names: [[1, home], [2, away]]}
  badges: {variable: medals, bits: [One, Two]}
  party: {count: count, level: level, hp: hp, max_hp: hp}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def writer(old: str = "", new: str = "") -> Path:
        assert old in VALID
        (tmp_path / "game.yaml").write_text(VALID.replace(old, new, 1))
        return tmp_path

    return writer


def test_all_of_it_is_there(write: Write) -> None:
    game = load_game(write())
    assert game.timing.release_random == (1, 9)
    assert game.timing.until == Until("busy == 0", 60, 4)
    assert game.names.maps == Maps(("place",), {(1,): "home", (2,): "away"}, "busy == 0")
    assert game.names.badges == Badges("medals", ("One", "Two"))
    assert game.names.party == Party("count", "level", "hp", "hp")
    assert (game.reward.new_map, game.reward.milestone) == (0.25, 1.0)
    assert (game.rom_size, game.rom_relatives) == (4096, {"OTH": "Other"})
    variables = game.variables
    assert (variables["medals"].mask, variables["medals"].shift) == (0x0F00, 8)
    assert (variables["count"].ones, variables["level"].length) == (True, "count")
    assert (variables["free"].when, variables["free"].dtype.str) == (
        "busy == 0 and place > 1",
        "|u1",
    )
    assert (variables["map"].dtype.str, variables["map"].shape) == ("|u1", (3, 3))


MISTAKES = [
    ("{OTH: Other}", "{OTHE: Other}",
     "rom.relatives: 'OTHE' is not the first three letters of a cartridge's code"),
    ("[1, 9]", "[9, 1]", "timing.release_random: expected [lowest, highest], found [9, 1]"),
    ("[1, 9]", "[1, 2, 3]",
     "timing.release_random: expected [lowest, highest], found [1, 2, 3]"),
    ("frames: 60", "frames: 0",
     "timing.until.frames: expected a whole number from 1 to 10000, found 0"),
    ('until: {when: "busy == 0"', 'until: {when: "bussy == 0"',
     "timing.until.when: condition 'bussy == 0', column 1: unknown variable 'bussy'; the nearest "
     "one is 'busy'"),
    ("ones: true", "ones: 1", "variables.count.ones: expected true or false, found 1"),
    ("mask: 0x0F00, shift: 8", "bit: 3, shift: 8",
     "variables.medals: give either 'bit' or 'shift', not both"),
    ("shift: 8}", "shift: 16}",
     "variables.medals.shift: expected a whole number from 0 to 15, found 16"),
    ("type: s8}", "type: s8, ones: true}",
     "variables.small: 'ones' needs an unsigned type; use u8"),
    ("count: 2, length: count", "length: count", "variables.level: 'length' needs a 'count'"),
    ("length: count", "length: hp",
     "variables.level.length: 'hp' is not a variable declared above this one"),
    ('free: {when: "busy', 'free: {type: u8, when: "busy',
     "variables.free: 'type' cannot be used with 'when'"),
    ('place > 1"}', 'plaice > 1"}',
     "variables.free.when: condition 'busy == 0 and plaice > 1', column 15: unknown variable "
     "'plaice'; the nearest one is 'place'"),
    ('place > 1"}', 'map > 1"}', None),
    ("    mask: 0x0C00\n", "    mask: 0x1FFC00\n", None),
    ("    shift: 10\n", "    shift: 1\n",
     "variables.map: cells of a map have 16 bits; u8 holds no more than a byte"),
    ("variables: [place], when", "variables: [], when",
     "names.maps.variables: name at least one variable"),
    ("variables: [place], when", "variables: [plaice], when",
     "names.maps.variables.0: unknown variable 'plaice'; the nearest one is 'place'"),
    ("variables: [place], when", "variables: [hp], when",
     "names.maps.variables.0: 'hp' is an array; expected a single number"),
    ("[2, away]", "[2, 3, away]",
     "names.maps.names.1: expected [place, a name], found [2, 3, 'away']"),
    ("[2, away]", "[1, away]", "names.maps.names.1: the map 1 is listed twice"),
    ("[One, Two]", "[]", "names.badges.bits: expected 1 to 16 names, one a bit of 'medals'"),
    ("max_hp: hp", "max_hp: long",
     "names.party: level, hp and max_hp must be arrays of the same length"),
    ("max_hp: hp", "max_hp: busy",
     "names.party.max_hp: 'busy' is not an array; the party's values come as arrays"),
    ("  maps: {variables: [place], when: \"busy == 0\", names: [[1, home], [2, away]]}\n", "",
     "reward: 'new_map' needs the section names, key maps, to know what a map is"),
]  # fmt: skip


@pytest.mark.parametrize("old, new, problem", MISTAKES, ids=[new.strip() for _, new, _ in MISTAKES])
def test_a_mistake_is_named_with_its_place_in_one_line(
    write: Write, old: str, new: str, problem: str | None
) -> None:
    folder = write(old, new)
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    where, _, said = str(error.value).partition(": ")
    assert re.fullmatch(re.escape(str(folder / "game.yaml")) + r"(, line \d+)?", where)
    assert "\n" not in said
    if problem is not None:
        assert said == problem
