"""Which image is played, from where, and which save states are of it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.emulator.core import Emulator
from pipeline.emulator.stock import StockConsole
from pipeline.games.cartridge import read_cartridge
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.games.platforms import GB, GBA
from pipeline.games.states import check_state, with_note
from pipeline.games.template import write_game
from pipeline.search.checking import _of_code
from pipeline.system.errors import PipelineError
from tests.emulator.conftest import COUNTING, STANDING, write_cartridge
from tests.emulator.test_starting import raw_state
from tests.game_boy import cartridge

# r0 = 0x08000000 and r2 = 0x02020000; loop: the word at 0x08000200 goes to r2, that behind the
# end of the image to r2 + 4.
READER = [
    0xE3A00302, 0xE3A02402, 0xE2822802, 0xE5901200, 0xE5821000, 0xE2803C21, 0xE5933004, 0xE5823004,
    0xEAFFFFF9,
]  # fmt: skip


def second_entry(path: Path) -> Path:
    """A small image with a second entry at 0xC0, which mGBA takes for multiboot."""
    image = bytearray(write_cartridge(path, [0xEA000016]).read_bytes())  # at 0xC0: b 0x120
    image[0:4] = (0xEA000046).to_bytes(4, "little")  # b 0x120
    code = b"".join(word.to_bytes(4, "little") for word in READER)
    image[0x120 : 0x120 + len(code)] = code
    image[0x200:0x204] = (0x0BADF00D).to_bytes(4, "little")
    path.write_bytes(image)
    return path


def test_a_small_image_with_a_second_entry_is_played_as_a_cartridge(tmp_path: Path) -> None:
    rom = second_entry(tmp_path / "second.gba")
    emulator, stock = Emulator(rom), StockConsole(rom, 0)
    for console in (emulator, stock):
        console.step(0, 4, 6)
    assert int.from_bytes(emulator.ewram[0x20000:0x20004], "little") == 0x0BADF00D
    assert emulator.program_counter() >> 24 == 8
    assert emulator.ewram[:] + emulator.iwram[:] == stock.ram()
    # Behind its end it reads what any cartridge reads there: the number of the half-word.
    assert int.from_bytes(emulator.ewram[0x20004:0x20008], "little") == 0x10831082
    assert read_cartridge(rom).size == 4096
    state = emulator.save_state()
    assert check_state(state, rom, GBA) is None
    emulator.load_state(state)


@pytest.mark.parametrize("more", [b"", b"abc"])
def test_behind_its_end_a_filled_up_image_reads_as_any_other(tmp_path: Path, more: bytes) -> None:
    """The measure: an image of the same size that mGBA takes for a cartridge by itself."""
    plain, second = tmp_path / "plain.gba", second_entry(tmp_path / "second.gba")
    plain.write_bytes(write_cartridge(plain, COUNTING).read_bytes() + more)
    second.write_bytes(second.read_bytes() + more)
    consoles = [Emulator(plain), Emulator(second)]
    assert [console._core.romSize(console._core) for console in consoles] == [
        4096 + len(more),
        0x60000 if more else 0x80000,
    ]
    for at in (0x1004, 0x3002, 0x5FFFE, 0x60000, 0x7FFFE, 0x80000, 0x1FFFFFE):
        values = {console._core.busRead16(console._core, 0x08000000 + at) for console in consoles}
        assert values == {0 if more else (at >> 1) & 0xFFFF}, hex(at)


def test_code_in_the_wrong_place_is_told() -> None:
    rom, idle, ram = 0x08000124, 0x000001C8, 0x02000124
    assert list(_of_code(GBA, [rom, ram, 0x03000010, idle])) == []
    assert list(_of_code(GBA, [idle, idle])) == []
    assert list(_of_code(GB, [0xFFFF])) == []
    assert list(_of_code(GBA, [ram, idle])) == [
        "the game runs in RAM (at 0x02000124) and was never seen in the cartridge at 0x08000000: "
        "an image for multiboot?"
    ]
    assert list(_of_code(GBA, [rom, 0x2FED2940])) == [
        "the processor is at 0x2FED2940, where no code can lie: the game has crashed"
    ]


IN_RAM = [
    0xE3A00402,  # mov r0, #0x02000000
    0xE59F1008,  # ldr r1, the last word
    0xE5801000,  # str r1, [r0]
    0xE12FFF10,  # bx r0: on in RAM, and never back
    0x00000000,
    0xEAFFFFFE,  # b itself
]


def test_game_check_tells_where_the_code_runs(
    make_game: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_game(words=IN_RAM)
    main(["game", "check", "--game", str(folder), "--steps", "3", "--stock", "0", "--json"])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["warnings"]
    assert any(line.startswith("the game runs in RAM (at 0x02000000) and was ") for line in told)


@pytest.mark.parametrize(
    ("name", "changes", "line"),
    [
        ("a.gba", {3: 0}, "not a Game Boy Advance cartridge (byte 0x3 is 0x00, not 0xEA)"),
        ("a.gba", {0xB2: 0x69}, "not a Game Boy Advance cartridge (byte 0xB2 is 0x69, not 0x96)"),
        ("a.gb", {}, "not a Game Boy cartridge (byte 0x104 is 0x00, not 0xCE)"),
        ("a.gbc", {0x104: 0xCE, 0x105: 0xED, 0x106: 0x67},
         "not a Game Boy cartridge (byte 0x106 is 0x67, not 0x66)"),
        ("a.bin", {0xB2: 0}, "no cartridge of a Game Boy, Game Boy Color or Game Boy Advance (as "
         "a Game Boy's: byte 0x104 is 0x00, not 0xCE; as a Game Boy Advance's: byte 0xB2 is 0x00, "
         "not 0x96)"),
    ],
)  # fmt: skip
def test_a_refused_header_names_the_byte(
    tmp_path: Path, name: str, changes: dict[int, int], line: str
) -> None:
    image = bytearray(write_cartridge(tmp_path / name, []).read_bytes())
    if name != "a.gba":
        image[0xB2] = 0
    for at, value in changes.items():
        image[at] = value
    (tmp_path / name).write_bytes(image)
    with pytest.raises(PipelineError) as error:
        read_cartridge(tmp_path / name)
    assert str(error.value) == (
        f"{tmp_path / name}: {line}; give a .gb, .gbc or .gba file with --rom"
    )


@pytest.mark.parametrize(("name", "size", "end"), [("a.gba", 0xBF, "0xC0"), ("a.gb", 9, "0x150")])
def test_a_header_that_is_cut_off_says_how_long_it_is(
    tmp_path: Path, name: str, size: int, end: str
) -> None:
    (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(PipelineError) as error:
        read_cartridge(tmp_path / name)
    assert f"cartridge ({size} bytes, but a header ends at {end})" in str(error.value)


def test_a_state_of_another_game_with_a_blank_header_is_refused(tmp_path: Path) -> None:
    """The emulator itself takes it: the header says the same of both."""
    ours = write_cartridge(tmp_path / "ours.gba", STANDING, title=b"")
    other = write_cartridge(tmp_path / "other.gba", COUNTING, title=b"")
    emulator = Emulator(other)
    emulator.run(3)
    crcs = [zlib.crc32(path.read_bytes()) for path in (other, ours)]
    line = (
        f"a save state of another cartridge (CRC32 {crcs[0]:08x}, not {{:08x}}; title and code "
        "are blank in both); make one with this cartridge"
    )
    for state in (raw_state(emulator), emulator.save_state()):
        with pytest.raises(PipelineError) as error:
            check_state(state, ours, GBA)
        assert str(error.value) == line.format(crcs[1])
        with pytest.raises(PipelineError) as error:
            Emulator(ours).load_state(state)
        assert str(error.value) == line.format(crcs[1])


def test_a_state_that_notes_another_rom_is_told(tmp_path: Path) -> None:
    rom = write_cartridge(tmp_path / "a.gba", COUNTING)
    sha1 = read_cartridge(rom).sha1
    state = Emulator(rom).save_state()
    assert check_state(with_note(state, f'{{"rom_sha1": "{sha1}"}}'), rom, GBA) is None
    assert check_state(with_note(state, f'{{"rom_sha1": "{"0" * 40}"}}'), rom, GBA) == (
        f"made with another image of this cartridge (sha1 {'0' * 40}, not {sha1}): another edition "
        "or a changed game, which may not continue correctly"
    )


def looks(emulator: Emulator) -> tuple[object, ...]:
    """All that a refused state must leave as it was."""
    return (
        emulator.screen().tobytes(),
        raw_state(emulator),
        emulator._saved(),
        (emulator._core.rtc.override, emulator._core.rtc.value),
        [bytes(block) for block in emulator.ram],
    )


def test_a_refused_png_state_leaves_everything_as_it_was(tmp_path: Path) -> None:
    rom = write_cartridge(tmp_path / "counting.gba", COUNTING)
    other = write_cartridge(tmp_path / "other.gba", COUNTING, title=b"OTHER")
    boy = tmp_path / "boy.gb"
    boy.write_bytes(cartridge())
    strangers = [Emulator(other), Emulator(boy, platform=GB)]
    for stranger in strangers:
        stranger.run(9, keys=1)
    emulator = Emulator(rom, rtc_ms=1_704_067_200_000)
    emulator.run(4, keys=1)
    emulator._pixels[:] = np.arange(len(emulator._pixels), dtype=np.uint32)  # a picture to lose
    own = emulator.save_state()
    states = [stranger.save_state() for stranger in strangers]
    states += [own[:-20], own[:400] + b"?" + own[401:], refused_by_mgba(own)]
    before = looks(emulator)
    assert before[2]
    for state in states:
        with pytest.raises(PipelineError, match="the save state cannot be loaded"):
            emulator.load_state(state)
        assert looks(emulator) == before
    emulator.load_state(own)


def refused_by_mgba(png: bytes) -> bytes:
    """The state with a processor that is billions of cycles late, and another picture and save."""
    at = png.index(b"gbAs")
    length = int.from_bytes(png[at - 4 : at], "big")
    raw = bytearray(zlib.decompress(png[at + 4 : at + 4 + length]))
    raw[0x68:0x6C] = b"\xff\xff\xff\xff"  # cycles, negative
    data = zlib.compress(bytes(raw))
    chunk = len(data).to_bytes(4, "big") + b"gbAs" + data
    chunk += zlib.crc32(b"gbAs" + data).to_bytes(4, "big")
    return png[: at - 4] + chunk + png[at + 8 + length :]


def test_another_rom_is_not_played_where_blank_titles_alone_agree(tmp_path: Path) -> None:
    ours = write_cartridge(tmp_path / "ours.gba", COUNTING, title=b"")
    other = write_cartridge(tmp_path / "other.gba", STANDING, title=b"")
    write_game("mine", ours, tmp_path / "mine")
    game = load_game(tmp_path / "mine")
    assert (game.rom_title, game.rom_code) == ("", None)
    for unverified in (False, True):
        with pytest.raises(PipelineError) as error:
            find_cartridge(game, other, unverified=unverified)
        assert str(error.value) == (
            f"{other}: this ROM has sha1 {read_cartridge(other).sha1}, but mine needs "
            f"{read_cartridge(ours).sha1}; give the right one with --rom FILE"
        )
