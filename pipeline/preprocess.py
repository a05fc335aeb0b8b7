"""Stage 2, preprocess: raw shards to small ones, resized once and for all, split by episode."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.errors import PipelineError
from pipeline.executor import array_executor, cores, in_order
from pipeline.frames import FrameContract, resize
from pipeline.games.description import GameDescription, load_game
from pipeline.games.identity import expected_sha1, find_cartridge
from pipeline.games.legs import Leg, leg_in, told_leg
from pipeline.games.reading import read_in_play, read_of_ram
from pipeline.resizing import LEVEL, ResizeJob, null_job, null_jobs, resize_job, resize_jobs
from pipeline.settings import Preprocess, Settings
from pipeline.shards.catalogue import entries_of
from pipeline.shards.columns import EncodedChunk
from pipeline.shards.facts import Facts, told_rounds
from pipeline.shards.legs import inside
from pipeline.shards.names import publish_name, stem_and_version
from pipeline.shards.provenance import fingerprint, provenance, recorded_by, versioned
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.runs import choose, named_shards, refuse_same_stem, stem_here
from pipeline.shards.schema import (
    STEP_COLUMNS,
    TRAIN,
    VALIDATION,
    Array,
    Episode,
    ShardHeader,
)
from pipeline.shards.table import header_of, newest_shards
from pipeline.shards.writer import ShardWriter

if TYPE_CHECKING:
    from pipeline.restating import Restater

JOBS_AHEAD = 16
"""Jobs under way for each worker: half a second of work, so that none waits for the writer."""


def run(settings: Settings) -> dict[str, Any]:
    """Make of each raw shard one with frames of ``preprocess.size``, its episodes split.

    With a leg of the game (``milestone``, or ``from`` and ``to``), only the steps between its two
    milestones are left of the episodes of other raw shards.

    With ``preprocess.restate`` the recordings are played again and the state is read anew, with
    the variables of today's ``game.yaml``; rewards, milestones and success stay as recorded, and
    which steps count as null is decided by the state recorded. A frame, or a checksum of the RAM,
    that is another refuses the shard.

    Every episode goes to the training or the validation split by the hash of its root, so that
    copies of it, whoever makes them, stay on their side. Memory: JOBS_AHEAD small jobs a
    worker. Interrupted, nothing half-written is left, and the same command carries on.

    Returns:
        ``shards`` (paths, one a raw shard), ``up_to_date``, episodes, frames, what was left out,
        and ``by_shard`` with a row for each.

    Raises:
        PipelineError: no raw shard, one that is not valid or of another game, or a full disk;
            with ``restate``, one that cannot be played again as it was recorded, or no ROM.
    """
    started = perf_counter()
    game = load_game(settings.game)
    leg = leg_in(settings, game)
    sources = _sources(settings, game)
    check_shards(
        sources,
        kind="raw",
        game=game.name,
        rom_sha1=expected_sha1(game, settings.rom, unverified=settings.unverified_rom),
        actions=game.buttons,
        timing=game.timing.contract,
    )
    stems = [(one, stem_here(settings, game.name, one, _small_stem(one))) for one in sources]
    refuse_same_stem("preprocess", stems)
    options, folder = settings.preprocess, settings.shard_folder(game.name)
    plans = list(_planned(stems, folder, options, game, leg))
    todo = [plan.source for plan in plans if not plan.done]
    steps = sum(plan.raw.frames for plan in plans if not plan.done)
    workers = options.workers or cores()
    with (
        array_executor(workers) as executor,
        _restater(settings, game, todo) as restater,
        tqdm(total=steps, desc="preprocess", unit="step", disable=None) as bar,
    ):
        ahead = JOBS_AHEAD * workers
        makers = [None if p.done else _Maker(p, options, executor, ahead, restater) for p in plans]
        jobs = (job for maker in makers if maker for job in maker.jobs())
        # While one shard is sealed, the jobs of the next are under way.
        encoded = in_order(executor, resize_job, jobs, title="preprocess", ahead=ahead)
        with closing(encoded):
            paths = [maker.make(encoded, bar.update) if maker else None for maker in makers]
    seconds = perf_counter() - started
    rows = [
        _row(plan, plan.target if plan.done else path)
        for plan, path in zip(plans, paths, strict=True)
    ]
    made = [row["shard"] for row in rows if row["shard"]]
    if not made and leg is not None:
        raise PipelineError(
            f"{folder}: no raw shard has a step between '{leg.start or 'the start'}' and "
            f"'{leg.goal or 'the end'}'; collect some with the same --milestone, or --from and --to"
        )
    if not made:
        raise PipelineError(
            f"{folder}: every episode is broken, so nothing is left; "
            "set preprocess.drop_broken_episodes to false, or collect anew"
        )
    return {
        "up_to_date": all(row["up_to_date"] for row in rows),
        "shards": made,
        "episodes": sum(row["episodes"] for row in rows),
        "frames": sum(row["frames"] for row in rows),
        "validation_episodes": sum(row["validation_episodes"] for row in rows),
        "dropped_episodes": sum(row["dropped_episodes"] for row in rows),
        "dropped_steps": sum(row["dropped_steps"] for row in rows),
        "frames_per_second": round(steps / seconds) if steps else None,
        "by_shard": rows,
    }


def split_of(root: str, validation: float) -> int:
    """The split of an episode: a function of its root's sha256 and the fraction alone."""
    draw = int.from_bytes(hashlib.sha256(root.encode()).digest()[:8], "big") / 2**64
    return VALIDATION if draw < validation else TRAIN


@dataclass(frozen=True)
class _Plan:
    """A raw shard, and the processed one that becomes of it or is there already."""

    source: Path
    raw: Facts
    target: Path
    mark: str
    done: bool
    cut: Leg | None = None
    """What is left of the episodes: this leg; None where they are it, or all is asked for."""
    begun: int = 0
    """Milestones that count as reached where the episodes begin."""


class _Maker:
    """Makes one processed shard; the executor does the work on frames.

    What is known of the raw shard is found at the first use, and forgotten once it is made:
    there may be thousands.
    """

    def __init__(
        self,
        plan: _Plan,
        options: Preprocess,
        executor: Executor,
        ahead: int,
        restater: Restater | None,
    ) -> None:
        self._plan = plan
        self._restater = restater
        self._options = options
        self._contract = FrameContract(options.size, options.size, "bilinear")
        self._executor = executor
        self._ahead = ahead

    @cached_property
    def _raw(self) -> Shard:
        return Shard(self._plan.source)

    @cached_property
    def _kept(self) -> NDArray[np.bool_]:
        """(N,) which steps stay."""
        raw = self._raw
        kept = np.ones(raw.n_frames, np.bool_)
        cut = self._plan.cut
        if cut is not None:
            begun = self._plan.begun
            kept &= inside(raw.milestones, raw.lengths, cut.first, cut.last, begun)
        if self._options.drop_broken_episodes:
            last = raw.starts + raw.lengths - 1
            ended = (raw.column("terminated") | raw.column("truncated"))[last]
            kept &= np.repeat(ended, raw.lengths)
        if self._options.drop_null_actions:
            jobs = null_jobs(raw)
            found = in_order(self._executor, null_job, jobs, title="preprocess", ahead=self._ahead)
            with closing(found):
                kept &= ~np.concatenate(list(found))
        return kept

    def jobs(self) -> Iterator[ResizeJob]:
        """The work on frames, in the order in which :meth:`make` takes its results."""
        return resize_jobs(self._raw, np.flatnonzero(self._kept), self._contract)

    def make(
        self, encoded: Iterator[list[EncodedChunk]], progress: Callable[[int], object]
    ) -> Path | None:
        """Publish the shard from what its jobs give, unless no step stayed; return its path."""
        left = int(np.count_nonzero(self._kept))
        progress(len(self._kept) - left)
        if left:
            episodes = self._episodes()
            with ShardWriter(self._plan.target, self._header(), level=LEVEL) as writer:
                done = 0
                while done < left:
                    for chunk in next(encoded):
                        done += chunk.rows
                        while writer.n_frames < done:
                            writer.append_steps(next(episodes))
                        writer.append_encoded(chunk)
                        progress(chunk.rows)
        self._raw.close()
        del self._raw, self._kept
        return self._plan.target if left else None

    def _header(self) -> ShardHeader:
        raw = self._raw.header
        told = provenance(
            "preprocess",
            settings=_decisive(self._options),
            fingerprint=self._plan.mark,
            actor=raw.provenance.get("actor"),
            emulator=raw.provenance.get("emulator", ""),
            parents=[{"file": self._plan.source.name, "shard_id": raw.shard_id}],
        )
        cut = self._plan.cut
        leg = raw.provenance.get("leg") if cut is None else cut.told
        if leg is not None:
            told["leg"] = leg
        told |= told_rounds([(raw.provenance, self._plan.source)])
        return replace(
            raw,
            kind="processed",
            frame_contract=self._contract,
            shard_id="",
            provenance=told,
        )

    def _episodes(self) -> Iterator[Episode]:
        """The episodes as they will be written, frames left out."""
        raw = self._raw
        stays = [self._kept[s : s + n] for s, n in zip(raw.starts, raw.lengths, strict=True)]
        some = [index for index, stay in enumerate(stays) if stay.any()]
        recordings = raw.recordings
        for index, state in zip(some, self._states(some), strict=True):
            episode = raw.episode(index, frames=False)
            if state is not None:
                episode = replace(episode, state=state)
            episode = _without(episode, stays[index])
            small = resize(episode.final_frame[None], self._contract)[0]
            split = split_of(episode.root, self._options.validation)
            yield replace(
                episode,
                final_frame=small,
                split=split,
                ram_crc32=None,
                recording=recordings[index],
            )

    def _states(self, episodes: list[int]) -> Iterator[dict[str, Array] | None]:
        """Today's variables of each episode; None where the recorded ones stay."""
        if self._restater is None:
            return iter([None] * len(episodes))
        return self._restater.states(self._plan.source, episodes)


def _restater(
    settings: Settings, game: GameDescription, sources: list[Path]
) -> Restater | nullcontext[None]:
    """What reads the state anew, if it is asked to and there is something to do."""
    if not settings.preprocess.restate or not sources:
        return nullcontext()
    from pipeline.restating import Restater  # imported late: it brings the emulator

    played, rom = find_cartridge(game, settings.rom, unverified=settings.unverified_rom)
    return Restater(sources, played, rom, settings.preprocess.workers)


def _without(episode: Episode, stay: NDArray[np.bool_]) -> Episode:
    """The episode with the steps that ``stay`` (T,) only; it keeps its return.

    The reward of a step left out goes to the one kept before it (or, at the start, after it).
    """
    if stay.all():
        return episode
    owner = np.maximum(np.cumsum(stay) - 1, 0)
    rewards = np.bincount(owner, episode.rewards, minlength=int(stay.sum())).astype(np.float32)
    kept_before = np.concatenate([[0], np.cumsum(stay)])
    steps = episode.milestones
    return replace(
        episode,
        **{name: getattr(episode, name)[stay] for name in STEP_COLUMNS if name != "rewards"},
        rewards=rewards,
        state={name: values[stay] for name, values in episode.state.items()},
        labels=None
        if episode.labels is None
        else {name: values[stay] for name, values in episode.labels.items()},
        milestones=np.where(steps < 0, steps, kept_before[np.maximum(steps, 0)]).astype(np.int32),
    )


def _sources(settings: Settings, game: GameDescription) -> list[Path]:
    """The raw shards named, or all of the run but evaluations and what others were made of.

    An evaluation's games must stay unseen, so that its rollouts are learnt from only by request;
    of a shard that was merged, split or filtered, the episodes chosen count, and only once.
    """
    named = named_shards(settings, settings.preprocess.shards)
    if named is not None:
        return named
    missing = "no raw shard to preprocess; run 'collect' first, or name one in preprocess.shards"
    chosen = choose(settings, game.name, settings.preprocess.shards, _recordings, missing)
    print(chosen.line("preprocess", "raw"), flush=True)
    return chosen.paths


def _recordings(folders: Sequence[Path]) -> list[Path]:
    found = {path: header_of(path) for path in newest_shards(*folders, kind="raw")}
    used = {
        parent.get("shard_id")
        for header in found.values()
        for parent in header.provenance.get("parents", ())
    }
    return [
        path
        for path, header in found.items()
        if header.shard_id not in used and "evaluate" not in recorded_by(header.provenance)
    ]


def _small_stem(source: Path) -> str:
    return stem_and_version(source)[0].removesuffix("-raw")


def _decisive(options: Preprocess) -> dict[str, Any]:
    decisive = options.model_dump(mode="json", exclude={"shards", "workers", "restate"})
    return {**decisive, "restate": True} if options.restate else decisive


def _planned(
    stems: list[tuple[Path, str]],
    folder: Path,
    options: Preprocess,
    game: GameDescription,
    leg: Leg | None,
) -> Iterator[_Plan]:
    """``X-raw-v002`` gives ``X-84-v001``, or cut down to a leg ``X-only-LEG-84-v001``."""
    for (source, own_stem), entry in zip(stems, entries_of([s for s, _ in stems]), strict=True):
        raw = entry.get()
        own = told_leg(game, raw.provenance)
        cut = None if leg is None or leg == own else leg
        begun = 0 if own is None else own.first
        legs = [] if cut is None else [[cut.told, cut.first, cut.last, begun]]
        restated = [_restated(raw, game)] if options.restate else []
        mark = fingerprint("preprocess", _decisive(options), raw.shard_id, *restated, *legs)
        stem = own_stem if cut is None else f"{own_stem}-only-{cut.name}"
        target, done = publish_name(folder, f"{stem}-{options.size}", mark)
        yield _Plan(source, raw, target, mark, done, cut, begun)


def _restated(raw: Facts, game: GameDescription) -> list[Any]:
    """What a state that is read anew depends on: today's variables, and the emulator; of the rest
    of the game on what the shard holds, or where it does not, on today's."""
    from pipeline.emulator.version import emulator_version  # imported late, as what uses it

    told: list[Any] = [read_of_ram(game), emulator_version(), *versioned("emulator")]
    return told if "game_yaml" in raw.provenance else [*told, read_in_play(game, None)]


def _row(plan: _Plan, made: Path | None) -> dict[str, Any]:
    small = entries_of([made])[0].get() if made else None
    frames = small.frames if small else 0
    episodes = small.episodes if small else 0
    return {
        "raw": str(plan.source),
        "shard": str(made) if made else None,
        "up_to_date": plan.done,
        "episodes": episodes,
        "frames": frames,
        "validation_episodes": small.split[VALIDATION] if small else 0,
        "dropped_episodes": plan.raw.episodes - episodes,
        "dropped_steps": plan.raw.frames - frames,
    }
