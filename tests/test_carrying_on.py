"""A training stopped at its end, or while it is evaluated, and what is taken for its result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline import train
from pipeline.reports.results import TrainResult
from pipeline.reports.telling import told
from pipeline.settings.reading import Settings
from pipeline.training import cloning
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.cloning import Evaluator, Judged
from pipeline.training.run_folder import copy_checkpoint
from tests.changed import change
from tests.trained import figures, same_training, settings_in

_OWN = ("checkpoint", "best", "seconds", "samples_per_second")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def figures_of(result: TrainResult) -> dict[str, object]:
    """A summary without paths and times."""
    return {key: value for key, value in told(result).items() if key not in _OWN}


def judge(stopped_at: int = 0) -> Evaluator:
    """An evaluation that Ctrl-C reaches at a step."""

    def play(path: Path) -> Judged:
        step = load_checkpoint(path).step
        if step == stopped_at:
            raise KeyboardInterrupt
        rate = {10: 0.5, 20: 0.75}.get(step, 0.25)
        return figures(success_rate=rate)

    return play


def steps_shown(folder: Path, tag: str = "train/bc_loss") -> list[int]:
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [event.step for event in board.Scalars(tag)]


def test_stopped_between_its_last_step_and_final_it_ends_with_the_same_figures(
    settings: Settings,
) -> None:
    keys = {"save_every": 10}
    whole = change(settings, run="whole", train=keys)
    expected = train.run(whole)
    stopped = change(settings, run="stopped", train=keys)
    train.run(stopped)
    folder = stopped.run_folder()
    (folder / "step-000030.pt").rename(folder / "last.pt")
    (folder / "final.pt").unlink()
    result = train.run(stopped)
    assert figures_of(result) == figures_of(expected)
    assert result.up_to_date is False
    for name in ("final.pt", "last.pt", "best.pt"):
        assert same_training(folder / name, whole.run_folder() / name)
    assert train.run(stopped).up_to_date is True


@pytest.mark.parametrize("step", [10, 20, 30])
def test_ctrl_c_in_an_evaluation_carries_on_with_that_evaluation(
    settings: Settings, step: int
) -> None:
    keys = {"evaluate_every": 10}
    whole = change(settings, run="whole", train=keys)
    expected = train.run(whole, evaluator=judge())
    stopped = change(settings, run="stopped", train=keys)
    with pytest.raises(KeyboardInterrupt):
        train.run(stopped, evaluator=judge(step))
    folder = stopped.run_folder()
    assert load_checkpoint(folder / "last.pt").step == step
    assert not (folder / "final.pt").exists()
    assert figures_of(train.run(stopped, evaluator=judge())) == figures_of(expected)
    for name in ("final.pt", "last.pt", "best.pt"):
        assert same_training(folder / name, whole.run_folder() / name)
    assert steps_shown(folder) == [10, 20, 30]
    assert steps_shown(folder, "evaluation/success_rate") == [10, 20, 30]


def test_the_final_of_fewer_steps_is_never_that_of_more(settings: Settings) -> None:
    keys = {"evaluate_every": 10}
    train.run(change(settings, run="whole", train=keys), evaluator=judge())
    longer = change(settings, run="longer", train=keys)
    train.run(change(longer, train={"steps": 15}), evaluator=judge())
    with pytest.raises(KeyboardInterrupt):
        train.run(longer, evaluator=judge(30))
    folder = longer.run_folder()
    assert [load_checkpoint(folder / n).step for n in ("final.pt", "last.pt")] == [15, 30]
    result = train.run(longer, evaluator=judge())
    assert (result.steps, result.up_to_date) == (30, False)
    final = load_checkpoint(folder / "final.pt")
    assert (final.step, final.metrics["summary"]["steps"]) == (30, 30)
    whole = load_checkpoint(settings.paths.checkpoints / "whole/final.pt")
    assert all(torch.equal(final.weights[name], whole.weights[name]) for name in whole.weights)


def test_somebody_elses_final_is_replaced_by_that_of_the_run(settings: Settings) -> None:
    mine, other = change(settings, run="mine"), change(settings, run="two", train={"seed": 1})
    train.run(mine)
    train.run(other)
    copy_checkpoint(other.run_folder() / "final.pt", mine.run_folder() / "final.pt")
    assert train.run(mine).up_to_date is False
    assert same_training(mine.run_folder() / "final.pt", mine.run_folder() / "last.pt")


def test_a_best_from_ahead_is_known_or_removed(settings: Settings) -> None:
    keys = {"save_every": 10}
    train.run(change(settings, run="whole", train=keys))
    folder = settings.paths.checkpoints / "whole"
    at_20 = load_checkpoint(folder / "step-000020.pt")
    assert at_20.metrics["best"]["step"] == 20  # it learns, so that the later one is the better
    for run, steps, best in (
        ("on", 30, load_checkpoint(folder / "best.pt").step),
        ("less", 10, 10),
    ):
        mine = change(settings, run=run, train={**keys, "steps": steps})
        shutil.copytree(folder, mine.run_folder())
        for name in ("step-000020.pt", "step-000030.pt", "final.pt"):
            (mine.run_folder() / name).unlink()
        copy_checkpoint(folder / "step-000020.pt", mine.run_folder() / "best.pt")
        copy_checkpoint(folder / "step-000010.pt", mine.run_folder() / "last.pt")
        result = train.run(mine)
        assert result.best_step == best
        assert load_checkpoint(mine.run_folder() / "best.pt").step == best


def test_a_checkpoint_of_an_older_pipeline_at_the_last_step_is_finished(settings: Settings) -> None:
    keys = {"save_every": 10}
    train.run(change(settings, train=keys))
    folder = settings.run_folder()
    last = folder / "last.pt"
    content = torch.load(folder / "step-000030.pt", weights_only=True)
    for name in ("recent", "measured", "first_loss", "above"):
        del content["metrics"][name]
    torch.save(content, last)
    (folder / "final.pt").unlink()
    result = train.run(change(settings, train=keys))
    assert (result.steps, result.loss, result.accuracy) == (30, None, None)
    assert load_checkpoint(folder / "final.pt").step == 30


def test_a_training_begun_anew_in_its_run_shows_one_curve(settings: Settings) -> None:
    train.run(change(settings, train={"steps": 40}))
    train.run(change(settings, train={"resume": False, "batch_size": 4}))
    assert steps_shown(settings.run_folder()) == [10, 20, 30]


def test_each_frame_is_moved_by_the_draw_of_its_own_step(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[torch.Tensor] = []
    drawn: list[torch.Tensor] = []
    number = 0
    real = cloning.Augmentation
    update = cloning.Cloner.update

    def augment(self: Any, frames: torch.Tensor, **_: int) -> torch.Tensor:
        nonlocal number
        drawn.append(real.__call__(self, frames, seed=settings.train.seed, step=number))
        number += 1
        return real_call(self, frames, **_)

    def noted(self: Any, frames: torch.Tensor, *rest: Any) -> Any:
        given.append(frames)
        return update(self, frames, *rest)

    real_call = real.__call__
    recorder = type("Recorder", (real,), {"__call__": augment})
    monkeypatch.setattr(cloning, "Augmentation", recorder)
    monkeypatch.setattr(cloning.Cloner, "update", noted)
    train.run(change(settings, train={"steps": 4}))
    train.run(change(settings, train={"steps": 8}))  # carried on: the draws go on, too
    assert len(given) == 8
    assert all(torch.equal(one, due) for one, due in zip(given, drawn, strict=True))


def test_each_update_has_the_learning_rate_of_its_own_step(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    update = cloning.Cloner.update

    def noted(self: Any, *arguments: Any) -> Any:
        told = update(self, *arguments)
        rates.append(self.optimizer.param_groups[0]["lr"])
        return told

    monkeypatch.setattr(cloning.Cloner, "update", noted)
    train.run(change(settings, train={"steps": 8, "schedule": "one_cycle", "log_every": 1}))
    assert rates == [cloning.learning_rate("one_cycle", 1e-3, step, 8) for step in range(8)]
    board = EventAccumulator(str(settings.run_folder() / "tensorboard")).Reload()
    shown = [event.value for event in board.Scalars("train/learning_rate")]
    assert shown == pytest.approx(rates)
