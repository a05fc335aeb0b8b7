"""Trainings whose numbers die: one line, the last finite checkpoint, and nobody plays the rest."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline import collect, evaluate, train
from pipeline.__main__ import main
from pipeline.agents.policy import check_policy
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.training import checkpoint as checkpoints
from pipeline.training import cloning
from pipeline.training.breakdown import NotFinite, limit_of
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from tests.changed import change
from tests.trained import error_of, settings_in
from tests.training.test_checkpoint import checkpoint
from tests.training.test_optimising import batch, cloner

ADVICE = (
    "lower train.learning_rate or set train.gradient_clip, with another --run or --train.resume "
    "false"
)
FIGURE = r"[-+.e\d]+|nan|inf"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).weights


def poisoned(path: Path) -> Path:
    """A checkpoint as a pipeline without checks would have written it."""
    content = torch.load(path, weights_only=True)
    content["weights"]["head.weight"][0, 0] = float("nan")
    del content["digest"]
    content["digest"] = checkpoints._digest(content)
    torch.save(content, path)
    return path


def line_of(path: Path, fate: str) -> str:
    return (
        f"{path}: {fate}, as its weights are not finite (head.weight): the training broke down; "
        "train again with a lower train.learning_rate, or with train.gradient_clip"
    )


def test_a_loss_that_dies_ends_the_training_in_one_line_again_and_again(
    settings: Settings,
) -> None:
    mine = change(settings, train={"learning_rate": 1e6})
    folder = mine.run_folder()
    line = (
        rf"{folder}: the training broke down at step 2 of 30 \(loss ({FIGURE}), gradient norm "
        rf"({FIGURE}), learning rate 1e\+06\); no checkpoint had been written; {ADVICE}"
    )
    for _ in range(2):
        assert re.fullmatch(line, error_of(lambda: train.run(mine)))
        assert not list(folder.glob("*.pt"))


def test_the_last_finite_checkpoint_is_kept_and_carried_on_from(settings: Settings) -> None:
    mine = change(settings, train={"learning_rate": 1e6, "save_every": 1, "validate_every": 0})
    folder = mine.run_folder()
    said = [error_of(lambda: train.run(mine)) for _ in range(2)]
    assert said[0] == said[1]
    assert f"learning rate 1e+06); last.pt, of step 1, is kept; {ADVICE}" in said[0]
    assert sorted(path.name for path in folder.glob("*.pt")) == ["last.pt", "step-000001.pt"]
    assert all(one.isfinite().all() for one in weights(folder / "last.pt").values())


def test_the_command_ends_with_exit_code_2(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "one.yaml"
    config.write_text(settings.model_dump_json(by_alias=True))
    assert main(["train", "--config", str(config), "--learning_rate", "1e6"]) == 2
    assert re.match("error: .* broke down at step 2 of 30", capsys.readouterr().err)


def test_a_loss_that_runs_away_ends_it_too(settings: Settings) -> None:
    mine = change(settings, train={"learning_rate": 0.15, "steps": 60})
    line = (
        rf"{mine.run_folder()}: the training broke down at step 20 of 60 \(mean loss ({FIGURE}) "
        rf"over the last 10 updates, ({FIGURE}) in the first, learning rate 0\.15\); no checkpoint "
        rf"had been written; {ADVICE}"
    )
    mine = change(mine, train={"validate_every": 0})
    assert re.fullmatch(line, error_of(lambda: train.run(mine)))


def test_weights_that_die_in_the_last_update_make_no_final(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = cloning.Cloner.update

    def dies(self: Any, *arguments: Any) -> Any:
        told = update(self, *arguments)
        with torch.no_grad():
            self.network.head.weight[0, 0] = float("inf")
        return told

    monkeypatch.setattr(cloning.Cloner, "update", dies)
    mine = change(settings, train={"steps": 1})
    line = (
        rf"{mine.run_folder()}: the training broke down at step 1 of 1 \(loss ({FIGURE}), weights "
        rf"of head\.weight not finite, learning rate 0\.001\); no checkpoint had been written; "
        rf"{ADVICE}"
    )
    assert re.fullmatch(line, error_of(lambda: train.run(mine)))
    assert not list(mine.run_folder().glob("*.pt"))


def test_a_gradient_that_is_not_finite_changes_no_weight() -> None:
    for clip in (0.0, 1.0):
        mine, (frames, buttons) = cloner(gradient_clip=clip), batch()
        mine.network.head.weight.register_hook(lambda gradient: gradient * float("inf"))
        before = {name: one.clone() for name, one in mine.network.state_dict().items()}
        with pytest.raises(NotFinite, match=r"loss 1\.\d+, gradient norm (nan|inf)"):
            mine.update(frames, buttons, 1e-3)
        after = mine.network.state_dict()
        assert all(torch.equal(one, after[name]) for name, one in before.items())


def test_on_a_gpu_which_nobody_waits_for_the_loss_tells_of_the_gradient() -> None:
    losses = []
    for factor in (1.0, float("inf")):
        mine, (frames, buttons) = cloner(), batch()
        mine.device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
        mine.network.head.weight.register_hook(lambda gradient, by=factor: gradient * by)
        losses.append(float(mine.update(frames, buttons, 1e-3)[0]))
    mine, (frames, buttons) = cloner(), batch()
    assert losses[0] == float(mine.update(frames, buttons, 1e-3)[0])
    assert math.isnan(losses[1])


def test_no_healthy_training_is_near_the_limit() -> None:
    assert limit_of(2.3, 10) == pytest.approx(23.03, abs=0.01)
    assert limit_of(0.01, 10) == pytest.approx(23.03, abs=0.01)  # begun from a trained network
    assert limit_of(8.0, 10) == 80  # weighted samples
    assert limit_of(0.0, 1) > 0


def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "final.pt"
    bad = checkpoint()
    bad.weights["head.weight"][0, 0] = float("inf")
    assert error_of(lambda: save_checkpoint(path, bad)) == line_of(path, "is not written")
    assert not path.exists()
    save_checkpoint(path, checkpoint())
    assert error_of(lambda: load_checkpoint(poisoned(path))) == line_of(path, "is of no use")


def test_no_stage_begins_with_a_poisoned_network(settings: Settings, tmp_path: Path) -> None:
    train.run(change(settings, train={"steps": 2}))
    path = poisoned(settings.run_folder() / "final.pt")
    refused = line_of(path, "is of no use")
    game = load_game(settings.game)
    calls = [
        lambda: check_policy(path, game),
        lambda: train.run(change(settings, run="on", train={"start_from": str(path)})),
        lambda: train.run(change(settings, train={"steps": 2})),
    ]
    quest = change(settings.model_copy(update={"game": "quest"}), evaluate={"episodes": 1})
    calls += [
        lambda: evaluate.run(quest),
        lambda: collect.run(change(quest, collect={"policy": str(path), "beta": 0.0})),
        lambda: collect.run(change(quest, collect={"policy": str(path), "beta": 0.5})),
    ]
    assert [error_of(call) for call in calls] == [refused] * len(calls)
