"""Which steps of a shard a limited number of labels goes to (``label.select``).

All steps were played before any is chosen, so that the choice is the label stage's alone and the
expert need not be there while the student plays (as in CRSAIL, Firouzkouhi et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.games.subtask import recorded_subtask
from pipeline.labelling.pictures import WINDOW, Rows, digest, windows
from pipeline.labelling.work import LabelWork
from pipeline.loading.dataset import Steps
from pipeline.loading.selection import reached_before
from pipeline.settings.fields import Label
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.format.frames import FrameContract, Frames
from pipeline.shards.format.milestones import next_goals
from pipeline.shards.format.provenance import VERSIONS, Provenance
from pipeline.shards.format.schema import TRAIN, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.run_shards import entries_of_game
from pipeline.system.errors import PipelineError
from pipeline.system.workers import cores
from pipeline.training.checkpoint import Checkpoint, check_fits, load_checkpoint
from pipeline.training.machine import threads
from pipeline.training.uncertainty import (
    DROPPED,
    THINNED,
    Array,
    Features,
    Student,
    disagreement,
    entropy,
    farthest_first,
    margin,
    nearest,
)

Scores = NDArray[np.float32]
Goals = NDArray[np.uint8]

_LEARNED = ("rounds", "max_labels", "subtask")
"""Inputs of the student's training that say which steps of its shards it has seen."""


def choose(shard: Shard, todo: Rows, work: LabelWork) -> tuple[Rows, Scores]:
    """Choose ``label.limit`` steps of ``todo`` (ascending) for the expert.

    ``uncertain`` takes the highest entropy or margin of the student, ``disagree`` the largest
    disagreement of student and ensemble (of the student's thinned networks, where there is no
    ensemble). ``novel`` takes the steps farthest from those that the student was trained on, those
    of this shard that have a label, and one another. Equal pictures have equal scores: whatever
    the selection, one is taken a second time only once every other was taken, or a student that
    stands before a wall would be asked about little else. The choice is a function of shard,
    settings and files; of equal steps the first is taken.

    Cost: each picture once through each network. Memory: a window of frames, and about 200 bytes
    a picture; ``novel`` holds its features too, twice 1 KiB with 256 of them, and looks at all
    that the student was trained on. A student that is told the next milestone is told that of each
    step; the same picture with another one is another to it.

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
            places, scores = _newest(shard, todo, count, students[0], goals, work)
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
    path = work.student
    version = VERSIONS["select"]
    told: dict[str, object] = {"select": label.select, "student": _named(path, work)}
    told |= {"version": version} if version > 1 else {}
    if label.select == "uncertain":
        told["uncertainty"] = label.uncertainty
    elif label.select == "disagree":
        told["ensemble"] = [_named(one, work) for one in _ensemble(work)]
        if not label.ensemble:
            told["dropout"] = {"share": DROPPED, "networks": THINNED, "seed": label.seed}
    else:
        checkpoint = load_checkpoint(path)
        found = _known_shards(checkpoint, work.task.folders.game)
        told["known"] = [shard_id for shard_id in checkpoint.shard_ids if shard_id in found]
        told["learned"] = {name: checkpoint.inputs.get(name) for name in _LEARNED}
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


def _pictures(
    shard: Shard,
    rows: Rows,
    look: Callable[[Frames, Goals | None], NDArray[Any]],
    goals: Goals | None,
) -> tuple[NDArray[Any], Rows, Rows]:
    """Ask ``look`` about frames (n,H,W,3), once about each different picture among ``rows``.

    ``look`` is told the ``goals`` (N,) of all steps of the shard, if the network takes them.

    A student that stands before a wall sees the same picture again and again: in a round of the
    default game two steps in three repeat one.

    Returns:
        What it says of each picture, in the order in which they first appear; which picture
        each row shows; and how many rows before it show the same.
    """
    which, again = np.empty(len(rows), np.intp), np.empty(len(rows), np.intp)
    seen: dict[bytes, int] = {}
    times: list[int] = []
    said: list[NDArray[Any]] = []
    for place, frames in windows(shard, rows, "choose"):
        new: list[int] = []
        told = None if goals is None else goals[rows[place]]
        for i, frame in enumerate(frames):
            goal = b"" if told is None else told[i].tobytes()
            picture = seen.setdefault(digest(frame, goal), len(seen))
            if picture == len(times):
                times.append(0)
                new.append(i)
            which[place.start + i], again[place.start + i] = picture, times[picture]
            times[picture] += 1
        said.append(look(frames[new], None if told is None else told[new]))
    return np.concatenate(said), which, again


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

    by_picture, which, again = _pictures(shard, todo, look, goals)
    scores = by_picture[which]
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


def _newest(
    shard: Shard,
    todo: Rows,
    count: int,
    student: Student,
    goals: Goals | None,
    work: LabelWork,
) -> tuple[Rows, Scores]:
    """Places in ``todo`` of the steps that are farthest from all known and from one another."""
    features, _, again = _pictures(shard, todo, student.features, goals)
    distances = np.full(len(features), np.inf, np.float32)
    for known in _known(shard, todo, student, goals, work):
        distances = nearest(features, known, distances)
    chosen, scores = farthest_first(features, distances, min(count, len(features)))
    by_turn = np.argsort(again, kind="stable")  # first those of new pictures, in their order
    repeats = by_turn[len(features) : len(features) + count - len(chosen)]
    places = np.concatenate([by_turn[chosen], repeats])
    return places, np.concatenate([scores, np.zeros(len(repeats), np.float32)])


def _known(
    shard: Shard,
    todo: Rows,
    student: Student,
    goals: Goals | None,
    work: LabelWork,
) -> Iterator[Features]:
    """Features of the labelled steps of ``shard`` and of those the student was trained on."""
    labelled = shard.column("label_status") == LabelStatus.LABELLED
    labelled[todo] = False  # to be asked again
    rows = np.flatnonzero(labelled)
    if len(rows):
        yield _pictures(shard, rows, student.features, goals)[0]
    checkpoint, game = load_checkpoint(work.student), work.task.game
    found = _known_shards(checkpoint, work.task.folders.game)
    rounds = checkpoint.inputs.get("rounds")
    several = zip(found.values(), entries_of(list(found.values())), strict=True)
    paths = [p for p, entry in several if not rounds or set(entry.get().rounds) <= set(rounds)]
    if not paths:
        return
    # The steps that it learned from; a limit was one on its first shard.
    limit = checkpoint.inputs.get("max_labels", 0) if checkpoint.shard_ids[0] in found else 0
    subtask = recorded_subtask(game, checkpoint.inputs)
    steps = Steps(
        paths,
        split=TRAIN,
        max_labels=limit,
        subtask=None if subtask is None else (subtask.first, subtask.last),
        goals=student.told,
        reached=[reached_before(game, entry.get().header) for entry in entries_of(paths)],
    )
    try:
        for low in range(0, len(steps), WINDOW):
            some = np.arange(low, min(low + WINDOW, len(steps)))
            batch = steps.batch(some)
            told = None if batch.goals is None else batch.goals.numpy().astype(np.uint8)
            yield student.features(batch.frames.numpy(), told)
    finally:
        steps.close()


def _known_shards(checkpoint: Checkpoint, game: Path) -> dict[str, Path]:
    """Those shards of the student's training that any run of the game has, in its order."""
    entries = entries_of_game(game)
    there = {e.get().header.shard_id: e.path for e in entries if e.error is None}
    return {one: there[one] for one in checkpoint.shard_ids if one in there}
