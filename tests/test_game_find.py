"""game find: a search goes on from command to command, along buttons or a recorded episode."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import collect
from pipeline.__main__ import main
from pipeline.emulator.env import GBAEnv
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from tests.game_boy import X, make_game

ROOT = Path(__file__).parent.parent
QUEST = ROOT / "pipeline/games/quest"
Capture = pytest.CaptureFixture[str]
TO_BED = "START WAIT*20 A*6 WAIT*4"


@pytest.fixture
def mover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Game Boy game, with no variables yet, in the folder where the commands run."""
    monkeypatch.chdir(tmp_path)
    file = make_game(tmp_path / "mover") / "game.yaml"
    head, _, rest = file.read_text().partition("variables:\n")
    assert "milestones:" in rest
    file.write_text(f'{head}variables:   # soon\nsuccess: "False"\n')
    return tmp_path


def find(capsys: Capture, *words: str, game: str = "mover") -> dict[str, Any]:
    assert main(["game", "find", *words, "--game", game, "--json"]) == 0, capsys.readouterr().err
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def refused(capsys: Capture, *words: str, game: str = "mover") -> str:
    assert main(["game", "find", *words, "--game", game]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error[len("error: ") : -1]


def test_a_place_is_found_and_put_into_game_yaml(mover: Path, capsys: Capture) -> None:
    told = find(capsys, "x.npz", "--play", "RIGHT", "--by", "1", "--play", "RIGHT", "--greater")
    assert told["plays"] == ["beginning", "RIGHT", "RIGHT"]
    told = find(
        capsys, "x.npz", "--play", "LEFT*2", "--by", "-2", "--play", "wait, wait", "--unchanged",
        "--type", "u8", "--add",
    )  # fmt: skip
    assert told["left"] == 1
    assert told["found"][0]["values"] == [5, 6, 7, 5, 5]
    assert told["added"] == "x: {address: 0xC000, type: u8}"
    assert "variables:   # soon\n  x: {address: 0xC000" in (mover / "mover/game.yaml").read_text()
    env = GBAEnv("mover")
    env.reset(seed=1)
    assert env.step(7)[4]["state"] == {"x": 6}
    line = refused(capsys, "x.npz", "--type", "u8", "--add")
    assert line == "mover/game.yaml, line 13: not valid YAML (the key 'x' is given twice); fix it"


def test_one_long_command_says_the_same_as_many_short_ones(mover: Path, capsys: Capture) -> None:
    script = [
        ("--play", "RIGHT"), ("--by", "1"), ("--greater",), ("--play", "A"), ("--unchanged",),
        ("--play", "LEFT"), ("--less",), ("--not", "9"),
    ]  # fmt: skip
    once = find(capsys, "once.npz", "--name", "x", *[word for step in script for word in step])
    for step in script:
        many = find(capsys, "many.npz", "--name", "x", *step)
    assert many | {"session": ""} == once | {"session": ""}
    assert once["left"] >= 1


def test_a_play_that_went_wrong_is_taken_back(mover: Path, capsys: Capture) -> None:
    find(capsys, "x.npz", "--play", "RIGHT", "--by", "1")
    before = find(capsys, "x.npz")
    wrong = find(capsys, "x.npz", "--play", "DOWN", "--by", "1", "--keep-state", "wrong.png")
    assert wrong["left"] < before["left"]
    assert find(capsys, "x.npz", "--undo", "--keep-state", "right.png") == before
    again = find(capsys, "again.npz", "--play", "RIGHT", "--keep-state", "again.png")
    assert again["plays"] == ["beginning", "RIGHT"]
    assert (mover / "right.png").read_bytes() == (mover / "again.png").read_bytes()
    assert (mover / "right.png").read_bytes() != (mover / "wrong.png").read_bytes()


def test_a_kept_state_is_where_another_search_begins(mover: Path, capsys: Capture) -> None:
    find(capsys, "a.npz", "--play", "RIGHT*4", "--keep-state", "four.png", "--png", "now.png")
    told = find(capsys, "b.npz", "--state", "four.png", "--equal", "9", "--play", "A", "--equal",
                "9", "--type", "u8")  # fmt: skip
    assert X in {one["address"] for one in told["found"]}
    with Image.open("now.png") as picture, Image.open("four.png") as state:
        shown = np.asarray(picture)[12 : 12 + 432 : 3, 12 : 12 + 480 : 3]
        assert np.array_equal(shown, np.asarray(state.convert("RGB")))


def test_a_flag_is_found_as_a_bit(mover: Path, capsys: Capture) -> None:
    told = find(
        capsys, "ground.npz", "--type", "bit", "--play", "B", "--equal", "0", "--play", "A",
        "--equal", "1", "--play", "A", "--equal", "0", "--play", "WAIT*7", "--unchanged",
        "--play", "A", "--equal", "1", "--limit", "99",
    )  # fmt: skip
    assert "ground: {address: 0xC002, type: u8, bit: 6}" in [one["line"] for one in told["found"]]


def test_a_number_that_moves_is_found_behind_its_pointer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(QUEST / "quest.gba", "quest.gba")
    assert main(["game", "new", "mine", "--rom", "quest.gba"]) == 0
    capsys.readouterr()
    told = find(
        capsys, "x.npz", "--play", TO_BED, "--play", "RIGHT", "--by", "1", "--play", "LEFT",
        "--by", "-1", "--play", "RIGHT*5 UP*3 WAIT*6 A*8 WAIT*2", "--play", "LEFT", "--by", "-1",
        "--type", "s16", "--pointers", "--add", game="mine",
    )  # fmt: skip
    # Both blocks of quest move at every change of map.
    assert told["added"] == "x: {pointer: x_block, offset: 0x0, type: s16}"
    game = load_game("mine")
    assert dict(game.pointers) == {"x_block": 0x03000010}
    assert GBAEnv(game).reset(seed=1)[1]["state"] == {"x": 0}


@pytest.fixture
def shard(mover: Path) -> Path:
    settings = {
        "game": "mover",
        "paths": {"datasets": mover / "datasets"},
        "collect": {"episodes": 3, "workers": 1, "max_steps": 12, "sticky": 0.5},
        "expert": {"path": mover / "walk.py"},
    }
    (mover / "walk.py").write_text('def act(state):\n    return "RIGHT"\n')
    return Path(collect.run(Settings.model_validate(settings)).shard)


def test_a_recorded_episode_is_searched_step_by_step(
    mover: Path, shard: Path, capsys: Capture
) -> None:
    told = find(
        capsys, "x.npz", "--shard", str(shard), "--episode", "2", "--until", "1", "--by", "1",
        "--type", "u8",
    )  # fmt: skip
    assert told["plays"] == ["beginning", "until step 1"]
    find(capsys, "x.npz", "--until", "7", "--by", "5", "--undo", "--until", "4")
    told = find(capsys, "x.npz", "--by", "3", "--until", "12", "--by", "8", "--type", "u8")
    assert told["plays"] == ["beginning", "until step 1", "until step 4", "until step 12"]
    # x is counted modulo 16, so the last eight steps went over the edge.
    assert told["left"] == 0
    told = find(capsys, "x.npz", "--undo", "--until", "5", "--by", "1", "--type", "u8")
    assert [one["address"] for one in told["found"]] == [X]
    with Shard(shard) as recorded:
        start = recorded.episode(2)
    assert told["found"][0]["values"] == [5, 6, 9, 10]
    assert len(start) == 12
    assert refused(capsys, "x.npz", "--play", "A") == (
        "--play: the search x.npz follows a shard; continue with --until STEP"
    )
    assert refused(capsys, "x.npz", "--until", "5") == (
        "--until 5: the episode was played up to step 5 and has 12; give a step between"
    )
    assert refused(capsys, "y.npz", "--shard", str(shard), "--episode", "3") == (
        f"--episode 3: {shard} has the episodes 0 to 2"
    )


def test_what_a_search_cannot_do_is_one_clear_line(mover: Path, capsys: Capture) -> None:
    assert refused(capsys, "x.npz", "--by", "1") == (
        "--by 1: nothing was played yet; give --play BUTTONS before it"
    )
    assert refused(capsys, "x.npz", "--play", "RIGTH*2") == (
        "--play: 'RIGTH*2' is no button; write such as RIGHT, A*3 or WAIT (the nearest is RIGHT)"
    )
    assert refused(capsys, "x.npz", "--play", "L") == (
        "--play: 'L' is no button; write such as RIGHT, A*3 or WAIT (the nearest is LEFT)"
    )
    assert refused(capsys, "x.npz", "--play", " ") == (
        "--play: no buttons; write some such as 'RIGHT*3 WAIT A'"
    )
    assert refused(capsys, "x.npz", "--undo") == ("--undo: there is no play to take back")
    assert refused(capsys, "x.npz", "--until", "3") == (
        "--until: there is no shard to play; begin the search with --shard FILE"
    )
    assert not (mover / "x.npz").exists()
    find(capsys, "x.npz", "--play", "RIGHT", "--by", "1")
    assert refused(capsys, "x.npz", "--start", "power_on") == (
        "x.npz: this search has already begun; leave --start, --state and --shard out, or remove "
        "the file to start over"
    )
    left = find(capsys, "many.npz", "--play", "A", "--unchanged")["left"]
    assert refused(capsys, "many.npz", "--add") == (
        f"--add: {left:,} places are left; add comparisons, or name one, such as --add '0xC000'"
    )
    find(capsys, "gone.npz", "--play", "A", "--by", "77")
    assert refused(capsys, "gone.npz", "--add") == (
        "--add: no place is left; take the last play back with --undo, or start a new search"
    )
    assert refused(capsys, "many.npz", "--add", "0xC002") == (
        "--add 0xC002: this is not one of the places listed; name one, such as --add '0xC000'"
    )
    assert refused(capsys, "x.npz", game="quest") == (
        f"x.npz: a search in mover (ROM {load_game('mover').rom_sha1}), not in quest "
        f"({load_game('quest').rom_sha1}); give its game, or another file"
    )
    for damage in (b"", b"no search", (mover / "x.npz").read_bytes()[:500]):
        (mover / "bad.npz").write_bytes(damage)
        assert refused(capsys, "bad.npz") == (
            "bad.npz: not a search that 'game find' can continue; name another file, or remove "
            "this one"
        )
    assert refused(capsys, "mover/game.yaml/x.npz") == (
        "mover/game.yaml/x.npz: cannot write the search (File exists)"
    )


def test_a_search_says_what_left_no_place_and_when_nothing_was_to_be_seen(
    mover: Path, capsys: Capture
) -> None:
    words = ["game", "find", "x.npz", "--game", "mover", "--type", "u8"]
    assert main([*words, "--play", "RIGHT", "--by", "1", "--play", "B WAIT", "--unchanged"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("nothing changed on the screen") == 1
    assert (
        "B WAIT: nothing changed on the screen; look at it with --png FILE, and end a play "
        "with WAIT*4 or so, so that the game has time to react\n"
    ) in printed
    assert "--undo" not in printed
    assert main([*words, "--play", "RIGHT", "--greater", "--by", "7"]) == 0
    line = (
        "'by 7' of the play 'RIGHT' left no place; --undo takes back the last play and its "
        "comparisons\n"
    )
    assert line in capsys.readouterr().out
    assert main(words) == 0
    assert line in capsys.readouterr().out
    assert main([*words, "--undo"]) == 0
    assert "left no place" not in capsys.readouterr().out
    assert refused(capsys, "x.npz", "--type", "u8", "--equal", "300") == (
        "--equal 300: a u8 can hold 0 to 255"
    )
