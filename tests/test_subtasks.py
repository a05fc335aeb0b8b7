"""Every stage on a subtask of the game, from one milestone to another, on the real emulator."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import collect, evaluate, label, preprocess, train
from pipeline.__main__ import main
from pipeline.commands import replay
from pipeline.emulator.core import Emulator
from pipeline.games.loading import load_game
from pipeline.games.task import task_of
from pipeline.reports.telling import told as tell
from pipeline.rollouts.player import make_player
from pipeline.rollouts.recording import Job, play_job
from pipeline.rollouts.seeds import purpose_of
from pipeline.rollouts.start_states import Library, library_of
from pipeline.settings.fields import Collect, Evaluate
from pipeline.settings.reading import Settings
from pipeline.shards.format.milestones import inside
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.repair.edit import merge
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.emulator.conftest import make_game  # noqa: F401
from tests.emulator.test_starting import MakeGame

QUEST = load_game("quest")
NAMES = [milestone.name for milestone in QUEST.milestones]
SUBTASK = "left_home"
HERE = ("game_started", SUBTASK)
"""Where that subtask begins and ends."""


def error_of(settings: Settings, stage: Any) -> str:
    with pytest.raises(PipelineError) as caught:
        stage.run(settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of a folder with games and a subtask that the expert played, and states of both sides."""
    folder = tmp_path_factory.mktemp("subtasks")
    made = Settings.model_validate(
        {
            "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
            "collect": {"episodes": 3, "max_steps": 60, "workers": 2, "keep_states": True},
            "preprocess": {"workers": 1, "validation": 0.0},
            "label": {"workers": 1},
            "train": {"steps": 4, "batch_size": 8, "threads": 1, "log_every": 2, "hidden": 16},
            "evaluate": {"checkpoint": "expert", "episodes": 4, "max_steps": 60, "workers": 2},
        }
    )
    collect.run(made)
    evaluate.run(change(made, evaluate={"keep_states": True}))
    return made


@pytest.fixture(scope="module")
def subtask(settings: Settings) -> Settings:
    mine = change(settings, subtask=HERE)
    collect.run(mine)
    return mine


def folder_of(settings: Settings) -> Path:
    return settings.shard_folder("quest")


def library(settings: Settings) -> Library:
    return library_of(settings.game_folder("quest"))


def test_an_episode_of_a_subtask_begins_at_one_milestone_and_ends_with_the_next(
    subtask: Settings,
) -> None:
    with Shard(folder_of(subtask) / "collect-left_home-raw-v001.h5") as shard:
        assert shard.success.all()
        steps = shard.milestones
        assert (steps[:, 0] == 0).all()
        assert (steps[:, 1] == shard.lengths).all()
        assert (steps[:, 2:] == -1).all()
        assert all(root.startswith("quest/milestone:game_started/") for root in shard.roots)
        last = shard.starts + shard.lengths - 1
        assert shard.column("terminated")[last].all()
        assert shard.header.provenance["subtask"] == {"from": "game_started", "to": SUBTASK}


def test_a_subtask_is_played_again_with_its_own_end(subtask: Settings) -> None:
    shard = folder_of(subtask) / "collect-left_home-raw-v001.h5"
    told = replay.run(subtask, shard)
    assert told["different"] == 0


def test_the_same_subtask_has_one_name_however_it_is_asked_for(subtask: Settings) -> None:
    asked = subtask.model_dump() | {"milestone": SUBTASK, "from_": None, "to": None}
    again = collect.run(Settings.model_validate(asked))
    assert again.up_to_date


def test_nobody_learns_from_states_that_evaluations_reached(subtask: Settings) -> None:
    kept = library(subtask)
    purposes = {file.stem: kept.read("game_started", file).purpose
                for file in kept.files("game_started")}  # fmt: skip
    assert set(purposes.values()) == {"collect", "evaluate"}
    with Shard(folder_of(subtask) / "collect-left_home-raw-v001.h5") as shard:
        begun = shard.header.provenance["start_states"]
    assert {purposes[stem] for stem in begun} == {"collect"}
    told = evaluate.run(subtask)
    with Shard(Path(told.rollouts)) as shard:
        judged = shard.header.provenance["start_states"]
        assert {purpose_of(int(seed)) for seed in shard.seeds} == {"evaluate"}
    assert {purposes[stem] for stem in judged} == {"evaluate"}
    assert (
        told.rules.starts == f"{len(judged)} states of the library, in none of which anybody learns"
    )
    assert told.rules.subtask == "game_started to left_home"
    assert told.success_rate == 1.0
    assert Path(told.report).name == "evaluate-left_home.json"


def test_states_of_evaluations_alone_are_refused_to_who_learns(
    settings: Settings, tmp_path: Path
) -> None:
    mine = change(settings, paths={"datasets": tmp_path})
    evaluate.run(change(mine, evaluate={"keep_states": True, "episodes": 2, "max_steps": 5}))
    states = tmp_path / "quest/states"
    assert error_of(change(mine, subtask=HERE), collect) == (
        f"{states}: all 2 states of 'game_started' were reached in evaluations, whose games nobody "
        "learns from; keep others with: collect --keep-states"
    )


def test_states_that_others_may_learn_from_are_said_to_be_such(
    settings: Settings, tmp_path: Path
) -> None:
    mine = change(settings, paths={"datasets": tmp_path, "checkpoints": tmp_path})
    collect.run(change(mine, collect={"episodes": 2, "max_steps": 5}))
    told = evaluate.run(change(mine, subtask=HERE, evaluate={"episodes": 2, "max_steps": 3}))
    assert told.rules.starts == "2 states of the library, in which trainings may begin, too"


def test_preprocess_leaves_the_steps_of_the_subtask(subtask: Settings) -> None:
    told = preprocess.run(subtask)
    named = {Path(row.raw).name: row for row in told.by_shard}
    own = named["collect-left_home-raw-v001.h5"]
    assert Path(own.shard).name == "collect-left_home-84-v001.h5"
    assert own.dropped_steps == 0
    cut = Path(named["collect-raw-v001.h5"].shard)
    assert cut.name == "collect-only-left_home-84-v001.h5"
    with Shard(folder_of(subtask) / "collect-raw-v001.h5") as raw, Shard(cut) as shard:
        first, last = raw.milestones[:, 0], raw.milestones[:, 1]
        lengths = np.where(last < 0, raw.lengths, last) - first
        assert shard.lengths.tolist() == lengths.tolist()
        for episode, start in zip(range(raw.n_episodes), raw.starts + first, strict=True):
            here = shard.starts[episode]
            mine = raw.column("actions", start, start + lengths[episode])
            assert (shard.column("actions", here, here + lengths[episode]) == mine).all()
        assert (shard.milestones[:, 0] == 0).all()
        assert shard.header.provenance["subtask"] == {"from": "game_started", "to": SUBTASK}
    assert preprocess.run(subtask).up_to_date


def test_label_asks_about_the_steps_of_the_subtask_alone(subtask: Settings, tmp_path: Path) -> None:
    whole = change(subtask, subtask=(None, None))
    mine = change(whole, preprocess={"shards": [str(folder_of(subtask) / "collect-raw-v001.h5")]})
    small = preprocess.run(mine).shards
    asked = change(subtask, label={"shards": small, "relabel": True})
    (labelled,) = label.run(asked).shards
    assert Path(labelled).name == "collect-only-left_home-labelled-v001.h5"
    with Shard(Path(labelled)) as shard, Shard(Path(small[0])) as before:
        here = inside(before.milestones, before.lengths, 1, 1)
        assert 0 < here.sum() < shard.n_frames
        changed = shard.labels(0, shard.n_frames)
        assert changed is None or len(changed["expert"]) == shard.n_frames
        assert (shard.column("label_status")[here] == LabelStatus.LABELLED).all()
    assert label.run(asked).up_to_date
    none = change(subtask, subtask=("gym_entered", "leader_beaten"), label={"shards": small})
    assert error_of(none, label) == (
        f"{small[0]}: no step between 'gym_entered' and 'leader_beaten'; collect and preprocess "
        "some with the same --milestone, or --from and --to"
    )


def test_train_learns_from_the_steps_of_the_subtask(subtask: Settings) -> None:
    whole = change(subtask, subtask=(None, None))
    raw = [str(folder_of(subtask) / "collect-raw-v001.h5")]
    small = preprocess.run(change(whole, preprocess={"shards": raw}))
    labelled = label.run(change(whole, label={"shards": small.shards})).shards
    with Shard(Path(labelled[0])) as shard:
        here = inside(shard.milestones, shard.lengths, 1, 1)
    told = train.run(change(subtask, run="subtask", train={"shards": labelled}))
    assert told.labels == here.sum()


def test_a_subtask_without_steps_is_refused_by_preprocess(subtask: Settings) -> None:
    raw = str(folder_of(subtask) / "collect-left_home-raw-v001.h5")
    mine = change(subtask, subtask=("gym_entered", None), preprocess={"shards": [raw]})
    assert error_of(mine, preprocess) == (
        f"{folder_of(subtask)}: no raw shard has a step between 'gym_entered' and 'the end'; "
        "collect "
        "some with the same --milestone, or --from and --to"
    )


@pytest.mark.parametrize("stage", [collect, preprocess, label, train, evaluate])
def test_every_stage_names_the_nearest_milestone(stage: Any, subtask: Settings) -> None:
    wrong = Settings.model_validate(subtask.model_dump() | {"from_": None, "to": "left_hoem"})
    assert error_of(wrong, stage) == (
        "quest has no milestone 'left_hoem'; the nearest one is 'left_home'"
    )


def test_a_goal_that_holds_at_the_start_is_refused(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state put in by hand under an earlier milestone.

    First one that tells what is reached in it, then one that hides it.
    """
    mine = change(settings, paths={"datasets": tmp_path}, subtask=HERE)
    late = sorted(library(settings).files(SUBTASK))[0]
    states = tmp_path / "quest/states"
    words = ["--milestone", "game_started", "--paths.datasets", str(tmp_path)]
    assert main(["game", "states", "add", str(late), *words]) == 0
    capsys.readouterr()
    assert error_of(mine, collect) == (
        f"{states}: in all 1 states of 'game_started' the milestone 'left_home' is reached "
        "already; begin at an earlier one with --from"
    )
    named = change(mine, subtask=(None, SUBTASK), collect={"start_state": "milestone:left_home"})
    shutil.copytree(library(settings).folder / SUBTASK, states / SUBTASK)
    assert error_of(named, collect).startswith(f"{states}: in all ")


def test_a_start_state_that_hides_what_is_reached_is_found_out(settings: Settings) -> None:
    """The console itself says that the goal is reached, whatever is told of the state."""
    mine = change(settings, subtask=(None, SUBTASK), collect={"start_state": None})
    player = make_player(
        task_of(mine), Collect(max_steps=5), policy="expert", beta=1.0, purpose="collect"
    )
    kept = library(settings)
    one = kept.read(SUBTASK, kept.files(SUBTASK)[0])
    from pipeline.rollouts.episodes import Start

    header = player.header("collect", {})
    with pytest.raises(PipelineError) as caught:
        play_job(Job(player.play, {3: None}, header, {3: Start(one.label, one.state)}))
    assert str(caught.value) == (
        f"the milestone 'left_home' is reached already in the start state '{one.label}'; take "
        "that one out, or choose others with --from"
    )


def test_raw_shards_of_different_subtasks_are_not_merged(subtask: Settings) -> None:
    folder = folder_of(subtask)
    paths = [folder / "collect-raw-v001.h5", folder / "collect-left_home-raw-v001.h5"]
    with pytest.raises(PipelineError) as caught:
        merge(paths, "all-raw")
    assert "subtask" in str(caught.value)
    assert "game_started to left_home" in str(caught.value)


def test_every_subtask_is_evaluated_beside_the_expert(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a game of three milestones: the table, its files, and nothing to do the second time."""
    folder = tmp_path / "three"
    shutil.copytree(QUEST.folder, folder, ignore=shutil.ignore_patterns("source"))
    text = (folder / "game.yaml").read_text()
    kept, rest = text.partition("milestones:\n")[0], text.partition("success:")[2]
    lines = text.partition("milestones:\n")[2].split("  - {name: ")[1:4]
    short = kept + "milestones:\n" + "".join(f"  - {{name: {line}" for line in lines)
    short = short.replace("\n  #", "\n  #") + "success:" + rest
    (folder / "game.yaml").write_text(short)
    mine = change(
        Settings.model_validate(settings.model_dump() | {"game": str(folder), "milestone": "all"}),
        paths={"datasets": tmp_path / "d", "checkpoints": tmp_path / "k"},
    )
    whole = Settings.model_validate(mine.model_dump() | {"milestone": None})
    evaluate.run(change(whole, evaluate={"keep_states": True, "max_steps": 120}))
    told = evaluate.run(mine)
    assert [(row.start, row.milestone) for row in told.subtasks] == [
        ("start", "game_started"), ("game_started", "left_home"), ("left_home", "errand_received"),
    ]  # fmt: skip
    for row in told.subtasks:
        assert row.success_rate == row.expert_success == 1.0
        assert row.steps == row.expert_steps > 0
        assert row.gap == 0  # here the expert is put beside itself
    report = json.loads(told.files.json.read_text())
    assert report["subtasks"] == [tell(row) for row in told.subtasks]
    header, *rows = told.files.csv.read_text().splitlines()
    assert header.split(",") == list(report["subtasks"][0])
    assert len(rows) == 3
    assert evaluate.run(mine).up_to_date


def test_only_buttons_reach_a_game_without_a_seed_in_its_ram(
    make_game: MakeGame,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing else writes to the console's RAM, and the report says what is so."""
    seed = "seed: {address: 0x0203FF00, type: u32}"
    written: list[int] = []
    monkeypatch.setattr(Emulator, "write", lambda self, address, *_: written.append(address))
    told = {}
    for name, change_ in (("none", (f", {seed}", "")), ("seeded", (seed, seed))):
        folder = make_game(change_)
        program = folder / "expert.py"
        program.write_text("def act(state):\n    return 'A'\n")
        mine = Settings.model_validate(
            {
                "run": name,
                "game": str(folder),
                "paths": {"datasets": tmp_path / name, "checkpoints": tmp_path / name},
                "evaluate": {"checkpoint": "expert", "episodes": 2, "max_steps": 5, "workers": 1},
            }
        )
        told[name] = evaluate.run(mine).rules.input
        player = make_player(
            task_of(mine), Evaluate(max_steps=5), policy="expert", beta=0.0, purpose="evaluate"
        )
        written.clear()
        play_job(Job(player.play, {1: None, 2: None}, player.header("evaluate", {})))
        assert written == ([] if name == "none" else [0x0203FF00] * 2)
    assert told == {
        "none": "buttons only",
        "seeded": "buttons only, after the episode's seed was written to 0x0203FF00 at the reset",
    }
