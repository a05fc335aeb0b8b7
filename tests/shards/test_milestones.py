"""Which steps lie between two milestones, and which is next: against one step after another."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.shards.format.milestones import inside, next_goal, next_goals, reached_by

LENGTHS = np.array([6, 4, 3], np.int64)
REACHED = np.array([[0, 2, 5], [-1, 1, 4], [2, -1, -1]], np.int32)
"""(3,3); the second episode skips the first milestone, and comes to the last with its last step."""


def walked() -> list[tuple[int, list[int]]]:
    """For each step, its number in its episode and what was reached when."""
    return [
        (step, reached.tolist())
        for reached, length in zip(REACHED, LENGTHS, strict=True)
        for step in range(length)
    ]


def had(step: int, at: int) -> bool:
    return 0 <= at <= step


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_milestone_is_reached_from_its_step_on_to_the_end_of_the_episode(index: int) -> None:
    expected = [had(step, reached[index]) for step, reached in walked()]
    assert reached_by(REACHED, LENGTHS, index).tolist() == expected


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("last", range(4))
def test_a_step_is_inside_once_the_subtask_s_start_was_reached_and_until_its_goal_is(
    first: int, last: int
) -> None:
    expected = [
        (first == 0 or had(step, reached[first - 1]))
        and (last == 3 or not had(step, reached[last]))
        for step, reached in walked()
    ]
    assert inside(REACHED, LENGTHS, first, last).tolist() == expected


def test_the_subtasks_of_a_game_take_an_episode_apart() -> None:
    reached, lengths = np.array([[0, 3, 7]], np.int32), np.array([9], np.int64)
    subtasks = [inside(reached, lengths, i, i) for i in range(4)]
    assert [subtask.sum() for subtask in subtasks] == [0, 3, 4, 2]
    assert (np.sum(subtasks, axis=0) == 1).all()
    assert inside(reached, lengths, 0, 3).all()


@pytest.mark.parametrize("first", range(4))
def test_the_next_goal_is_the_first_that_was_not_reached(first: int) -> None:
    goals = next_goals(REACHED, LENGTHS, first)
    assert goals.dtype == np.uint8
    assert goals.tolist() == [
        next((i for i in range(first, 3) if not had(step, reached[i])), 3)
        for step, reached in walked()
    ]


@pytest.mark.parametrize("first", range(4))
def test_who_plays_is_told_what_a_shard_says_later(first: int) -> None:
    live = [
        next_goal([at if had(step, at) else -1 for at in reached], first)
        for step, reached in walked()
    ]
    assert next_goals(REACHED, LENGTHS, first).tolist() == live


def test_shards_without_steps_or_milestones_have_subtasks_without_steps() -> None:
    none, bare = np.empty(0, np.int64), np.empty((2, 0), np.int32)
    assert inside(np.empty((0, 3), np.int32), none, 1, 2).shape == (0,)
    assert next_goals(np.empty((0, 3), np.int32), none).shape == (0,)
    lengths = np.array([2, 1], np.int64)
    assert inside(bare, lengths, 0, 0).tolist() == [True] * 3
    assert next_goals(bare, lengths).tolist() == [0] * 3
    assert next_goal([]) == 0
