"""Which shards there are and what they hold: rows for ``data ls`` and ``data show``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np

from pipeline.settings.run_names import DEFAULT
from pipeline.shards.catalog.catalogue import Catalogue, Entry, entries_of
from pipeline.shards.catalog.facts import Facts
from pipeline.shards.catalog.names import newest_versions
from pipeline.shards.format.labels import ByExpert, ByFailure, by_expert, by_failure, experts_of
from pipeline.shards.format.schema import VALIDATION, Array, Kind, LabelStatus, ShardHeader
from pipeline.shards.lineage import Family
from pipeline.shards.reader import Shard
from pipeline.shards.run_shards import entries_of_game, folders_of, games_of, run_of


class _Wrong(TypedDict, total=False):
    error: str
    """Of a damaged file alone."""


class _Stopped(TypedDict, total=False):
    stopped: str
    """Why the expert stopped in the middle of a labelling."""


class _Failures(TypedDict, total=False):
    by_failure: list[ByFailure]
    """Only where any step has no label for a reason."""


class Figures(TypedDict, total=False):
    """The figures of a shard; a file that is none has none of them."""

    kind: Kind
    game: str
    round: int | None
    rounds: list[int | None]
    """Only where its episodes are of several."""
    episodes: int
    frames: int
    labels: int
    dollars: float
    """Only where any were paid."""
    train: int
    """Episodes."""
    validation: int
    success_rate: float | None
    return_mean: float | None
    mb: float
    """Size in millions of bytes."""
    parents: list[str]


class Listed(Figures, _Wrong):
    """A row of ``data ls``."""

    shard: str
    run: str | None
    state: str
    """ok, stale (an ancestor has a newer version) or damaged"""


class LabelsBy(TypedDict):
    """Labels of one expert, where no more is told of them."""

    expert: str
    labels: int


class Experts(_Failures):
    """Who labelled, and why steps have no label."""

    by_expert: list[ByExpert] | list[LabelsBy]


class ByStatus(TypedDict):
    """Steps of one LabelStatus, in lower case."""

    status: str
    steps: int


class ByAction(TypedDict):
    """How often one button was played, and was the expert's."""

    action: str
    played: int
    labelled: int


class ByMilestone(TypedDict):
    """How many episodes reached a milestone, and after how many steps."""

    milestone: str
    reached: int
    step_median: float | None


EpisodeRow = TypedDict(
    "EpisodeRow",
    {
        "episode": int,
        "root": str,
        "seed": int,
        "steps": int,
        "return": float,
        "success": bool,
        "split": str,
        "milestones": int,
    },
)
"""One episode; ``milestones`` is how many it reached."""


class Described(Figures, Experts, _Stopped):
    """Everything about one shard but its frames: ``data show``."""

    shard: str
    shard_id: str
    schema_version: int
    checksums: bool
    ram_crc32: bool
    rom_sha1: str
    frame_contract: str
    timing: str
    stage: str | None
    code_version: str | None
    emulator: str | None
    players: list[str]
    start_states: int
    state: list[str]
    """Names of the RAM variables."""
    by_status: list[ByStatus]
    by_action: list[ByAction]
    by_milestone: list[ByMilestone]
    by_episode: list[EpisodeRow]


def header_of(path: Path) -> ShardHeader:
    """A shard's header; the whole shard is checked, by a child if it is new here.

    Raises:
        PipelineError: no valid shard.
    """
    return entries_of([path])[0].get().header


def newest_entries(*folders: Path, kind: Kind | None = None) -> list[Entry]:
    """The newest version of every shard in these folders, of one kind if asked, sorted by name.

    A file that is no shard is passed over: ``data ls`` says what is wrong with it. A shard whose
    content is damaged is not: whoever takes it must say so.
    """
    catalogues = [Catalogue(folder) for folder in folders]
    entries = [entry for one in catalogues for entry in one.of(newest_versions(one.files()))]
    return [e for e in entries if e.facts is not None and kind in (None, e.facts.kind)]


def runs_in(datasets: Path) -> list[str]:
    """The runs of all games that have files in their folders."""
    found = {
        run_of(folder, game) or DEFAULT
        for game in games_of(datasets)
        for folder in folders_of(game)
        if Catalogue(folder).files()
    }
    return sorted(found)


def newest_shards(*folders: Path, kind: Kind | None = None) -> list[Path]:
    """The paths of :func:`newest_entries`."""
    return [entry.path for entry in newest_entries(*folders, kind=kind)]


def list_shards(
    datasets: Path,
    *,
    kind: Kind | None = None,
    rounds: Sequence[int] = (),
    newest: bool = False,
    runs: Sequence[str] = (),
) -> tuple[list[Listed], int]:
    """One row for each shard that is asked for, of all runs, and how many files there are.

    Args:
        rounds: of the loop of rounds; none asked for takes all, and shards of no round too.
        newest: the newest version of each name only.
        runs: none asked for takes all.
    """
    rows: list[Listed] = []
    count = 0
    for game in games_of(datasets):
        entries = entries_of_game(game)
        family = Family(entries)
        count += len(entries)
        wanted = set(newest_versions(e.path for e in entries)) if newest else None
        for entry in entries:
            facts = entry.facts
            if wanted is not None and entry.path not in wanted:
                continue
            if kind is not None and (facts is None or facts.kind != kind):
                continue
            if rounds and (facts is None or not set(facts.rounds) & set(rounds)):
                continue
            run = run_of(entry.path.parent, game) or DEFAULT
            if runs and run not in runs:
                continue
            rows.append(_row(entry, family, run))
    return rows, count


def _row(entry: Entry, family: Family, run: str | None) -> Listed:
    figures: Figures = {} if entry.facts is None else _figures(entry.facts)
    wrong: _Wrong = {} if entry.error is None else {"error": entry.error}
    state = "damaged" if wrong else "ok" if family.stale(entry) is None else "stale"
    return {"shard": str(entry.path), "run": run, **figures, "state": state, **wrong}


def _figures(facts: Facts) -> Figures:
    several: Figures = {"rounds": facts.rounds} if len(facts.rounds) > 1 else {}
    paid: Figures = {"dollars": facts.dollars} if facts.dollars else {}
    return {
        "kind": facts.kind,
        "game": facts.game,
        "round": facts.round,
        **several,
        "episodes": facts.episodes,
        "frames": facts.frames,
        "labels": facts.labels,
        **paid,
        "train": facts.split[0],
        "validation": facts.split[1],
        "success_rate": facts.success_rate,
        "return_mean": facts.return_mean,
        "mb": round(facts.bytes / 1e6, 2),
        "parents": [parent.file for parent in facts.parents],
    }


def describe(path: Path) -> Described:
    """Everything about one shard but its frames; ``by_episode`` has a row an episode.

    Raises:
        PipelineError: no valid shard.
    """
    facts = entries_of([path])[0].get()
    made = facts.provenance
    stopped: _Stopped = {"stopped": made["stopped"]} if "stopped" in made else {}
    with Shard(path) as shard:
        status = shard.column("label_status")
        expert = shard.column("expert_actions")[status == LabelStatus.LABELLED]
        return {
            "shard": str(path),
            **_figures(facts),
            "shard_id": facts.shard_id,
            "schema_version": facts.schema_version,
            "checksums": facts.checksums,
            "ram_crc32": facts.ram_crc32,
            "rom_sha1": facts.rom_sha1,
            "frame_contract": str(facts.header.frame_contract),
            "timing": ", ".join(f"{name} {n} frames" for name, n in facts.timing.items()),
            "stage": facts.stage,
            "code_version": made.get("code_version"),
            "emulator": made.get("emulator") or None,
            "players": facts.players,
            "parents": [f"{parent.file} ({parent.shard_id})" for parent in facts.parents],
            "start_states": facts.start_states,
            "state": list(shard.state_names),
            **stopped,
            "by_status": [{"status": k, "steps": n} for k, n in facts.label_status.items()],
            **_by_expert(shard, facts),
            "by_action": _by_action(tuple(facts.actions), shard.column("actions"), expert),
            "by_milestone": _by_milestone(tuple(facts.milestones), shard.milestones),
            "by_episode": _by_episode(shard),
        }


def _by_expert(shard: Shard, facts: Facts) -> Experts:
    """Who labelled and what it cost, where each label tells it; else what the provenance tells."""
    columns = shard.labels()
    if columns is None:
        told: list[LabelsBy] = [{"expert": who, "labels": n} for who, n in facts.experts.items()]
        return {"by_expert": told}
    status = shard.column("label_status")
    rows = by_expert(columns, status, experts_of(facts.provenance))
    failures = by_failure(columns, status)
    failed: _Failures = {"by_failure": failures} if failures else {}
    return {"by_expert": rows, **failed}


def _by_action(actions: tuple[str, ...], played: Array, expert: Array) -> list[ByAction]:
    return [
        {
            "action": name,
            "played": int(np.count_nonzero(played == i)),
            "labelled": int(np.count_nonzero(expert == i)),
        }
        for i, name in enumerate(actions)
    ]


def _by_milestone(names: tuple[str, ...], steps: Array) -> list[ByMilestone]:
    return [
        {
            "milestone": name,
            "reached": int(np.count_nonzero(steps[:, i] >= 0)),
            "step_median": float(np.median(steps[:, i][steps[:, i] >= 0]))
            if (steps[:, i] >= 0).any()
            else None,
        }
        for i, name in enumerate(names)
    ]


def _by_episode(shard: Shard) -> list[EpisodeRow]:
    roots, reached = shard.roots, np.count_nonzero(shard.milestones >= 0, axis=1)
    return [
        {
            "episode": i,
            "root": roots[i],
            "seed": int(shard.seeds[i]),
            "steps": int(shard.lengths[i]),
            "return": float(shard.returns[i]),
            "success": bool(shard.success[i]),
            "split": "validation" if shard.splits[i] == VALIDATION else "train",
            "milestones": int(reached[i]),
        }
        for i in range(shard.n_episodes)
    ]
