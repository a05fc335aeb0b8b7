"""A little Game Boy cartridge of our own, put together here byte by byte, and a game.yaml for it.

MOVER shows two squares: a black one that the arrows move over 16 x 16 places, and a mark in the
column that the seed says. A changes the background, and wins where both stand in one column.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

# RAM: x, y, background, keys held, mark, won, and where the seed is written.
X, Y, GROUND, HELD, MARK, WON, SEED = (0xC000 + i for i in (0, 1, 2, 3, 4, 5, 0x10))

_SET_UP = """
    F3 31 FE FF                       di; ld sp, FFFE
    F0 44 FE 90 20 FA                 wait for line 144
    AF E0 40                          screen off
    21 00 98 06 00 22 05 20 FC        two of four pages of the background: tile 0
    06 00 22 05 20 FC
    06 00 22 05 20 FC
    06 00 22 05 20 FC
    21 00 FE 06 A0 22 05 20 FC        no sprites
    21 00 80 06 10 22 05 20 FC        tile 0 is empty
    06 10 3E FF 22 05 20 FC           tile 1 is full
    3E E4 E0 48 3E 54 E0 49           shades of the sprites: black, and grey for the mark
    3E 80 E0 6A AF 06 08 E0 6B 05 20 FB   the same with colours: black
    06 08 3E 1F E0 6B AF E0 6B 05 20 F6   and red
    3E 05 EA 00 C0 3E 04 EA 01 C0     x = 5, y = 4
    AF EA 02 C0 EA 03 C0 EA 05 C0 E0 80
    3E 02 E0 70 3E A5 EA 00 D0        A5 at D000 in bank 2, where there are banks
    3E 01 E0 70
    3E 93 E0 40                       screen on, with sprites
"""
_LOOP = """
    F0 44 FE 90 28 FA                 wait for the next line 144
    F0 44 FE 90 20 FA
    F0 80 3C E0 80                    count frames at FF80
    3E 20 E0 00 F0 00 F0 00 2F E6 0F CB 37 47     arrows: RIGHT 10, LEFT 20, UP 40, DOWN 80
    3E 10 E0 00 F0 00 F0 00 2F E6 0F B0 4F        others: A 1, B 2, SELECT 4, START 8
    FA 03 C0 2F A1 47 79 EA 03 C0     b = the keys that were not down before
"""
_DRAW = """
    FA 10 C0 E6 0F EA 04 C0           mark = seed & 15
    21 00 FE                          two sprites: line, column, tile, palette
    FA 01 C0 87 87 87 C6 10 22 FA 00 C0 87 87 87 C6 08 22 3E 01 22 AF 22
    3E 90 22 FA 04 C0 87 87 87 C6 08 22 3E 01 22 3E 11 22
    FA 02 C0 4F EE E4 E0 47           background: a shade
    3E 81 E0 68 79 EE 7F E0 69        or a colour
    CB 40 28 17                       A pressed?
    FA 02 C0 EE 42 EA 02 C0           another background
    FA 00 C0 4F FA 04 C0 B9 20 05     in the mark's column?
    3E 01 EA 05 C0                    won
"""


def _bytes(listing: str) -> bytes:
    """The bytes of a listing: two hexadecimal digits each, before four blanks and a comment."""
    lines = (line.strip().split("   ")[0] for line in listing.strip().splitlines())
    return b"".join(bytes.fromhex(line) for line in lines)


def _move(bit: int, place: int, step: str) -> bytes:
    """If key ``bit`` was pressed: a place in RAM goes one up (3C) or down (3D), modulo 16."""
    low = f"{place & 0xFF:02X}"
    return _bytes(f"CB {0x40 + 8 * bit:02X} 28 09 FA {low} C0 {step} E6 0F EA {low} C0")


def cartridge(
    *, colour: int = 0, title: bytes = b"MOVER", header: dict[int, int] | None = None
) -> bytes:
    """The image, 32 KiB; ``colour`` is 0, 0x80 (has colours too) or 0xC0 (has nothing else).

    ``header`` are other bytes of the header, by their place.
    """
    loop = _bytes(_LOOP)
    for bit, place, step in ((4, X, "3C"), (5, X, "3D"), (6, Y, "3D"), (7, Y, "3C")):
        loop += _move(bit, place, step)
    loop += _bytes(_DRAW)
    set_up = _bytes(_SET_UP)
    back = 0x150 + len(set_up)
    code = set_up + loop + b"\xc3" + back.to_bytes(2, "little")  # jp
    image = bytearray(0x8000)
    image[0x100:0x104] = b"\x00\xc3\x50\x01"  # nop; jp 0150
    image[0x104:0x108] = bytes.fromhex("CEED6666")  # the little of a logo by which mGBA knows it
    image[0x134 : 0x134 + len(title)] = title
    for place, value in {**(header or {}), 0x143: colour}.items():
        image[place] = value
    image[0x14D] = (-sum(image[0x134:0x14D]) - 25) & 0xFF
    image[0x150 : 0x150 + len(code)] = code
    return bytes(image)


GAME_YAML = """
format: 1
name: mover
title: MOVER
platform: %s
rom: {file: mover%s, sha1: "%s", title: MOVER}
timing: {hold: 2, release: 2}
max_steps: 60
reset: {idle_frames: [0, 5], seed: {address: 0xC010, type: u8}}
start_states: {power_on: {frames: 8}}
variables:
  x: {address: 0xC000, type: u8}
  y: {address: 0xC001, type: u8}
  ground: {address: 0xC002, type: u8, bit: 6}
  mark: {address: 0xC004, type: u8}
  won: {address: 0xC005, type: u8}
  frames: {address: 0xFF80, type: u8}
milestones:
  - {name: there, when: "x == mark"}
  - {name: won, when: "won == 1"}
success: "won == 1"
"""
EXPERT = """
def act(state):
    if state["x"] == state["mark"]:
        return "A"
    return "RIGHT" if state["x"] < state["mark"] else "LEFT"
"""


def make_game(folder: Path, platform: str = "gb") -> Path:
    """A folder with the cartridge, its game.yaml and an expert."""
    folder.mkdir(parents=True, exist_ok=True)
    image = cartridge(colour=0 if platform == "gb" else 0xC0)
    (folder / f"mover.{platform}").write_bytes(image)
    text = GAME_YAML % (platform, f".{platform}", hashlib.sha1(image).hexdigest())
    (folder / "game.yaml").write_text(text)
    (folder / "expert.py").write_text(EXPERT)
    return folder
