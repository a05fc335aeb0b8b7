"""What is given for a save: packed, filled up, or of another emulator; taken, or named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipeline.games.containers import LARGEST
from pipeline.games.platforms import GB, GBA, Platform
from pipeline.games.states import check_save, read_file, read_origin
from pipeline.system.errors import PipelineError
from tests.emulator.conftest import STANDING, write_cartridge
from tests.game_boy import cartridge

SAVE = bytes(range(256)) * 128


@pytest.fixture
def sram(tmp_path: Path) -> Path:
    """A cartridge with 32 KiB of save memory."""
    rom = write_cartridge(tmp_path / "sram.gba", STANDING)
    image = rom.read_bytes()
    rom.write_bytes(image[:0x300] + b"SRAM_V113\0\0\0" + image[0x30C:])
    return rom


def test_a_gzip_file_is_its_content(tmp_path: Path) -> None:
    file = tmp_path / "a.state"
    file.write_bytes(gzip.compress(SAVE))
    assert read_file(file) == SAVE
    for content, line in (
        (gzip.compress(SAVE)[:-9], "a gzip file that is cut off or damaged; copy it again"),
        (b"\x1f\x8b and so on", "a gzip file that is cut off or damaged; copy it again"),
        (gzip.compress(bytes(LARGEST + 1)), "a gzip file of more than 16 MiB; that is neither a "
         "save state nor an in-game save"),
    ):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(PipelineError) as error:
            read_file(file)
        assert str(error.value) == f"{file}: {line}"


FOREIGN = [
    (b"PK\x03\x04", "a zip archive; unpack it and give the file that is inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and give the file that is inside"),
    (b"\xfd7zXZ\0", "a xz archive; unpack it and give the file that is inside"),
    (b"RASTATE\x01MEM ", "a save state of RetroArch; save one in mGBA"),
    (b"#RZIPv\x01#", "a compressed file of RetroArch; save one in mGBA"),
    (b"\r\0\0\0SharkPortSave", "a GameShark save (.sps, .xps); save one in mGBA"),
    (b"ADVSAVEG", "a GameShark save (.gsv); save one in mGBA"),
    (b"NocashGbaBackupMediaSavDataFile", "a save of NO$GBA; save one in mGBA"),
    (b"\x0a\0\0\0POKEMON EMERBPEE", "a save state of VisualBoyAdvance; save one in mGBA"),
]


@pytest.mark.parametrize(("begins", "line"), FOREIGN)
def test_a_file_of_another_program_is_named(begins: bytes, line: str, sram: Path) -> None:
    data = begins + bytes(range(200))
    for look in (lambda: read_origin(data), lambda: check_save(data, sram, GBA)):
        with pytest.raises(PipelineError) as error:
            look()
        assert str(error.value) == line


def test_a_cartridge_and_a_state_of_a_game_boy_emulator_are_named(sram: Path) -> None:
    for data, line in (
        (sram.read_bytes(), "a Game Boy Advance cartridge; save a state in mGBA while it plays"),
        (b"?" * 99 + b"BESS", "a save state of SameBoy or another emulator that ends in BESS; save "
         "one in mGBA"),
    ):  # fmt: skip
        with pytest.raises(PipelineError) as error:
            read_origin(data)
        assert str(error.value) == line


@pytest.mark.parametrize("total", [0x8000, 0x10000, 0x20000])
@pytest.mark.parametrize("clock", [0, 16])
@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_a_save_that_was_filled_up_is_the_same_save(
    sram: Path, total: int, clock: int, fill: int
) -> None:
    filled = SAVE + bytes([fill]) * (total - len(SAVE)) + bytes(range(clock))
    assert check_save(filled, sram, GBA) == SAVE


@pytest.mark.parametrize(("size", "platform"), [(0x2000, GB), (0x8000, GBA)])
def test_a_larger_save_of_another_game_is_not_cut(
    size: int, platform: Platform, sram: Path, tmp_path: Path
) -> None:
    rom = sram
    if platform is GB:
        rom = tmp_path / "a.gb"
        rom.write_bytes(cartridge(header={0x147: 0x03, 0x149: 0x02}))
        assert check_save(SAVE[:size] + b"\xff" * 0x6000 + bytes(48), rom, GB) == SAVE[:size]
    for tail in (b"\xff" * 0x7FFF + b"x", b"\xff" * 0x4000 + bytes(0x4000)):
        save = (SAVE * 2)[:size] + tail[-(0x10000 - size) :]
        save += b"\xff" * (0x10000 - len(save)) if size + len(tail) < 0x10000 else b""
        save = save[:-1] + b"x"
        with pytest.raises(PipelineError) as error:
            check_save(save, rom, platform)
        assert str(error.value) == (
            f"65536 bytes, but this cartridge's save memory has {size}; give the .sav file of this "
            "game, unpacked"
        )
