"""Which steps of a shard lie between two milestones, and which milestone was next at each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def reached_by(
    milestones: NDArray[np.int32], lengths: NDArray[np.int64], index: int
) -> NDArray[np.bool_]:
    """(N,) whether milestone ``index`` had been reached when a step began.

    Args:
        milestones: (E,M) the step at which each was reached, or -1.
        lengths: (E,) steps of each episode, in the order of the steps.
    """
    at = np.repeat(milestones[:, index], lengths)
    ends = np.cumsum(lengths)
    step = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    reached: NDArray[np.bool_] = (at >= 0) & (at <= step)
    return reached


def inside(
    milestones: NDArray[np.int32],
    lengths: NDArray[np.int64],
    first: int,
    last: int,
    before: int = 0,
) -> NDArray[np.bool_]:
    """(N,) which steps lie in the subtask that begins when ``first`` milestones are reached.

    It begins with the step at which milestone ``first - 1`` had been reached (with 0: at the start)
    and ends before the first at which milestone ``last`` has (with M: at the end). The first
    ``before`` milestones count as reached at the start: of a shard whose episodes begin there.
    """
    n = int(lengths.sum())
    chosen = np.ones(n, np.bool_)
    if first > before:
        chosen &= reached_by(milestones, lengths, first - 1)
    if last < before:
        chosen[:] = False
    elif last < milestones.shape[1]:
        chosen &= ~reached_by(milestones, lengths, last)
    return chosen


def next_goals(
    milestones: NDArray[np.int32], lengths: NDArray[np.int64], first: int = 0
) -> NDArray[np.uint8]:
    """(N,) the milestone that was next when each step began: the first that had not been reached.

    M where all had been. Those before ``first`` count as reached: of a shard whose episodes begin
    at a milestone, those up to it.
    """
    goals = np.full(int(lengths.sum()), milestones.shape[1], np.uint8)
    for index in reversed(range(first, milestones.shape[1])):
        goals[~reached_by(milestones, lengths, index)] = index
    return goals


def next_goal(steps: list[int], first: int = 0) -> int:
    """The same for one moment: ``steps`` are the milestones' steps up to now, -1 for not yet."""
    return next((i for i in range(first, len(steps)) if steps[i] < 0), len(steps))
