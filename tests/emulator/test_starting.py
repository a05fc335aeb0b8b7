"""Start states from files: raw and PNG states, in-game saves; a clear line for what is none."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.emulator.core import Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.games.platforms import GB
from pipeline.games.states import check_state, note_of, with_note, without_note
from pipeline.games.task import task_of
from pipeline.rollouts.player import make_player
from pipeline.settings.fields import Collect
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from tests.emulator.conftest import COUNTING, STANDING, write_cartridge
from tests.game_boy import cartridge

MakeGame = Callable[..., Path]
LATER = "later: {frames: 9}"
FLASH = b"".join(STANDING[0].to_bytes(4, "little") for _ in range(2)) + b"FLASH1M_V103"


def raw_state(emulator: Emulator) -> bytes:
    """As mGBA's core gives it, without picture and save memory."""
    size = emulator._core.stateSize(emulator._core)
    state = emulator._ffi.new("uint8_t[]", size)
    emulator._core.saveState(emulator._core, state)
    return bytes(emulator._ffi.buffer(state))


def refused(folder: Path, name: str = "later") -> str:
    """The line in which a start state ends, without the place in game.yaml."""
    with pytest.raises(PipelineError) as error:
        GBAEnv(folder).reset(seed=1, options={"start_state": name})
    place = f"{folder / 'game.yaml'}, line 13: start_states.later: "
    assert str(error.value).startswith(place)
    return str(error.value)[len(place) :]


def test_a_raw_state_is_taken_up_with_a_screen_of_its_own(make_game: MakeGame) -> None:
    folder = make_game((LATER, "later: {file: later.ss1}"), ("[0, 12]", "[0, 0]"))
    emulator = Emulator(folder / "game.gba")
    emulator.run(20)
    emulator.write(0x02000200, 77, 1)
    (folder / "later.ss1").write_bytes(raw_state(emulator))
    env = GBAEnv(folder)
    first, _ = env.reset(seed=1, options={"start_state": "later"})
    assert env.emulator.ewram[0x200] == b"M"
    env.reset(seed=2)
    again, _ = env.reset(seed=1, options={"start_state": "later"})
    assert again.tobytes() == first.tobytes()
    assert env.emulator._core.frameCounter(env.emulator._core) == 21  # one was run for the screen


@pytest.mark.parametrize("parts", [0b11111, 0b11110, 0b00001])
def test_states_of_mgbas_window_are_taken_up_with_all_that_they_carry(
    make_game: MakeGame, parts: int
) -> None:
    """Its bits: screen (a PNG then), save memory, cheats, clock, metadata."""
    folder = make_game((LATER, "later: {file: later.ss1}"), ("[0, 12]", "[0, 0]"), words=COUNTING)
    emulator = Emulator(folder / "game.gba")
    emulator.reset(bytes([41]) + bytes(32767))
    emulator.run(20)
    lib = emulator._lib
    file = lib.VFileOpen(str(folder / "later.ss1").encode(), 0x42 | 0x200)
    assert lib.mCoreSaveStateNamed(emulator._core, file, parts)
    file.close(file)
    env = GBAEnv(folder)
    env.reset(seed=1, options={"start_state": "later"})
    env.emulator.run(2)
    # What it says of the save memory is there; else the memory is a fresh one.
    assert env.emulator.iwram[0] == (bytes([41]) if parts & 2 else b"\xff")
    env.emulator.run(2, keys=1)
    assert env.emulator.iwram[0] not in (bytes([41]), b"\xff")


def test_an_in_game_save_lies_in_the_cartridge_when_it_is_switched_on(make_game: MakeGame) -> None:
    folder = make_game((LATER, "later: {save: my.sav, frames: 4}"), words=COUNTING)
    for clock in (0, 16):  # with and without a clock behind it, as emulators write it
        (folder / "my.sav").write_bytes(bytes([41]) + bytes(32767 + clock))
        env = GBAEnv(folder)
        env.reset(seed=1, options={"start_state": "later"})
        assert env.emulator.iwram[0] == bytes([41])
        env.emulator.run(2, keys=1)
        assert env.emulator.iwram[0] != bytes([41])
        env.reset(seed=1, options={"start_state": "power_on"})
        assert env.emulator.iwram[0] == b"\xff"  # nothing of it is left in another start state
        env.reset(seed=1, options={"start_state": "later"})
        assert env.emulator.iwram[0] == bytes([41])


def test_buttons_are_pressed_after_switching_on(make_game: MakeGame) -> None:
    pressed = "later: {save: my.sav, frames: 3, press: 'A*2 WAIT'}"
    folder = make_game((LATER, pressed), words=COUNTING)
    (folder / "my.sav").write_bytes(bytes(32768))
    env = GBAEnv(folder)
    env.start_state("later")
    by_hand = Emulator(folder / "game.gba", env.game.rtc_ms)
    by_hand.reset(bytes(32768))
    by_hand.run(3)
    for keys in (1, 1, 0):
        by_hand.step(keys, 4, 6)
    assert env.start_state("later") == by_hand.save_state()
    assert by_hand.iwram[0] != b"\0"


def test_an_in_game_save_of_a_game_boy_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "saves.gb").write_bytes(cartridge(header={0x147: 0x03, 0x149: 0x02}))
    emulator = Emulator(tmp_path / "saves.gb", platform=GB)
    save = bytes([7]) * 0x2000
    core, seen = emulator._core, []
    for there in (save, None):
        emulator.reset(there)
        core.busWrite8(core, 0x0000, 0x0A)  # the chip lets its memory be read
        seen.append(core.busRead8(core, 0xA123))
    assert seen == [7, 0xFF]


def test_a_state_of_something_else_is_refused_in_one_line(
    make_game: MakeGame, tmp_path: Path
) -> None:
    folder = make_game((LATER, "later: {file: later.ss1}"))
    file = folder / "later.ss1"
    emulator = Emulator(folder / "game.gba")
    emulator.run(5)
    raw, png = raw_state(emulator), emulator.save_state()
    (tmp_path / "other.gb").write_bytes(cartridge())
    other = write_cartridge(tmp_path / "other.gba", STANDING, title=b"OTHER")
    unlike = {
        raw[:-1]: "the save state is cut off: 397311 bytes, of 397312; copy it again",
        png[:-20]: "the save state is a PNG that is cut off or damaged; copy it again",
        png[:90] + b"?" + png[91:]: "the save state is a PNG that is cut off or damaged; copy it "
        "again",
        b"": "not a save state of mGBA, neither a raw one nor a PNG; save one in mGBA",
        without_chunk(png, b"gbAs"): "a picture without a save state in it; save a state in mGBA, "
        "not a screen",
        Emulator(tmp_path / "other.gb", platform=GB).save_state(): "a save state of a Game Boy or "
        "Game Boy Color, not of a Game Boy Advance",
        Emulator(other).save_state(): "a save state of 'OTHER', not of 'TEST'; make one with this "
        "cartridge",
        Emulator(find_rom(load_game("quest"))).save_state(): "a save state of 'QUEST' (QSTE), not "
        "of 'TEST'; make one with this cartridge",
    }
    for state, line in unlike.items():
        file.write_bytes(state)
        assert refused(folder) == f"{file}: {line}"


def without_chunk(png: bytes, kind: bytes) -> bytes:
    at = png.index(kind) - 4
    return png[:at] + png[at + 12 + int.from_bytes(png[at : at + 4], "big") :]


def test_a_state_of_another_edition_is_taken_with_a_warning(tmp_path: Path) -> None:
    first = write_cartridge(tmp_path / "first.gba", STANDING)
    second = write_cartridge(tmp_path / "second.gba", COUNTING)
    emulator = Emulator(first)
    state = emulator.save_state()
    assert check_state(state, first, emulator.platform) is None
    crcs = [zlib.crc32(path.read_bytes()) for path in (first, second)]
    assert check_state(state, second, emulator.platform) == (
        f"made with another image of this cartridge (CRC32 {crcs[0]:08x}, not {crcs[1]:08x}): "
        "another edition or a changed game, which may not continue correctly"
    )


def test_an_in_game_save_of_something_else_is_refused_in_one_line(make_game: MakeGame) -> None:
    words = [int.from_bytes(FLASH[i : i + 4], "little") for i in range(0, len(FLASH), 4)]
    folder = make_game((LATER, "later: {save: my.sav}"), words=words)
    file = folder / "my.sav"
    state = Emulator(folder / "game.gba").save_state()
    for save, line in {
        bytes(65536): "65536 bytes, but this cartridge's save memory has 131072; give the .sav "
        "file of this game, unpacked",
        state: "a save state, not an in-game save; write 'file' in place of 'save'",
    }.items():
        file.write_bytes(save)
        assert refused(folder) == f"{file}: {line}"
    for size in (131072, 131088):
        file.write_bytes(bytes(size))
        GBAEnv(folder).start_state("later")
    file.write_bytes(b"")
    with pytest.raises(PipelineError) as error:  # known before anyone plays
        make_player(
            task_of(Settings(game=str(folder))),
            Collect(start_state="later", max_steps=9),
            policy="expert",
            beta=1.0,
            purpose="collect",
        )
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line 13: start_states.later: {file}: 0 bytes, but this "
        "cartridge's save memory has 131072; give the .sav file of this game, unpacked"
    )
    file.unlink()
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value) == (
        f"{folder / 'game.yaml'}, line 13: start_states.later: there is no in-game save {file}"
    )


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("{file: my.sav}", ": my.sav is an in-game save; write '{save: my.sav, frames: 600}', and "
         "with 'press' the buttons that lead into the game"),
        ("{file: my.sav, save: my.sav}", ": give either 'save' or 'file', not both"),
        ("{save: my.sav, press: 'A*3 WAITS'}", ".press: 'WAITS' is no button; write such as RIGHT, "
         "A*3 or WAIT (the nearest is WAIT)"),
        ("{frames: 3, press: ''}", ".press: no buttons; write some such as 'RIGHT*3 WAIT A'"),
    ],
)  # fmt: skip
def test_a_start_state_that_is_written_wrongly_is_refused(
    make_game: MakeGame, entry: str, line: str
) -> None:
    folder = make_game((LATER, f"later: {entry}"))
    (folder / "my.sav").write_bytes(bytes(32768))
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value) == f"{folder / 'game.yaml'}, line 13: start_states.later{line}"


def test_a_note_in_a_state_is_found_again_and_does_not_change_it(standing: Path) -> None:
    emulator = Emulator(standing)
    emulator.run(3)
    state = emulator.save_state()
    noted = with_note(state, '{"seed": 3}')
    assert (note_of(noted), note_of(state)) == ('{"seed": 3}', None)
    assert without_note(noted) == state
    emulator.run(9)
    emulator.load_state(noted)
    assert emulator.save_state() == state
