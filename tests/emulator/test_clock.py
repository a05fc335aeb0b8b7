"""A cartridge's clock reads the same wherever the host lives, and a recording plays again there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.emulator.core import Emulator
from pipeline.games.loading import load_game
from pipeline.games.platforms import GB
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from tests.emulator.conftest import GAME_YAML, write_cartridge
from tests.game_boy import cartridge

# Reads the 7 bytes of date and time from the clock behind the cartridge's port (0x080000C4) to
# 0x02000000, again and again: a command of 8 bits goes out, then 8 bits come in for each byte.
_LISTING = """
    e59f00d0 e3a06402 e3a01001 e1c010b4 e3a01007 e1c010b2 e3a01001 e1c010b0 e3a01005 e1c010b0
    e3a02065 e3a03007 e1a04332 e2044001 e1a04084 e3845004 e1c050b0 e1c050b0 e1c050b0 e3845005
    e1c050b0 e2533001 5afffff4 e3a01005 e1c010b2 e3a07000 e3a08000 e3a03008 e3a05004 e1c050b0
    e1c050b0 e1c050b0 e1c050b0 e1c050b0 e3a05005 e1c050b0 e1d040b0 e1a040a4 e2044001 e1a080a8
    e1888384 e2533001 1afffff0 e7c68007 e2877001 e3570007 1affffea e3a01001 e1c010b0 e1c010b0
    e3a09801 e2599001 1afffffd eaffffcb 080000c4
"""
CLOCK_READER = [int(word, 16) for word in _LISTING.split()]
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"
# By their rules, as a machine may have no names of zones: India, and Lord Howe with half an hour.
ZONES = ("UTC", NEW_YORK, "IST-5:30", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0")
SetZone = Callable[[str], None]


@pytest.fixture
def live_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetZone]:
    """Moves the host to another time zone."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def write_clock(path: Path, code: bytes = b"BPEE") -> Path:
    """A cartridge of 4 KiB whose code is one of those that mGBA gives a clock."""
    path.parent.mkdir(exist_ok=True)
    image = bytearray(write_cartridge(path, []).read_bytes())
    image[0:4] = (0xEA00003E).to_bytes(4, "little")  # b 0x100, behind the clock's port
    image[0xAC:0xB0] = code
    words = b"".join(word.to_bytes(4, "little") for word in CLOCK_READER)
    image[0xC0:0xC4] = bytes(4)
    image[0x100 : 0x100 + len(words)] = words
    path.write_bytes(image)
    return path


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()) * 1000


def shown(rom: Path, text: str) -> str:
    """Date, weekday and time of day that the cartridge reads of its clock set to ``text``."""
    emulator = Emulator(rom, milliseconds(text))
    emulator.run(60)
    return bytes(emulator.ewram[:7]).hex(" ")


@pytest.mark.parametrize(
    ("moment", "read"),
    [
        ("2024-01-01T00:00:00", "24 01 01 01 00 00 00"),
        ("2024-07-15T13:45:59", "24 07 15 01 13 45 59"),  # summer time in New York
        ("2024-11-03T01:30:00", "24 11 03 00 01 30 00"),  # comes twice in New York
        ("2099-12-31T23:59:59", "99 12 31 04 23 59 59"),
    ],
)
def test_a_clock_shows_utc_in_every_time_zone(
    tmp_path: Path, live_in: SetZone, moment: str, read: str
) -> None:
    rom = write_clock(tmp_path / "clock.gba")
    for zone in ZONES:
        live_in(zone)
        assert shown(rom, moment) == read, zone


def test_a_time_of_day_that_a_zone_skips_is_refused_only_where_there_is_a_clock(
    tmp_path: Path, live_in: SetZone, standing: Path
) -> None:
    rom = write_clock(tmp_path / "clock.gba")
    live_in(NEW_YORK)
    with pytest.raises(PipelineError) as error:
        shown(rom, "2024-03-10T02:30:00")
    assert str(error.value) == (
        "rtc 2024-03-10T02:30:00Z: the clocks of this host's time zone (EST) skip that time of "
        "day, so mGBA cannot show it; set TZ=UTC for this command, or write another moment"
    )
    Emulator(standing, milliseconds("2024-03-10T02:30:00"))
    live_in("UTC")
    assert shown(rom, "2024-03-10T02:30:00") == "24 03 10 00 02 30 00"


def test_the_clock_of_a_game_boy_knows_no_time_zone(tmp_path: Path, live_in: SetZone) -> None:
    """The MBC3 counts from when it is switched on: here from midnight, not from the host's now."""
    (tmp_path / "clock.gb").write_bytes(cartridge(header={0x147: 0x10, 0x149: 0x03}))
    read = set()
    for zone in ZONES:
        live_in(zone)
        emulator = Emulator(tmp_path / "clock.gb", milliseconds("2024-07-15T13:45:59"), GB)
        core = emulator._core
        for address, value in ((0x0000, 0x0A), (0x6000, 0), (0x6000, 1)):  # open it, and latch
            core.busWrite8(core, address, value)
        registers = []
        for register in range(0x08, 0x0D):
            core.busWrite8(core, 0x4000, register)
            registers.append(core.busRead8(core, 0xA000))
        read.add(tuple(registers))
    assert read == {(59, 45, 13, 0, 0)}  # seconds, minutes, hours, days, no overflow


def test_a_state_that_set_the_clock_does_not_move_it(tmp_path: Path) -> None:
    """A state of mGBA keeps in a state by how much its player had set the clock."""
    rom = write_clock(tmp_path / "clock.gba")
    emulator = Emulator(rom, milliseconds("2024-07-15T13:45:59"))
    emulator._board._gba.memory.hw.rtc.offset = 86_400  # type: ignore[attr-defined]
    emulator.load_state(emulator.save_state())
    emulator.run(60)
    assert bytes(emulator.ewram[:7]).hex(" ") == "24 07 15 01 13 45 59"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("1999-12-31T23:59:59Z", "the year is 1999, but a cartridge's clock has two digits for it; "
         "write one from 2000 to 2099"),
        ("2100-01-01T00:00:00Z", "the year is 2100, but a cartridge's clock has two digits for it; "
         "write one from 2000 to 2099"),
        ("2099-12-31T23:00:00-05:00", "the year is 2100, but a cartridge's clock has two digits "
         "for it; write one from 2000 to 2099"),
        ("9999-12-31T23:00:00-05:00", "the year is 9999, but a cartridge's clock has two digits "
         "for it; write one from 2000 to 2099"),
        ("2024-01-01", "expected a moment such as 2024-01-01T00:00:00Z, found "
         "datetime.date(2024, 1, 1)"),
    ],
)  # fmt: skip
def test_a_moment_that_no_clock_shows_is_refused(
    make_game: Callable[..., Path], written: str, problem: str
) -> None:
    folder = make_game(("rtc: 2024-01-01T00:00:00Z", f"rtc: {written}"))
    with pytest.raises(PipelineError) as error:
        load_game(folder)
    assert str(error.value) == f"{folder / 'game.yaml'}, line 9: rtc: {problem}"


@pytest.fixture
def clock_game(tmp_path: Path) -> Path:
    rom = write_clock(tmp_path / "game/game.gba")
    text = GAME_YAML % hashlib.sha1(rom.read_bytes()).hexdigest()
    text = text.replace("variables:\n", "variables:\n  hour: {address: 0x02000004, type: u8}\n")
    (tmp_path / "game/game.yaml").write_text(text.replace("frames: 3", "frames: 60"))
    (tmp_path / "game/expert.py").write_text("def act(state):\n    return 'A'\n")
    return tmp_path / "game"


def as_of_old(shard: Path, to: Path) -> Path:
    """The recording as one from before clocks were in UTC."""
    with Shard(shard) as old:
        header = old.header
        header.provenance["emulator"] = "mgba 0.10.2"  # type: ignore[index]
        with ShardWriter(to, header, start_states=old.start_states()) as writer:
            writer.append(old.episode(0))
    return to


def test_a_recording_plays_again_in_another_zone_and_an_old_one_says_why_not(
    clock_game: Path, tmp_path: Path, live_in: SetZone, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--game", str(clock_game), "--paths.datasets", str(tmp_path / "d")]
    live_in("UTC")
    assert main(["collect", *words, "--episodes", "1", "--collect.max_steps", "3"]) == 0
    shard = next((tmp_path / "d/standing").glob("*raw*.h5"))
    with Shard(shard) as opened:
        assert opened.header.provenance["emulator"].endswith(", clock in UTC")
        assert np.array_equal(opened.episode(0).state["hour"], [0, 0, 0])
    old = as_of_old(shard, tmp_path / "old.h5")
    replay = ["data", "replay", "--workers", "1"]
    live_in(NEW_YORK)
    assert main([*replay, str(shard), *words]) == 0
    capsys.readouterr()
    assert main([*replay, str(old), *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: {old}: 1 of 1 episodes are not played again as they were recorded, first episode "
        "0 at step 0: RAM, state hour (the cartridge's clock followed the time zone of the host "
        "that recorded it; set TZ to that zone, such as TZ=Europe/Berlin, and try again)"
    )
    live_in("UTC")  # where it was recorded
    assert main([*replay, str(old), *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["identical"] == 1
