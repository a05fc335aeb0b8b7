"""The state of recorded episodes, read anew: they are played again with today's ``game.yaml``."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pipeline.games.description import GameDescription
from pipeline.rollouts.replaying import Columns, read_anew, reader_anew, recorded_game
from pipeline.shards.reader import Shard
from pipeline.system.workers import cores, in_order, local_executor


@dataclass(frozen=True)
class Job:
    """Some episodes of a raw shard, and the game as it is described today."""

    shard: Path
    game: GameDescription
    rom: Path
    episodes: tuple[int, ...]


def reread_job(job: Job) -> list[Columns]:
    """:func:`read_anew` for each episode; runs in a worker process."""
    with Shard(job.shard) as shard:
        env = reader_anew(shard, job.game, job.rom)
        return [read_anew(env, shard, index) for index in job.episodes]


class StateReader:
    """Processes with an emulator each, in a with block.

    Raises:
        PipelineError: one of the shards cannot be played again (see `recorded_game`).
    """

    def __init__(
        self, sources: Sequence[Path], game: GameDescription, rom: Path, workers: int
    ) -> None:
        for source in sources:
            with Shard(source) as shard:
                recorded_game(shard, game)
        self._game, self._rom, self._workers = game, rom, workers or cores()
        self._pool = local_executor(self._workers)

    def __enter__(self) -> StateReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def states(self, source: Path, episodes: Sequence[int]) -> Generator[Columns, None, None]:
        """Today's variables of each episode before each step, (T,...) each, in order.

        Raises:
            PipelineError: an episode is not played again as it was recorded.
        """
        size = max(1, min(4, len(episodes) // (2 * self._workers)))
        jobs = (
            Job(source, self._game, self._rom, tuple(episodes[low : low + size]))
            for low in range(0, len(episodes), size)
        )
        found = in_order(
            self._pool, reread_job, jobs, title="reread_state", ahead=2 * self._workers
        )
        with closing(found):
            for several in found:
                yield from several
