"""All five stages and the loop, on the real emulator and real files, with a tiny budget."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import collect, evaluate, label, preprocess, train
from pipeline.evaluation import games, rules
from pipeline.loops import compare, dagger
from pipeline.reports.telling import told
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint
from tests.changed import change

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("tiny")
    return Settings.model_validate(
        {
            "run": "tiny",
            "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
            "collect": {"episodes": 3, "max_steps": 60, "workers": 2},
            "preprocess": {"workers": 1, "validation": 0.3},
            "label": {"workers": 1},
            "train": {"steps": 6, "batch_size": 8, "threads": 1, "log_every": 2},
            "evaluate": {"episodes": 2, "max_steps": 25, "workers": 1},
            "dagger": {"rounds": 2, "episodes": 2, "steps": 4, "evaluate_episodes": 1},
        }
    )


@pytest.fixture(scope="module")
def raw(settings: Settings) -> dict[str, Any]:
    return told(collect.run(settings))


@pytest.fixture(scope="module")
def labelled(settings: Settings, raw: dict[str, Any]) -> dict[str, Any]:
    preprocess.run(settings)
    return told(label.run(settings))


@pytest.fixture(scope="module")
def trained(settings: Settings, labelled: dict[str, Any]) -> dict[str, Any]:
    return told(train.run(settings))


def test_collect_writes_what_the_player_saw_and_did(
    settings: Settings, raw: dict[str, Any]
) -> None:
    with Shard(raw["shard"]) as shard:
        assert shard.header.kind == "raw"
        assert shard.n_episodes == 3
        assert shard.read_frames(0, 5).shape == (5, 160, 240, 3)
        # The expert played, so every step has its button; sticky actions made some differ.
        assert set(shard.column("label_status").tolist()) == {LabelStatus.LABELLED}
        assert np.mean(shard.column("actions") != shard.column("expert_actions")) > 0.01
        assert len(set(shard.seeds.tolist())) == 3
        assert len(shard.start_states()) == 1


def test_a_stage_that_has_nothing_to_do_says_so(settings: Settings, raw: dict[str, Any]) -> None:
    again = collect.run(settings)
    assert again.up_to_date is True
    assert str(again.shard) == raw["shard"]


def test_other_settings_give_the_next_version_beside_it(tmp_path: Path, settings: Settings) -> None:
    mine = change(settings, paths={"datasets": tmp_path}, collect={"episodes": 1, "max_steps": 5})
    first = collect.run(mine)
    second = collect.run(change(mine, collect={"seed": 5}))
    assert Path(first.shard).name == "collect-raw-v001.h5"
    assert Path(second.shard).name == "collect-raw-v002.h5"
    assert Path(first.shard).exists()


def test_the_same_settings_give_the_same_bytes_however_many_processes(
    tmp_path: Path, settings: Settings, raw: dict[str, Any]
) -> None:
    other = collect.run(change(settings, paths={"datasets": tmp_path}, collect={"workers": 1}))
    assert Path(other.shard).read_bytes() == Path(raw["shard"]).read_bytes()


def test_labels_come_from_the_program_and_failures_have_none(
    settings: Settings, raw: dict[str, Any], labelled: dict[str, Any], tmp_path: Path
) -> None:
    assert labelled["labels"] == labelled["frames"] == raw["frames"]
    program = tmp_path / "half.py"
    program.write_text("def act(s):\n    return 'A' if s['x'] % 2 else 1 / 0\n")
    source = preprocess.run(settings).shards[0]
    result = label.run(
        change(settings, label={"shards": [source], "relabel": True}, expert={"path": program})
    )
    assert Path(result.shards[0]).name == "collect-labelled-v002.h5"
    with Shard(result.shards[0]) as shard, Shard(source) as before:
        odd = shard.state("x", 0, shard.n_frames) % 2 == 1
        status = shard.column("label_status")
        assert (status[odd] == LabelStatus.LABELLED).all()
        assert (status[~odd] == LabelStatus.FAILED).all()
        assert (shard.column("expert_actions")[~odd] == 255).all()
        assert (shard.read_frames(0, 20) == before.read_frames(0, 20)).all()
    assert result.by_shard[0].first_reason == "ZeroDivisionError: division by zero, line 2"
    Path(result.shards[0]).unlink()


def test_a_limit_asks_for_so_many_steps_only(settings: Settings, labelled: dict[str, Any]) -> None:
    source = preprocess.run(settings).shards[0]
    limited = change(settings, label={"shards": [source], "relabel": True, "limit": 7})
    result = label.run(limited)
    assert result.asked == 7
    Path(result.shards[0]).unlink()


def test_evaluation_counts_unseen_games_and_keeps_the_rollouts(
    settings: Settings, trained: dict[str, Any]
) -> None:
    result = evaluate.run(change(settings, evaluate={"video": True}))
    assert result.episodes == 2
    assert 0 <= result.success_low <= result.success_rate <= result.success_high <= 1
    assert result.length_mean <= 25
    assert Path(result.video).stat().st_size > 0
    with Shard(result.rollouts) as rollouts, Shard(trained["shards"][0]) as seen:
        assert not set(rollouts.seeds.tolist()) & set(seen.seeds.tolist())
        assert set(rollouts.column("label_status").tolist()) == {LabelStatus.UNLABELLED}
    again = evaluate.run(change(settings, evaluate={"video": True}))
    assert again.up_to_date is True
    assert again.milestones == result.milestones


def test_an_evaluation_is_filmed_without_keeping_its_rollouts(
    settings: Settings, trained: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed = change(settings, evaluate={"name": "film", "video": True})
    bare = change(filmed, evaluate={"keep_rollouts": False})
    result = evaluate.run(bare)
    assert (result.up_to_date, result.rollouts) == (False, None)
    film = Path(result.video).read_bytes()
    assert film.startswith(b"GIF8")
    with monkeypatch.context() as patch:
        for name in ("play", "play_one", "record"):
            patch.setattr(games, name, None)  # nothing is played
        assert evaluate.run(bare) == replace(result, up_to_date=True)
        # What does not follow from the fingerprint is told as it is now, here the prices.
        patch.setattr(rules, "_dollars", lambda *_: 2.0)
        assert told(evaluate.run(bare))["dollars"] == 2.0
        patch.undo()
    assert "dollars" not in told(evaluate.run(bare))
    # Asked for the rollouts too, it plays the same games, and films the same.
    kept = evaluate.run(filmed)
    assert not kept.up_to_date
    assert replace(kept, rollouts=None, up_to_date=False) == result
    Path(kept.video).unlink()
    again = evaluate.run(filmed)
    assert not again.up_to_date
    assert Path(again.video).read_bytes() == film
    assert evaluate.run(bare).rollouts == kept.rollouts  # as they are there
    Path(kept.rollouts).unlink()


def test_a_report_that_cannot_be_written_is_one_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    blocked = change(
        settings,
        paths={"checkpoints": tmp_path / "file"},
        evaluate={"checkpoint": "expert", "episodes": 1},
    )
    with pytest.raises(PipelineError) as refused:
        evaluate.run(blocked)
    assert str(refused.value) == (
        f"{tmp_path / 'file' / settings.run / 'evaluate.json'}: cannot write the report "
        "(Not a directory); the rollouts are kept; make room, or fix paths.checkpoints, and run "
        "the same command again"
    )


def test_rollouts_can_be_labelled_but_then_not_be_evaluated_on(
    settings: Settings, trained: dict[str, Any]
) -> None:
    rollouts = evaluate.run(settings).rollouts
    small = preprocess.run(change(settings, preprocess={"shards": [rollouts], "validation": 0.0}))
    answers = label.run(change(settings, label={"shards": small.shards}))
    cheat = change(settings, run="cheat", train={"shards": answers.shards, "steps": 2})
    checkpoint = train.run(cheat).checkpoint
    with pytest.raises(PipelineError) as caught:
        evaluate.run(cheat)
    assert str(caught.value) == (
        f"{cheat.run_folder() / 'final.pt'}: was trained on 2 of these 2 games; "
        "choose another --evaluate.seed"
    )
    assert Path(checkpoint).exists()
    for path in [*small.shards, *answers.shards]:
        Path(path).unlink()


def test_a_checkpoint_and_a_beta_mix_who_plays(settings: Settings, trained: dict[str, Any]) -> None:
    mixed = {
        "name": "mixed",
        "policy": trained["checkpoint"],
        "beta": 0.5,
        "episodes": 2,
        "max_steps": 40,
    }
    with Shard(collect.run(change(settings, collect=mixed)).shard) as shard:
        by_expert = np.mean(shard.column("label_status") == LabelStatus.LABELLED)
        assert 0.3 < by_expert < 0.7
        assert shard.header.provenance["actor"]["beta"] == 0.5
    Path(collect.run(change(settings, collect=mixed)).shard).unlink()


def test_a_checkpoint_of_other_buttons_is_refused(
    settings: Settings, trained: dict[str, Any], tmp_path: Path
) -> None:
    import torch

    content = torch.load(trained["checkpoint"], weights_only=True)
    content["actions"] = ["A", "B"]
    other = tmp_path / "other.pt"
    torch.save(content, other)
    with pytest.raises(PipelineError, match=rf"^{other}: .*actions") as caught:
        evaluate.run(change(settings, evaluate={"checkpoint": str(other)}))
    assert "\n" not in str(caught.value)


def test_the_comparison_is_at_equal_labels_and_updates(settings: Settings, tmp_path: Path) -> None:
    mine = change(
        settings,
        run="small",
        paths={"datasets": tmp_path / "d", "checkpoints": tmp_path / "c"},
        collect={"max_steps": 40},
        compare={
            "seeds": [0],
            "labels": [30, 50],
            "updates": [2, 4],
            "episodes": 2,
            "rollouts": 2,
            "demonstrations": 2,
            "controls": ["cloning", "cloning_clean"],
        },
    )
    result = compare.run(mine)
    assert [(row.method, row.labels, row.updates) for row in result.rows] == [
        (method, labels, updates)
        for method in ("dagger", "cloning", "cloning_clean")
        for labels, updates in [(30, 2), (50, 4)]
    ]
    assert Path(result.plot).stat().st_size > 10_000
    for run in ("dagger-0-50", "cloning-0-50", "cloning_clean-0-50"):
        summary = load_checkpoint(tmp_path / "c/small" / run / "final.pt").metrics["summary"]
        assert (summary["labels"], summary["validation_labels"]) == (50, 0)
    shards = {path.name: path for path in (tmp_path / "d").rglob("*.h5")}
    with Shard(shards["small-cloning-0-raw-v001.h5"]) as noisy:
        assert (noisy.column("actions") != noisy.column("expert_actions")).any()
    with Shard(shards["small-cloning_clean-0-raw-v001.h5"]) as clean:
        assert (clean.column("actions") == clean.column("expert_actions")).all()
    with pytest.raises(PipelineError) as caught:
        compare.run(change(mine, compare={"labels": [50, 30]}))
    assert str(caught.value) == (
        "compare.labels must rise, and compare.updates have as many entries"
    )


def test_beta_follows_its_schedule() -> None:
    def schedule(**keys: object) -> list[float]:
        dagger_settings = Settings.model_validate({"dagger": keys}).dagger
        return [dagger.beta(dagger_settings, round_) for round_ in range(4)]

    assert schedule() == [1, 0, 0, 0]
    assert schedule(beta="exponential", beta_decay=0.5) == [1, 0.5, 0.25, 0.125]
    assert schedule(beta="linear", beta_decay=0.4) == pytest.approx([1, 0.6, 0.2, 0])
    assert schedule(beta="constant", beta_decay=0.3) == [1, 0.3, 0.3, 0.3]


def test_a_killed_collection_keeps_its_finished_parts_and_ends_with_the_same_bytes(
    settings: Settings, tmp_path: Path
) -> None:
    keys = ["--episodes", "10", "--max_steps", "60", "--workers", "1"]
    command = [sys.executable, "-m", "pipeline", "collect", *keys, "--paths.datasets"]

    killed = tmp_path / "killed"
    process = subprocess.Popen([*command, str(killed)], cwd=ROOT, start_new_session=True)
    while not list(killed.glob("quest/.*.parts/part-*.h5")):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(killed.glob("quest/*.h5")) == []
    parts = {path: path.stat().st_mtime_ns for path in killed.glob("quest/.*.parts/part-*.h5")}

    subprocess.run([*command, str(killed)], cwd=ROOT, check=True, capture_output=True)
    whole = tmp_path / "whole"
    subprocess.run([*command, str(whole)], cwd=ROOT, check=True, capture_output=True)
    assert parts
    (mine,), (undisturbed,) = killed.glob("quest/*.h5"), whole.glob("quest/*.h5")
    assert mine.read_bytes() == undisturbed.read_bytes()


def test_the_stages_run_as_commands_and_end_with_json(settings: Settings, tmp_path: Path) -> None:
    places = [
        "--paths.datasets", str(tmp_path / "datasets"),
        "--paths.checkpoints", str(tmp_path / "checkpoints"),
        "--json",
    ]  # fmt: skip

    def command(*words: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *words, *places],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    assert command("collect", "--episodes", "2", "--max_steps", "30")["frames"] > 0
    assert command("preprocess")["shards"]
    assert command("label")["labels"] > 0
    assert command("train", "--steps", "3", "--batch_size", "4")["checkpoint"]
    result = command("evaluate", "--episodes", "1", "--max_steps", "10")
    assert set(result) >= {
        "episodes", "success_rate", "success_low", "success_high", "return_mean", "return_std",
        "length_mean", "milestones_mean", "milestones",
    }  # fmt: skip
