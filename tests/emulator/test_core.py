"""The mGBA core: deterministic, silent, whole in its states, and honest about what is missing."""

import hashlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.emulator.core import HEIGHT, KEY_BITS, WIDTH, Emulator
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError
from tests.bench.stock import StockConsole

ROOT = Path(__file__).parents[2]
QUEST = load_game("quest")


OPEN_AN_EMULATOR = """
import sys, pathlib
from pipeline.emulator.core import Emulator
from pipeline.system.errors import PipelineError
try:
    Emulator(pathlib.Path(sys.argv[1]))
except PipelineError as error:
    print(error)
"""


def keys_of(steps: int) -> list[int]:
    """Random buttons, arrows most of the time, so that much of the game is seen."""
    names = ["UP", "DOWN", "LEFT", "RIGHT"] * 3 + ["A"] * 4 + ["B", "START", "SELECT", "L", "R"]
    chosen = np.random.default_rng(7).choice(names, steps)
    return [KEY_BITS[name] for name in chosen.tolist()]


def fingerprint(screen: NDArray[np.uint8], ram: bytes) -> str:
    return hashlib.sha1(screen.tobytes() + ram).hexdigest()


def play(steps: int, rom: Path) -> list[str]:
    """Press random buttons, 10 frames each; a hash of the screen and the RAM after every step."""
    emulator = Emulator(rom, QUEST.rtc_ms)
    hashes = []
    for keys in keys_of(steps):
        emulator.step(keys, 4, 6)
        hashes.append(fingerprint(emulator.screen(), emulator.ewram[:] + emulator.iwram[:]))
    return hashes


@pytest.fixture(scope="module")
def thousand_steps() -> list[str]:
    return play(1000, find_rom(QUEST))


def test_10_000_frames_are_the_same_in_a_second_emulator(thousand_steps: list[str]) -> None:
    assert len(set(thousand_steps)) > 500  # the game did go on
    assert play(1000, find_rom(QUEST)) == thousand_steps


def test_10_000_frames_are_the_same_in_a_fresh_process(thousand_steps: list[str]) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(play, (1000, find_rom(QUEST))) == thousand_steps


def test_screen_and_ram_are_those_of_a_stock_mgba_that_draws_and_sounds_every_frame(
    thousand_steps: list[str],
) -> None:
    stock = StockConsole(find_rom(QUEST), QUEST.rtc_ms)
    step = stock.player(hold=4, release=6, skip=0)
    for keys, expected in zip(keys_of(1000), thousand_steps, strict=True):
        step(keys)
        assert fingerprint(stock.screen(), stock.ram()) == expected


def test_a_game_cannot_tell_that_its_sound_is_not_mixed(sounding: Path) -> None:
    """It sums up, thousands of times a frame, what it reads of sound, timer and DMA registers."""
    emulator, stock = Emulator(sounding), StockConsole(sounding, 0)
    step = stock.player(hold=4, release=6, skip=0)
    seen = set()
    for _ in range(30):
        emulator.step(0, 4, 6)
        step(0)
        assert emulator.ewram[:] + emulator.iwram[:] == stock.ram()
        seen.add(emulator.iwram[:4])
    assert len(seen) == 30


def test_a_state_plays_on_in_a_stock_mgba() -> None:
    emulator = Emulator(find_rom(QUEST), QUEST.rtc_ms)
    for keys in keys_of(100):
        emulator.step(keys, 4, 6)
    stock = StockConsole(find_rom(QUEST), QUEST.rtc_ms)
    stock.load_state(emulator.save_state())
    step = stock.player(hold=4, release=6, skip=0)
    for keys in keys_of(200)[100:]:
        emulator.step(keys, 4, 6)
        step(keys)
    assert np.array_equal(stock.screen(), emulator.screen())
    assert stock.ram() == emulator.ewram[:] + emulator.iwram[:]


def test_a_loaded_state_plays_on_as_the_first_time() -> None:
    rom = find_rom(QUEST)
    emulator, other = Emulator(rom), Emulator(rom)
    emulator.run(300)
    state, screen = emulator.save_state(), emulator.screen()

    def go_on(console: Emulator) -> bytes:
        for key in ("START", "A", "A", "RIGHT", "DOWN", "A"):
            console.step(KEY_BITS[key], 4, 6)
        return console.screen().tobytes() + console.ewram[:] + console.iwram[:]

    first = go_on(emulator)
    for console in (emulator, other):
        console.load_state(state)
        assert np.array_equal(console.screen(), screen)
        assert console.save_state() == state
        assert go_on(console) == first


def test_a_state_is_a_picture_that_shows_the_screen(tmp_path: Path) -> None:
    from PIL import Image

    emulator = Emulator(find_rom(QUEST))
    emulator.run(200)
    (tmp_path / "state.png").write_bytes(emulator.save_state())
    with Image.open(tmp_path / "state.png") as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), emulator.screen())


def test_the_screen_is_the_console_s_picture_without_the_fourth_byte() -> None:
    emulator = Emulator(find_rom(QUEST))
    emulator.run(200)
    pixels = emulator._pixels.view(np.uint8).reshape(HEIGHT, WIDTH, 4)
    screen = emulator.screen()
    assert np.array_equal(screen, pixels[..., :3])
    assert screen.flags.c_contiguous
    before = screen.copy()
    emulator.step(KEY_BITS["START"], 4, 60)
    assert np.array_equal(screen, before)  # a copy, not a view


def test_cartridge_save_memory_is_part_of_the_state_and_starts_empty(counting: Path) -> None:
    emulator = Emulator(counting)
    untouched = emulator.save_state()
    emulator.run(2)
    empty = emulator.save_state()
    emulator.run(1, KEY_BITS["A"])
    emulator.run(1)
    written, state = emulator.iwram[0], emulator.save_state()
    assert written != b"\xff"
    emulator.run(3, KEY_BITS["A"])
    for saved, expected in ((state, written), (empty, b"\xff"), (untouched, b"\xff")):
        emulator.run(3, KEY_BITS["A"])
        emulator.load_state(saved)
        emulator.run(1)
        assert emulator.iwram[0] == expected
    emulator.run(3, KEY_BITS["A"])
    emulator.reset()
    emulator.run(1)
    assert emulator.iwram[0] == b"\xff"


def test_no_file_appears_beside_the_rom(counting: Path) -> None:
    emulator = Emulator(counting)
    emulator.run(60, KEY_BITS["A"])
    assert [path.name for path in counting.parent.iterdir()] == ["counting.gba"]


def test_a_key_is_released_after_hold_frames_and_none_is_held_after_a_load(counting: Path) -> None:
    emulator = Emulator(counting)
    emulator.run(2)
    state = emulator.save_state()
    emulator.step(KEY_BITS["B"], 4, 6)
    assert emulator.iwram[0] == b"\xff"
    emulator.step(KEY_BITS["A"], 1, 0)
    emulator.load_state(state)
    emulator.run(3)
    assert emulator.iwram[0] == b"\xff"


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: b"",
        lambda state: b"not a state",
        lambda state: state[: len(state) // 2],
        lambda state: state[:400] + bytes([state[400] ^ 1]) + state[401:],
        lambda state: state[:8],
        lambda state: bytes(397_312),
    ],
)
def test_a_damaged_state_is_refused(standing: Path, damage, capfd) -> None:  # type: ignore[no-untyped-def]
    emulator = Emulator(standing)
    emulator.run(5)
    state = emulator.save_state()
    with pytest.raises(PipelineError) as error:
        emulator.load_state(damage(state))
    assert str(error.value) == (
        "the save state cannot be loaded: it is damaged or belongs to another cartridge; "
        "record it again with this ROM"
    )
    emulator.load_state(state)
    assert capfd.readouterr() == ("", "")


def test_a_state_of_another_cartridge_is_refused(standing: Path) -> None:
    emulator = Emulator(find_rom(QUEST))
    emulator.run(5)
    with pytest.raises(PipelineError, match="belongs to another cartridge"):
        Emulator(standing).load_state(emulator.save_state())


@pytest.mark.parametrize("content", [b"", b"no cartridge", None])
def test_what_is_no_cartridge_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "wrong.gba"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PipelineError) as error:
        Emulator(path)
    assert str(error.value) == (
        f"{path}: not a Game Boy Advance cartridge image; give a .gba file with --rom"
    )


def test_writing_reaches_both_blocks_of_ram_and_nothing_else(standing: Path) -> None:
    emulator = Emulator(standing)
    emulator.write(0x0203FFFC, 0x1_8765_4321, 4)
    emulator.write(0x03007FFF, 0xAB, 1)
    emulator.run(3)
    assert emulator.ewram[0x3FFFC:] == bytes.fromhex("21436587")
    assert emulator.iwram[0x7FFF] == b"\xab"
    for address in (0x0203FFFD, 0x01FFFFFF, 0x03007FFE, 0x08000000):
        with pytest.raises(ValueError, match=f"0x{address:08X} is outside the console's RAM"):
            emulator.write(address, 0, 4)


@pytest.mark.parametrize("first", ["torch", "mgba"])
def test_torch_and_the_emulator_live_in_one_process(first: str) -> None:
    """As shipped, mGBA's Python callbacks spin for ever where torch was imported first."""
    imports = ["import torch", "from pipeline.emulator.core import Emulator"]
    program = (
        "\n".join(imports if first == "torch" else imports[::-1]) + "\nimport sys, pathlib\n"
        "emulator = Emulator(pathlib.Path(sys.argv[1]))\n"
        "for _ in range(30): emulator.step(8, 4, 6)\n"
        "assert torch.ones(64, 64).mm(torch.ones(64, 64)).sum() == 64 ** 3\n"
        "emulator.step(8, 4, 6)\n"
        "print(emulator.screen().shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(find_rom(QUEST))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(160, 240, 3)\n", "")


def test_a_missing_system_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, standing: Path
) -> None:
    """The real loader misses a real library: a copy of mgba is linked to another name."""
    import mgba

    package = Path(mgba.__file__).parent
    shutil.copytree(package, tmp_path / "mgba")
    native = tmp_path / "mgba" / "_pylib.abi3.so"
    linked = native.read_bytes()
    assert b"libmgba.so.0.10\0" in linked
    native.write_bytes(linked.replace(b"libmgba.so.0.10\0", b"libmgba.so.0.1O\0"))
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AN_EMULATOR, str(standing)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == (
        "libmgba.so.0.1O: the emulator's system library is missing; run 'sudo apt-get install "
        "libmgba0.10' (on Debian 13, Ubuntu 24.04 and newer: libmgba0.10t64), or without root "
        "'pokemon-il setup'\n",
        "",
    )


def test_a_missing_python_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, standing: Path
) -> None:
    (tmp_path / "mgba").mkdir()
    (tmp_path / "mgba" / "__init__.py").write_text("")  # hides the package, has none of its parts
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AN_EMULATOR, str(standing)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.stderr) == (
        f"mgba: the emulator's Python package is not installed in {sys.prefix}; run "
        "'pokemon-il setup'\n",
        "",
    )


def test_importing_the_pipeline_loads_neither_the_emulator_nor_torch() -> None:
    program = "import pipeline, sys; print([m for m in ('mgba', 'torch') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert re.fullmatch(r"\[\]\n", done.stdout), done.stderr
