"""Keeping start states: the console at each milestone that an episode reaches, into the library.

Worker processes keep them while they play. Episodes that were played before are played again from
their shard, up to their last milestone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.emulator.env import GBAEnv
from pipeline.emulator.library import Library, library_of, ram_sha256, summary
from pipeline.emulator.replay import player_again, recorded_game
from pipeline.errors import PipelineError
from pipeline.executor import local_executor, run_jobs
from pipeline.games.description import GameDescription
from pipeline.shards.reader import Shard
from pipeline.shards.schema import ShardHeader

EPISODES_PER_JOB = 8


@dataclass(frozen=True)
class Keep:
    """Where states are kept, how many of a milestone at most, and what is told of all of them.

    Which ones are kept when more come than there is room for is decided by who comes first.
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

    def state(self, env: GBAEnv, milestones: Sequence[str], seed: int, step: int) -> None:
        """Keep the console as it is now, ``step`` steps after the start, for each milestone.

        What is played after it is the same as if nothing were kept.

        Raises:
            PipelineError: the disk refuses.
        """
        library = self.library
        wanted = [name for name in milestones if not library.is_full(name, self.most)]
        if not wanted:
            return
        state = env.emulator.save_state()
        about = {
            "game": env.game.name,
            "rom_sha1": env.game.rom_sha1,
            "ram_sha256": ram_sha256(env.emulator),
            "from": {**self.origin, "seed": seed, "step": step},
            "reached": env.reached,
            "variables": summary(env.state),
        }
        for name in wanted:
            library.add(name, state, about, most=self.most)


def keep_of(shards: Path, header: ShardHeader, stem: str, most: int) -> Keep:
    """What is to be kept of the episodes that become the shard ``stem`` with this header."""
    told = header.provenance
    origin = {"stage": told.get("stage"), "shard": stem, "fingerprint": told.get("fingerprint")}
    return Keep(library_of(shards).folder, most, {**origin, "actor": told.get("actor")})


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
    episodes: Sequence[int] | None = None,
    *,
    only: Collection[str] | None = None,
    workers: int = 0,
) -> None:
    """Keep the states at the milestones of a raw shard's episodes (None: all), played again.

    Left out is what the library has: states that came from these episodes, and milestones of which
    it has enough.

    Args:
        only: keep those of these milestones; None takes all.

    Raises:
        PipelineError: the shard cannot be played again, or the disk refuses.
    """
    with Shard(shard) as opened:
        recorded_game(opened, game)
        names, steps, seeds = opened.header.milestones, opened.milestones, opened.seeds.tolist()
    there = _kept_from(keep, names)
    open_names = [
        name
        for name in names
        if (only is None or name in only) and not keep.library.is_full(name, keep.most)
    ]
    chosen = []
    for index in range(len(seeds)) if episodes is None else episodes:
        reached = [n for n, at in zip(names, steps[index].tolist(), strict=True) if at > 0]
        wanted = [n for n in reached if n in open_names and (seeds[index], n) not in there]
        if wanted:
            chosen.append((index, tuple(wanted)))
    jobs = [
        _Job(shard, game, rom, tuple(chosen[low : low + EPISODES_PER_JOB]), keep)
        for low in range(0, len(chosen), EPISODES_PER_JOB)
    ]
    if jobs:
        with local_executor(workers) as executor:
            for _ in run_jobs(
                executor, _harvest_job, jobs, title="keep states", unit="episode", weight=int,
                total=len(chosen),
            ):  # fmt: skip
                pass


def _kept_from(keep: Keep, milestones: Sequence[str]) -> set[tuple[int, str]]:
    """Seed and milestone of the library's states that came from these episodes."""
    found: set[tuple[int, str]] = set()
    for milestone in milestones:
        for file in keep.library.files(milestone):
            try:
                origin = keep.library.read(milestone, file).about.get("from", {})
            except PipelineError:
                continue  # named by `game states check`
            if origin.get("fingerprint") == keep.origin["fingerprint"]:
                found.add((int(origin.get("seed", -1)), milestone))
    return found


def _harvest_job(job: _Job) -> int:
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
                    job.keep.state(env, reached, int(episode.seed), step)
    return len(job.episodes)
