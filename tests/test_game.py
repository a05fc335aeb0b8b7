"""game new, check and show: a game's first day, and one clear line for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.emulator.core import Emulator
from pipeline.emulator.env import GBAEnv
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from tests.game_boy import cartridge, make_game

ROOT = Path(__file__).parent.parent
QUEST = ROOT / "pipeline/games/quest"
Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *words: str) -> tuple[dict[str, Any], str]:
    """What a command prints as JSON, and all that it prints."""
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result, printed


def refused(capsys: Capture, *words: str) -> str:
    """The one line that a command ends in."""
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error[len("error: ") : -1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("platform", ["gba", "gb", "gbc"])
def test_a_new_game_runs_at_once(here: Path, capsys: Capture, platform: str) -> None:
    rom = here / f"rom.{platform}"
    if platform == "gba":
        shutil.copy(QUEST / "quest.gba", rom)
    else:
        rom.write_bytes(cartridge(colour=0xC0 if platform == "gbc" else 0))
    told, printed = run(capsys, "game", "new", "mine", "--rom", rom.name)
    assert told["platform"] == platform
    assert told["title"] == ("QUEST" if platform == "gba" else "MOVER")
    assert told["code"] == ("QSTE" if platform == "gba" else None)
    game = load_game("mine")
    assert (game.platform, game.title, dict(game.variables)) == (platform, told["title"], {})
    assert len(game.buttons) == (10 if platform == "gba" else 8)
    frame, info = GBAEnv(game).reset(seed=1)
    assert frame.shape == ((160, 240, 3) if platform == "gba" else (144, 160, 3))
    assert info["state"] == {}
    # The next steps that it prints work as they stand.
    for command in told["next"]:
        assert f"  {command}\n" in printed
        words = command.replace("'", "").split()[3:]
        if "--play" in words:
            at = words.index("--play") + 1
            words[at:] = [" ".join(words[at:])]
        assert main(words) == 0, capsys.readouterr().err
    with Image.open(here / "mine/screen.png") as picture:
        assert picture.size[0] > 3 * frame.shape[1]


def test_a_new_game_never_overwrites(here: Path, capsys: Capture) -> None:
    (here / "a.gb").write_bytes(cartridge())
    run(capsys, "game", "new", "mine", "--rom", "a.gb")
    before = (here / "mine/game.yaml").read_bytes()
    assert refused(capsys, "game", "new", "mine", "--rom", "a.gb") == (
        "mine/game.yaml: exists already and is not changed; choose another folder with --folder"
    )
    (here / "other").mkdir()
    (here / "other/expert.py").write_text("mine")
    line = refused(capsys, "game", "new", "other", "--rom", "a.gb")
    assert line.startswith("other/expert.py: exists already")
    assert not (here / "other/game.yaml").exists()
    assert (here / "mine/game.yaml").read_bytes() == before
    run(capsys, "game", "new", "mine", "--rom", "a.gb", "--folder", "games/second")
    assert find_rom(load_game("games/second")) == Path("games/second/../../a.gb")


def test_what_cannot_be_a_new_game_is_refused(here: Path, capsys: Capture) -> None:
    (here / "a.gb").write_bytes(cartridge())
    (here / "a.zip").write_bytes(b"PK\x03\x04 and so on")
    (here / "a.txt").write_text("no cartridge")
    new = ("game", "new")
    assert refused(capsys, *new, "mine") == (
        "game new mine: give the cartridge image with --rom FILE"
    )
    assert refused(capsys, *new, "Mine", "--rom", "a.gb") == (
        "game new Mine: the name cannot name files; use small letters, digits, - and _"
    )
    assert refused(capsys, *new, "quest", "--rom", "a.gb") == (
        "game new quest: a game of this name comes with the pipeline; choose another name"
    )
    assert refused(capsys, *new, "mine", "--rom", "b.gb") == (
        "b.gb: cannot read the ROM (No such file or directory); give an existing file with --rom"
    )
    assert refused(capsys, *new, "mine", "--rom", "a.zip") == (
        "a.zip: a zip archive; unpack it and give the ROM that is inside"
    )
    assert refused(capsys, *new, "mine", "--rom", "a.txt") == (
        "a.txt: no cartridge of a Game Boy, Game Boy Color or Game Boy Advance (as a Game Boy's: "
        "12 bytes, but a header ends at 0x150; as a Game Boy Advance's: 12 bytes, but a header "
        "ends at 0xC0); give a .gb, .gbc or .gba file with --rom"
    )
    assert not (here / "mine").exists()


def test_a_strange_title_in_a_header_is_only_text(here: Path, capsys: Capture) -> None:
    (here / "a.gb").write_bytes(cartridge(title=b'A": {x\\#\x1b'))
    told, _ = run(capsys, "game", "new", "mine", "--rom", "a.gb")
    game = load_game("mine")
    assert game.title == game.rom_title == told["title"] == 'A": {x\\#'
    compile((here / "mine/expert.py").read_text(), "expert.py", "exec")


def test_check_shows_every_variable_live(capsys: Capture) -> None:
    told, printed = run(capsys, "game", "check", "--game", "quest", "--steps", "60")
    rows = {row["name"]: row for row in told["variables"]}
    assert list(rows) == list(load_game("quest").variables)
    assert rows["x"]["where"] == "save1 + 0x0"
    assert rows["money"]["where"] == "save1 + 0x490, xor save2 + 0xAC"
    assert rows["badge"]["where"] == "save1 + 0x137C, bit 7"
    assert rows["party_hp"]["where"] == "0x02001056, every 100"
    assert rows["map"]["where"] == "map at [0x03000028] round (x, y)"
    assert (rows["map"]["type"], rows["party_hp"]["type"]) == ("u16[10][15]", "u16[6]")
    assert (rows["screen"]["value"], rows["screen"]["values"] > 1) == ("0", True)
    conditions = {row["name"]: row for row in told["conditions"]}
    assert conditions["milestone game_started"]["holds"] is False
    assert conditions["milestone game_started"]["first at step"] is not None
    assert told["problems"] == []
    assert any(w.startswith("always 0 in 61 states: ") for w in told["warnings"])
    assert printed.splitlines()[-2] == "nothing is wrong"


def test_check_looks_at_a_state_too(here: Path, capsys: Capture) -> None:
    emulator = Emulator(find_rom(load_game("quest")))
    emulator.run(200)
    emulator.write(0x02001056, 31, 2)
    (here / "now.png").write_bytes(emulator.save_state())
    told, _ = run(capsys, "game", "check", "--game", "quest", "--state", "now.png", "--steps", "0")
    values = {row["name"]: row["value"] for row in told["variables"]}
    assert values["party_hp"] == "31 0 0 0 0 0"


def test_check_warns_and_says_what_is_wrong(here: Path, capsys: Capture) -> None:
    folder = make_game(here / "mover")
    file = folder / "game.yaml"
    changed = [
        ("title: MOVER}", "title: MOVED}"),
        ("variables:\n", "pointers: {p: 0xC0F0}\nvariables:\n  z: {pointer: p, type: u16}\n"),
        ('success: "won == 1"', 'success: "x == 5"\nfailure: "100 // ground > 3"'),
        ("{power_on: {frames: 8}}", "{power_on: {frames: 8}, bad: {file: bad.png}}"),
    ]
    text = file.read_text()
    for old, new in changed:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    (folder / "bad.png").write_bytes(b"no state")
    assert main(["game", "check", "--game", str(folder), "--steps", "5", "--json"]) == 2
    out, error = capsys.readouterr()
    told = json.loads(out.splitlines()[-1])
    assert told["problems"] == [
        f"line 10: start_states.bad: {folder}/bad.png: not a save state of mGBA, neither a raw one "
        "nor a PNG; save one in mGBA",
        "success already holds at the beginning: 'x == 5'",
        "failure: condition '100 // ground > 3': division by zero; guard it with 'and'",
    ]
    assert told["warnings"] == [
        "rom.title is 'MOVED', but the cartridge says 'MOVER'",
        "pointer p at 0xC0F0 points outside the RAM always (to 0x0000): what lies behind it "
        "reads 0",
        "always 0 in 6 states: z, ground, mark, won",
    ]
    assert error == f"error: {file}: {told['problems'][0]} (and 2 more)\n"


def test_show_gives_screen_and_state(here: Path, capsys: Capture) -> None:
    emulator = Emulator(find_rom(load_game("quest")))
    emulator.run(200)
    (here / "now.png").write_bytes(emulator.save_state())
    told, printed = run(
        capsys, "game", "show", "--game", "quest", "--state", "now.png", "--png", "shown.png"
    )
    game = load_game("quest")
    assert list(told) == ["state", "milestones"]
    assert list(told["state"]) == list(game.variables)
    assert told["state"]["party_hp"] == [0] * 6
    assert told["milestones"] == {one.name: False for one in game.milestones}
    assert "QUEST: " in printed
    with Image.open("shown.png") as picture:
        pixels = np.asarray(picture)
    margin = 12
    shown = pixels[margin : margin + 480 : 3, margin : margin + 720 : 3]
    assert np.array_equal(shown, emulator.screen())
    assert (pixels[:, margin + 720 + margin :] < 100).any()  # words beside it


def test_show_draws_a_raw_state_that_has_no_picture(here: Path, capsys: Capture) -> None:
    make_game(here / "mover")
    env = GBAEnv("mover")
    env.reset(seed=0xB)
    env.step(0)
    core = env.emulator._core
    raw = env.emulator._ffi.new("uint8_t[]", core.stateSize(core))
    core.saveState(core, raw)
    (here / "raw.ss0").write_bytes(bytes(env.emulator._ffi.buffer(raw)))
    told, _ = run(
        capsys, "game", "show", "--game", "mover", "--state", "raw.ss0", "--png", "shown.png"
    )
    assert told["state"]["mark"] == 0xB
    with Image.open("shown.png") as picture:
        assert len(picture.crop((12, 12, 12 + 480, 12 + 432)).getcolors() or []) >= 3


def test_a_reader_that_has_seen_enough_is_no_mistake(here: Path) -> None:
    make_game(here / "mover")
    command = f"{sys.executable} -m pipeline game show --game mover | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_a_mistake_is_one_clear_line(here: Path, capsys: Capture) -> None:
    folder = make_game(here / "mover")
    file = folder / "game.yaml"
    good = file.read_text()
    other = Emulator(find_rom(load_game("quest")))
    (here / "other.png").write_bytes(other.save_state())
    check = ("game", "check", "--game", "mover")

    def line_of(old: str, new: str) -> str:
        assert old in good
        file.write_text(good.replace(old, new))
        told = refused(capsys, *check)
        file.write_text(good)
        return told

    assert refused(capsys, "game", "show", "--game", "mover", "--state", "other.png") == (
        "other.png: a save state of a Game Boy Advance, not of a Game Boy"
    )
    assert refused(capsys, *check, "--state", "none.png") == (
        "none.png: cannot read the save state (No such file or directory)"
    )
    assert refused(capsys, *check, "--start", "power_off") == (
        "mover has no start state 'power_off'; the nearest one is 'power_on'"
    )
    assert refused(capsys, "game", "show", "--game", "moover") == (
        "game 'moover' is unknown; give one of: emerald, quest, or a folder that holds a game.yaml"
    )
    assert refused(capsys, *check, "--rom", str(QUEST / "quest.gba")) == (
        f"{QUEST}/quest.gba: code QSTE is that of MOVER, but the title 'QUEST' is not 'MOVER': a "
        f"changed game; give the right one with --rom FILE (sha1 {load_game('mover').rom_sha1})"
    )
    assert line_of('"x == mark"', '"x == marc"') == (
        "mover/game.yaml, line 19: milestones.0.when: condition 'x == marc', column 6: unknown "
        "variable 'marc'; the nearest one is 'mark'"
    )
    assert line_of('"x == mark"', '"x == == mark"') == (
        "mover/game.yaml, line 19: milestones.0.when: condition 'x == == mark', column 6: invalid "
        "syntax; write it like 'badge == 1 and money > 0'"
    )
    assert line_of("variables:", "pointers: {a: b, b: a}\nvariables:") == (
        "mover/game.yaml, line 11: pointers.a: expected an address such as 0xD000, found 'b'"
    )
    assert line_of("variables:", 'variables:\n  a: {when: "b"}\n  b: {when: "a"}') == (
        "mover/game.yaml, line 12: variables.a.when: condition 'b', column 1: unknown variable "
        "'b'; the nearest one is '(none)'"
    )
    assert line_of("0xC004", "0x1C004") == (
        "mover/game.yaml, line 15: variables.mark.address: 0x1C004 with 1 bytes is outside the "
        "console's RAM (0xC000-0xDFFF and 0xFF80-0xFFFE)"
    )
    assert line_of("format: 1", "format: 2") == (
        "mover/game.yaml: written in format 2, but this version reads formats up to 1; update the "
        "pipeline"
    )
