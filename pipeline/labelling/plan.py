"""What label has to do: which shards, what becomes of each, which steps are asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.experts import opening
from pipeline.experts.protocol import Expert
from pipeline.games.subtask import Subtask, recorded_subtask
from pipeline.labelling.new_labels import Labelling
from pipeline.labelling.pictures import repeated
from pipeline.labelling.work import LabelWork
from pipeline.settings.run_names import Folders
from pipeline.shards.catalog.catalogue import Catalogue, entries_of
from pipeline.shards.catalog.names import stem_and_version
from pipeline.shards.format.milestones import inside
from pipeline.shards.format.provenance import Provenance, fingerprint
from pipeline.shards.format.schema import unplaced, with_old_keys
from pipeline.shards.reader import Shard
from pipeline.shards.run_shards import choose, named_shards, stem_here
from pipeline.shards.table import newest_shards


@dataclass(frozen=True)
class Plan:
    """A shard, and the labelled one that becomes of it or is there already."""

    source: Path
    decisive: Provenance
    """The settings that decide the labels, as JSON."""
    mark: str
    """Fingerprint of all that decides them: settings, expert, source."""
    folder: Path
    """Of the own run."""
    stem: str
    """Name of the labelled shard, without its version."""
    subtask: Subtask | None = None
    """Only steps of this subtask are asked about; None where all of the shard are of it."""
    begun: int = 0
    """Milestones that count as reached where the episodes begin."""

    def asks_about(self, shard: Shard) -> NDArray[np.bool_]:
        """(N,) which steps of the source are of the subtask."""
        subtask = self.subtask
        if subtask is None:
            return np.ones(shard.n_frames, np.bool_)
        return inside(shard.milestones, shard.lengths, subtask.first, subtask.last, self.begun)

    @property
    def left_off(self) -> Path | None:
        """The newest version that is partial, because the expert stopped; to be carried on."""
        return self._newest("unfinished")

    @property
    def done(self) -> bool:
        """Whether there is a whole version already."""
        return self._newest("fingerprint") is not None

    def _newest(self, key: str) -> Path | None:
        catalogue = Catalogue(self.folder)
        found = [
            entry.path
            for entry in catalogue.of(catalogue.files(f"{self.stem}-v"))
            if entry.error is None
            and entry.get().provenance.get(key) == self.mark
            and stem_and_version(entry.path)[0] == self.stem
        ]
        return max(found, key=lambda path: stem_and_version(path)[1], default=None)


def processed_shards(folders: Folders, shards: Sequence[str]) -> list[Path]:
    """The processed shards to label: those named, or the newest of the run.

    Raises:
        PipelineError: there is none.
    """
    named = named_shards(folders.from_run, shards)
    if named is not None:
        return named
    missing = "no processed shard to label; run 'collect' and 'preprocess' first"
    chosen = choose(folders, shards, _unlabelled, missing)
    print(chosen.line("label", "processed"), flush=True)
    return chosen.paths


def _unlabelled(folders: Sequence[Path]) -> list[Path]:
    found = newest_shards(*folders, kind="processed")
    return [path for path in found if "-labelled-v" not in path.name]


def planned(source: Path, work: LabelWork, expert: Expert) -> Plan:
    """What labelling a shard depends on, and what its result is called.

    Raises:
        PipelineError: the shard cannot be read, or does not fit the game or the expert.
    """
    game = work.task.game
    decisive = work.options.model_dump(include={"relabel", "limit"})
    decisive |= {} if work.options.repeats else {"repeats": False}
    if work.options.select != "all":
        from pipeline.labelling import choosing as selecting

        decisive |= selecting.decisive(work)
    facts = entries_of([source])[0].get()
    source_id, own = facts.shard_id, recorded_subtask(game, facts.provenance)
    subtask = None if work.task.subtask == own else work.task.subtask
    if subtask is not None:
        decisive |= {"subtask": subtask.told}
    begun = 0 if own is None else own.first
    place = None if subtask is None else [subtask.first, subtask.last, begun]
    asked = opening.decisive(expert, work.task.expert, game)
    mark = fingerprint("label", with_old_keys(unplaced(decisive)), asked, source_id, place)
    stem = stem_of(source, work.task.folders)
    stem = f"{stem}-labelled" if subtask is None else f"{stem}-only-{subtask.name}-labelled"
    return Plan(source, decisive, mark, work.task.folders.shards, stem, subtask, begun)


def stem_of(source: Path, folders: Folders) -> str:
    """The stem of a processed shard's name, without ``-84`` and ``-labelled``."""
    stem = stem_and_version(source)[0].removesuffix("-84").removesuffix("-labelled")
    return stem_here(folders, source, stem)


def steps_to_ask(
    shard: Shard,
    begun: Path | None,
    labels: Labelling,
    work: LabelWork,
    plan: Plan,
) -> NDArray[np.intp]:
    """(n,) rows of the steps to ask about, ascending, without those that ``begun`` has answers for.

    Args:
        begun: a partial version of the labelled shard.
        labels: takes over the answers of ``begun``, and the scores of the chosen steps.

    Raises:
        PipelineError: ``label.select`` cannot choose, see `choose`.
    """
    label = work.options
    asked = np.full(shard.n_frames, True) if label.relabel else ~labels.labelled
    about = plan.asks_about(shard)
    todo = np.flatnonzero(asked & about)
    if not label.repeats:
        known = np.setdiff1d(np.flatnonzero(labels.labelled & about), todo)
        # A label that is to be replaced is, wherever it stands: two experts are not mixed.
        todo = todo[~repeated(shard, todo, known) | labels.labelled[todo]]
    scores = np.full(len(todo), np.nan, np.float32)
    if label.select != "all":
        from pipeline.labelling.choosing import choose  # imported late: it brings torch

        todo, scores = choose(shard, todo, work)
    elif 0 < label.limit < len(todo):
        todo = todo[np.linspace(0, len(todo) - 1, label.limit).round().astype(int)]
        scores = scores[: len(todo)]
    answered = labels.carry_on(begun) if begun else np.zeros(shard.n_frames, bool)
    labels.score(todo, scores)
    left: NDArray[np.intp] = todo[~answered[todo]]
    return left
