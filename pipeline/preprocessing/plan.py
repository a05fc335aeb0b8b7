"""What preprocess has to do: which raw shards, and the processed one that becomes of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.games.decisive import read_in_play, read_of_ram
from pipeline.games.description import GameDescription
from pipeline.games.subtask import Subtask, recorded_subtask
from pipeline.reports.results import PreprocessRow
from pipeline.settings.fields import Preprocess
from pipeline.settings.run_names import Folders
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import Facts
from pipeline.shards.catalog.names import publish_name, stem_and_version
from pipeline.shards.format.provenance import Provenance, fingerprint, recorded_by, versioned
from pipeline.shards.format.schema import VALIDATION, with_old_keys
from pipeline.shards.run_shards import choose, named_shards
from pipeline.shards.table import header_of, newest_shards


@dataclass(frozen=True)
class Plan:
    """A raw shard, and the processed one that becomes of it or is there already."""

    source: Path
    raw: Facts
    target: Path
    mark: str
    done: bool
    cut: Subtask | None = None
    """What is left of the episodes: this subtask; None where they are it, or all is asked for."""
    begun: int = 0
    """Milestones that count as reached where the episodes begin."""


def raw_shards(folders: Folders, shards: Sequence[str]) -> list[Path]:
    """The raw shards named, or all of the run but evaluations and what others were made of.

    An evaluation's games must stay unseen, so that its rollouts are learnt from only by request;
    of a shard that was merged, split or filtered, the episodes chosen count, and only once.
    """
    named = named_shards(folders.from_run, shards)
    if named is not None:
        return named
    missing = "no raw shard to preprocess; run 'collect' first, or name one in preprocess.shards"
    chosen = choose(folders, shards, _recordings, missing)
    print(chosen.line("preprocess", "raw"), flush=True)
    return chosen.paths


def _recordings(folders: Sequence[Path]) -> list[Path]:
    headers = {path: header_of(path) for path in newest_shards(*folders, kind="raw")}
    # What an evaluation has a part in is no recording, and hides none that it was made of.
    found = {p: one for p, one in headers.items() if "evaluate" not in recorded_by(one.provenance)}
    used = {
        parent.get("shard_id")
        for header in found.values()
        for parent in header.provenance.get("parents", ())
    }
    return [path for path, header in found.items() if header.shard_id not in used]


def small_stem(source: Path) -> str:
    """The stem of a raw shard's name, without ``-raw``."""
    return stem_and_version(source)[0].removesuffix("-raw")


def planned(
    stems: list[tuple[Path, str]],
    folder: Path,
    options: Preprocess,
    game: GameDescription,
    subtask: Subtask | None,
) -> Iterator[Plan]:
    """``X-raw-v002`` gives ``X-84-v001``, or cut down to a subtask ``X-only-SUBTASK-84-v001``."""
    for (source, own_stem), entry in zip(stems, entries_of([s for s, _ in stems]), strict=True):
        raw = entry.get()
        own = recorded_subtask(game, raw.provenance)
        cut = None if subtask is None or subtask == own else subtask
        begun = 0 if own is None else own.first
        subtasks = [] if cut is None else [[cut.told, cut.first, cut.last, begun]]
        reread = [_reread(raw, game)] if options.reread_state else []
        mark = fingerprint(
            "preprocess", with_old_keys(decisive(options)), raw.shard_id, *reread, *subtasks
        )
        stem = own_stem if cut is None else f"{own_stem}-only-{cut.name}"
        target, done = publish_name(folder, f"{stem}-{options.size}", mark)
        yield Plan(source, raw, target, mark, done, cut, begun)


def decisive(options: Preprocess) -> Provenance:
    """The settings that decide what becomes of a raw shard."""
    decisive = options.model_dump(mode="json", exclude={"shards", "workers", "reread_state"})
    return {**decisive, "reread_state": True} if options.reread_state else decisive


def _reread(raw: Facts, game: GameDescription) -> list[Any]:
    """What a state that is read anew depends on: today's variables, and the emulator.

    Also the rest of today's game, where the shard does not hold a description of its own.
    """
    from pipeline.emulator.version import emulator_version  # imported late, as what uses it

    told: list[Any] = [read_of_ram(game), emulator_version(), *versioned("emulator")]
    return told if "game_yaml" in raw.provenance else [*told, read_in_play(game, None)]


def row_of(plan: Plan, made: Path | None) -> PreprocessRow:
    """What is told of it: the shard made (None where no step stayed) and what was left out."""
    small = entries_of([made])[0].get() if made else None
    frames = small.frames if small else 0
    episodes = small.episodes if small else 0
    return PreprocessRow(
        raw=plan.source,
        shard=made,
        up_to_date=plan.done,
        episodes=episodes,
        frames=frames,
        validation_episodes=small.split[VALIDATION] if small else 0,
        dropped_episodes=plan.raw.episodes - episodes,
        dropped_steps=plan.raw.frames - frames,
    )
