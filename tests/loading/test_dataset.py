"""The dataset: which steps there are, that each is the right one, and what else a sample has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.loading.dataset import Steps
from pipeline.loading.weights import Weights
from pipeline.shards.format.schema import TRAIN, VALIDATION
from pipeline.system.errors import PipelineError
from tests.descriptors import open_files
from tests.loading import made


def numbers_of(steps: Steps) -> list[int]:
    return [made.number_of(steps[i][0]) for i in range(len(steps))]


def test_a_step_is_the_frame_and_the_experts_button(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (20,))])
    frame, button = steps[13]
    assert frame.dtype == torch.uint8
    assert frame.shape == (84, 84, 3)
    assert (frame.numpy() == made.frame_of(13 * 7 % 10, 13)).all()
    assert button == 13 * 7 % 10


def test_steps_are_the_labelled_ones_of_the_split_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = [
        made.shard(tmp_path / "a.h5", (30, 25, 9), validation=(1,), every=3),
        made.shard(tmp_path / "b.h5", (40,), first=64, seed=3),
    ]
    train = [n for n in range(64) if n % 3 == 0 and not 30 <= n < 55] + list(range(64, 104))
    assert numbers_of(Steps(paths, split=TRAIN)) == train
    unseen = [n for n in range(30, 55) if n % 3 == 0]
    assert numbers_of(Steps(paths, split=VALIDATION)) == unseen
    assert len(Steps(paths)) == len(train) + len(unseen)


def test_without_labels_every_step_has_the_button_that_was_pressed(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (30,), every=4)], labelled=False)
    assert numbers_of(steps) == list(range(30))
    assert [steps[i][1] for i in range(30)] == [n * 7 % 10 for n in range(30)]


def test_a_budget_takes_the_first_labels_of_the_first_shard_only(tmp_path: Path) -> None:
    paths = [
        made.shard(tmp_path / "a.h5", (30, 25), validation=(0,), every=2),
        made.shard(tmp_path / "b.h5", (7,), first=55, seed=3),
    ]
    steps = Steps(paths, split=TRAIN, max_labels=4)
    assert numbers_of(steps) == [30, 32, 34, 36, *range(55, 62)]
    assert len(Steps(paths, split=TRAIN, max_labels=999)) == 13 + 7


def test_only_shards_of_the_chosen_rounds_count(tmp_path: Path) -> None:
    paths = [
        made.shard(tmp_path / f"run-round-{n:02d}-labelled-v001.h5", (10,), first=10 * n, seed=n)
        for n in range(3)
    ]
    assert numbers_of(Steps(paths, rounds=[0, 2])) == [*range(10), *range(20, 30)]
    with pytest.raises(PipelineError) as refused:
        Steps(paths, rounds=[7])
    assert str(refused.value) == "no shard of the rounds 7; the rounds there are: 0, 1, 2"


def test_a_batch_comes_in_the_order_asked_for(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (100, 80))])
    wanted = np.random.default_rng(0).integers(0, 180, 64)
    batch = steps.batch(wanted)
    assert [made.number_of(frame) for frame in batch.frames] == wanted.tolist()
    assert batch.buttons.tolist() == (wanted * 7 % 10).tolist()
    assert batch[2:] == (None, None, None, None)


def test_a_stack_ends_with_the_steps_frame_and_does_not_leave_its_episode(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (20, 20))], stack=3)
    batch = steps.batch(np.array([0, 1, 16, 20, 39]))
    assert batch.frames.shape == (5, 3, 84, 84, 3)
    numbers = [[made.number_of(frame) for frame in stack] for stack in batch.frames]
    assert numbers == [[0, 0, 0], [0, 0, 1], [14, 15, 16], [20, 20, 20], [37, 38, 39]]
    assert batch.buttons.tolist() == [n * 7 % 10 for n in (0, 1, 16, 20, 39)]
    assert [made.number_of(frame) for frame in steps[21][0]] == [20, 20, 21]


def test_a_window_begins_with_the_step_and_masks_what_is_not_there(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (20, 20), every=2)], window=3)
    batch = steps.batch(np.array([0, 8, 9]))  # the steps 0, 16 and 18
    numbers = [[made.number_of(frame) for frame in window] for window in batch.frames]
    assert numbers == [[0, 1, 2], [16, 17, 18], [18, 19, 19]]
    assert batch.mask is not None
    assert batch.mask.tolist() == [[True, False, True], [True, False, True], [True, False, False]]
    assert batch.buttons.tolist() == [[0, 0, 4], [2, 0, 6], [6, 0, 0]]


def test_stack_and_window_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one of them is 1"):
        Steps([made.shard(tmp_path / "a.h5", (5,))], stack=2, window=2)


def test_the_previous_button_is_none_at_the_start_of_an_episode(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (20, 20))], previous=True)
    previous = steps.batch(np.array([0, 1, 19, 20, 21])).previous
    assert previous is not None
    assert previous.tolist() == [10, 0, 18 * 7 % 10, 10, 20 * 7 % 10]


def test_weights_follow_button_round_and_shard_and_have_mean_one(tmp_path: Path) -> None:
    paths = [
        made.shard(tmp_path / f"r-round-{n:02d}-v001.h5", (100,), first=100 * n, seed=n)
        for n in range(2)
    ]
    chosen = Weights(by_action={"A": 3}, by_round={1: 2}, by_shard={paths[0].name: 0.5})
    steps = Steps(paths, weights=chosen)
    weights = steps.batch(np.arange(200)).weights
    assert weights is not None
    assert weights.dtype == torch.float32
    assert weights.mean().item() == pytest.approx(1)
    # Button 0 is that of every tenth step.
    assert (weights[0] / weights[1]).item() == pytest.approx(3)
    assert (weights[101] / weights[1]).item() == pytest.approx(4)


def test_balance_gives_every_button_the_same_sum(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (64,))], weights=Weights(balance=1))
    batch = steps.batch(np.arange(64))
    assert batch.weights is not None
    sums = torch.zeros(10).index_add_(0, batch.buttons, batch.weights)
    assert sums.tolist() == pytest.approx([6.4] * 10)


@pytest.mark.parametrize(
    ("weights", "line"),
    [
        (
            Weights(by_action={"TURBO": 2}),
            "train.action_weights: no button 'TURBO'; "
            "there are: A, B, START, SELECT, UP, DOWN, LEFT, RIGHT, L, R",
        ),
        (Weights(by_round={3: 1}), "train.round_weights: no round '3'; there are: none"),
        (Weights(by_shard={"b.h5": 1}), "train.shard_weights: no shard 'b.h5'; there are: a.h5"),
        (
            Weights(by_action={"A": -1}),
            "train.action_weights: the button 'A' has -1; give 0 or more",
        ),
        (
            Weights(by_shard={"a.h5": 0}),
            "train.action_weights, round_weights, shard_weights: all are 0, so nothing would be "
            "learned; raise some",
        ),
    ],
)
def test_weights_of_what_is_not_there_are_refused(
    tmp_path: Path, weights: Weights, line: str
) -> None:
    with pytest.raises(PipelineError) as refused:
        Steps([made.shard(tmp_path / "a.h5", (20,))], weights=weights)
    assert str(refused.value) == line


def on_the_way(path: Path, **changes: Any) -> Path:
    """A shard of three episodes, with the milestones near and far reached at other steps."""
    reached = ((3, 8), (0, -1), (-1, -1))
    changes = {"milestones": ("near", "far"), "reached": reached, **changes}
    return made.shard(path, (10, 6, 4), **changes)


@pytest.mark.parametrize(
    ("subtask", "inside"),
    [
        ((0, 0), [0, 1, 2, 16, 17, 18, 19]),
        ((1, 1), [*range(3, 8), *range(10, 16)]),
        ((0, 1), [*range(8), *range(10, 20)]),
        ((1, 2), [*range(3, 16)]),
        ((2, 2), [8, 9]),
    ],
)
def test_a_subtask_has_the_steps_between_its_milestones(
    tmp_path: Path, subtask: tuple[int, int], inside: list[int]
) -> None:
    paths = [on_the_way(tmp_path / "a.h5")]
    assert numbers_of(Steps(paths, subtask=subtask)) == inside
    some = Steps(paths, subtask=subtask, max_labels=3)
    assert numbers_of(some) == inside[:3]


def test_a_shard_without_a_step_of_the_subtask_is_empty(tmp_path: Path) -> None:
    never = on_the_way(tmp_path / "a.h5", reached=((-1, -1),) * 3)
    there = on_the_way(tmp_path / "b.h5", first=20, seed=5)
    assert len(Steps([never], subtask=(1, 2))) == 0
    assert numbers_of(Steps([never, there], subtask=(2, 2))) == [28, 29]


def test_what_an_episode_began_with_counts_as_reached(tmp_path: Path) -> None:
    path = on_the_way(tmp_path / "a.h5", reached=((-1, 8), (-1, -1), (-1, 0)))
    assert len(Steps([path], subtask=(1, 1))) == 0
    steps = Steps([path], subtask=(1, 1), goals=True, reached=[1])
    assert numbers_of(steps) == [*range(8), *range(10, 16)]
    assert goals_of(steps) == [1] * 14
    assert len(Steps([path], subtask=(0, 0), reached=[1])) == 0


def goals_of(steps: Steps, which: list[int] | None = None) -> list[Any]:
    goals = steps.batch(np.arange(len(steps)) if which is None else np.array(which)).goals
    assert goals is not None
    assert goals.dtype == torch.int64
    return goals.tolist()


def test_a_step_s_goal_is_the_milestone_that_is_next(tmp_path: Path) -> None:
    steps = Steps([on_the_way(tmp_path / "a.h5")], goals=True)
    assert goals_of(steps) == [0] * 3 + [1] * 5 + [2] * 2 + [1] * 6 + [0] * 4
    assert Steps([on_the_way(tmp_path / "b.h5")]).batch(np.arange(3)).goals is None


def test_a_stack_has_the_goal_of_its_step_and_a_window_one_a_step(tmp_path: Path) -> None:
    path = on_the_way(tmp_path / "a.h5")
    assert goals_of(Steps([path], goals=True, stack=3), [2, 3, 8]) == [0, 1, 2]
    assert goals_of(Steps([path], goals=True, window=3), [1, 7, 9]) == [
        [0, 0, 1],
        [1, 2, 2],
        [2, 2, 2],
    ]


def test_milestones_that_differ_are_refused_where_they_are_counted(tmp_path: Path) -> None:
    paths = [on_the_way(tmp_path / "a.h5"), made.shard(tmp_path / "b.h5", (5,), first=20, seed=5)]
    assert len(Steps(paths)) == 25
    for asked in ({"goals": True}, {"subtask": (0, 0)}):
        with pytest.raises(PipelineError) as refused:
            Steps(paths, **asked)  # type: ignore[arg-type]
        assert str(refused.value) == (
            f"{paths[1]}: its milestones are none, not near far; a subtask, or a network that is "
            "told "
            "its goal, takes shards of the same milestones only: name them with --train.shards"
        )


def test_more_milestones_than_fit_into_a_byte_are_refused(tmp_path: Path) -> None:
    names = tuple(f"m{i}" for i in range(256))
    path = made.shard(tmp_path / "a.h5", (5,), milestones=names, reached=((-1,) * 256,))
    with pytest.raises(PipelineError) as refused:
        Steps([path], goals=True)
    assert str(refused.value) == (
        f"{path}: it has 256 milestones; subtasks, and networks that are told their goal, take up "
        "to "
        "255"
    )
    most = made.shard(tmp_path / "b.h5", (5,), milestones=names[1:], reached=((0,) * 255,))
    assert goals_of(Steps([most], goals=True)) == [255] * 5


def test_an_index_outside_is_refused(tmp_path: Path) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (5,))])
    assert made.number_of(steps[-1][0]) == 4
    with pytest.raises(IndexError, match="step 5 of 5"):
        steps[5]


def test_no_labelled_step_of_the_split_is_an_empty_dataset(tmp_path: Path) -> None:
    assert len(Steps([made.shard(tmp_path / "a.h5", (5,))], split=VALIDATION)) == 0


@pytest.mark.parametrize(
    ("start", "workers"), [("fork", 0), ("fork", 1), ("fork", 2), ("spawn", 1), ("forkserver", 1)]
)
def test_torchs_own_loader_reads_it(tmp_path: Path, start: str, workers: int) -> None:
    steps = Steps([made.shard(tmp_path / "a.h5", (100, 60))])
    steps[0]  # a file is open before the workers start
    loader = DataLoader(
        steps,
        batch_size=16,
        num_workers=workers,
        multiprocessing_context=start if workers else None,
    )
    numbers, buttons = [], []
    for frames, answers in loader:
        numbers += [made.number_of(frame) for frame in frames]
        buttons += answers.tolist()
    assert numbers == list(range(160))
    assert buttons == [n * 7 % 10 for n in range(160)]


def test_a_damaged_chunk_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = made.shard(tmp_path / "a.h5", (40,))
    steps = Steps([path])
    frames = steps.source
    offset = int(frames._offsets.array[1]) + 100
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ 1]))
    assert made.number_of(steps[3][0]) == 3
    with pytest.raises(PipelineError) as refused:
        steps[16]
    assert str(refused.value) == (
        f"{path}: /frames is damaged in chunk 1, rows 16 to 31 (the CRC32 is another); see what "
        "is left with: data verify, and keep it with: data salvage"
    )


def test_a_shard_that_went_away_is_an_error(tmp_path: Path) -> None:
    path = made.shard(tmp_path / "a.h5", (40,))
    steps = Steps([path])
    path.unlink()
    with pytest.raises(PipelineError) as refused:
        steps[16]
    assert str(refused.value) == (
        f"{path}: cannot be opened any more (No such file or directory); "
        "do not move shards while they are read"
    )


def test_hundreds_of_shards_are_read_with_few_open_files(tmp_path: Path) -> None:
    first = made.shard(tmp_path / "0000.h5", (3,))
    for n in range(1, 300):
        os.link(first, tmp_path / f"{n:04d}.h5")
    steps = Steps(sorted(tmp_path.glob("*.h5")))
    assert numbers_of(steps) == [0, 1, 2] * 300
    assert open_files(tmp_path) <= 256
    steps.close()
    assert open_files(tmp_path) == 0
