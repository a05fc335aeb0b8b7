"""What was written when things had other names is read, and stays the same thing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import read_overrides
from pipeline.agents.policy import policy_sha256
from pipeline.agents.switching import write_switching_policy
from pipeline.games.loading import load_game
from pipeline.games.subtask import recorded_subtask
from pipeline.settings.reading import load_settings
from pipeline.shards.format.schema import content_id
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from tests.shards import factory
from tests.training.test_checkpoint import checkpoint

ENDS = {"from": "left_home", "to": "orb_found"}


def test_an_older_key_of_a_settings_file_is_read_and_a_line_names_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("train: {told_goal: true, steps: 5}\npreprocess: {restate: true}\n")
    settings = load_settings(path)
    assert settings.train.goal_conditioned
    assert settings.train.steps == 5
    assert settings.preprocess.reread_state
    assert capsys.readouterr().err.splitlines() == [
        f"{path}: train.told_goal is now called train.goal_conditioned",
        f"{path}: preprocess.restate is now called preprocess.reread_state",
    ]


def test_a_setting_under_both_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text("train: {told_goal: true, goal_conditioned: false}\n")
    with pytest.raises(PipelineError) as caught:
        load_settings(path)
    assert str(caught.value) == (
        f"{path}: train.told_goal and train.goal_conditioned are one setting; leave "
        "train.told_goal out"
    )


@pytest.mark.parametrize(
    ("stage", "word", "key"),
    [
        ("train", "--told_goal", "train.goal_conditioned"),
        ("train", "--told-goal", "train.goal_conditioned"),
        ("curriculum", "--train.told_goal", "train.goal_conditioned"),
        ("preprocess", "--restate", "preprocess.reread_state"),
    ],
)
def test_an_older_option_is_read_and_a_line_names_the_new_one(
    stage: str, word: str, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_overrides(stage, [word]) == {key: True}
    assert capsys.readouterr().err == f"the command line: {word} is now called --{key}\n"


def test_the_subtask_of_an_older_shard_is_read_and_its_identity_is_the_same() -> None:
    game = load_game("quest")
    old, new = ({"stage": "collect", key: ENDS} for key in ("leg", "subtask"))
    assert recorded_subtask(game, old) == recorded_subtask(game, new) is not None

    def identity(**told: Any) -> str:
        header = factory.make_header(provenance=told)
        return content_id(header, {"/actions": "0" * 64})

    old_settings = {"restate": True, "leg": ENDS, "learned": {"leg": ENDS}}
    settings = {"reread_state": True, "subtask": ENDS, "learned": {"subtask": ENDS}}
    assert identity(leg=ENDS, settings=old_settings) == identity(subtask=ENDS, settings=settings)
    assert identity(subtask=ENDS) != identity()


def test_an_older_checkpoint_tells_its_training_s_inputs_by_today_s_names(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    save_checkpoint(path, checkpoint(inputs={"leg": ENDS, "told_goal": True, "seed": 1}))
    told = load_checkpoint(path).inputs
    assert told == {"subtask": ENDS, "goal_conditioned": True, "seed": 1}


def test_an_older_switching_policy_is_read_as_the_same_one(tmp_path: Path) -> None:
    network = tmp_path / "a.pt"
    save_checkpoint(network, checkpoint())
    new, old = tmp_path / "switching-policy.json", tmp_path / "relay.json"
    write_switching_policy(new, {"near": network})
    content = json.loads(new.read_text())
    old.write_text(json.dumps({**content, "format": "pokemon-il relay"}))
    assert policy_sha256(old) == policy_sha256(new)
