"""What is "up to date": a fingerprint follows all that decides a stage's result, and nothing else.

The fingerprints are those that the stages make, from real settings, a real game and real files, but
nothing is played, labelled or trained.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.emulator import version
from pipeline.experts import opening
from pipeline.rollouts import player
from pipeline.settings.reading import Settings
from pipeline.shards.format import provenance
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from tests.changed import change
from tests.marked import STAGES, Patch, World, make_world, network, tree


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("marks"))


@pytest.fixture
def world(original: Path, tmp_path: Path) -> World:
    folder = tmp_path / "w"
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("*.h5", ".*"))
    return World(folder, Settings.model_validate(tree(folder, original)))


# Every setting of a stage's own section, and a value that it does not have: what decides the
# result, and what does not. A new setting fails the test until it stands in one of the two.
PLAYED = {
    "episodes": 7, "seed": 1, "max_steps": 9, "patience": 3, "start_state": "b", "sticky": 0.1,
}  # fmt: skip
DECIDE: dict[str, dict[str, Any]] = {
    "collect": {**PLAYED, "first": 2, "policy": "b.pt", "beta": 0.25, "mode": "argmax"},
    "evaluate": {**PLAYED, "checkpoint": "b.pt", "mode": "sampled", "purpose": "select"},
    "preprocess": {
        "shards": ["b-raw-v001.h5"], "size": 40, "validation": 0.2, "drop_null_actions": True,
        "drop_broken_episodes": True, "reread_state": True,
    },
    "label": {
        "shards": ["b-84-v001.h5"], "relabel": True, "limit": 3, "repeats": False, "select": "all",
        "student": "b.pt", "ensemble": ["b.pt"], "seed": 1,
    },
    "train": {
        "shards": ["b-84-v001.h5"], "max_labels": 2, "batch_size": 3, "learning_rate": 0.1,
        "weight_decay": 0.1, "optimizer": "adamw", "schedule": "cosine", "gradient_clip": 1.0,
        "hidden": 9, "shift": 1, "brightness": 0.1, "cutout": 3, "seed": 1, "deterministic": True,
        "precision": "fp32", "rounds": [1], "balance": 0.5, "action_weights": {"A": 2.0},
        "round_weights": {1: 2.0}, "shard_weights": {"a": 2.0}, "start_from": "b.pt",
        "keep_optimizer": True, "goal_conditioned": True,
    },
}  # fmt: skip
KEPT = {"name": "other", "workers": 3, "keep_states": True, "keep_states_most": 7}
DO_NOT: dict[str, dict[str, Any]] = {
    "collect": {**KEPT, "round": 3},
    "evaluate": {**KEPT, "keep_rollouts": False, "video": True},
    "preprocess": {"workers": 3},
    "label": {"workers": 3, "dry_run": True, "uncertainty": "margin"},  # of another select
    # A constant rate does not look ahead, so that more steps carry on; the next five say how fast
    # it reads and computes (the order that follows from it is kept in the checkpoint); the others
    # when it measures and saves, which may change on the way: they choose best.pt, not the weights.
    "train": {
        "steps": 11, "device": "cpu", "workers": 2, "cache": "ram", "pool_mb": 7, "threads": 1,
        "log_every": 7, "validate_every": 7, "validate_steps": 7, "evaluate_every": 7,
        "evaluate_episodes": 7, "save_every": 7, "resume": False,
    },
}  # fmt: skip
EXPERTS = {
    "kind": "policy",
    "path": "other.py",
    "timeout": 7.0,
    "memory_mb": 99,
    "memory": "episode",
}
PLACES = {"isolation": "monty", "mode": "sampled"}


def placed(value: Any, folder: Path) -> Any:
    """Names of files are those of the folder."""
    if isinstance(value, list):
        return [placed(one, folder) for one in value]
    is_file = isinstance(value, str) and (folder / value).is_file()
    return str(folder / value) if is_file else value


@pytest.mark.parametrize("stage", DECIDE)
def test_every_setting_of_a_stage_decides_or_does_not(
    stage: str, world: World, original: Path, monkeypatch: Patch
) -> None:
    section = type(getattr(world.settings, stage))
    assert set(DECIDE[stage]) | set(DO_NOT[stage]) == set(section.model_fields)
    settings, before = world.settings, world.mark(stage, monkeypatch)
    same = []
    for key, value in {**DECIDE[stage], **DO_NOT[stage]}.items():
        world.settings = change(settings, **{stage: {key: placed(value, original)}})
        assert world.settings != settings, key
        if world.mark(stage, monkeypatch) == before:
            same.append(key)
    assert same == list(DO_NOT[stage])


@pytest.mark.parametrize("stage", STAGES)
def test_the_settings_that_stages_share(stage: str, world: World, monkeypatch: Patch) -> None:
    assert set(EXPERTS) | set(PLACES) == set(type(world.settings.expert).model_fields)
    (world.folder / "other.py").write_text("def act(state):\n    return 'A'\n")
    shutil.copytree(world.folder / "quest", world.folder / "moved/quest")
    before = world.mark(stage, monkeypatch)

    def differs(**sections: Any) -> bool:
        settings = world.settings
        world.change(**sections)
        now = world.mark(stage, monkeypatch)
        world.settings = settings
        return now != before

    asks = stage in ("collect", "label")
    assert differs(expert={"path": str(world.folder / "other.py")}) == asks
    assert differs(expert={"kind": "policy", "path": str(world.folder / "b.pt")}) == asks
    for key in ("timeout", "memory_mb", "memory"):
        assert differs(expert={key: EXPERTS[key]}) == asks
    for key, value in PLACES.items():
        assert not differs(expert={key: value})
    assert differs(milestone="game_started")
    assert differs(subtask=(None, "left_home"))
    if stage not in ("collect", "evaluate"):  # they would need states of the library
        assert differs(subtask=("game_started", None))
    for sections in (
        {"run": "other"}, {"owner": "other"}, {"track": True},
        {"game": str(world.folder / "moved/quest")},
        {"rom": world.folder / "moved/quest/quest.gba"}, {"unverified_rom": True},
        {"paths": {"datasets": "elsewhere", "checkpoints": "there"}},
    ):  # fmt: skip
        assert not differs(**sections), sections


PLAY = {"collect", "evaluate"}
EMULATE = PLAY | {"reread_state"}
ASK = {"collect", "label"}
POLICY = {"collect", "evaluate", "label", "train"}
"""Stages that read a checkpoint, here."""

READ_SHARDS = {"preprocess", "reread_state", "label", "train"}

Change = Callable[[World, Patch], None]


def edited(before: str, after: str) -> Change:
    return lambda world, _: world.edit_game(before, after)


def versioned(*names: str) -> Change:
    def raise_them(_: World, patch: Patch) -> None:
        for name in names:
            patch.setitem(provenance.VERSIONS, name, provenance.VERSIONS[name] + 1)

    return raise_them


def other_emulator(_: World, patch: Patch) -> None:
    for module in (player, version):
        patch.setattr(module, "emulator_version", lambda: "mgba 9.9")


def kept(**changes: Any) -> Change:
    """The checkpoint that plays, chooses and is started from, with other content."""

    def save(world: World, _: Patch) -> None:
        path = world.folder / "a.pt"
        save_checkpoint(path, replace(load_checkpoint(path), **changes))

    return save


def trained_otherwise(world: World, _: Patch) -> None:
    network(world.folder / "a.pt", 3)


def renamed_checkpoint(world: World, _: Patch) -> None:
    path = str((world.folder / "a.pt").rename(world.folder / "copy.pt"))
    world.change(collect={"policy": path}, evaluate={"checkpoint": path})
    world.change(label={"student": path}, train={"start_from": path})


def renamed_program(world: World, _: Patch) -> None:
    (world.folder / "quest/expert.py").rename(world.folder / "teacher.py")
    world.change(expert={"path": str(world.folder / "teacher.py")})


def other_program(world: World, _: Patch) -> None:
    with (world.folder / "quest/expert.py").open("a") as file:
        file.write("# more\n")


def copied_shards(source: str, name: str) -> Change:
    def copy(world: World, _: Patch) -> None:
        shards = Path(world.settings.preprocess.shards[0]).parent
        for kind, stages in (("raw", ["preprocess"]), ("84", ["label", "train"])):
            path = world.folder / f"{name.replace('KIND', kind)}.h5"
            shutil.copyfile(shards / f"{source}-{kind}-v001.h5", path)
            for stage in stages:
                world.change(**{stage: {"shards": [str(path)]}})

    return copy


def another_day_and_machine(world: World, patch: Patch) -> None:
    now = time.time() + 1e6
    patch.setattr(time, "time", lambda: now)
    patch.setattr(socket, "gethostname", lambda: "elsewhere")
    patch.setattr(provenance, "code_version", lambda: "abcdef-dirty")
    patch.setattr(provenance, "package_versions", lambda: {"numpy": "9"})
    for path in world.folder.rglob("*"):
        os.utime(path, (now, now))


CHANGES: dict[str, tuple[Change, set[str]]] = {
    # game.yaml, as far as it is read
    "a comment": (edited("buttons:", "# more\nbuttons:"), set()),
    "words": (edited("title: QUEST", "title: QUEST II"), set()),
    "what a variable means": (edited("there is nothing to buy", "gold"), set()),
    "the tools section": (edited("in_dialog: {screen: [2, 4]}", "in_dialog: {screen: [2]}"), ASK),
    "names": (edited("[1, 1, the bedroom]", "[1, 1, the attic]"), set()),
    "the reward": (edited("reward: {milestone: 1.0", "reward: {milestone: 2.0"), PLAY),
    "a milestone": (edited('when: "badge == 1", about', 'when: "x == 1", about'), PLAY),
    "a variable's place": (edited("0x03000008, type", "0x03000009, type"), EMULATE),
    "a pointer": (edited("save2: 0x03000014", "save2: 0x03000018"), EMULATE),
    "the reset": (edited("idle_frames: [0, 120]", "idle_frames: [0, 99]"), PLAY),
    "the clock of the console": (edited("rtc: 2024", "rtc: 2023"), PLAY),
    "the frames of a step": (edited("hold: 4,", "hold: 3,"), PLAY),
    "the start state": (edited("power_on: {frames: 60}", "power_on: {frames: 62}"), PLAY),
    "another start state": (edited("b: {frames: 61}", "b: {frames: 62}"), set()),
    "a default of sticky": (edited("probability: 0.2", "probability: 0.3"), PLAY),
    "a default of max_steps": (edited("max_steps: 1000", "max_steps: 999"), set()),
    # code
    "functions.py": (lambda _, p: p.setattr(opening.tools, "SOURCE", "def f(): 1"), ASK),
    "the emulator": (other_emulator, EMULATE),
    "how it is driven": (versioned("emulator"), EMULATE),
    "how a program is asked": (versioned("program"), ASK),
    "how a policy answers": (versioned("policy"), PLAY),
    "how steps are chosen": (versioned("select"), {"label"}),
    # inputs
    "another shard": (copied_shards("b", "a-KIND-v001"), READ_SHARDS),
    "the program's text": (other_program, ASK),
    "other weights": (trained_otherwise, POLICY),
    "other goals": (kept(goals=tuple("abcdefghij")), POLICY),
    "other timing": (kept(timing={"hold": 1, "release": 6}), POLICY),
    # circumstances
    "seconds and paths in the checkpoint": (
        kept(metrics={"seconds": 9.5}, settings={"run": "/x"}, inputs={"a": 1}, step=9), set(),
    ),
    "the checkpoint's name": (renamed_checkpoint, set()),
    "the program's name": (renamed_program, set()),
    "the shards' names and times": (copied_shards("a", "c-KIND-v007"), set()),
    "day, machine, commit, packages, file times": (another_day_and_machine, set()),
}  # fmt: skip
CHANGES |= {
    f"the version of {stage}": (
        versioned(stage), {stage, "reread_state"} if stage == "preprocess" else {stage},
    )
    for stage in DECIDE
}  # fmt: skip


@pytest.fixture(scope="module")
def before(original: Path) -> dict[str, str]:
    world = World(original, Settings.model_validate(tree(original, original)))
    with pytest.MonkeyPatch.context() as patch:
        return {stage: world.mark(stage, patch) for stage in STAGES}


@pytest.mark.parametrize("name", CHANGES)
def test_what_decides_a_result_changes_its_mark_and_nothing_else_does(
    name: str, before: dict[str, str], world: World, monkeypatch: Patch
) -> None:
    """``before`` are the marks in another folder: where all lies decides nothing either."""
    make, decides = CHANGES[name]
    monkeypatch.setattr(player, "check_start", lambda *_: None)
    # Whether a checkpoint fits is another question.
    monkeypatch.setattr("pipeline.agents.policy.check_fits", lambda *_: None)
    make(world, monkeypatch)
    after = {stage: world.mark(stage, monkeypatch) for stage in STAGES}
    assert {stage for stage in STAGES if before[stage] != after[stage]} == decides


def test_a_model_is_known_by_what_it_is_told(world: World, monkeypatch: Patch) -> None:
    """Every setting of the model and the budget, and what of the game it is told."""
    prices = {"input": 1.0, "output": 1.0}
    world.change(expert={"kind": "model"}, model={"name": "m", "prices": prices})
    decide = {"name": "n", "effort": "low", "max_tokens": 9}
    do_not = {
        "base_url": "http://localhost", "prices": {"input": 2.0, "output": 1.0}, "concurrency": 3,
        "retries": 1, "batch": True, "cache": False,
    }  # fmt: skip
    assert set(decide) | set(do_not) == set(type(world.settings.model).model_fields)
    settings, before = world.settings, world.mark("label", monkeypatch)
    for key, value in {**decide, **do_not}.items():
        world.settings = change(settings, model={key: value})
        assert (world.mark("label", monkeypatch) != before) == (key in decide), key
    for key in type(settings.budget).model_fields:
        world.settings = change(settings, budget={key: 1})
        assert world.mark("label", monkeypatch) == before
    world.settings = settings
    for text, other, told in (
        ("walls: 0x0C00", "walls: 0x0400", True),
        ("there is nothing to buy", "gold", True),
        ("[1, 1, the bedroom]", "[1, 1, the attic]", False),
        ("reward: {milestone: 1.0", "reward: {milestone: 2.0", False),
        ("buttons:", "# more\nbuttons:", False),
    ):
        world.edit_game(text, other)
        assert (world.mark("label", monkeypatch) != before) == told, text
        world.edit_game(other, text)
    monkeypatch.setitem(provenance.VERSIONS, "model", 2)
    assert world.mark("label", monkeypatch) != before


def test_a_training_that_keeps_the_optimizer_depends_on_it(
    world: World, monkeypatch: Patch
) -> None:
    state = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1, "eps": 2}]}
    marks = []
    for keep in (False, True):
        world.change(train={"keep_optimizer": keep})
        kept(optimizer=state)(world, monkeypatch)
        marks.append(world.mark("train", monkeypatch))
        kept(optimizer={**state, "state": {0: {"step": torch.tensor(4.0)}}})(world, monkeypatch)
        marks.append(world.mark("train", monkeypatch))
        kept(optimizer={**state, "param_groups": [{"lr": 3, "eps": 2}]})(world, monkeypatch)
        marks.append(world.mark("train", monkeypatch))
    assert len(set(marks[:3])) == 1
    assert marks[3] == marks[5] != marks[4]
