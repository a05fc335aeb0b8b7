"""Which shards a training learns from, and what of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.games.description import GameDescription
from pipeline.games.subtask import Subtask, recorded_subtask
from pipeline.games.task import Task
from pipeline.loading.dataset import Batch, Steps, check_milestones
from pipeline.loading.doubles import Double, doubles_of
from pipeline.loading.loader import Loader
from pipeline.loading.resources import LoadingPlan, choose_plan
from pipeline.loading.sampling import Permutation
from pipeline.loading.source import Indices
from pipeline.loading.weights import Weights
from pipeline.settings.fields import Train
from pipeline.settings.run_names import Folders
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.names import stem_and_version
from pipeline.shards.format.schema import TRAIN, VALIDATION, ShardHeader
from pipeline.shards.reader import check_shards
from pipeline.shards.run_shards import Chosen, choose, named_shards
from pipeline.shards.table import newest_entries
from pipeline.system.errors import PipelineError, printable


@dataclass
class Selection:
    """Checked shards, and their labelled steps by split."""

    paths: list[Path]
    headers: list[ShardHeader]
    train: Steps
    validation: Steps | None
    """None where no labelled step has that split."""
    validation_indices: Indices
    """(n,) steps of `validation` that are looked at, ascending."""
    seeds: NDArray[np.uint32]
    """(S,) the seeds of all episodes, whatever their split, each once, ascending."""
    subtask: Subtask | None = None
    """None: steps of the whole game."""
    goals: tuple[str, ...] = ()
    """The milestones whose numbers batches carry, in order; (): batches carry no goals."""

    def plan(self, train: Train, device: str, order: str | None) -> LoadingPlan:
        """How a training reads its steps; what the settings leave open is chosen.

        Args:
            device: type of the device that trains, such as ``cuda``.
            order: the order of steps of the training that the run holds already; None where there
                is none.

        Raises:
            PipelineError: the settings ask for another order than it had.
        """
        cache = train.cache
        if cache == "auto" and order is not None:
            cache = "ram" if order == "uniform" else "none"
        plan = choose_plan(
            self.train,
            batch_size=train.batch_size,
            cache=cache,
            workers=train.workers,
            pool_bytes=train.pool_mb << 20,
            fast_reader=device != "cpu",
        )
        if order not in (None, plan.order):
            raise PipelineError(
                f"the training of this run read its steps in another order ({order}, now "
                f"{plan.order}); leave train.cache and train.pool_mb as they were, or give "
                "another --run"
            )
        return plan

    def loader(self, train: Train, device: str, order: str | None, **options: Any) -> Loader:
        """The loader of a training; ``options`` are those of `Loader`.

        Raises:
            PipelineError: as in `plan`.
        """
        return Loader(
            self.train,
            self.plan(train, device, order),
            batch_size=train.batch_size,
            seed=train.seed,
            pin_memory=device != "cpu",
            **options,
        )

    def validation_batches(self, batch_size: int = 256) -> Iterator[Batch]:
        """The steps of `validation_indices`, each chunk decoded about once."""
        assert self.validation is not None
        for low in range(0, len(self.validation_indices), batch_size):
            yield self.validation.batch(self.validation_indices[low : low + batch_size])

    def close(self) -> None:
        self.train.close()
        if self.validation is not None:
            self.validation.close()


def select_shards(task: Task, train: Train) -> Selection:
    """The shards that ``datasets/README.md`` says ``train`` takes; a line tells which.

    With a subtask only the steps inside it count; a shard may have none of them.

    Raises:
        PipelineError: none there, none labelled, or one that does not fit the game or the others;
            no such subtask; or goals of a game without milestones.
    """
    game, subtask = task.game, task.subtask
    goals = _goals(game) if train.goal_conditioned else ()
    paths = named_shards(task.folders.from_run, train.shards)
    named = paths is not None
    if paths is None:
        paths = _chosen(task.folders, train).paths
    headers = check_shards(
        paths,
        kind="processed",
        game=game.name,
        rom_sha1=task.rom_sha1(),
        actions=game.buttons,
        timing=game.timing.contract,
        labelled=True,
    )
    if named:
        _warn_of_doubles(paths)
    reached = None
    if subtask is not None or goals:
        reached = _reached(game, paths, headers)
    every = Steps(
        paths,
        rounds=train.rounds or None,
        subtask=None if subtask is None else (subtask.first, subtask.last),
        goals=bool(goals),
        reached=reached,
    )
    steps = every.of_split(TRAIN, max_labels=train.max_labels, weights=_weights(train))
    unseen = every.of_split(VALIDATION)
    if not len(steps):
        names = ", ".join(str(path) for path in paths)
        if subtask is not None and not len(unseen):
            raise PipelineError(
                f"{names}: no labelled step lies in the subtask {subtask.name}; collect and label "
                "some with the same --milestone, --from and --to"
            )
        raise PipelineError(
            f"{names}: every labelled step is in the validation split; "
            "lower preprocess.validation, or collect more episodes"
        )
    chosen = np.arange(len(unseen))
    if 0 < train.validate_steps < len(unseen):
        chosen = np.sort(_some(unseen, train.validate_steps))
    return Selection(
        paths,
        headers,
        steps,
        unseen if len(unseen) else None,
        chosen,
        _seeds(paths),
        subtask,
        goals,
    )


def _goals(game: GameDescription) -> tuple[str, ...]:
    """The milestones that a network can be told of."""
    names = tuple(one.name for one in game.milestones)
    if not names:
        raise PipelineError(
            f"train.goal_conditioned: {game.name} has no milestones, so a network cannot be told "
            "which is next; give its game.yaml some, or leave goal_conditioned out"
        )
    return names


def _reached(game: GameDescription, paths: list[Path], headers: list[ShardHeader]) -> list[int]:
    """Of each shard how many of the game's milestones are reached when its episodes begin.

    Raises:
        PipelineError: a shard's milestones are not the game's.
    """
    names = [one.name for one in game.milestones]
    for path, header in zip(paths, headers, strict=True):
        check_milestones(path, header.milestones, names)
    return [reached_before(game, header) for header in headers]


def reached_before(game: GameDescription, header: ShardHeader) -> int:
    """How many milestones count as reached when a shard's episodes begin."""
    subtask = recorded_subtask(game, header.provenance)
    return 0 if subtask is None else subtask.first


def _weights(train: Train) -> Weights | None:
    weights = Weights(train.action_weights, train.balance, train.round_weights, train.shard_weights)
    return None if weights == Weights() else weights


def _some(steps: Steps, count: int) -> Indices:
    """So many steps, chunk after chunk of a shuffle: few chunks to decode."""
    chunks = Permutation(len(steps.chunk_counts), [0])(np.arange(len(steps.chunk_counts)))
    ends = np.cumsum(steps.chunk_counts)
    first = ends[chunks] - steps.chunk_counts[chunks]
    chosen = [np.arange(a, a + n) for a, n in zip(first, steps.chunk_counts[chunks], strict=True)]
    return np.concatenate(chosen)[:count]


def _chosen(folders: Folders, train: Train) -> Chosen:
    """The labelled shards of the run; left out are those whose every label another has, too."""
    missing = "no labelled shard; run the stages collect, preprocess and label first"
    chosen = choose(folders, train.shards, _labelled_shards, missing)
    entries = entries_of(chosen.paths)
    sound = [e for e in entries if e.error is None and _is_wanted(e.get().rounds, train)]
    doubles = doubles_of([entry.path for entry in sound])
    whole = {double.path: double for double in doubles if double.whole}
    paths = [path for path in chosen.paths if path not in whole]
    labels = sum(entry.facts.labels for entry in entries if entry.facts and entry.path in paths)
    chosen = replace(chosen, paths=paths)
    print(chosen.line("train", "labelled", f", {labels:,} labels"), flush=True)
    _tell("train: left out, as nothing is learned twice: ", list(whole.values()))
    _tell("warning: train learns twice from: ", [one for one in doubles if not one.whole])
    return chosen


def _is_wanted(rounds: Sequence[int | None], train: Train) -> bool:
    return not train.rounds or set(rounds) <= set(train.rounds)


def _warn_of_doubles(paths: list[Path]) -> None:
    _tell("warning: train.shards names recordings twice: ", doubles_of(paths))


def _tell(what: str, doubles: Sequence[Double]) -> None:
    if doubles:
        more = f" and {len(doubles) - 3} more" if len(doubles) > 3 else ""
        print(printable(f"{what}{', '.join(map(str, doubles[:3]))}{more}"), flush=True)


def _labelled_shards(folders: Sequence[Path]) -> list[Path]:
    found = {
        entry.path: entry.facts
        for entry in newest_entries(*folders, kind="processed")
        # Whether a damaged shard has labels is unknown: it is taken, and check_shards refuses it.
        if entry.facts is not None and (entry.facts.labels or entry.error is not None)
    }
    stems = {path: (path.parent, stem_and_version(path)[0]) for path in found}
    origins = {
        stem
        for path, facts in found.items()
        for parent in facts.parents
        if (stem := (path.parent, stem_and_version(Path(parent.file))[0])) != stems[path]
    }
    return [path for path in found if stems[path] not in origins]


def _seeds(paths: list[Path]) -> NDArray[np.uint32]:
    return np.unique(np.concatenate([entry.get().seeds for entry in entries_of(paths)]))
