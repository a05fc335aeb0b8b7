"""The train stage: what it learns, what it leaves behind, and that stopping changes nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline import train
from pipeline.reports.results import TrainResult
from pipeline.settings.reading import Settings
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.cloning import Judged
from tests.changed import change
from tests.loading import made
from tests.trained import error_of, figures, same_training, settings_in, tree

ROOT = Path(__file__).parent.parent


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def test_it_learns_to_press_the_experts_button(settings: Settings) -> None:
    result = train.run(change(settings, train={"steps": 150, "log_every": 20}))
    assert result.up_to_date is False
    assert result.steps == 150
    assert result.labels == 70 + 61
    assert result.validation_labels == 45
    assert result.validation_agreement > 0.9
    assert result.accuracy > 0.9
    assert result.samples_per_second > 0
    checkpoint = load_checkpoint(Path(result.checkpoint))
    assert checkpoint.actions == made.BUTTONS
    assert checkpoint.frame_contract == made.CONTRACT
    assert checkpoint.timing == {"hold": 4, "release": 6}
    assert checkpoint.trained_seeds.tolist() == [0, 1, 2]
    assert checkpoint.settings["train"]["steps"] == 150


def test_a_run_that_is_there_is_up_to_date(settings: Settings) -> None:
    first = train.run(change(settings, train={"steps": 3}))
    files = {p: p.stat().st_mtime_ns for p in settings.run_folder().glob("*.pt")}
    again = train.run(change(settings, train={"steps": 3}))
    assert again == replace(first, up_to_date=True)
    assert {p: p.stat().st_mtime_ns for p in settings.run_folder().glob("*.pt")} == files


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_stopping_and_carrying_on_gives_the_same_bits(
    settings: Settings, precision: str, schedule: str
) -> None:
    keys = {"precision": precision, "schedule": schedule, "save_every": 15}
    whole = change(settings, run="whole", train=keys)
    train.run(whole)

    # Carried on from step 15, as after a kill that came before the next save.
    halved = change(settings, run="halved", train=keys)
    train.run(halved)
    folder = halved.run_folder()
    (folder / "step-000015.pt").rename(folder / "last.pt")
    for name in ("final.pt", "best.pt", "step-000030.pt"):
        (folder / name).unlink()
    assert load_checkpoint(folder / "last.pt").step == 15
    train.run(halved)
    for name in ("final.pt", "best.pt", "step-000030.pt"):
        assert same_training(folder / name, whole.run_folder() / name)


def test_more_steps_at_a_constant_rate_carry_on_where_fewer_ended(settings: Settings) -> None:
    train.run(change(settings, run="whole"))
    train.run(change(settings, run="longer", train={"steps": 15}))
    result = train.run(change(settings, run="longer"))
    assert result.steps == 30
    folder = settings.paths.checkpoints
    assert same_training(folder / "whole/last.pt", folder / "longer/last.pt")


def command(folder: Path, *words: str) -> list[str]:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump(tree(folder)))
    return [sys.executable, "-m", "pipeline", "train", "--config", str(config), *words]


def start_and_wait_for(path: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.PIPE)
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.005)
    return process


def test_a_killed_training_ends_with_the_bits_of_an_undisturbed_one(
    settings: Settings, tmp_path: Path
) -> None:
    whole = ["--run", "whole", "--save_every", "10", "--steps", "60"]
    killed = ["--run", "killed", "--save_every", "10", "--steps", "60"]
    subprocess.run(command(tmp_path, *whole), cwd=ROOT, check=True, capture_output=True)
    folder = settings.paths.checkpoints
    process = start_and_wait_for(folder / "killed/step-000020.pt", command(tmp_path, *killed))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "killed/final.pt").exists()
    (folder / "killed/.last.pt.tmp-1").write_bytes(b"as if it had been killed while saving")
    subprocess.run(command(tmp_path, *killed), cwd=ROOT, check=True, capture_output=True)
    for name in ("final.pt", "best.pt", "step-000060.pt"):
        assert same_training(folder / "killed" / name, folder / "whole" / name)
    assert not list((folder / "killed").glob(".*tmp*"))


def test_ctrl_c_ends_the_step_saves_and_carries_on(settings: Settings, tmp_path: Path) -> None:
    # Far more steps than there is time for: the signal comes in the middle for certain.
    words = ["--run", "stopped", "--steps", "100000", "--validate_every", "5"]
    folder = settings.paths.checkpoints / "stopped"
    process = start_and_wait_for(folder / "best.pt", command(tmp_path, *words))
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert b"interrupted; run the same command again to continue" in errors
    stopped = load_checkpoint(folder / "last.pt")
    assert 0 < stopped.step < 100_000
    steps = stopped.step + 5
    longer = change(settings, run="stopped", train={"steps": steps, "validate_every": 5})
    assert train.run(longer).steps == steps


def test_training_runs_outside_the_main_thread_too(settings: Settings) -> None:
    results: list[TrainResult] = []
    thread = threading.Thread(
        target=lambda: results.append(train.run(change(settings, train={"steps": 2})))
    )
    thread.start()
    thread.join()
    assert results[0].steps == 2


def test_the_number_of_loader_workers_changes_nothing(settings: Settings) -> None:
    train.run(change(settings, run="alone", train={"steps": 12}))
    train.run(change(settings, run="two", train={"steps": 12, "workers": 2}))
    folder = settings.paths.checkpoints
    assert same_training(folder / "alone/final.pt", folder / "two/final.pt")


def test_deterministic_training_runs(settings: Settings) -> None:
    result = train.run(change(settings, train={"steps": 3, "deterministic": True}))
    assert result.steps == 3
    assert not torch.are_deterministic_algorithms_enabled()


def test_best_is_chosen_by_the_emulator_where_it_is_asked(settings: Settings) -> None:
    rates = iter([0.2, 0.9, 0.5])
    asked: list[int] = []

    def evaluator(path: Path) -> Judged:
        asked.append(load_checkpoint(path).step)
        return figures(success_rate=next(rates))

    result = train.run(change(settings, train={"evaluate_every": 10}), evaluator=evaluator)
    assert asked == [10, 20, 30]
    assert load_checkpoint(Path(result.best)).step == 20
    assert (result.best_step, result.best_by) == (20, "evaluation")
    assert result.success_rate == 0.5


def test_best_is_the_highest_agreement_on_the_validation_split_else(settings: Settings) -> None:
    result = train.run(settings)
    assert result.best_by == "validation"
    best = load_checkpoint(Path(result.best)).metrics
    assert best["validation"]["agreement"] >= result.validation_agreement
    nothing = train.run(change(settings, run="two", train={"validate_every": 0, "steps": 3}))
    assert nothing.validation_agreement is None
    assert load_checkpoint(Path(nothing.best)).step == 3


def test_periodic_checkpoints_are_kept(settings: Settings) -> None:
    train.run(change(settings, train={"save_every": 10}))
    names = sorted(path.name for path in settings.run_folder().glob("*.pt"))
    assert names == [
        "best.pt", "final.pt", "last.pt", "step-000010.pt", "step-000020.pt", "step-000030.pt",
    ]  # fmt: skip


def test_a_later_training_starts_from_weights_and_where_asked_from_the_optimizer(
    settings: Settings,
) -> None:
    first = train.run(settings).checkpoint
    more = made.shard(settings.shard_folder("paper") / "more-labelled-v001.h5", (30,), seed=9)
    labelled = [str(settings.shard_folder("paper") / "demo-labelled-v001.h5"), str(more)]
    keys = {"start_from": first, "shards": labelled, "steps": 1, "learning_rate": 1e-9}
    fresh = train.run(change(settings, run="fresh", train=keys))
    kept = train.run(change(settings, run="kept", train={**keys, "keep_optimizer": True}))
    before = load_checkpoint(Path(first))
    for result, updates in ((fresh, 1), (kept, 31)):
        after = load_checkpoint(Path(result.checkpoint))
        assert torch.allclose(after.weights["head.weight"], before.weights["head.weight"])
        assert int(after.optimizer["state"][0]["step"]) == updates
        assert after.step == 1
        # What the weights have seen in an earlier training counts as trained on.
        assert after.trained_seeds.tolist() == [0, 1, 2, 9]


def test_what_can_be_watched(settings: Settings) -> None:
    def evaluator(path: Path) -> Judged:
        return figures(success_rate=0.25, milestones_mean=1.5, return_mean=2.0)

    train.run(change(settings, train={"evaluate_every": 30}), evaluator=evaluator)
    board = EventAccumulator(str(settings.run_folder() / "tensorboard")).Reload()
    assert set(board.Tags()["scalars"]) >= {
        "train/bc_loss",
        "train/accuracy",
        "train/learning_rate",
        "train/samples_per_second",
        "validation/agreement",
        "validation/loss",
        "evaluation/success_rate",
        "evaluation/milestones_mean",
    }
    assert [event.step for event in board.Scalars("train/bc_loss")] == [10, 20, 30]
    text = board.Tensors("hyperparameters/text_summary")[0].tensor_proto.string_val[0]
    assert b'"learning_rate": 0.001' in text
    picture = Image.open(io.BytesIO(board.Images("answers")[-1].encoded_image_string))
    colours = np.asarray(picture).reshape(-1, 3)
    assert (colours == (200, 160, 60)).all(axis=1).any()  # the frames' squares are on it


def test_what_an_interrupted_run_wrote_ahead_is_taken_back(settings: Settings) -> None:
    train.run(change(settings, train={"save_every": 15}))
    folder = settings.run_folder()
    (folder / "step-000015.pt").rename(folder / "last.pt")
    (folder / "final.pt").unlink()
    train.run(change(settings, train={"save_every": 15}))
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/bc_loss")] == [10, 20, 30]


def test_tracking_without_its_package(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracked = settings.model_copy(update={"track": True})
    assert error_of(lambda: train.run(tracked)) == (
        "track: the package wandb is not installed; "
        "pip install 'pokemon-il[track]', or leave track out"
    )


def test_without_shards_named_it_takes_every_labelled_one_in_its_newest_form(
    settings: Settings,
) -> None:
    folder = settings.shard_folder("paper")
    parents = [{"file": "demo-84-v001.h5", "shard_id": "0"}]
    told = {"stage": "label", "fingerprint": "1", "parents": parents}
    made.shard(folder / "demo-84-v001.h5", (20,), seed=40)
    made.shard(folder / "demo-labelled-v002.h5", (20,), provenance=told, seed=40)
    made.shard(folder / "other-84-v001.h5", (30,), seed=50)
    made.shard(folder / "empty-84-v001.h5", (30,), seed=60, every=10**9, first=1)
    result = train.run(change(settings, train={"steps": 1}))
    assert [Path(path).name for path in result.shards] == [
        "demo-labelled-v002.h5",
        "other-84-v001.h5",
    ]


def test_a_training_that_tells_the_goal_is_the_same_bits_when_it_is_carried_on(
    settings: Settings,
) -> None:
    shard = made.shard(
        settings.shard_folder("paper") / "way-labelled-v001.h5",
        (70, 45, 61),
        validation=(1,),
        seed=20,
        milestones=("far",),
        reached=((30,), (20,), (0,)),
    )
    told = change(settings, train={"goal_conditioned": True, "shards": [str(shard)]})
    train.run(change(told, run="whole"))
    train.run(change(told, run="parts", train={"steps": 15}))
    assert train.run(change(told, run="parts")).steps == 30
    folder = settings.paths.checkpoints
    assert same_training(folder / "whole/last.pt", folder / "parts/last.pt")
    kept = load_checkpoint(folder / "whole/final.pt")
    assert kept.goals == ("far",)
    assert (kept.inputs["goal_conditioned"], kept.weights["goals.weight"].shape) == (True, (2, 16))
    assert (kept.weights["goals.weight"] != 0).any(dim=1).tolist() == [True, True]
    train.run(change(told, run="workers", train={"workers": 2}))
    assert same_training(folder / "whole/final.pt", folder / "workers/final.pt")


def test_a_training_begun_before_there_were_goals_carries_on(settings: Settings) -> None:
    train.run(change(settings, run="whole"))
    train.run(change(settings, run="old", train={"steps": 15}))
    folder = settings.paths.checkpoints
    for path in (folder / "old").glob("*.pt"):
        content = torch.load(path, weights_only=True)
        del content["goals"]
        torch.save({**content, "version": 1}, path)
    assert train.run(change(settings, run="old")).steps == 30
    assert same_training(folder / "whole/last.pt", folder / "old/last.pt")
