"""Three little cartridges, assembled here word by word, and a game.yaml for them.

``standing`` does nothing, so that whatever a test writes to its RAM stays there. ``counting`` adds
1 to a byte of its cartridge save memory again and again while A is held, and shows it in RAM.
``sounding`` plays on several sound channels and sums up in RAM what it reads of their registers.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

STANDING = [0xEAFFFFFE]  # b .
COUNTING = [
    0xE3A00301,  # mov r0, #0x04000000
    0xE3A0140E,  # mov r1, #0x0E000000  cartridge save memory
    0xE3A02403,  # mov r2, #0x03000000
    0xE5D13000,  # loop: ldrb r3, [r1]
    0xE5C23000,  # strb r3, [r2]
    0xE2805C01,  # add r5, r0, #0x100
    0xE1D543B0,  # ldrh r4, [r5, #0x30]  keys; a zero bit is a pressed one
    0xE3140001,  # tst r4, #1
    0x02833001,  # addeq r3, r3, #1
    0x05C13000,  # streqb r3, [r1]
    0xEAFFFFF7,  # b loop
]
# fmt: off
SOUNDING = [
    # r0: the registers, r1: those of the sound, r2: RAM
    0xE3A00301, 0xE3A02403, 0xE2801080,
    # sound on, every channel to both sides, FIFO A at timer 0's pace
    0xE3A03080, 0xE1C130B4, 0xE59F307C, 0xE1C130B0, 0xE59F3078, 0xE1C130B2,
    # DMA 1 feeds FIFO A with the ROM
    0xE28040BC, 0xE3A05302, 0xE5845000, 0xE28050A0, 0xE5845004, 0xE59F5060, 0xE5845008,
    # timer 0 overflows every 512 cycles; r6 = 0
    0xE2804C01, 0xE59F5058, 0xE5845000, 0xE3A06000,
    # loop: r6 = SOUNDCNT_X + (r6 ror 31); does the noise play?
    0xE1D038B4, 0xE0836FE6, 0xE3130008, 0x1A000003,
    # if not: noise anew, as fast and short as can be
    0xE59F3040, 0xE1C037B8, 0xE3A03903, 0xE1C037BC,
    # now and then: a square wave anew
    0xE3160003, 0x059F3030, 0x01C036B2, 0x03A03CC7, 0x01C036B4,
    # read DMA 1's register; store r6 at 0x03000000
    0xE59030BC, 0xE5826000,
    # r6 += timer 0; b loop
    0xE1D430B0, 0xE0866003, 0xEAFFFFED,
    # literals
    0x0000FF77, 0x00000B06, 0xB6400000, 0x0080FE00, 0x0000F13F, 0x0000F7BF,
]
# fmt: on

GAME_YAML = """
format: 1
name: standing
title: STANDING
platform: gba
rom: {file: game.gba, sha1: "%s"}
timing: {hold: 4, release: 6}
max_steps: 50
rtc: 2024-01-01T00:00:00Z
reset: {idle_frames: [0, 12], seed: {address: 0x0203FF00, type: u32}}
start_states:
  power_on: {frames: 3}
  later: {frames: 9}
pointers: {save1: 0x03000010, save2: 0x03000014}
variables:
  x: {pointer: save1, offset: 0, type: s16}
  y: {pointer: save1, offset: 2, type: s16}
  money: {pointer: save1, offset: 0x490, type: u32, xor: {pointer: save2, offset: 0xAC, type: u32}}
  has_partner: {pointer: save1, offset: 0x1270, type: u8, bit: 3}
  hp: {address: 0x02001000, type: u16, count: 6, stride: 100}
  badge: {address: 0x02000100, type: u8}
  lost: {address: 0x02000101, type: u8}
  game_seed: {address: 0x0203FF00, type: u32}
milestones:
  - {name: rich, when: "money > 100"}
  - {name: partner, when: "has_partner == 1 and hp[0] > 0"}
success: "badge == 1"
failure: "lost == 1"
reward: {milestone: 1.0, success: 10.0, failure: -5.0, step: -0.25}
"""


def write_cartridge(path: Path, words: list[int], title: bytes = b"TEST") -> Path:
    image = bytearray(4096)
    image[0:4] = (0xEA00002E).to_bytes(4, "little")  # b 0xC0
    image[0xA0 : 0xA0 + len(title)] = title
    image[0xB2] = 0x96
    code = b"".join(word.to_bytes(4, "little") for word in words)
    image[0xC0 : 0xC0 + len(code)] = code
    path.write_bytes(image)
    return path


@pytest.fixture
def standing(tmp_path: Path) -> Path:
    return write_cartridge(tmp_path / "standing.gba", STANDING)


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    return write_cartridge(tmp_path / "counting.gba", COUNTING)


@pytest.fixture
def sounding(tmp_path: Path) -> Path:
    return write_cartridge(tmp_path / "sounding.gba", SOUNDING)


@pytest.fixture
def make_game(tmp_path: Path) -> Callable[..., Path]:
    """Write a game's folder; ``changes`` are replacements in the text of its game.yaml."""

    def make(*changes: tuple[str, str], words: list[int] = STANDING) -> Path:
        folder = tmp_path / "game"
        folder.mkdir(exist_ok=True)
        rom = write_cartridge(folder / "game.gba", words)
        text = GAME_YAML % hashlib.sha1(rom.read_bytes()).hexdigest()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "game.yaml").write_text(text)
        return folder

    return make
