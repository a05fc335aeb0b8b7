"""The default game's cartridge image comes from its sources, byte for byte."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game

QUEST = Path(__file__).resolve().parents[2] / "pipeline" / "games" / "quest"


@pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="gcc-arm-none-eabi is not installed"
)
def test_the_rom_is_rebuilt_byte_for_byte(tmp_path):
    rebuilt = tmp_path / "quest.gba"
    command = ["make", "-s", "-C", QUEST / "source", f"OUT={rebuilt}", f"BUILD={tmp_path / 'o'}"]
    subprocess.run(command, check=True)
    assert rebuilt.read_bytes() == (QUEST / "quest.gba").read_bytes()


def test_the_art_and_the_experts_maps_are_written_again_alike(tmp_path):
    copy = tmp_path / "quest"
    shutil.copytree(QUEST, copy, ignore=shutil.ignore_patterns("build", "__pycache__"))
    (copy / "source" / "art.c").unlink()
    subprocess.run([sys.executable, "-m", "source.build_assets"], cwd=copy, check=True)
    for name in ("source/art.c", "source/art.h", "expert.py"):
        assert (copy / name).read_bytes() == (QUEST / name).read_bytes(), name


def test_the_rom_is_small_and_the_one_that_game_yaml_names():
    game = load_game("quest")
    rom = find_rom(game, None).read_bytes()
    assert hashlib.sha1(rom).hexdigest() == game.rom_sha1
    assert len(rom) < 256 * 1024


def test_the_header_is_one_that_the_console_accepts():
    rom = (QUEST / "quest.gba").read_bytes()
    assert (rom[3], rom[0xB2]) == (0xEA, 0x96)
    assert rom[0xA0:0xB0] == b"QUEST\0\0\0\0\0\0\0QSTE"
    assert rom[0xBD] == -(sum(rom[0xA0:0xBD]) + 0x19) & 0xFF
