"""Two labellings of the same recordings: where they agree, by button and by milestone.

Steps are matched by the recording that they are of and their place in it, so it does not matter
who labelled what, in which order the episodes lie, or which of them only one shard has. Where no
more is the same than the game that was played, there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.schema import LabelStatus, same_recording
from pipeline.shards.reader import Shard, check_shards
from pipeline.system.errors import PipelineError

BEFORE_ANY = "none yet"


@dataclass(frozen=True)
class _Labelling:
    """The matched steps of one shard, in the common order."""

    buttons: NDArray[np.uint8]
    labelled: NDArray[np.bool_]


class ByMilestone(TypedDict):
    """The steps before which one milestone was the last reached."""

    last_milestone: str
    steps: int
    """Of them, those that both label."""
    agreement: float | None


ByAction = dict[str, str | int | float | None]
"""A button of a's labels: ``a``, its name; ``steps``; ``agreement``; and ``b NAME`` for each
button, how often b gave that one."""


class _SameGame(TypedDict, total=False):
    same_game: int
    """Episodes of a of a game that b has another recording of; left out where it is 0."""


class Difference(_SameGame):
    """Where two labellings agree, counted in steps."""

    a: str
    b: str
    steps: int
    """Matched."""
    both: int
    """Labelled by both."""
    only_a: int
    only_b: int
    unmatched_a: int
    """Of recordings that the other lacks."""
    unmatched_b: int
    agreement: float | None
    """Of ``both``; None where there are none."""
    by_action: list[ByAction]
    by_milestone: list[ByMilestone]


def diff(a: Path, b: Path) -> Difference:
    """Compare the labels of two shards.

    Returns:
        ``steps`` matched, of which ``both``, ``only_a``, ``only_b`` are labelled; ``agreement``
        (of ``both``, None where there are none); ``unmatched_a`` and ``unmatched_b``, steps of
        recordings that the other lacks; ``same_game`` (left out where it is 0), episodes of a that
        are of a game that b has another recording of; ``by_action``, a row for each button of a's
        labels with how often b gave which; ``by_milestone``, a row for each milestone that was the
        last reached before a step.

    Raises:
        PipelineError: no valid shards, of different games or buttons, or nothing in common.

    Cost: a few bytes a step of both; no frame is read.
    """
    header, other = check_shards([a, b], kind=None, contract=None)
    if header.milestones != other.milestones:
        raise PipelineError(
            f"{b}: the milestones are {' '.join(other.milestones)}, "
            f"not {' '.join(header.milestones)} as in {a}; compare shards of one game.yaml"
        )
    with Shard(a) as one, Shard(b) as two:
        rows_one, rows_two, last, same_game = _matched(one, two)
        labels_one, labels_two = _labelling(one, rows_one), _labelling(two, rows_two)
        steps_one, steps_two = one.n_frames, two.n_frames
    both = labels_one.labelled & labels_two.labelled
    equal = both & (labels_one.buttons == labels_two.buttons)
    told: _SameGame = {"same_game": same_game} if same_game else {}
    return {
        "a": str(a),
        "b": str(b),
        "steps": len(both),
        "both": int(both.sum()),
        "only_a": int((labels_one.labelled & ~labels_two.labelled).sum()),
        "only_b": int((labels_two.labelled & ~labels_one.labelled).sum()),
        "unmatched_a": steps_one - len(both),
        "unmatched_b": steps_two - len(both),
        **told,
        "agreement": _share(int(equal.sum()), int(both.sum())),
        "by_action": _by_action(header.actions, labels_one.buttons[both], labels_two.buttons[both]),
        "by_milestone": _by_milestone(header.milestones, last, both, equal),
    }


def _matched(
    one: Shard, two: Shard
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
    """The rows (n,) of the steps that both have, in each, and the last milestone before each step.

    And how many episodes of ``one`` are of a game of which ``two`` has other recordings only.

    Raises:
        PipelineError: no recording in common, or one with other steps.
    """
    places: dict[str, list[tuple[int, str]]] = {}
    for index, (root, recording) in enumerate(zip(two.roots, two.recordings, strict=True)):
        places.setdefault(root, []).append((index, recording))
    rows_one, rows_two, last = [], [], []
    actions_one, actions_two = one.column("actions"), two.column("actions")
    same_game = 0
    for index, (root, recording) in enumerate(zip(one.roots, one.recordings, strict=True)):
        there = places.get(root, [])
        twins = [place for place in there if same_recording(place[1], recording)]
        if not twins:
            same_game += bool(there)
            continue
        # The one that is known to be it; a recording that lies there twice is matched twice.
        twin = min(twins, key=lambda place: (place[1] != recording, place[0]))
        there.remove(twin)
        found = twin[0]
        mine = int(one.starts[index]) + np.arange(one.lengths[index])
        its = int(two.starts[found]) + np.arange(two.lengths[found])
        if len(mine) != len(its) or (actions_one[mine] != actions_two[its]).any():
            raise PipelineError(
                f"{two.path}: episode {found} ({root}) has other steps than episode {index} of "
                f"{one.path}; compare shards made from the same steps "
                "(preprocess.drop_null_actions leaves some out)"
            )
        rows_one.append(mine)
        rows_two.append(its)
        last.append(last_milestone(one.milestones[index], len(mine)))
    if not rows_one:
        alike = f" ({same_game} of the games are the same, but played otherwise)"
        raise PipelineError(
            f"{one.path}, {two.path}: no recording in common{alike if same_game else ''}, so there "
            "is nothing to compare; give two shards that descend from one"
        )
    return np.concatenate(rows_one), np.concatenate(rows_two), np.concatenate(last), same_game


def last_milestone(reached: NDArray[np.int32], steps: int) -> NDArray[np.int64]:
    """(steps,) index of the milestone that was reached last before each step, or -1.

    Args:
        reached: (M,) steps after which each was reached, or -1; of two at once the later in the
            game's order counts.
    """
    last = np.full(steps, -1, np.int64)
    for milestone in np.argsort(reached, kind="stable"):
        if reached[milestone] >= 0:
            last[reached[milestone] :] = milestone
    return last


def _labelling(shard: Shard, rows: NDArray[np.int64]) -> _Labelling:
    labelled = shard.column("label_status")[rows] == LabelStatus.LABELLED
    return _Labelling(shard.column("expert_actions")[rows], labelled)


def _by_action(
    names: Sequence[str], one: NDArray[np.uint8], two: NDArray[np.uint8]
) -> list[ByAction]:
    """The confusion table: a row for each button of a, a column for each of b."""
    count = len(names)
    table = np.bincount(one.astype(np.int64) * count + two, minlength=count * count)
    table = table.reshape(count, count)
    return [
        {
            "a": name,
            "steps": int(table[i].sum()),
            "agreement": _share(int(table[i, i]), int(table[i].sum())),
            **{f"b {other}": int(table[i, j]) for j, other in enumerate(names)},
        }
        for i, name in enumerate(names)
    ]


def _by_milestone(
    names: Sequence[str],
    last: NDArray[np.int64],
    both: NDArray[np.bool_],
    equal: NDArray[np.bool_],
) -> list[ByMilestone]:
    return [
        {
            "last_milestone": name,
            "steps": (steps := int((both & (last == i)).sum())),
            "agreement": _share(int((equal & (last == i)).sum()), steps),
        }
        for i, name in enumerate([BEFORE_ANY, *names], start=-1)
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
