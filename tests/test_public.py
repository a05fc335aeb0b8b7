"""What ``from pipeline import`` gives: documented in one place, with examples that run."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipeline
from pipeline import collect, label, preprocess, train
from pipeline.agents.policy import make_actor
from pipeline.rollouts.episodes import play_episodes
from pipeline.settings.reading import Settings
from tests.test_architecture import modules

ROOT = Path(__file__).parent.parent
SECTION = (ROOT / "pipeline/README.md").read_text().split("## From Python")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a labelled shard and a checkpoint, as ``make dagger`` leaves them."""
    folder = tmp_path_factory.mktemp("made")
    tree: dict[str, Any] = {
        "run": "quest",
        "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
        "collect": {"name": "quest-round-00", "episodes": 2, "max_steps": 40, "workers": 1},
        "preprocess": {"workers": 1, "validation": 0},
        "label": {"workers": 1},
        "train": {
            "steps": 1, "batch_size": 8, "threads": 1, "hidden": 8, "save_every": 0,
            "validate_every": 0, "device": "cpu", "workers": 0,
        },
    }  # fmt: skip
    for stage in (collect, preprocess, label, train):
        stage.run(Settings.model_validate(tree))
    return folder


def test_the_examples_run(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    blocks = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert len(blocks) >= 4
    runner, told, names = doctest.DocTestRunner(verbose=False), [], dict[str, Any]()
    for number, block in enumerate(blocks):
        test = doctest.DocTestParser().get_doctest(block, names, f"block {number}", None, 0)
        runner.run(test, out=told.append, clear_globs=False)
        names = test.globs
    assert not told, "".join(told)
    assert runner.summarize(verbose=False).attempted > 20


def test_every_name_is_told_of_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", SECTION, re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(told) == sorted(pipeline.__all__)
    assert all(getattr(pipeline, name) is not None for name in pipeline.__all__)
    assert set(pipeline.__all__) <= set(dir(pipeline))
    assert set(pipeline.__all__) == set(pipeline._HOMES)


def test_no_room_lives_by_the_public_names() -> None:
    # They lie above all rooms: a room that imports one from there runs in a circle.
    users = [
        f"{name}: {found}"
        for name, path in modules().items()
        for found in re.findall(r"^\s*from pipeline import (.*)$", path.read_text(), re.MULTILINE)
        if set(re.split(r"[,\s]+", found)) & set(pipeline.__all__)
    ]
    assert users == []


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pipeline' has no attribute 'Shards'"):
        _ = pipeline.Shards  # type: ignore[attr-defined]


@pytest.mark.parametrize("first", ["gymnasium", "pipeline"])
def test_the_games_are_known_to_gymnasium_whichever_is_imported_first(first: str) -> None:
    second = {"gymnasium": "pipeline", "pipeline": "gymnasium"}[first]
    script = f"import {first}, {second}; print(gymnasium.spec('GBA/quest-v0').kwargs)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "{'game': 'quest'}"


@pytest.mark.parametrize("mode", ["argmax", "sampled", "unstuck"])
def test_a_policy_plays_as_it_does_in_an_evaluation(made: Path, mode: Any) -> None:
    path, seed = made / "checkpoints/quest/final.pt", 7
    env = pipeline.make_env("quest", max_steps=30)
    actor = make_actor(path, env.game, mode)
    (episode,) = play_episodes([env], actor, [seed])
    policy = pipeline.load_policy(path, mode=mode)
    policy.reset(seed)
    frame, info = env.reset(seed=seed)
    pressed = []
    for _ in range(30):
        frame, _, _, _, info = env.step(policy.act(frame, info))
        pressed.append(info["action"])
    assert np.array_equal(pressed, episode.actions)


def test_a_policy_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(pipeline.PipelineError, match="no such checkpoint"):
        pipeline.load_policy(tmp_path / "none.pt")
