"""Which steps of a shard a limited number of labels goes to (``label.select``).

All steps were played before any is chosen, so that the choice is the label stage's alone and the
expert need not be there while the student plays (as in CRSAIL, Firouzkouhi et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.labelling.known import decisive_known, known_features
from pipeline.labelling.pictures import Goals, Rows, by_picture
from pipeline.labelling.work import LabelWork
from pipeline.loading.selection import reached_before
from pipeline.settings.fields import Label
from pipeline.shards.format.frames import FrameContract, Frames
from pipeline.shards.format.milestones import next_goals
from pipeline.shards.format.provenance import VERSIONS, Provenance
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.system.workers import cores
from pipeline.training.checkpoint import Checkpoint, check_fits, load_checkpoint
from pipeline.training.machine import threads
from pipeline.training.uncertainty import (
    DROPPED,
    THINNED,
    Array,
    Student,
    disagreement,
    entropy,
    farthest_first,
    margin,
    nearest,
)

Scores = NDArray[np.float32]


def choose(shard: Shard, todo: Rows, work: LabelWork) -> tuple[Rows, Scores]:
    """Choose ``label.limit`` steps of ``todo`` (n,), ascending, for the expert.

    ``uncertain`` takes the highest entropy or margin of the student, ``disagree`` the largest
    disagreement of student and ensemble (of the student's thinned networks, where there is no
    ensemble). ``novel`` takes the steps farthest from those that the student was trained on, those
    of this shard that have a label, and one another. Equal pictures have equal scores: whatever
    the selection, a picture is taken a second time only after every other was taken once; else, of
    a student that stands before a wall, little but the wall would be labelled. The choice is a
    function of shard, settings and files; of equal steps the first is taken. A student that is told
    the next milestone is told that of each step: to it, equal pictures with different milestones
    are different.

    Cost: each picture once through each network; with ``novel`` also all steps that the student was
    trained on. Memory: a window of frames, and about 200 bytes a picture; with ``novel`` also its
    features, twice 1 KiB where there are 256 of them.

    Returns:
        The rows (k,) ascending, and the score of each: nats, 1 - (p1 - p2), or distance.

    Raises:
        PipelineError: no limit, or a checkpoint that is not there, or does not fit game or shard.
    """
    label = work.options
    if not label.limit:
        raise PipelineError(
            f"label.select {label.select} chooses so many steps of a shard as label.limit says; "
            "give --label.limit N"
        )
    paths = [work.student, *_ensemble(work)]
    students = [_student(path, shard, work) for path in paths]
    count = min(label.limit, len(todo))
    if not count:
        return todo[:0], np.empty(0, np.float32)
    goals: Goals | None = None
    if any(student.told for student in students):
        first = reached_before(work.task.game, shard.header)
        goals = next_goals(shard.milestones, shard.lengths, first)
    with threads(work.threads or cores()):
        if label.select == "novel":
            places, scores = _most_novel(shard, todo, count, students[0], goals, work)
        else:
            places, scores = _least_sure(shard, todo, count, students, goals, work.options)
    order = np.argsort(places)
    return todo[places[order]], scores[order]


def decisive(work: LabelWork) -> Provenance:
    """What a choice depends on beside shard and limit, as JSON; nothing where all are asked.

    Raises:
        PipelineError: no such checkpoint.
    """
    label = work.options
    if label.select == "all":
        return {}
    version = VERSIONS["select"]
    told: dict[str, object] = {"select": label.select, "student": _named(work.student, work)}
    told |= {"version": version} if version > 1 else {}
    if label.select == "uncertain":
        told["uncertainty"] = label.uncertainty
    elif label.select == "disagree":
        told["ensemble"] = [_named(one, work) for one in _ensemble(work)]
        if not label.ensemble:
            told["dropout"] = {"share": DROPPED, "networks": THINNED, "seed": label.seed}
    else:
        told |= decisive_known(work)
    return told


def _ensemble(work: LabelWork) -> list[Path]:
    label = work.options
    return [Path(path) for path in label.ensemble] if label.select == "disagree" else []


def _named(path: Path, work: LabelWork) -> dict[str, str]:
    _check_there(path, work)
    return {"path": path.name, "sha256": load_checkpoint(path).sha256}


def _check_there(path: Path, work: LabelWork) -> None:
    if not path.is_file():
        key = "student" if path == work.student else "ensemble"
        raise PipelineError(
            f"{path}: no such checkpoint, but label.select {work.options.select} asks it; "
            f"train first, or give --label.{key} FILE"
        )


def _student(path: Path, shard: Shard, work: LabelWork) -> Student:
    _check_there(path, work)
    checkpoint = load_checkpoint(path)
    check_fits(checkpoint, work.task.game)
    _check_frames(checkpoint, shard.path, shard.header.frame_contract)
    _check_goals(checkpoint, shard)
    return Student(checkpoint, device=work.device)


def _check_frames(checkpoint: Checkpoint, path: Path, contract: FrameContract) -> None:
    if checkpoint.frame_contract != contract:
        raise PipelineError(
            f"{checkpoint.path}: it sees frames of {checkpoint.frame_contract}, but those of "
            f"{path} are {contract}; preprocess them alike"
        )


def _check_goals(checkpoint: Checkpoint, shard: Shard) -> None:
    there = shard.header.milestones
    if checkpoint.goals and checkpoint.goals != there:
        raise PipelineError(
            f"{checkpoint.path}: it is told which of the milestones {' '.join(checkpoint.goals)} "
            f"is next, but those of {shard.path} are {' '.join(there) or 'none'}; ask a network "
            "that is told none"
        )


def _least_sure(
    shard: Shard,
    todo: Rows,
    count: int,
    students: Sequence[Student],
    goals: Goals | None,
    label: Label,
) -> tuple[Rows, Scores]:
    """Places in ``todo`` of the highest scores, each picture once before any is taken again."""

    def look(frames: Frames, told: Goals | None) -> Scores:
        return _scores(frames, told, students, label).astype(np.float32)

    said, which, again = by_picture(shard, todo, look, goals)
    scores = said[which]
    best = np.lexsort((-scores, again))[:count]  # stable: of equals the first
    return best, scores[best]


def _scores(
    frames: Frames, goals: Goals | None, students: Sequence[Student], label: Label
) -> Array:
    features = [student.features(frames, goals) for student in students]
    if label.select == "uncertain":
        probabilities = students[0].probabilities(features[0])
        score = entropy if label.uncertainty == "entropy" else margin
        return score(probabilities)
    if len(students) == 1:
        return disagreement(students[0].thinned(features[0], label.seed))
    said = [student.probabilities(seen) for student, seen in zip(students, features, strict=True)]
    return disagreement(np.stack(said))


def _most_novel(
    shard: Shard,
    todo: Rows,
    count: int,
    student: Student,
    goals: Goals | None,
    work: LabelWork,
) -> tuple[Rows, Scores]:
    """Places in ``todo`` of the steps that are farthest from all known and from one another."""
    features, _, again = by_picture(shard, todo, student.features, goals)
    distances = np.full(len(features), np.inf, np.float32)
    for known in known_features(shard, todo, student, goals, work):
        distances = nearest(features, known, distances)
    chosen, scores = farthest_first(features, distances, min(count, len(features)))
    by_turn = np.argsort(again, kind="stable")  # first those of new pictures, in their order
    repeats = by_turn[len(features) : len(features) + count - len(chosen)]
    places = np.concatenate([by_turn[chosen], repeats])
    return places, np.concatenate([scores, np.zeros(len(repeats), np.float32)])
