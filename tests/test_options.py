"""The command line: values by the field's type, options anywhere, whatever the terminal is."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipeline import __main__ as command_line
from pipeline.__main__ import main, read_overrides
from pipeline.games.loading import load_game
from pipeline.games.template import write_game
from pipeline.settings.options import kind_of_key
from pipeline.settings.reading import Settings, load_settings, valid_keys
from pipeline.system.errors import PipelineError

ROOT = Path(__file__).parent.parent
QUEST = ROOT / "pipeline" / "games" / "quest" / "quest.gba"
YAML_WORDS = ["1", "2024", "01", "0x10", "1_0", "1e3", "off", "no", "yes", "on", "null", "true",
              "~x", "2024-01-01", "1:30", "5.", "=", "[a", "{a", "a: b", "#", "-", "-1", "&a", "*a",
              "!a", "%a", "@a", "'", '"']  # fmt: skip


def one(key: str, *words: str) -> Any:
    return read_overrides("", [f"--{key}", *words])[key]


def text_keys() -> list[str]:
    """Every setting whose value is any text."""
    return [key for key in valid_keys() if kind_of_key(key) in (str, str | None)]


@pytest.mark.parametrize("word", YAML_WORDS)
def test_a_word_is_a_text_where_the_field_is_one(word: str) -> None:
    assert {"run", "milestone", "from", "to", "collect.name"} <= set(text_keys())
    for key in text_keys():
        assert one(key, word) == word
        assert read_overrides("", [f"--{key}={word}"])[key] == word
    assert load_settings(None, read_overrides("train", ["--run", word])).run == word


@given(st.text(min_size=1).filter(lambda word: word != "none" and not word.startswith("--")))
def test_no_text_becomes_another(word: str) -> None:
    for key in ("run", "milestone", "evaluate.start_state"):
        assert one(key, word) == word


@pytest.mark.parametrize(
    ("key", "words", "value"),
    [
        ("train.learning_rate", ["1e-4"], 1e-4),
        ("train.learning_rate", ["3"], 3.0),
        ("train.steps", ["500"], 500),
        ("train.steps", ["5.0"], 5),
        ("train.steps", ["0x10"], 16),
        ("train.steps", ["-3"], -3),
        ("train.steps", ["many"], "many"),
        ("train.deterministic", [], True),
        *[("train.deterministic", [word], True) for word in ("true", "yes", "on", "1", "True")],
        *[("train.deterministic", [word], False) for word in ("false", "no", "off", "0")],
        ("train.workers", ["none"], None),
        ("train.workers", ["null"], None),
        ("train.workers", ["2"], 2),
        ("milestone", ["none"], None),
        ("milestone", [""], None),
        ("rom", [""], None),
        ("rom", ["a.gba"], Path("a.gba")),
        ("run", ["none"], "none"),
        ("compare.labels", ["300", "600"], [300, 600]),
        ("compare.labels", ["300,600"], [300, 600]),
        ("compare.labels", ["300,", "600"], [300, 600]),
        ("compare.labels", ["[300, 600]"], [300, 600]),
        ("compare.labels", ["[300,", "600]"], [300, 600]),
        ("train.shards", ["a.h5", "b.h5"], ["a.h5", "b.h5"]),
        ("train.shards", ["a.h5,b.h5"], ["a.h5", "b.h5"]),
        ("train.shards", ["[a.h5, on, 01]"], ["a.h5", "on", "01"]),
        ("train.shards", [], []),
        ("train.shards", ["[]"], []),
        ("compare.controls", ["cloning,cloning_clean"], ["cloning", "cloning_clean"]),
        ("train.action_weights", ["{A: 2, B: 0.5}"], {"A": 2.0, "B": 0.5}),
        ("train.action_weights", ["{A:", "2}"], {"A": 2.0}),
        ("train.action_weights", ["A=2,B=3"], {"A": 2.0, "B": 3.0}),
        ("train.round_weights", ["1=2", "3=4"], {1: 2.0, 3: 4.0}),
        ("train.shard_weights", ["{on: 2}"], {"on": 2.0}),
    ],
)
def test_a_value_is_read_by_the_type_of_its_field(key: str, words: list[str], value: Any) -> None:
    found = one(key, *words)
    assert found == value
    assert type(found) is type(value)


def test_a_file_that_is_there_may_have_a_comma_or_brackets_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a,b.h5", "[c]"):
        Path(name).touch()
    assert one("train.shards", "a,b.h5", "c,d") == ["a,b.h5", "c", "d"]
    assert one("train.shards", "[c]") == ["[c]"]


@pytest.mark.parametrize("key", valid_keys())
def test_every_default_can_be_said_on_the_command_line(key: str) -> None:
    value: Any = Settings()
    for part in key.split("."):
        value = getattr(value, {"from": "from_"}.get(part, part), None)
    if isinstance(value, dict):
        words = ["{}"]
    elif isinstance(value, list):
        words = [str(word) for word in value]
    else:
        words = ["none" if value is None else str(value)]
    optional = key.startswith("model.prices")  # its sums have no default
    if not optional:
        assert one(key, *words) == value
    assert TypeAdapter(kind_of_key(key)).core_schema


@pytest.mark.parametrize(
    ("key", "word", "line"),
    [
        ("train.steps", "many", "train.steps is 'many': input should be a valid integer, unable to "
         "parse string as an integer"),
        ("train.steps", "-3", "train.steps is -3: input should be greater than or equal to 1"),
        ("train.deterministic", "maybe", "train.deterministic is 'maybe': input should be a valid "
         "boolean, unable to interpret input"),
        ("compare.labels", "3,x", "compare.labels.1 is 'x': input should be a valid integer, "
         "unable to parse string as an integer"),
        ("train.action_weights", "A", "train.action_weights is 'A': input should be a valid "
         "dictionary"),
        ("train.device", "", "train.device is ''"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_one_line(key: str, word: str, line: str) -> None:
    if key == "train.device":  # any text is one here
        assert one(key, word) == ""
        return
    with pytest.raises(PipelineError) as refused:
        load_settings(None, read_overrides("", [f"--{key}", word]))
    assert str(refused.value) == f"the command line: {line}"


# Paths.


def test_home_and_variables_are_filled_in_wherever_a_path_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA_7", "/data")
    tree = {
        "rom": "~/a.gba",
        "game": "${DATA_7}/game",
        "paths": {"datasets": "$DATA_7/d", "checkpoints": "~/c"},
        "expert": {"path": "$DATA_7/e.py"},
        "train": {"start_from": "~/s.pt", "shards": ["$DATA_7/a.h5"]},
        "label": {"student": "~/s.pt", "ensemble": ["~/1.pt"], "shards": ["~/l.h5"]},
        "collect": {"policy": "~/p.pt"},
        "evaluate": {"checkpoint": "~/e.pt"},
        "preprocess": {"shards": ["~/r.h5"]},
    }
    file = tmp_path / "some.yaml"
    file.write_text(yaml.safe_dump(tree))
    words = [
        f"--{section if not isinstance(value, dict) else f'{section}.{key}'}={word}"
        for section, value in tree.items()
        for key, one_value in (value.items() if isinstance(value, dict) else [("", value)])
        for word in (one_value if isinstance(one_value, list) else [one_value])
    ]
    for settings in (load_settings(file), load_settings(None, read_overrides("", words))):
        told = str(settings.model_dump(mode="json"))
        assert "~" not in told
        assert "$" not in told
        assert settings.paths.datasets == Path("/data/d")
        assert settings.train.shards == ["/data/a.h5"]
        assert settings.game == "/data/game"
        assert settings.rom == Path("/home/me/a.gba")


def test_a_file_that_is_called_so_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("$odd").touch()
    assert load_settings(None, {"rom": "$odd"}).rom == Path("$odd")


def test_a_variable_that_is_not_set_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NOPE", raising=False)
    file = tmp_path / "some.yaml"
    file.write_text("rom: $NOPE/a.gba\n")
    why = "the environment variable NOPE is not set; set it, or write the whole path"
    for words, line in (
        (["train", "--config", str(file)], f"{file}: rom is '$NOPE/a.gba': {why}"),
        (["train", "--rom=$NOPE/a"], f"the command line: rom is '$NOPE/a': {why}"),
        (["data", "show", "$NOPE/a.h5"], f"the command line: '$NOPE/a.h5': {why}"),
        (["train", "--config=${NOPE}"], f"the command line: '${{NOPE}}': {why}"),
    ):
        assert main(words) == 2
        assert capsys.readouterr().err == f"error: {line}\n"


# Order.


@pytest.mark.parametrize(
    ("words", "known", "settings"),
    [
        (["data", "show", "f", "--paths.datasets", "D"], {"file": "f"}, {"paths.datasets": "D"}),
        (["data", "show", "--paths.datasets", "D", "f"], {"file": "f"}, {"paths.datasets": "D"}),
        (["data", "--paths.datasets=D", "show", "f"], {"file": "f"}, {"paths.datasets": "D"}),
        (["--paths.datasets", "D", "data", "show", "f"], {"file": "f"}, {"paths.datasets": "D"}),
        (["--json", "data", "show", "--", "-f"], {"file": "-f", "json": True}, {}),
        (["data", "import", "--expert", "a.npz"], {"files": ["a.npz"], "expert": True}, {}),
        (["data", "import", "a", "--name", "n", "b"], {"files": ["a", "b"], "name": "n"}, {}),
        (["game", "states", "--game", "quest", "ls"], {"what": "ls"}, {"game": "quest"}),
        (["game", "--game", "quest", "states", "ls"], {"what": "ls"}, {"game": "quest"}),
        (["game", "states", "--most", "3", "add", "--milestone", "m", "f"],
         {"what": "add", "most": 3, "milestone": "m", "files": [Path("f")]}, {}),
        (["game", "show", "--unverified_rom", "--rom", "r"], {}, {"unverified_rom": True,
                                                                  "rom": Path("r")}),
        (["game", "new", "--unverified-rom", "mine"], {"name": "mine"}, {"unverified_rom": True}),
        (["game", "find", "--by", "-1", "s", "--play", "A*3 B", "--undo"],
         {"session": Path("s"), "script": [("by", -1), ("play", "A*3 B"), ("undo", None)]}, {}),
        (["game", "find", "--add", "s"], {"session": Path("s"), "add": ""}, {}),
        (["game", "find", "s", "--add", "0x10"], {"session": Path("s"), "add": "0x10"}, {}),
        (["game", "find", "--add", "0x10", "s"], {"session": Path("s"), "add": "0x10"}, {}),
        (["data", "replay", "--workers", "2", "f", "--episodes=0,3"],
         {"file": Path("f"), "workers": 2, "episodes": "0,3"}, {}),
        (["data", "filter", "--complete_labels", "f"], {"complete_labels": True}, {}),
        (["data", "verify", "--train.shards", "a,b", "f"], {"files": ["f"]},
         {"train.shards": ["a", "b"]}),
        (["data", "ls", "--round", "1", "2", "--newest"], {"round": ["1", "2"], "newest": True},
         {}),
        # Whose option it is, is known only with the command.
        (["--run", "o1", "collect"], {"command": "collect"}, {"run": "o1"}),
        (["--run", "x", "data", "ls"], {"run": ["x"]}, {}),
        (["data", "--run", "x", "ls"], {"run": ["x"]}, {}),
        (["--add", "game", "find", "s"], {"session": Path("s"), "add": ""}, {}),
        (["--run", "train", "collect", "--seed", "1"], {"command": "collect"},
         {"run": "train", "collect.seed": 1}),
        (["--steps", "5", "train", "--config", "c"], {"config": Path("c")}, {"train.steps": 5}),
        (["evaluate", "--video", "--episodes", "4"], {}, {"evaluate.video": True,
                                                          "evaluate.episodes": 4}),
    ],
)  # fmt: skip
def test_options_stand_where_one_likes(
    words: list[str], known: dict[str, Any], settings: dict[str, Any]
) -> None:
    found, overrides = command_line._read(words)
    assert {name: getattr(found, name) for name in known} == known
    assert overrides == {
        key: Path(value) if key == "paths.datasets" else value for key, value in settings.items()
    }


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["data", "show"], "the following arguments are required: file; see pokemon-il data show "
         "--help"),
        (["data"], "the following arguments are required: ACTION; see pokemon-il data --help"),
        (["data", "show", "a", "b"], "unrecognized arguments: b; see pokemon-il data show --help"),
        (["train", "4"], "'4' has no key; write --key value"),
        (["train", "--steps", "--json"], "--train.steps needs a value"),
        (["data", "ls", "--newst"], "unknown key '--newst'; the nearest is '--newest'"),
        (["game", "states"], "the following arguments are required: what; see pokemon-il game "
         "states --help"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == f"error: the command line: {line}\n"


def test_the_help_says_how_values_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["train", "--help"], ["data", "show", "-h"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
        assert "'none' or nothing" in " ".join(capsys.readouterr().out.split())


# What `game new` writes.


@pytest.mark.parametrize("name", ["1942", "007", "0x10", "1_0", "on", "yes", "null", "1e3", "true"])
def test_a_game_can_be_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    write_game(name, QUEST, tmp_path / name)
    assert load_game(str(tmp_path / name)).name == name


@pytest.mark.parametrize("name", ["a/b", "../a", "a.b", "a b", "é", "", "-a", "A", "a\n"])
def test_a_name_that_cannot_name_files_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PipelineError, match="the name cannot name files; use small letters"):
        write_game(name, QUEST, tmp_path / "g")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("title", "folder"),
    [("A: B # C", "plain"), ("'\"\\", "a: b #c"), ("ON", 'q"uo\'te'), ("{NAME}", "new\nline"),
     ("%A", "é ☃"), ("- A", "tab\there"), ("0X10", os.fsdecode(b"\xff"))],
)  # fmt: skip
def test_a_game_can_be_read_whatever_its_title_and_its_place(
    tmp_path: Path, title: str, folder: str
) -> None:
    rom = bytearray(QUEST.read_bytes())
    rom[0xA0:0xAC] = title.encode("ascii").ljust(12, b"\0")
    rom[0xBD] = (-(0x19 + sum(rom[0xA0:0xBD]))) & 0xFF
    place = tmp_path / folder
    place.mkdir()
    image = place / "a: b.gba"
    image.write_bytes(rom)
    write_game("mine", image, place / "mine")
    game = load_game(str(place / "mine"))
    assert (game.title, game.rom_title, game.rom_file) == (title, title, image)
    compile((place / "mine" / "expert.py").read_bytes(), "expert.py", "exec")


# Streams.


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_encoding_of_a_stream_ends_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    odd = tmp_path / "é ☃ \udcff"
    assert main(["game", "new", "mine", "--rom", str(QUEST), "--folder", str(odd)]) == 0
    assert main(["data", "show", f"{odd}.h5"]) == 2
    out.flush()
    err.flush()
    printed = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert ("┌" in printed) == (encoding == "utf-8")
    assert ("+--" in printed) == (encoding != "utf-8")
    assert err.buffer.getvalue().count(b"\n") == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_takes_no_file_into_its_place(tmp_path: Path, closed: str) -> None:
    # In a process of its own: closing this one's would take pytest's.
    code = (
        "from pipeline.system.streams import prepare_streams; prepare_streams(); import os, sys;"
        "print('é'); print('x', file=sys.stderr);"
        f"sys.exit(0 if os.open({str(tmp_path / 'f')!r}, os.O_CREAT) > 2 else 1)"
    )
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], cwd=ROOT,
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_output_that_nobody_reads_any_more_ends_quietly() -> None:
    with contextlib.suppress(BrokenPipeError):
        done = subprocess.run(
            ["sh", "-c", '"$0" -m pipeline --help | true', sys.executable],
            cwd=ROOT, capture_output=True,
        )  # fmt: skip
    assert done.stderr == b""
