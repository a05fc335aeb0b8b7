"""What the train stage refuses, and what a run of one training has to do with another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import train
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import FrameContract
from pipeline.training.checkpoint import load_checkpoint
from tests.changed import change
from tests.loading import made
from tests.trained import error_of, same_training, settings_in, tree


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


def test_no_shard_at_all(tmp_path: Path) -> None:
    made.game_folder(tmp_path / "paper")
    settings = Settings.model_validate(tree(tmp_path))
    assert error_of(lambda: train.run(settings)) == (
        f"{tmp_path / 'datasets/paper/one'}: no labelled shard; "
        "run the stages collect, preprocess and label first"
    )


def test_no_labelled_frames(settings: Settings, tmp_path: Path) -> None:
    path = made.shard(tmp_path / "none.h5", (9,), every=10**9, first=1)
    chosen = change(settings, train={"shards": [str(path)]})
    assert error_of(lambda: train.run(chosen)) == (
        f"{path}: no labelled frames; run the label stage first"
    )


def test_labels_in_the_validation_split_only(settings: Settings, tmp_path: Path) -> None:
    path = made.shard(tmp_path / "unseen.h5", (9,), validation=(0,))
    chosen = change(settings, train={"shards": [str(path)]})
    assert error_of(lambda: train.run(chosen)) == (
        f"{path}: every labelled step is in the validation split; "
        "lower preprocess.validation, or collect more episodes"
    )


def test_shards_of_another_game_ROM_button_set_or_size_are_all_named_at_once(
    settings: Settings, tmp_path: Path
) -> None:
    other = made.shard(tmp_path / "a.h5", (9,), game="other", rom_sha1="f" * 40)
    more = made.shard(tmp_path / "b.h5", (9,), actions=("ONE", *made.BUTTONS[1:]))
    good = made.shard(tmp_path / "c.h5", (9,))
    small = made.shard(tmp_path / "d.h5", (9,), frame_contract=FrameContract(40, 40, "bilinear"))
    paths = [str(path) for path in (good, other, more, small)]
    text = error_of(lambda: train.run(change(settings, train={"shards": paths})))
    assert text == (
        f"{other}: the game is other, not paper; "
        f"{other}: the ROM's sha1 is {'f' * 40}, not {made.ROM}; "
        f"{more}: the actions are {' '.join(('ONE', *made.BUTTONS[1:]))}, "
        f"not {' '.join(made.BUTTONS)}; "
        f"{small}: the frames are 40x40 RGB, resampling bilinear, "
        "not 84x84 RGB, resampling bilinear"
    )


def test_a_run_folder_that_holds_another_training(settings: Settings) -> None:
    train.run(change(settings, train={"steps": 2}))
    other = change(settings, train={"steps": 4, "hidden": 32, "learning_rate": 5e-4})
    last = settings.run_folder() / "last.pt"
    assert error_of(lambda: train.run(other)) == (
        f"{last}: belongs to another training (learning_rate 0.001, now 0.0005; "
        "hidden 16, now 32); give another --run, or --train.resume false to start again"
    )
    assert error_of(lambda: train.run(change(settings, train={"steps": 1}))) == (
        f"{last}: belongs to another training (steps 2, now 1); "
        "give another --run, or --train.resume false to start again"
    )
    assert train.run(change(other, train={"resume": False})).steps == 4
    assert load_checkpoint(last).hidden == 32


def test_carrying_on_keeps_the_order_of_the_steps_or_says_that_it_cannot(
    settings: Settings,
) -> None:
    windows = change(settings, train={"cache": "none"})
    train.run(windows)
    order = load_checkpoint(settings.run_folder() / "last.pt").inputs["order"]
    assert order.startswith("windows of ")
    more = change(settings, train={"steps": 40})
    assert error_of(lambda: train.run(change(more, train={"cache": "ram"}))) == (
        f"the training of this run read its steps in another order ({order}, now uniform); "
        "leave train.cache and train.pool_mb as they were, or give another --run"
    )
    # Finished, and yet another training.
    finished = change(windows, train={"cache": "ram"})
    assert error_of(lambda: train.run(finished)).startswith("the training of this run read its")
    assert train.run(change(windows, train={"cache": "auto"})).up_to_date
    assert train.run(more).steps == 40
    uniform = change(settings, run="two", train={"cache": "ram"})
    train.run(uniform)
    assert train.run(change(uniform, train={"steps": 40, "cache": "auto"})).steps == 40
    assert load_checkpoint(uniform.run_folder() / "last.pt").inputs["order"] == "uniform"


def test_weights_augmentation_and_rounds_are_settings_of_the_training(settings: Settings) -> None:
    options = {"balance": 0.5, "action_weights": {"A": 2.0}, "brightness": 0.2, "cutout": 8}
    first = train.run(change(settings, train=options))
    again = train.run(change(settings, run="two", train=options))
    assert same_training(Path(first.checkpoint), Path(again.checkpoint))
    plain = train.run(change(settings, run="three"))
    assert not same_training(Path(first.checkpoint), Path(plain.checkpoint))
    assert error_of(lambda: train.run(change(settings, train={"rounds": [4]}))) == (
        "no shard of the rounds 4; the rounds there are: none"
    )


def test_starting_again_takes_the_old_checkpoints_away(settings: Settings) -> None:
    train.run(change(settings, train={"save_every": 10}))
    train.run(change(settings, train={"save_every": 0, "steps": 2, "resume": False}))
    assert not list(settings.run_folder().glob("step-*.pt"))


def test_a_damaged_checkpoint_to_carry_on_from(settings: Settings) -> None:
    train.run(change(settings, train={"steps": 2}))
    last = settings.run_folder() / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    assert error_of(lambda: train.run(settings)) == (
        f"{last}: damaged, or no checkpoint at all; remove it and train again"
    )


def test_a_start_of_another_architecture(settings: Settings) -> None:
    start = train.run(change(settings, train={"steps": 1})).checkpoint
    other = change(settings, run="two", train={"start_from": start, "hidden": 32})
    assert error_of(lambda: train.run(other)) == (
        f"{start}: another architecture (hidden 16, not 32); fix train.start_from"
    )


@pytest.mark.parametrize("before, now", [("adam", "muon"), ("muon", "adamw"), ("adamw", "adam")])
def test_the_state_of_another_optimizer_is_not_taken_over(
    settings: Settings, before: str, now: str
) -> None:
    start = train.run(change(settings, train={"optimizer": before, "steps": 2})).checkpoint
    keys = {"start_from": start, "keep_optimizer": True, "optimizer": now, "steps": 2}
    other = change(settings, run="two", train=keys)
    assert error_of(lambda: train.run(other)) == (
        f"{start}: its optimizer is {before}, not {now}; give --train.optimizer {before}, or "
        "--train.keep_optimizer false"
    )
    train.run(change(settings, run="three", train={**keys, "keep_optimizer": False}))


def test_a_start_that_is_not_there(settings: Settings, tmp_path: Path) -> None:
    other = change(settings, train={"start_from": str(tmp_path / "none.pt")})
    assert error_of(lambda: train.run(other)) == (
        f"{tmp_path / 'none.pt'}: no such checkpoint; fix train.start_from"
    )


def on_the_way(settings: Settings, name: str = "way", **changes: Any) -> Path:
    """A shard of the game of paper whose episodes reach its milestone at the steps 30, never, 0."""
    changes = {"milestones": ("far",), "reached": ((30,), (-1,), (0,)), **changes}
    folder = settings.shard_folder("paper")
    return made.shard(folder / f"{name}-labelled-v001.h5", (70, 45, 61), seed=20, **changes)


def test_a_subtask_is_learned_from_the_steps_inside_it(settings: Settings) -> None:
    path = on_the_way(settings)
    chosen = change(settings, train={"shards": [str(path)], "steps": 3})
    assert train.run(change(chosen, subtask=(None, "far"))).labels == 30 + 45
    after = change(chosen, run="two", subtask=("far", None))
    assert train.run(after).labels == 40 + 61
    last = after.run_folder() / "last.pt"
    assert load_checkpoint(last).inputs["subtask"] == {"from": "far", "to": None}
    plain = change(chosen, run="three")
    assert "subtask" not in load_checkpoint(Path(train.run(plain).checkpoint)).inputs
    whole = change(after, subtask=(None, None))
    assert error_of(lambda: train.run(whole)) == (
        f"{last}: belongs to another training (subtask far to end, now None); "
        "give another --run, or --train.resume false to start again"
    )


def test_a_subtask_that_nobody_labelled(settings: Settings) -> None:
    path = on_the_way(settings, reached=((-1,), (-1,), (-1,)), validation=(0,))
    chosen = change(settings, train={"shards": [str(path)]})
    after = change(chosen, subtask=("far", None))
    assert error_of(lambda: train.run(after)) == (
        f"{path}: no labelled step lies in the subtask far-to-end; collect and label some with the "
        "same --milestone, --from and --to"
    )
    unseen = on_the_way(settings, "unseen", reached=((5,), (-1,), (-1,)), validation=(0,))
    after = change(after, train={"shards": [str(unseen)]})
    assert error_of(lambda: train.run(after)) == (
        f"{unseen}: every labelled step is in the validation split; "
        "lower preprocess.validation, or collect more episodes"
    )


def test_shards_of_other_milestones_than_the_game_s_are_refused_for_a_subtask_and_for_goals(
    settings: Settings,
) -> None:
    path = on_the_way(settings, milestones=("near",))
    chosen = change(settings, train={"shards": [str(path)], "steps": 1})
    line = (
        f"{path}: its milestones are near, not far; a subtask, or a network that is told its goal, "
        "takes shards of the same milestones only: name them with --train.shards"
    )
    subtask = chosen.model_copy(update={"milestone": "far"})
    assert error_of(lambda: train.run(subtask)) == line
    assert error_of(lambda: train.run(change(chosen, train={"goal_conditioned": True}))) == line
    assert train.run(chosen).labels == 70 + 45 + 61


def test_a_game_without_milestones_has_no_goals_to_tell(settings: Settings, tmp_path: Path) -> None:
    text = tmp_path / "paper" / "game.yaml"
    text.write_text(text.read_text().replace("milestones: [{name: far, when: 'x > 1'}], ", ""))
    assert error_of(lambda: train.run(change(settings, train={"goal_conditioned": True}))) == (
        "train.goal_conditioned: paper has no milestones, so a network cannot be told which is "
        "next; "
        "give its game.yaml some, or leave goal_conditioned out"
    )


def test_a_start_that_is_told_its_goal_and_a_training_that_does_not_tell(
    settings: Settings,
) -> None:
    path = on_the_way(settings)
    plain = change(settings, train={"shards": [str(path)], "steps": 1})
    told = change(plain, run="told", train={"goal_conditioned": True})
    starts = {
        "plain": train.run(plain).checkpoint,
        "told": train.run(told).checkpoint,
    }
    other = change(plain, run="two", train={"start_from": starts["told"]})
    assert error_of(lambda: train.run(other)) == (
        f"{starts['told']}: another architecture (goals far, not none); fix train.start_from"
    )
    other = change(told, run="three", train={"start_from": starts["plain"]})
    assert error_of(lambda: train.run(other)) == (
        f"{starts['plain']}: another architecture (goals none, not far); fix train.start_from"
    )
    same = change(told, run="four", train={"start_from": starts["told"]})
    assert load_checkpoint(Path(train.run(same).checkpoint)).goals == ("far",)
    again = change(told, train={"goal_conditioned": False})
    assert error_of(lambda: train.run(again)) == (
        f"{told.run_folder() / 'last.pt'}: belongs to another training (goal_conditioned True, "
        "now None); "
        "give another --run, or --train.resume false to start again"
    )
