"""Which steps a limited number of labels goes to: the least sure, the disputed, the newest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import label
from pipeline.agents.network import NetworkActor
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.labelling import choosing
from pipeline.labelling.choosing import Scores
from pipeline.labelling.pictures import Rows
from pipeline.labelling.work import labelling_of
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import load_checkpoint, save_checkpoint
from pipeline.training.uncertainty import Student, entropy, margin
from tests.changed import change
from tests.loading import made
from tests.training.test_checkpoint import checkpoint, told

PERIOD = 70
"""Made frames so many steps apart differ in four pixels only."""


@pytest.fixture
def game(tmp_path: Path) -> GameDescription:
    return load_game(made.game_folder(tmp_path / "paper"))


@pytest.fixture
def settings(tmp_path: Path, game: GameDescription) -> Settings:
    """A run whose final.pt has a sharp head, so that it is surer of some frames than of others."""
    run = tmp_path / "checkpoints" / "default"
    for name, factor in (("final.pt", 60), ("other.pt", 90)):
        kept = checkpoint()
        kept.weights["head.weight"] = kept.weights["head.weight"] * factor
        save_checkpoint(run / name, kept)
    return Settings.model_validate(
        {
            "game": str(game.folder),
            "paths": {"datasets": tmp_path / "datasets", "checkpoints": tmp_path / "checkpoints"},
            "label": {"select": "uncertain", "limit": 20},
            "train": {"device": "cpu", "threads": 1},
        }
    )


def choose(
    shard: Shard, todo: Rows, settings: Settings, game: GameDescription
) -> tuple[Rows, Scores]:
    work = labelling_of(settings)
    assert work.task.game == game
    return choosing.choose(shard, todo, work)


def decisive(settings: Settings) -> Any:
    return choosing.decisive(labelling_of(settings))


def source(settings: Settings, numbers: list[int], name: str = "a-84-v001.h5") -> Shard:
    """An unlabelled shard of one episode with these made frames."""
    path = settings.shard_folder("paper") / name
    full = made.episode(len(numbers), 7)
    bare = replace(
        full,
        frames=np.stack([made.frame_of(n * 7 % 10, n) for n in numbers]),
        expert_actions=np.full(len(numbers), NO_ACTION, np.uint8),
        label_status=np.full(len(numbers), LabelStatus.UNLABELLED, np.uint8),
    )
    with ShardWriter(path, made.header()) as writer:
        writer.append(bare)
    return Shard(path)


def probabilities(settings: Settings, shard: Shard) -> Any:
    student = Student(load_checkpoint(settings.run_folder() / "final.pt"), device="cpu")
    return student.probabilities(student.features(shard.read_frames(0, shard.n_frames)))


@pytest.mark.parametrize("by", ["entropy", "margin"])
def test_the_least_sure_steps_are_chosen_with_their_scores(
    settings: Settings, game: GameDescription, by: str
) -> None:
    shard, mine = source(settings, list(range(150))), change(settings, label={"uncertainty": by})
    todo = np.arange(10, 150)
    rows, scores = choose(shard, todo, mine, game)
    all_scores = {"entropy": entropy, "margin": margin}[by](probabilities(settings, shard))
    assert scores.dtype == np.float32
    assert scores == pytest.approx(all_scores[rows], abs=1e-6)
    assert (np.diff(rows) > 0).all()
    assert len(rows) == 20
    assert rows.min() >= 10
    left = np.setdiff1d(todo, rows)
    assert all_scores[rows].min() >= all_scores[left].max()
    # A random choice is surer.
    some = np.random.default_rng(0).choice(todo, 20, replace=False)
    assert scores.mean() > all_scores[some].mean()


@pytest.mark.parametrize("select", ["uncertain", "disagree", "novel"])
def test_a_choice_is_the_same_each_time_and_never_above_the_limit(
    settings: Settings, game: GameDescription, select: str
) -> None:
    shard, mine = source(settings, list(range(90))), change(settings, label={"select": select})
    todo = np.arange(0, 90, 2)
    first, again = choose(shard, todo, mine, game), choose(shard, todo, mine, game)
    assert (first[0] == again[0]).all()
    assert (first[1] == again[1]).all()
    assert len(first[0]) == 20
    assert np.isin(first[0], todo).all()
    everything = choose(shard, todo, change(mine, label={"limit": 1000}), game)
    assert (everything[0] == todo).all()
    assert len(choose(shard, todo[:0], mine, game)[0]) == 0


@pytest.mark.parametrize("select", ["uncertain", "disagree", "novel"])
def test_a_picture_is_chosen_again_only_once_every_other_was(
    settings: Settings, game: GameDescription, select: str
) -> None:
    numbers = [3] * 40 + list(range(30)) + [5] * 40
    shard = source(settings, numbers)
    for limit in (15, 30, 31):
        mine = change(settings, label={"select": select, "limit": limit})
        rows, _ = choose(shard, np.arange(110), mine, game)
        assert len(rows) == limit
        assert len({numbers[row] for row in rows}) == min(limit, 30)


def test_of_near_duplicates_the_newest_steps_hold_one(
    settings: Settings, game: GameDescription
) -> None:
    shard = source(settings, list(range(2 * PERIOD)))
    mine = change(settings, label={"select": "novel", "limit": 30})
    rows, scores = choose(shard, np.arange(2 * PERIOD), mine, game)
    assert len(set((rows % PERIOD).tolist())) == 30
    assert (scores > 0).all()


def test_what_the_student_was_trained_on_is_not_new(
    settings: Settings, game: GameDescription
) -> None:
    known = made.shard(settings.shard_folder("paper") / "known-labelled-v001.h5", (35, 35))
    with Shard(known) as shard:
        trained = checkpoint(shard_ids=(shard.header.shard_id,), inputs={"max_labels": 35})
    save_checkpoint(settings.run_folder() / "final.pt", trained)
    fresh = source(settings, list(range(PERIOD)))
    mine = change(settings, label={"select": "novel", "limit": 30})
    rows, _ = choose(fresh, np.arange(PERIOD), mine, game)
    assert decisive(mine)["known"] == list(trained.shard_ids)
    # The labels after the first 35 are there, but the training had only so many.
    assert rows.min() >= 35
    known.unlink()
    assert choose(fresh, np.arange(PERIOD), mine, game)[0].min() < 35
    assert decisive(mine)["known"] == []


def test_steps_of_the_shard_that_are_labelled_are_not_new(
    settings: Settings, game: GameDescription
) -> None:
    folder = settings.shard_folder("paper")
    mine = change(settings, label={"select": "novel", "limit": 10})
    with Shard(made.shard(folder / "a-labelled-v001.h5", (PERIOD,), every=2)) as shard:
        odd = np.arange(1, PERIOD, 2)
        _, scores = choose(shard, odd, mine, game)
        _, alone = choose(shard, np.arange(PERIOD), mine, game)
    # With the even steps known the odd ones are nearer to what is known.
    assert 0 < scores.max() < alone.max()


def test_an_ensemble_disagrees_where_its_networks_differ(
    settings: Settings, game: GameDescription
) -> None:
    shard = source(settings, list(range(60)))
    other = str(settings.run_folder() / "other.pt")
    alone = change(settings, label={"select": "disagree", "limit": 5})
    twins = change(alone, label={"ensemble": [str(settings.run_folder() / "final.pt")]})
    pair = change(alone, label={"ensemble": [other]})
    _, none = choose(shard, np.arange(60), twins, game)
    _, scores = choose(shard, np.arange(60), pair, game)
    assert none == pytest.approx(np.zeros(5), abs=1e-6)
    assert (scores > 1e-4).all()
    thinned = choose(shard, np.arange(60), alone, game)[1]
    seeded = choose(shard, np.arange(60), change(alone, label={"seed": 1}), game)[1]
    assert (thinned != seeded).any()


@pytest.mark.parametrize("select", ["uncertain", "disagree", "novel"])
def test_the_label_stage_asks_only_for_the_chosen_and_stores_their_scores(
    settings: Settings, game: GameDescription, select: str
) -> None:
    shard = source(settings, list(range(90)))
    teacher = settings.run_folder() / "other.pt"
    mine = change(
        settings,
        label={"select": select, "shards": [str(shard.path)]},
        expert={"kind": "policy", "path": teacher},
    )
    rows, scores = choose(shard, np.arange(90), mine, game)
    done = label.run(mine)
    assert (done.labels, done.asked) == (20, 20)
    with Shard(done.shards[0]) as labelled:
        assert np.flatnonzero(labelled.column("label_status") == LabelStatus.LABELLED).tolist() == (
            rows.tolist()
        )
        kept = labelled.labels()
        told = labelled.header.provenance["settings"]
        # The teacher labels with what it would press itself.
        pressed = NetworkActor(teacher, game).probabilities(shard.read_frames(0, 90))
        buttons = labelled.column("expert_actions")[rows]
    assert kept is not None
    assert (kept["score"][rows] == scores).all()
    assert np.isnan(np.delete(kept["score"], rows)).all()
    assert (buttons == pressed.argmax(axis=1)[rows]).all()
    assert told["select"] == select
    assert label.run(mine).up_to_date
    other = label.run(change(mine, label={"student": str(teacher)}))
    assert not other.up_to_date  # another student is another choice


def test_what_decides_a_choice_is_told(settings: Settings) -> None:
    def asked(**keys: Any) -> dict[str, Any]:
        return decisive(change(settings, label=keys))

    assert asked(select="all") == {}
    student = asked()["student"]
    assert student["path"] == "final.pt"
    assert len(student["sha256"]) == 64
    assert asked() == {"select": "uncertain", "student": student, "uncertainty": "entropy"}
    assert asked(select="disagree", seed=4)["dropout"] == {"share": 0.2, "networks": 32, "seed": 4}
    other = str(settings.run_folder() / "other.pt")
    assert asked(student=other)["student"]["sha256"] != student["sha256"]
    ensemble = asked(select="disagree", ensemble=[other])
    assert [one["path"] for one in ensemble["ensemble"]] == ["other.pt"]
    assert "dropout" not in ensemble
    assert asked(select="novel")["known"] == []


def on_the_way(
    settings: Settings, numbers: list[int], reached: int, name: str = "way", **changes: Any
) -> Shard:
    """An unlabelled episode that comes to the milestone ``far`` at a step."""
    full = source(settings, numbers, f"bare-{name}-84-v001.h5").episode(0)
    path = settings.shard_folder("paper") / f"{name}-84-v001.h5"
    with ShardWriter(path, made.header(milestones=("far",), **changes)) as writer:
        writer.append(replace(full, milestones=np.array([reached], np.int32)))
    return Shard(path)


def told_student(settings: Settings, **changes: Any) -> None:
    """Let the run's network be one that is told whether ``far`` was reached."""
    kept = told(**changes)
    kept.weights["head.weight"] = kept.weights["head.weight"] * 60
    kept.weights["goals.weight"] = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    save_checkpoint(settings.run_folder() / "final.pt", kept)


def test_a_student_that_is_told_its_goal_is_told_that_of_each_step(
    settings: Settings, game: GameDescription
) -> None:
    told_student(settings)
    shard = on_the_way(settings, list(range(60)), reached=25)
    rows, scores = choose(shard, np.arange(60), settings, game)
    student = Student(load_checkpoint(settings.run_folder() / "final.pt"), device="cpu")
    goals = (np.arange(60) >= 25).astype(np.uint8)
    seen = student.features(shard.read_frames(0, 60), goals)
    assert scores == pytest.approx(entropy(student.probabilities(seen))[rows], abs=1e-6)
    other = student.features(shard.read_frames(0, 60), 1 - goals)
    assert scores != pytest.approx(entropy(student.probabilities(other))[rows], abs=1e-3)
    begun = {"subtask": {"from": "far", "to": None}, "parents": []}
    after = on_the_way(settings, list(range(60)), reached=-1, name="after", provenance=begun)
    everything = change(settings, label={"limit": 60})
    _, scores = choose(after, np.arange(60), everything, game)
    seen = student.features(shard.read_frames(0, 60), np.ones(60, np.uint8))
    assert scores == pytest.approx(entropy(student.probabilities(seen)), abs=1e-6)


@pytest.mark.parametrize("select", ["uncertain", "disagree", "novel"])
def test_one_picture_with_two_goals_is_two_to_a_student_that_is_told_them(
    settings: Settings, game: GameDescription, select: str
) -> None:
    numbers = [3] * 20 + [5] * 20
    shard = on_the_way(settings, numbers, reached=10)
    mine = change(settings, label={"select": select, "limit": 3})
    rows, _ = choose(shard, np.arange(40), mine, game)
    assert len({numbers[row] for row in rows}) == 2
    told_student(settings)
    rows, _ = choose(shard, np.arange(40), mine, game)
    assert {(numbers[row], row >= 10) for row in rows.tolist()} == {
        (3, False), (3, True), (5, True),
    }  # fmt: skip


def test_what_a_told_student_was_trained_on_is_known_with_its_goals_and_its_subtask(
    settings: Settings, game: GameDescription
) -> None:
    known = made.shard(
        settings.shard_folder("paper") / "known-labelled-v001.h5",
        (60,),
        milestones=("far",),
        reached=((30,),),
    )
    with Shard(known) as shard:
        ids = (shard.header.shard_id,)
    told_student(settings, shard_ids=ids, inputs={"subtask": {"from": "far", "to": None}})
    same = on_the_way(settings, list(range(60)), reached=30)
    mine = change(settings, label={"select": "novel", "limit": 12})
    rows, _ = choose(same, np.arange(60), mine, game)
    assert rows.max() < 30  # those after far were learned from


def refusal(settings: Settings, game: GameDescription, shard: Shard, **keys: Any) -> str:
    with pytest.raises(PipelineError) as caught:
        choose(shard, np.arange(5), change(settings, label=keys), game)
    return str(caught.value)


def test_what_cannot_be_chosen_is_refused_in_one_line(
    settings: Settings, game: GameDescription, tmp_path: Path
) -> None:
    shard, run = source(settings, list(range(9))), settings.run_folder()
    assert refusal(settings, game, shard, limit=0) == (
        "label.select uncertain chooses so many steps of a shard as label.limit says; "
        "give --label.limit N"
    )
    away = tmp_path / "away.pt"
    assert refusal(settings, game, shard, student=str(away)) == (
        f"{away}: no such checkpoint, but label.select uncertain asks it; "
        "train first, or give --label.student FILE"
    )
    assert refusal(settings, game, shard, select="disagree", ensemble=[str(away)]) == (
        f"{away}: no such checkpoint, but label.select disagree asks it; "
        "train first, or give --label.ensemble FILE"
    )
    save_checkpoint(run / "small.pt", checkpoint(frame_contract=made.FrameContract(64, 64, "none")))
    assert refusal(settings, game, shard, student=str(run / "small.pt")) == (
        f"{run / 'small.pt'}: it sees frames of 64x64 RGB, resampling none, but those of "
        f"{shard.path} are 84x84 RGB, resampling bilinear; preprocess them alike"
    )
    save_checkpoint(run / "told.pt", told())
    assert refusal(settings, game, shard, student=str(run / "told.pt")) == (
        f"{run / 'told.pt'}: it is told which of the milestones far is next, but those of "
        f"{shard.path} are none; ask a network that is told none"
    )
    save_checkpoint(run / "foreign.pt", checkpoint(game="other", actions=made.BUTTONS[:9]))
    assert refusal(settings, game, shard, student=str(run / "foreign.pt")) == (
        f"{run / 'foreign.pt'}: does not fit paper: its game other is not the game's paper; "
        "its actions A B START SELECT UP DOWN LEFT RIGHT L is not the game's "
        "A B START SELECT UP DOWN LEFT RIGHT L R; give a checkpoint that was trained for it"
    )
