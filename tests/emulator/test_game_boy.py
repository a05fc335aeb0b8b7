"""Game Boy and Game Boy Color: screen, buttons, RAM with its banks, states, and clear refusals."""

from __future__ import annotations

import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.emulator.mgba_library import load_mgba
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.games.platforms import GB, GBA, GBC, PLATFORMS, Platform
from pipeline.system.errors import PipelineError
from tests.game_boy import GROUND, HELD, MARK, SEED, WON, X, Y, cartridge, make_game


def console(tmp_path: Path, platform: Platform, colour: int | None = None) -> Emulator:
    rom = tmp_path / f"mover{platform.suffix}"
    rom.write_bytes(
        cartridge(colour=(0xC0 if platform is GBC else 0) if colour is None else colour)
    )
    return Emulator(rom, platform=platform)


def at(emulator: Emulator, address: int) -> int:
    for block, data in zip(emulator.platform.blocks, emulator.ram, strict=True):
        if block.start <= address < block.end:
            return int.from_bytes(data[address - block.start : address - block.start + 1], "little")
    raise AssertionError(hex(address))


def keys_of(steps: int) -> list[int]:
    names = ["UP", "DOWN", "LEFT", "RIGHT", "A", "B", "START", "SELECT"]
    return [KEY_BITS[name] for name in np.random.default_rng(7).choice(names, steps).tolist()]


class Stock:
    """mGBA as it comes: every frame drawn, sound mixed."""

    def __init__(self, rom: Path) -> None:
        mgba = load_mgba()
        self._ffi = mgba.ffi
        self._wrapper = mgba.load_path(str(rom))
        self._image = mgba.Image(160, 144)
        self._wrapper.set_video_buffer(self._image)
        core = self._core = self._wrapper._core
        core.clearCoreCallbacks(core)
        self._wrapper.reset()
        self._gb = self._ffi.cast("struct GB *", core.board)

    def step(self, keys: int, hold: int, release: int) -> None:
        for frame in range(hold + release):
            self._core.setKeys(self._core, keys if frame < hold else 0)
            self._core.runFrame(self._core)

    def screen(self) -> NDArray[np.uint8]:
        pixels = np.frombuffer(self._ffi.buffer(self._image.buffer), np.uint8)
        return pixels.reshape(144, 160, 4)[..., :3].copy()

    def ram(self, size: int) -> bytes:
        wram = self._ffi.cast("uint8_t *", self._gb.memory.wram)
        return bytes(self._ffi.buffer(wram, size)) + bytes(
            self._ffi.buffer(self._gb.memory.hram, 0x7F)
        )


@pytest.mark.parametrize("platform", [GB, GBC])
def test_screen_and_ram_are_those_of_a_stock_mgba_that_draws_every_frame(
    tmp_path: Path, platform: Platform
) -> None:
    emulator = console(tmp_path, platform)
    stock = Stock(tmp_path / f"mover{platform.suffix}")
    screens = set()
    for keys in keys_of(200):
        emulator.step(keys, 2, 3)
        stock.step(keys, 2, 3)
        assert np.array_equal(emulator.screen(), stock.screen())
        banks = b"".join(block[:] for block in emulator.ram[2:])
        ours = emulator.ram[0][:] + banks + emulator.ram[1][:]
        assert ours == stock.ram(len(ours) - 0x7F)
        screens.add(emulator.screen().tobytes())
    assert len(screens) > 50  # the game did go on


@pytest.mark.parametrize("platform", [GB, GBC])
def test_a_reset_and_a_state_go_back_to_the_same_console(
    tmp_path: Path, platform: Platform
) -> None:
    emulator = console(tmp_path, platform)

    def play() -> list[bytes]:
        seen = []
        for keys in keys_of(40):
            emulator.step(keys, 2, 3)
            seen.append(emulator.screen().tobytes() + b"".join(block[:] for block in emulator.ram))
        return seen

    first = play()
    state, screen = emulator.save_state(), emulator.screen()
    after = play()
    emulator.reset()
    assert play() == first
    emulator.run(7)
    emulator.load_state(state)
    assert np.array_equal(emulator.screen(), screen)
    assert emulator.save_state() == state
    assert play() == after


def test_the_arrows_move_and_a_paints_the_background(tmp_path: Path) -> None:
    for platform in (GB, GBC):
        emulator = console(tmp_path, platform)
        emulator.run(8)
        places = []
        for name in ("RIGHT", "RIGHT", "DOWN", "LEFT", "UP", "B", "START"):
            emulator.step(KEY_BITS[name], 2, 2)
            places.append((at(emulator, X), at(emulator, Y)))
        assert places == [(6, 4), (7, 4), (7, 5), (6, 5), (6, 4), (6, 4), (6, 4)]
        before = emulator.screen()
        emulator.step(KEY_BITS["A"], 2, 2)
        assert (at(emulator, GROUND), at(emulator, HELD), at(emulator, WON)) == (0x42, 0, 0)
        assert (emulator.screen() != before).any(axis=2).mean() > 0.9
        emulator.write(SEED, 6, 1)
        emulator.step(KEY_BITS["A"], 2, 2)
        assert (at(emulator, MARK), at(emulator, WON)) == (6, 1)


def test_a_bank_of_the_colour_console_is_read_whichever_is_switched_to(tmp_path: Path) -> None:
    emulator = console(tmp_path, GBC)
    emulator.run(8)
    assert (at(emulator, 0x2D000), at(emulator, 0xD000) == 0xA5) == (0xA5, False)
    emulator.write(0x7DFFF, 9, 1)
    state = emulator.save_state()
    emulator.reset()
    emulator.load_state(state)
    assert at(emulator, 0x7DFFF) == 9
    with pytest.raises(ValueError, match="0x8D000 is outside the console's RAM"):
        emulator.write(0x8D000, 1, 1)
    grey = console(tmp_path, GB)
    grey.run(8)
    assert at(grey, 0xD000) == 0xA5  # it has no banks to switch


def test_a_cartridge_for_both_is_played_as_the_platform_says(tmp_path: Path) -> None:
    colours = {}
    for platform in (GB, GBC):
        emulator = console(tmp_path, platform, colour=0x80)
        emulator.run(30)
        pixels = emulator.screen().reshape(-1, 3)
        colours[platform.name] = int((pixels.min(axis=1) != pixels.max(axis=1)).sum())
    assert colours["gb"] == 0
    assert colours["gbc"] >= 64  # the red mark


def test_a_cartridge_with_a_frame_for_the_television_shows_none(tmp_path: Path) -> None:
    """A Super Game Boy's picture is 256 x 224, more than there is room for."""
    rom = tmp_path / "super.gb"
    rom.write_bytes(cartridge(header={0x146: 0x03, 0x14B: 0x33}))
    (tmp_path / "plain.gb").write_bytes(cartridge())
    both = [Emulator(tmp_path / name, platform=GB) for name in ("super.gb", "plain.gb")]
    for emulator in both:
        emulator.run(60)
    assert np.array_equal(both[0].screen(), both[1].screen())


def test_what_a_cartridge_saves_is_part_of_the_state_and_starts_empty(tmp_path: Path) -> None:
    rom = tmp_path / "saves.gb"
    rom.write_bytes(cartridge(header={0x147: 0x03, 0x149: 0x02}))  # 8 KiB with a battery
    emulator = Emulator(rom, platform=GB)
    core = emulator._core

    def saved() -> int:
        core.busWrite8(core, 0x0000, 0x0A)
        return int(core.busRead8(core, 0xA123))

    emulator.run(3)
    empty = emulator.save_state()
    assert saved() == 0xFF
    core.busWrite8(core, 0xA123, 77)
    state = emulator.save_state()
    emulator.load_state(empty)
    assert saved() == 0xFF
    emulator.load_state(state)
    assert saved() == 77
    emulator.reset()
    assert saved() == 0xFF
    assert [path.name for path in tmp_path.iterdir()] == ["saves.gb"]


@pytest.mark.parametrize(
    ("platform", "colour", "other"),
    [
        (GB, 0xC0, ", or write 'platform: gbc' in game.yaml"),
        (GBC, 0x00, ", or write 'platform: gb' in game.yaml"),
        (GBA, 0x80, ", or write 'platform: gbc' in game.yaml"),
    ],
)
def test_a_cartridge_of_another_console_is_refused(
    tmp_path: Path, platform: Platform, colour: int, other: str
) -> None:
    with pytest.raises(PipelineError) as error:
        console(tmp_path, platform, colour)
    assert str(error.value) == (
        f"{tmp_path}/mover{platform.suffix}: not a {platform.title} cartridge image; give a "
        f"{platform.suffix} file with --rom{other}"
    )


def test_a_state_of_another_console_or_game_is_refused(tmp_path: Path) -> None:
    states = [Emulator(find_rom(load_game("quest"))).save_state()]
    other = tmp_path / "other.gb"
    other.write_bytes(cartridge(title=b"OTHER"))
    states += [Emulator(other, platform=GB).save_state(), console(tmp_path, GBC).save_state()]
    emulator = console(tmp_path, GB)
    for state in states:
        with pytest.raises(PipelineError, match="belongs to another cartridge"):
            emulator.load_state(state)
    emulator.run(8)
    assert at(emulator, X) == 5


@pytest.mark.parametrize("platform", ["gb", "gbc"])
def test_the_environment_has_the_console_s_screen_and_buttons(
    tmp_path: Path, platform: str
) -> None:
    env = GBAEnv(make_game(tmp_path, platform))
    assert env.observation_space == Box(0, 255, (144, 160, 3), np.uint8)
    assert env.action_space == Discrete(8)
    assert env.game.buttons == ("A", "B", "START", "SELECT", "UP", "DOWN", "LEFT", "RIGHT")
    check_env(env, skip_render_check=True)
    frame, info = env.reset(seed=0xABC)
    assert frame.shape == (144, 160, 3)
    assert info["state"]["x"] == 5
    assert env.ram_crc32() == zlib.crc32(b"".join(block[:] for block in env.emulator.ram))
    info = env.step(7)[4]
    assert {k: info["state"][k] for k in ("x", "y", "mark", "won", "ground")} == {
        "x": 6, "y": 4, "mark": 0xC, "won": 0, "ground": 0,
    }  # fmt: skip


def test_a_pointer_of_a_game_boy_has_two_bytes(tmp_path: Path) -> None:
    folder = make_game(tmp_path)
    text = (folder / "game.yaml").read_text()
    added = "pointers: {hero: 0xC020}\nvariables:\n  far: {pointer: hero, offset: 3, type: u8}\n"
    (folder / "game.yaml").write_text(text.replace("variables:\n", added))
    env = GBAEnv(folder)
    env.reset(seed=1)
    env.emulator.write(0xC022, 0xFFFF, 2)  # what stands behind the pointer does not matter
    for target, expected in ((0xD100, 77), (0xFF90, 78), (0, 0), (0xFFFD, 0), (0xDFFE, 0)):
        env.emulator.write(0xC020, target, 2)
        if expected:
            env.emulator.write(target + 3, expected, 1)
        assert env._reader.read()["far"] == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("0xC001", "0xE001", "variables.y.address: 0xE001 with 1 bytes is outside the console's "
         "RAM (0xC000-0xDFFF and 0xFF80-0xFFFE)"),
        ("0xC001", "0x2D001", "variables.y.address: 0x2D001 with 1 bytes is outside the console's "
         "RAM (0xC000-0xDFFF and 0xFF80-0xFFFE)"),
        ("timing:", "buttons: [A, L]\ntiming:", "buttons: a Game Boy has no button L; leave it "
         "out"),
        ("  y: {address: 0xC001, type: u8}", "  y: {type: u16, map: {}}", "variables.y: a 'map' is "
         "read on a Game Boy Advance only; on a Game Boy give its cells as an array with 'count'"),
    ],
)  # fmt: skip
def test_what_a_game_boy_has_not_is_refused(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    folder = make_game(tmp_path)
    file = folder / "game.yaml"
    text = file.read_text().replace(old, new)
    file.write_text(text)
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    line = text[: text.index(new)].count("\n") + 1
    assert str(error.value) == f"{file}, line {line}: {expected}"


def test_every_platform_s_blocks_are_apart() -> None:
    for platform in PLATFORMS.values():
        ends = sorted((block.start, block.end) for block in platform.blocks)
        assert all(end <= start for (_, end), (start, _) in pairwise(ends))
