"""The steps that are known before the most novel ones are chosen (``label.select: novel``).

These are the labelled steps of the shard, and those that the student was trained on, as far as
their shards are still there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.games.subtask import recorded_subtask
from pipeline.labelling.pictures import WINDOW, Goals, Rows, by_picture
from pipeline.labelling.work import LabelWork
from pipeline.loading.dataset import Steps
from pipeline.loading.selection import reached_before
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.format.provenance import Provenance
from pipeline.shards.format.schema import TRAIN, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.run_shards import entries_of_game
from pipeline.training.checkpoint import Checkpoint, load_checkpoint
from pipeline.training.uncertainty import Features, Student

_LEARNED = ("rounds", "max_labels", "subtask")
"""Inputs of the student's training that say which steps of its shards it has seen."""


def decisive_known(work: LabelWork) -> Provenance:
    """What decides which steps are known, beside the shard itself; as JSON."""
    checkpoint = load_checkpoint(work.student)
    found = _shards_of(checkpoint, work.task.folders.game)
    return {
        "known": [shard_id for shard_id in checkpoint.shard_ids if shard_id in found],
        "learned": {name: checkpoint.inputs.get(name) for name in _LEARNED},
    }


def known_features(
    shard: Shard,
    todo: Rows,
    student: Student,
    goals: Goals | None,
    work: LabelWork,
) -> Iterator[Features]:
    """(m,hidden) features of the known steps, some at a time.

    Args:
        todo: rows of ``shard`` that may be chosen; their own labels do not count.
        goals: (N,) of the shard's steps, for a student that is told them.
    """
    labelled = shard.column("label_status") == LabelStatus.LABELLED
    labelled[todo] = False  # to be asked again
    rows = np.flatnonzero(labelled)
    if len(rows):
        yield by_picture(shard, rows, student.features, goals)[0]
    checkpoint, game = load_checkpoint(work.student), work.task.game
    found = _shards_of(checkpoint, work.task.folders.game)
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


def _shards_of(checkpoint: Checkpoint, game: Path) -> dict[str, Path]:
    """Those shards of the student's training that any run of the game has, in its order."""
    entries = entries_of_game(game)
    there = {e.get().header.shard_id: e.path for e in entries if e.error is None}
    return {one: there[one] for one in checkpoint.shard_ids if one in there}
