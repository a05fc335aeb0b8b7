"""The command ``data replay``: is a raw shard what the console did? Plays it again and says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TypedDict

from pipeline.games.description import GameDescription
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.rollouts.replaying import Difference, first_difference, player_again, recorded_game
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.shards.repair.edit import numbers
from pipeline.system.errors import PipelineError
from pipeline.system.workers import cores, local_executor, run_jobs

LARGEST_JOB = 8


@dataclass(frozen=True)
class Job:
    """Some episodes of one shard, for one process with one emulator."""

    shard: Path
    game: GameDescription
    rom: Path
    episodes: tuple[int, ...]


class ReplayedRow(TypedDict):
    """An episode that was played again."""

    episode: int
    seed: int
    steps: int
    result: str
    """``identical``, or the first step that differs and in what."""


class Replayed(TypedDict):
    """A shard whose episodes were played again."""

    shard: str
    identical: int
    """Episodes."""
    different: int
    steps: int
    steps_per_second: int
    by_episode: list[ReplayedRow]


def run(
    settings: Settings, file: Path, *, episodes: str | None = None, workers: int = 0
) -> Replayed:
    """Play the episodes of a raw shard again and compare every step.

    Args:
        episodes: numbers such as ``0,3-5``; None takes all.
        workers: processes, one emulator each; 0 takes one a core.

    Raises:
        PipelineError: the shard cannot be played again (see `recorded_game`), no such ROM or
            episode, or a worker was killed.
    """
    game, rom = find_cartridge(
        load_game(settings.game), settings.rom, unverified=settings.unverified_rom
    )
    with Shard(file) as shard:
        recorded_game(shard, game)
        chosen = chosen_episodes(episodes, shard.n_episodes)
        seeds, lengths = shard.seeds, shard.lengths
    workers = workers or cores()
    size = max(1, min(LARGEST_JOB, -(-len(chosen) // workers)))
    jobs = [
        Job(file, game, rom, tuple(chosen[low : low + size])) for low in range(0, len(chosen), size)
    ]
    started = perf_counter()
    found: dict[int, Difference | None] = {}
    with local_executor(min(workers, len(jobs))) as executor:
        for done in run_jobs(
            executor, replay_job, jobs, title="replay", unit="episode", weight=len,
            total=len(chosen),
        ):  # fmt: skip
            found.update(done)
    steps = int(lengths[chosen].sum())
    rows: list[ReplayedRow] = [
        {
            "episode": index,
            "seed": int(seeds[index]),
            "steps": int(lengths[index]),
            "result": "identical" if found[index] is None else str(found[index]),
        }
        for index in chosen
    ]
    different = sum(one is not None for one in found.values())
    return {
        "shard": str(file),
        "identical": len(chosen) - different,
        "different": different,
        "steps": steps,
        "steps_per_second": round(steps / (perf_counter() - started)),
        "by_episode": rows,
    }


def replay_job(job: Job) -> dict[int, Difference | None]:
    """Play some episodes again; runs in a worker process."""
    with Shard(job.shard) as shard:
        env = player_again(shard, job.game, job.rom)
        return {index: first_difference(env, shard, index) for index in job.episodes}


def chosen_episodes(text: str | None, count: int) -> Sequence[int]:
    """The numbers that ``0,3-5`` names, rising, each once; all of ``count`` for None.

    Raises:
        PipelineError: not written like that, or beyond the last episode.
    """
    if text is None:
        return range(count)
    chosen = sorted(set(numbers(text, "--episodes")))
    if chosen[-1] >= count:
        raise PipelineError(f"--episodes {text}: there are only the episodes 0 to {count - 1}")
    return chosen
