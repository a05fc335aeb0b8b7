"""The library of start states: kept at milestones, begun in, listed, filled and checked."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import collect, evaluate
from pipeline.__main__ import main
from pipeline.commands import replay
from pipeline.emulator.core import Emulator
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.games.task import task_of
from pipeline.rollouts.parts import Parts
from pipeline.rollouts.player import make_player
from pipeline.rollouts.recording import Job, play_job
from pipeline.rollouts.seeds import episode_seeds
from pipeline.rollouts.start_states import Library, begun_in, library_of
from pipeline.settings.fields import Collect
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.emulator.conftest import COUNTING, make_game, sounding  # noqa: F401
from tests.emulator.test_starting import MakeGame, raw_state

Capture = pytest.CaptureFixture[str]
QUEST = load_game("quest")
EPISODES = 4


def settings(folder: Path, **sections: Any) -> Settings:
    paths = {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"}
    short = {"episodes": EPISODES, "max_steps": 60, "workers": 2}
    sections = {"collect": {}, "evaluate": {"checkpoint": "expert"}, **sections}
    return change(Settings(), paths=paths, **{k: {**short, **v} for k, v in sections.items()})


def names(library: Library) -> dict[str, list[str]]:
    return {name: [file.name for file in library.files(name)] for name in library.milestones()}


def run(capsys: Capture, *words: str | Path) -> tuple[int, str, str]:
    """Exit code, the printed JSON and the error of a command."""
    code = main([*map(str, words), "--json"])
    out, error = capsys.readouterr()
    return code, out.splitlines()[-1] if out else "", error


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the expert played and its states were kept."""
    folder = tmp_path_factory.mktemp("kept")
    told = collect.run(settings(folder, collect={"keep_states": True}))
    assert told.new_states == sum(len(files) for files in names(library(folder)).values()) > 6
    return folder


def library(folder: Path) -> Library:
    return library_of(folder / "datasets/quest")


@pytest.fixture
def copy(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept, tmp_path / "copy")
    return tmp_path / "copy"


def test_keeping_states_changes_nothing_of_what_is_played(kept: Path, tmp_path: Path) -> None:
    """Frames, RAM before every step, states and all: the shard's identity covers them."""
    told = collect.run(settings(tmp_path))
    assert told.new_states is None
    found = []
    for path in (Path(told.shard), kept / "datasets/quest/collect-raw-v001.h5"):
        with Shard(path) as shard:
            assert shard.ram_crc32(0, 9) is not None
            found.append(shard.header.shard_id)
    assert found[0] == found[1]
    assert library(tmp_path).milestones() == []


def test_a_game_full_of_sound_cannot_tell_that_its_state_was_kept(sounding: Path) -> None:  # noqa: F811
    emulator, other = Emulator(sounding), Emulator(sounding)
    for step in range(40):
        emulator.step(0, 4, 6)
        other.step(0, 4, 6)
        if step % 3 == 0:
            other.save_state()
        assert emulator.ram[0][:] == other.ram[0][:]
        assert emulator.ram[1][:] == other.ram[1][:]


def test_each_state_is_where_its_milestone_was_just_reached(kept: Path) -> None:
    found = library(kept)
    with Shard(kept / "datasets/quest/collect-raw-v001.h5") as shard:
        seeds, milestones = shard.seeds.tolist(), shard.header.milestones
        mark = shard.header.provenance["fingerprint"]
        steps = {
            (seed, name): int(step)
            for seed, row in zip(seeds, shard.milestones, strict=True)
            for name, step in zip(milestones, row, strict=True)
            if step > 0
        }
    told = {}
    for name in found.milestones():
        for file in found.files(name):
            one = found.read(name, file)
            assert (one.milestone, one.about["game"]) == (name, "quest")
            assert one.about["rom_sha1"] == QUEST.rom_sha1
            assert one.about["variables"]["in_game"] == 1
            origin = one.about["from"]
            assert (origin["fingerprint"], origin["shard"]) == (mark, "collect-raw")
            assert origin["actor"]["expert"]["kind"] == "program"
            told[origin["seed"], name] = origin["step"]
            with Image.open(file) as picture:
                assert picture.size == (240, 160)
    assert told == steps


def test_a_rerun_adds_nothing_and_finds_what_was_taken_out(copy: Path) -> None:
    kept_before = names(library(copy))
    again = settings(copy, collect={"keep_states": True})
    assert collect.run(again).new_states == 0
    place = library(copy).folder / "errand_received"
    before = {file.name: file.read_bytes() for file in place.glob("*.png")}
    shutil.rmtree(place)
    told = collect.run(again)
    assert (told.up_to_date, told.new_states) == (True, len(before))
    assert names(library(copy)) == kept_before
    assert {file.name: file.read_bytes() for file in place.glob("*.png")} == before


def test_episodes_that_an_interrupted_run_had_finished_give_their_states_too(
    kept: Path, tmp_path: Path
) -> None:
    keeping = settings(tmp_path, collect={"keep_states": True})
    player = make_player(
        task_of(keeping), Collect(max_steps=60), policy="expert", beta=1.0, purpose="collect"
    )
    with Shard(kept / "datasets/quest/collect-raw-v001.h5") as shard:
        header, seeds = replace(shard.header, shard_id=""), shard.seeds.tolist()
    with Parts(tmp_path / "datasets/quest", "collect-raw", header) as parts:
        play_job(Job(player.play, {seeds[number]: parts.path(number) for number in (1, 3)}, header))
    assert library(tmp_path).milestones() == []
    told = collect.run(keeping)
    assert not told.up_to_date
    assert names(library(tmp_path)) == names(library(kept))
    assert told.unfinished == []


def test_an_evaluation_keeps_states_with_its_rollouts_and_without(tmp_path: Path) -> None:
    few = {"checkpoint": "expert", "episodes": 2, "max_steps": 35, "keep_states": True}
    found = []
    for rollouts in (True, False):
        folder = tmp_path / str(rollouts)
        told = evaluate.run(settings(folder, evaluate={**few, "keep_rollouts": rollouts}))
        assert told.new_states == 4
        found.append(names(library(folder)))
    assert found[0] == found[1]
    assert list(found[0]) == ["game_started", "left_home"]
    again = evaluate.run(settings(tmp_path / "True", evaluate=few))
    assert (again.up_to_date, again.new_states) == (True, 0)


def test_no_more_states_are_kept_than_there_may_be(tmp_path: Path) -> None:
    bound = {"keep_states": True, "keep_states_most": 2, "max_steps": 35}
    told = [collect.run(settings(tmp_path, collect={**bound, "first": n})) for n in (0, 4)]
    assert [one.new_states for one in told] == [4, 0]
    assert {name: len(files) for name, files in names(library(tmp_path)).items()} == {
        "game_started": 2,
        "left_home": 2,
    }


def test_many_who_add_at_once_keep_each_state_once_and_the_bound(
    kept: Path, tmp_path: Path
) -> None:
    source = library(kept)
    states = [source.read("left_home", file) for file in source.files("left_home")] * 5
    target = Library(tmp_path / "states")
    half = tmp_path / "states/left_home/.x.png.tmp-nobody-1"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half a state")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: target.add("left_home", one.state, one.about, most=3), states))
    assert len(target.files("left_home")) == 3
    for file in target.files("left_home"):
        target.read("left_home", file)


def test_a_milestone_with_an_awkward_name_has_a_folder_of_its_own(
    kept: Path, tmp_path: Path
) -> None:
    source = library(kept)
    one = source.read("left_home", source.files("left_home")[0])
    target = Library(tmp_path / "states")
    awkward = ["../up", "..", "a b/c", "Höhle %41"]
    for name in awkward:
        target.add(name, one.state, one.about)
    assert sorted(target.milestones()) == sorted(awkward)
    assert [path.name for path in tmp_path.iterdir()] == ["states"]


def test_episodes_begin_in_the_states_of_a_milestone_and_are_played_again(copy: Path) -> None:
    begun = {"start_state": "milestone:left_home", "max_steps": 12, "episodes": 7}
    told = collect.run(settings(copy, collect={**begun, "name": "from"}))
    alone = collect.run(settings(copy, collect={**begun, "name": "alone", "workers": 1}))
    states = library(copy).states(QUEST, "left_home")
    seeds = episode_seeds("collect", 0, 7, 0).tolist()
    chosen = [states[number] for number in begun_in(seeds, len(states))]
    with Shard(Path(told.shard)) as shard:
        recorded = shard.start_states()
        assert recorded == list(dict.fromkeys(one.state for one in chosen))
        assert [recorded[i] for i in shard.start_state_rows] == [one.state for one in chosen]
        assert [shard.episode(i).root for i in range(7)] == [
            f"quest/milestone:left_home/{one.file.stem}/{seed:08x}"
            for one, seed in zip(chosen, seeds, strict=True)
        ]
        assert shard.milestones[:, 1].tolist() == [0] * 7
        with Shard(Path(alone.shard)) as other:  # whatever the workers
            assert other.header.shard_id == shard.header.shard_id
        assert shard.header.provenance["start_states"] == [one.file.stem for one in states]
    again = replay.run(settings(copy), Path(told.shard), workers=1)
    assert (again["identical"], again["different"]) == (7, 0)


def test_no_state_is_begun_in_twice_before_each_is_begun_in_once() -> None:
    for count, episodes in ((5, 5), (7, 4), (3, 10), (1, 4)):
        times = np.bincount(begun_in(range(9, 9 + episodes), count), minlength=count)
        assert times.max() - times.min() <= 1
    assert begun_in(range(20), 20) != begun_in(range(1, 21), 20)
    assert begun_in([], 3) == []


def test_another_set_of_states_is_another_collection(copy: Path) -> None:
    begun = {"start_state": "milestone:left_home", "max_steps": 4, "name": "from", "episodes": 1}
    first = collect.run(settings(copy, collect=begun))
    assert collect.run(settings(copy, collect=begun)).up_to_date
    library(copy).files("left_home")[0].unlink()
    second = collect.run(settings(copy, collect=begun))
    assert not second.up_to_date
    assert first.shard != second.shard


def test_a_milestone_without_states_or_of_another_name_is_one_clear_line(
    copy: Path, capsys: Capture
) -> None:
    where = ("--paths.datasets", copy / "datasets")
    wrong = [*where, "--start_state", "milestone:left_hoem"]
    assert run(capsys, "collect", *wrong)[2] == (
        "error: quest has no milestone 'left_hoem'; the nearest one is 'left_home'\n"
    )
    empty = [*where, "--start_state", "milestone:badge_received"]
    line = (
        f"error: {copy}/datasets/quest/states: no states of the milestone 'badge_received' yet; "
        "keep some with: collect --keep-states, or put one in with: game states add FILE "
        "--milestone badge_received\n"
    )
    assert run(capsys, "collect", *empty)[2] == line
    assert run(capsys, "evaluate", "--checkpoint", "expert", *empty)[2] == line
    file = library(copy).files("left_home")[0]
    text = file.read_bytes()
    file.write_bytes(text[:-9])
    damaged = [*where, "--start_state", "milestone:left_home"]
    assert run(capsys, "collect", *damaged)[2] == (
        f"error: {file}: the save state is a PNG that is cut off or damaged; copy it again; or "
        "remove it\n"
    )


def test_states_of_the_users_own_are_added_and_listed(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    emulator = Emulator(find_rom(QUEST), QUEST.rtc_ms)
    emulator.run(60)
    Path("title.png").write_bytes(emulator.save_state())
    emulator.step(8, 4, 6)  # START
    emulator.run(60)
    Path("home.png").write_bytes(emulator.save_state())
    Path("home.ss1").write_bytes(raw_state(emulator))
    states = ("game", "states")
    for name in ("home.png", "home.ss1"):
        code, out, _ = run(capsys, *states, "add", name, "--milestone", "game_started")
        assert code == 0
        assert [row["milestone"] for row in json.loads(out)["added"]] == ["game_started"]
    assert json.loads(run(capsys, *states, "add", "home.png")[1])["added"] == [
        {"milestone": "game_started", "state": "was there", "from": "home.png"}
    ]
    code, out, _ = run(capsys, *states, "ls")
    assert code == 0
    (row,) = json.loads(out)["milestones"]
    assert (row["milestone"], row["states"]) == ("game_started", 2)
    assert sorted(row["from"]) == ["1 home.png", "1 home.ss1"]
    for words, line in {
        ("add", "home.png", "--milestone", "left_home"): "home.png: 'left_home' is not reached in "
        "it (left_home == 1); these are reached: game_started",
        ("add", "title.png"): "title.png: no milestone of quest is reached in it",
        ("add", "title.png", "--milestone", "left_home"): "title.png: 'left_home' is not reached "
        "in it (left_home == 1); none is",
        ("add", "none.png"): "none.png: cannot read the save state (No such file or directory)",
        ("add",): "game states add: give a save state, a .sav file or a raw shard",
        ("ls", "home.png"): "game states ls: takes no files; leave home.png out",
        ("ls", "--milestone", "left_hoem"): "quest has no milestone 'left_hoem'; the nearest one "
        "is 'left_home'",
    }.items():
        code, _, error = run(capsys, *states, *words)
        assert (code, error) == (2, f"error: {line}\n")


def test_an_in_game_save_becomes_a_start_state(
    make_game: MakeGame,  # noqa: F811
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = ("badge: {address: 0x02000100, type: u8}", "saved: {address: 0x03000000, type: u8}")
    reached = ('"money > 100"', '"saved >= 41 and saved < 200"')
    folder = make_game(saved, reached, ('"badge == 1"', '"False"'), words=COUNTING)
    Path("my.sav").write_bytes(bytes([41]) + bytes(32767))
    game = ("--game", folder)
    add = ("game", "states", "add", "my.sav", "--frames", "9", *game)
    code, out, error = run(capsys, *add, "--milestone", "rich")
    assert (code, error) == (0, "")
    (row,) = json.loads(out)["added"]
    shown = run(capsys, "game", "show", *game, "--state", row["state"])[1]
    assert json.loads(shown)["state"]["saved"] == 41
    code, _, error = run(capsys, *add, "--press", "C")
    assert error.startswith("error: --press: 'C' is no button; write such as RIGHT, A*3 or WAIT")


def test_check_names_every_state_that_is_not_what_it_should_be(copy: Path, capsys: Capture) -> None:
    check = ("game", "states", "check", "--paths.datasets", copy / "datasets")
    code, out, error = run(capsys, *check)
    told = json.loads(out)
    assert (code, error, told["wrong"]) == (0, "", [])
    assert told["checked"] == sum(len(files) for files in names(library(copy)).values())
    found = library(copy)
    cut, renamed, moved, plain = (found.files(name)[0] for name in (
        "errand_received", "game_started", "left_home", "left_home"
    ))  # fmt: skip
    cut.write_bytes(cut.read_bytes()[:5000])
    renamed = renamed.rename(renamed.with_name("0123456789abcdef.png"))
    away = found.folder / "badge_received"
    away.mkdir()
    moved = moved.rename(away / moved.name)
    plain = plain.with_name("plain.png")
    plain.write_bytes(Emulator(find_rom(QUEST)).save_state())
    code, out, error = run(capsys, *check)
    wrong = {row["state"]: row["problem"] for row in json.loads(out)["wrong"]}
    digest = found.read("game_started", renamed).about["ram_sha256"][:16]
    assert wrong == {
        str(cut): "the save state is a PNG that is cut off or damaged; copy it again; or remove it",
        str(renamed): f"its RAM has the sha256 {digest}, which is not its name",
        str(moved): "says that it is a state of 'left_home'",
        str(plain): "does not say where it came from; take it out, and put it in with: game states "
        "add FILE --milestone left_home",
    }
    assert code == 2
    assert error == f"error: {renamed}: {wrong[str(renamed)]} (and 3 more)\n"


def test_a_raw_shard_gives_its_states_to_a_library(kept: Path, tmp_path: Path) -> None:
    shard = kept / "datasets/quest/collect-raw-v001.h5"
    words = ["game", "states", "add", str(shard), "--paths.datasets", str(tmp_path / "datasets")]
    assert main([*words, "--milestone", "left_home"]) == 0
    assert names(library(tmp_path)) == {"left_home": names(library(kept))["left_home"]}
    assert main(words) == 0
    assert names(library(tmp_path)) == names(library(kept))


def test_a_state_of_another_rom_is_refused(copy: Path) -> None:
    found = library(copy)
    one = found.read("left_home", found.files("left_home")[0])
    other = {**one.about, "rom_sha1": "0" * 40, "ram_sha256": "f" * 64}
    file = found.add("left_home", one.state, other)
    with pytest.raises(PipelineError) as error:
        found.states(QUEST, "left_home")
    assert str(error.value) == (
        f"{file}: made with a ROM with sha1 {'0' * 40}, not {QUEST.rom_sha1}; remove it"
    )
