"""A game beside a stock mGBA: identical, or the first step that differs, and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.emulator.core import Emulator
from pipeline.emulator.stock import Comparison, StockConsole, compare_with_stock
from pipeline.games.cartridge import read_cartridge
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.games.platforms import GB
from pipeline.search import checking
from pipeline.system.errors import PipelineError
from tests.emulator.conftest import SOUNDING
from tests.emulator.test_clock import write_clock
from tests.game_boy import cartridge
from tests.game_boy import make_game as make_boy

MakeGame = Callable[..., Path]


@pytest.mark.parametrize("sound", [False, True])
def test_a_sounding_game_is_that_of_a_stock_mgba(make_game: MakeGame, sound: bool) -> None:
    game = load_game(make_game(words=SOUNDING))
    emulator = Emulator(find_rom(game), game.rtc_ms, sound=sound)
    emulator.run(3)
    state = emulator.save_state()
    assert compare_with_stock(game, find_rom(game), emulator, state, 30) == Comparison(30)


def test_a_loaded_state_does_not_depend_on_what_was_played_before(sounding: Path) -> None:
    """A state of mGBA holds a part of the sound channels; the game sums up what it reads there."""
    played, fresh = Emulator(sounding), Emulator(sounding)
    played.run(3)
    state = played.save_state()
    played.run(50)
    seen = []
    for emulator in (played, fresh, played):
        emulator.load_state(state)
        emulator.run(30)
        seen.append(emulator.ewram[:] + emulator.iwram[:])
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize("reset", [False, True])
def test_the_same_holds_of_a_game_boy(tmp_path: Path, reset: bool) -> None:
    rom = tmp_path / "a.gb"
    rom.write_bytes(cartridge())
    played, fresh = Emulator(rom, platform=GB), Emulator(rom, platform=GB)
    state = fresh.save_state()
    for register, value in ((0x26, 0x80), (0x10, 0x17), (0x11, 0xBF), (0x12, 0xF3), (0x14, 0xC7)):
        played._core.busWrite8(played._core, 0xFF00 + register, value)
    played.run(9)
    channels = []
    for emulator in (played, fresh):
        if reset:
            emulator.reset()
        else:
            emulator.load_state(state)
        board: Any = emulator._board
        channels.append([bytes(part) for part in board._channels._parts])
    assert channels[0] == channels[1]


def test_with_sound_it_is_mixed_and_without_it_is_not(sounding: Path) -> None:
    waiting = []
    for sound in (False, True):
        emulator = Emulator(sounding, sound=sound)
        for _ in range(3):
            emulator.step(0, 4, 6)
            emulator.load_state(emulator.save_state())
        board: Any = emulator._board
        event = emulator._ffi.addressof(board._audio, "sampleEvent")
        timing = emulator._ffi.addressof(board._gba, "timing")
        waiting.append(bool(emulator._lib.mTimingIsScheduled(timing, event)))
    assert waiting == [False, True]


def test_sound_is_written_in_game_yaml(make_game: MakeGame) -> None:
    assert not load_game(make_game()).sound
    assert load_game(make_game(("max_steps: 50", "max_steps: 50\nsound: true"))).sound
    folder = make_game(("max_steps: 50", "max_steps: 50\nsound: 1"))
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line 9: sound: expected true or false, found 1"
    )


def test_the_first_step_that_differs_is_told(tmp_path: Path, make_game: MakeGame) -> None:
    """Two consoles whose clocks differ stand for a game that can tell them apart."""
    game = load_game(make_game())
    rom = write_clock(tmp_path / "clock.gba")
    emulator = Emulator(rom, game.rtc_ms + 1000)
    state = emulator.save_state()
    found = compare_with_stock(game, rom, emulator, state, 30)
    assert (found.what, found.first) == (("RAM",), 0)
    assert str(found) == "RAM differ from a stock mGBA's at step 0"
    same = Emulator(rom, game.rtc_ms)
    assert compare_with_stock(game, rom, same, state, 30) == Comparison(30)


def test_game_check_compares_and_advises(
    make_game: MakeGame, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_game()
    write_clock(folder / "game.gba")
    text = (folder / "game.yaml").read_text()
    old = load_game(folder).rom_sha1
    sha1 = read_cartridge(folder / "game.gba").sha1
    (folder / "game.yaml").write_text(text.replace(old, sha1))
    words = ["game", "check", "--game", str(folder), "--steps", "3", "--stock", "20", "--json"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "identical to a stock mGBA's over 20 steps (frames and RAM)\n" in printed
    assert json.loads(printed.splitlines()[-1])["stock"] == {
        "steps": 20, "identical": True, "first": None, "differ": [],
    }  # fmt: skip

    class OtherClock(StockConsole):
        """Plays on with the clock of the day after."""

        def _set_clock(self) -> None:
            self._core.rtc.override, self._core.rtc.value = 1, self._rtc_ms + 86_400_000

    monkeypatch.setattr("pipeline.emulator.stock.StockConsole", OtherClock)
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert (
        "warning: RAM differ from a stock mGBA's at step 0; 'sound: true' in game.yaml does not "
        "change that; report this\n"
    ) in printed
    assert json.loads(printed.splitlines()[-1])["stock"] == {
        "steps": 1, "identical": False, "first": 0, "differ": ["RAM"],
    }  # fmt: skip


def test_a_game_that_sound_sets_right_is_told_so(
    make_game: MakeGame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the advice is tried here: no game of ours can tell whether its sound is mixed."""
    game = load_game(make_game())
    monkeypatch.setattr(checking, "compare_with_stock", lambda *args: Comparison(args[-1]))
    state = Emulator(find_rom(game)).save_state()
    assert checking._advice(game, find_rom(game), state, 5) == (
        "with 'sound: true' in game.yaml they are identical: write it there"
    )
    assert checking._advice(replace(game, sound=True), find_rom(game), state, 5) == (
        "'sound: true' in game.yaml does not change that; report this"
    )


def test_a_game_boy_game_is_that_of_a_stock_mgba(tmp_path: Path) -> None:
    game = load_game(make_boy(tmp_path / "mover"))
    emulator = Emulator(find_rom(game), game.rtc_ms, GB)
    emulator.run(9)
    found = compare_with_stock(game, find_rom(game), emulator, emulator.save_state(), 30)
    assert found == Comparison(30)
