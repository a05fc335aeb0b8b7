"""A ROM that is not the one of the description is told what it is."""

import hashlib
from pathlib import Path

import pytest

from pipeline.emulator.env import GBAEnv
from pipeline.games.identity import expected_sha1, find_cartridge, find_rom
from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError
from tests.games.emerald.standin import cartridge

SHA1 = "f3ae088181bf583e55daf962a92bb46f4f1d07b7"
WHOLE = 16 << 20
RIGHT = f"give the right one with --rom FILE (sha1 {SHA1})"
OR_GO_ON = f"give the ROM with sha1 {SHA1} by --rom, or go on with this one by --unverified-rom"
EMERALD = load_game("emerald")


@pytest.mark.parametrize(
    "code, title, problem",
    [
        (b"BPEJ", b"POKEMON EMER", "code BPEJ is the Japanese edition of Pokemon Emerald, but "
         "emerald describes the American one (BPEE)"),
        (b"BPED", b"POKEMON EMER", "code BPED is the German edition of Pokemon Emerald, but "
         "emerald describes the American one (BPEE)"),
        (b"BPEX", b"POKEMON EMER", "code BPEX is the 'X' edition of Pokemon Emerald, but "
         "emerald describes the American one (BPEE)"),
        (b"AXVE", b"POKEMON RUBY", "this is Pokemon Ruby (code AXVE), not Pokemon Emerald (BPEE)"),
        (b"AXPE", b"POKEMON SAPP", "this is Pokemon Sapphire (code AXPE), not Pokemon Emerald "
         "(BPEE)"),
        (b"BPRE", b"POKEMON FIRE", "this is Pokemon FireRed (code BPRE), not Pokemon Emerald "
         "(BPEE)"),
        (b"BPGJ", b"POKEMON LEAF", "this is Pokemon LeafGreen (code BPGJ), not Pokemon Emerald "
         "(BPEE)"),
        (b"QSTE", b"QUEST", "this is 'QUEST' (code QSTE), not Pokemon Emerald (BPEE)"),
        (b"BPEE", b"POKEMON HACK", "code BPEE is that of Pokemon Emerald, but the title 'POKEMON "
         "HACK' is not 'POKEMON EMER': a changed game"),
    ],
)  # fmt: skip
def test_another_game_or_region_is_named_and_refused_in_any_case(
    tmp_path: Path, code: bytes, title: bytes, problem: str
) -> None:
    rom = cartridge(tmp_path / "other.gba", title, code)
    for unverified in (False, True):
        with pytest.raises(PipelineError) as error:
            find_cartridge(EMERALD, rom, unverified=unverified)
        assert str(error.value) == f"{rom}: {problem}; {RIGHT}"


@pytest.mark.parametrize(
    "revision, size, problem",
    [
        (0, 4096, f"4096 bytes, less than the {WHOLE} of the whole Pokemon Emerald: trimmed or cut "
         "off"),
        (0, WHOLE + 1, f"{WHOLE + 1} bytes, more than the {WHOLE} of Pokemon Emerald: a changed "
         "game, or overdumped"),
        (1, 4096, "revision 1 of Pokemon Emerald, but emerald describes revision 0"),
        (0, WHOLE, None),
    ],
)  # fmt: skip
def test_another_dump_is_refused_but_can_be_played_unverified_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], revision: int, size: int,
    problem: str | None,
) -> None:  # fmt: skip
    rom = cartridge(tmp_path / "other.gba", revision=revision, size=size)
    sha1 = hashlib.sha1(rom.read_bytes()).hexdigest()
    problem = problem or (
        f"title and code are those of Pokemon Emerald, but the sha1 is {sha1}, not {SHA1}: a "
        "changed game, or a damaged dump"
    )
    with pytest.raises(PipelineError) as error:
        find_rom(EMERALD, rom)
    assert str(error.value) == f"{rom}: {problem}; {OR_GO_ON}"
    game, path = find_cartridge(EMERALD, rom, unverified=True)
    assert (path, game.rom_sha1, game.variables) == (rom, sha1, EMERALD.variables)
    assert capsys.readouterr().err == (
        f"warning: {rom}: {problem}; its addresses may differ from those of emerald\n"
    )


@pytest.mark.parametrize(
    "magic, kind", [(b"PK\x03\x04", "zip"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07", "rar")]
)
def test_an_archive_is_to_be_unpacked(tmp_path: Path, magic: bytes, kind: str) -> None:
    rom = tmp_path / "emerald.zip"
    rom.write_bytes(magic + bytes(5000))
    with pytest.raises(PipelineError) as error:
        find_cartridge(EMERALD, rom, unverified=True)
    assert str(error.value) == f"{rom}: a {kind} archive; unpack it and give the ROM that is inside"


def test_what_is_no_cartridge_is_refused(tmp_path: Path) -> None:
    rom = tmp_path / "emerald.gba"
    rom.write_bytes(b"just a text" * 500)
    with pytest.raises(PipelineError) as error:
        find_cartridge(EMERALD, rom, unverified=True)
    assert str(error.value) == (
        f"{rom}: not a Game Boy Advance cartridge (byte 0x3 is 0x74, not 0xEA); give a .gb, .gbc "
        "or .gba file with --rom"
    )


def test_emerald_brings_no_rom_and_says_which_one_it_wants() -> None:
    with pytest.raises(PipelineError) as error:
        find_rom(EMERALD)
    assert str(error.value) == (
        f"emerald: this game comes without a ROM; give your own with --rom FILE (sha1 {SHA1})"
    )


def test_the_environment_asks_to_be_told_that_a_rom_may_be_another(rom: Path) -> None:
    with pytest.raises(PipelineError, match="trimmed or cut off"):
        GBAEnv("emerald", rom)
    env = GBAEnv("emerald", rom, unverified_rom=True)
    assert env.game.rom_sha1 == hashlib.sha1(rom.read_bytes()).hexdigest()


def test_shards_must_carry_the_hash_of_the_rom_in_use(rom: Path) -> None:
    assert expected_sha1(EMERALD) == expected_sha1(EMERALD, rom) == SHA1
    assert expected_sha1(EMERALD, unverified=True) is None
    played = hashlib.sha1(rom.read_bytes()).hexdigest()
    assert expected_sha1(EMERALD, rom, unverified=True) == played
