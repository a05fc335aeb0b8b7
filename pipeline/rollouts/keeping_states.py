"""Keeping start states: the console at each milestone that an episode reaches, into the library.

Worker processes take them while they play. Episodes that were played before are played again from
their shard, up to their last milestone. Which ones are kept is decided when all are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.emulator.env import GBAEnv
from pipeline.games.description import GameDescription
from pipeline.rollouts.replaying import player_again, recorded_game
from pipeline.rollouts.seeds import Purpose, purpose_of
from pipeline.rollouts.start_states import Library, library_of, ram_sha256, summary
from pipeline.shards.format.schema import ShardHeader
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.system.workers import local_executor, run_jobs

EPISODES_PER_JOB = 8


@dataclass(frozen=True)
class Moment:
    """The console just after an episode reached milestones."""

    seed: int
    milestones: tuple[str, ...]
    state: bytes
    about: Mapping[str, Any]
    """What goes into the library's file, see `KeptState.about`."""


@dataclass(frozen=True)
class Keep:
    """Where states are kept, how many of a milestone and purpose at most, and what is noted of all.

    A bound of 0 is none.
    """

    folder: Path
    most: int
    origin: Mapping[str, Any]
    """stage, shard (stem of its name), fingerprint, actor."""

    @property
    def library(self) -> Library:
        return Library(self.folder)

    def count(self) -> int:
        """States in the library, of all milestones."""
        return sum(len(self.library.files(name)) for name in self.library.milestones())

    def moment(self, env: GBAEnv, milestones: Sequence[str], seed: int, step: int) -> Moment:
        """The console as it is now, ``step`` steps after the start.

        What is played after it is the same as if nothing were taken.
        """
        about = {
            "game": env.game.name,
            "rom_sha1": env.game.rom_sha1,
            "ram_sha256": ram_sha256(env.emulator),
            "from": {**self.origin, "seed": seed, "step": step},
            "reached": env.reached,
            "variables": summary(env.state),
        }
        return Moment(seed, tuple(milestones), env.emulator.save_state(), about)


def keep_of(shards: Path, header: ShardHeader, stem: str, most: int) -> Keep:
    """What is to be kept of the episodes that become the shard ``stem`` with this header."""
    told = header.provenance
    origin = {"stage": told.get("stage"), "shard": stem, "fingerprint": told.get("fingerprint")}
    return Keep(library_of(shards).folder, most, {**origin, "actor": told.get("actor")})


class Gathering:
    """The moments of a recording's episodes, until all are known and some become states.

    Of each milestone and purpose the first episodes' are kept, in the order of ``seeds``, as many
    as there is room for beside the states that others left; the same RAM counts once. So what is
    kept is a function of the library before and of the episodes, whatever the workers and the
    interruptions were. Memory: as many moments as may be kept (some 30 kB each).

    Args:
        seeds: of the recording's episodes, in their order.
        only: keep those of these milestones; None takes all.
    """

    def __init__(
        self, keep: Keep, seeds: Sequence[int], only: Collection[str] | None = None
    ) -> None:
        self._keep, self._seeds, self._only = keep, [int(seed) for seed in seeds], only
        self._place = {seed: place for place, seed in enumerate(self._seeds)}
        self._held: dict[tuple[str, Purpose | None], dict[int, Moment]] = {}
        self._there: dict[str, _There] = {}

    def take(self, one: Moment, place: int | None = None) -> None:
        """Hold a moment, if it may be kept; they come in any order.

        Args:
            place: its episode's place among the seeds; None finds it by the seed.
        """
        place = self._place[one.seed] if place is None else place
        for name in one.milestones:
            if self._only is None or name in self._only:
                purpose = purpose_of(one.seed)
                self._held.setdefault((name, purpose), {})[place] = one
                self._let_go(name, purpose)

    def _let_go(self, name: str, purpose: Purpose | None) -> None:
        """Forget those that enough others come before."""
        held = self._held[name, purpose]
        chosen = self._first(name, purpose, held)
        if len(chosen) == self._room(name, purpose):
            for place in [place for place in held if place > max(chosen, default=-1)]:
                del held[place]

    def wanted(self, reached: Mapping[str, Iterable[int]]) -> dict[int, tuple[str, ...]]:
        """By place of an episode, the milestones whose moments must be known to choose.

        Args:
            reached: by milestone, the places of the episodes that reached it.
        """
        found: dict[int, list[str]] = {}
        for name, places in reached.items():
            if self._only is not None and name not in self._only:
                continue
            by_purpose: dict[Purpose | None, list[int]] = {}
            for place in places:
                by_purpose.setdefault(purpose_of(self._seeds[place]), []).append(place)
            for purpose, its in by_purpose.items():
                held = self._held.get((name, purpose), {})
                known = self._library(name).own
                for place in self._first(name, purpose, its):
                    if place not in held and self._seeds[place] not in known:
                        found.setdefault(place, []).append(name)
        return {place: tuple(found[place]) for place in sorted(found)}

    def chosen(self, name: str) -> list[int]:
        """The places of the episodes whose moments at this milestone would be kept as it stands."""
        return sorted(
            place
            for (milestone, purpose), held in self._held.items()
            if milestone == name
            for place in self._first(name, purpose, held)
        )

    def settle(self) -> None:
        """Put the chosen moments into the library.

        Raises:
            PipelineError: the disk refuses.
        """
        for (name, purpose), held in self._held.items():
            chosen = [held[place] for place in self._first(name, purpose, held)]
            states = [(one.state, one.about) for one in chosen]
            self._keep.library.add_several(name, states, most=self._keep.most)

    def _library(self, name: str) -> _There:
        """What the library had of a milestone when it was first asked about."""
        if name not in self._there:
            self._there[name] = _There.of(self._keep, name)
        return self._there[name]

    def _room(self, name: str, purpose: Purpose | None) -> int | None:
        most = self._keep.most
        return max(0, most - self._library(name).others.get(purpose, 0)) if most else None

    def _first(self, name: str, purpose: Purpose | None, places: Iterable[int]) -> list[int]:
        """The first of these episodes whose states there is room for.

        An unknown state counts as one more.
        """
        there, room = self._library(name), self._room(name, purpose)
        held = self._held.get((name, purpose), {})
        seen: set[str] = set()
        chosen: list[int] = []
        for place in sorted({*places}):
            if room is not None and len(chosen) >= room:
                break
            if place in held:
                state = str(held[place].about["ram_sha256"])
            else:
                state = there.own.get(self._seeds[place], f"unknown {place}")
            if state not in seen and state not in there.foreign:
                seen.add(state)
                chosen.append(place)
        return chosen


@dataclass(frozen=True)
class _There:
    """The library's states of a milestone: those of the same recording, and all others'."""

    own: dict[int, str]
    """By seed, the sha256 of the RAM."""
    foreign: set[str]
    others: dict[Purpose | None, int]

    @classmethod
    def of(cls, keep: Keep, milestone: str) -> _There:
        there = cls({}, set(), {})
        for file in keep.library.files(milestone):
            try:
                one = keep.library.read(milestone, file)
            except PipelineError:
                continue  # named by `game states check`
            origin, ram = one.about.get("from", {}), str(one.about["ram_sha256"])
            if origin.get("fingerprint") == keep.origin["fingerprint"] and "seed" in origin:
                there.own[int(origin["seed"])] = ram
            else:
                there.foreign.add(ram)
                there.others[one.purpose] = there.others.get(one.purpose, 0) + 1
        return there


@dataclass(frozen=True)
class _Job:
    shard: Path
    game: GameDescription
    rom: Path
    episodes: tuple[tuple[int, tuple[str, ...]], ...]
    """Numbers, and the milestones of each that are to be kept."""
    keep: Keep


def harvest(
    shard: Path,
    game: GameDescription,
    rom: Path,
    keep: Keep,
    gathered: Gathering | None = None,
    *,
    only: Collection[str] | None = None,
    workers: int = 0,
) -> None:
    """Keep the states at the milestones of a raw shard's episodes.

    Played again are those that are not ``gathered``, nor in the library, and may be kept.

    Args:
        gathered: the moments of episodes that were played just now.
        only: keep those of these milestones; None takes all.

    Raises:
        PipelineError: the shard cannot be played again, or the disk refuses.
    """
    with Shard(shard) as opened:
        names, steps, seeds = opened.header.milestones, opened.milestones, opened.seeds.tolist()
    if gathered is None:
        gathered = Gathering(keep, seeds, only)
    reached = {name: np.flatnonzero(steps[:, i] > 0).tolist() for i, name in enumerate(names)}
    # Two episodes may end in one state: then there is room for another one.
    while wanted := gathered.wanted(reached):
        _play_again(shard, game, rom, keep, wanted, gathered, workers)
    gathered.settle()


def _play_again(
    shard: Path,
    game: GameDescription,
    rom: Path,
    keep: Keep,
    wanted: Mapping[int, tuple[str, ...]],
    gathered: Gathering,
    workers: int,
) -> None:
    with Shard(shard) as opened:
        recorded_game(opened, game)
    chosen = list(wanted.items())
    jobs = [
        _Job(shard, game, rom, tuple(chosen[low : low + EPISODES_PER_JOB]), keep)
        for low in range(0, len(chosen), EPISODES_PER_JOB)
    ]
    with local_executor(workers) as executor:
        for moments in run_jobs(
            executor, _harvest_job, jobs, title="keep states", unit="episode",
            weight=lambda found: len({place for place, _ in found}), total=len(chosen),
        ):  # fmt: skip
            for place, one in moments:
                gathered.take(one, place)


def _harvest_job(job: _Job) -> list[tuple[int, Moment]]:
    moments = []
    with Shard(job.shard) as shard:
        env = player_again(shard, job.game, job.rom)
        for index, wanted in job.episodes:
            at = dict(zip(shard.header.milestones, shard.milestones[index].tolist(), strict=True))
            episode = shard.episode(index, frames=False)
            start = shard.start_states()[episode.start_state]
            env.reset(seed=episode.seed, options={"state": start})
            last = max(at[name] for name in wanted)
            for step, action in enumerate(episode.actions[:last].tolist(), 1):
                env.step(action)
                reached = [name for name in wanted if at[name] == step]
                if reached:
                    one = job.keep.moment(env, reached, int(episode.seed), step)
                    moments.append((index, one))
    return moments
