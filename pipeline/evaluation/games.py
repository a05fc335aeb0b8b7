"""The games of an evaluation: unseen seeds, what they come to, and a film of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.games.description import GameDescription
from pipeline.reports.results import MilestoneFigures, PlayedGames
from pipeline.reports.statistics import wilson_interval
from pipeline.reports.video import write_gif
from pipeline.rollouts.keeping_states import keep_of
from pipeline.rollouts.player import EXPERT, Player
from pipeline.rollouts.recording import Outcome, outcomes_of, play, play_one, record
from pipeline.settings.fields import Evaluate
from pipeline.settings.run_names import Folders
from pipeline.shards.format.schema import ShardHeader
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError


def refuse_trained_seeds(checkpoint: Path, seeds: Any) -> None:
    """Refuse games that the network was trained on.

    Raises:
        PipelineError: how many they are.
    """
    from pipeline.agents.policy import trained_seeds

    common = np.intersect1d(trained_seeds(checkpoint), seeds)
    if len(common):
        raise PipelineError(
            f"{checkpoint}: was trained on {len(common)} of these {len(seeds)} games; "
            "choose another --evaluate.seed"
        )


@dataclass(frozen=True)
class Games:
    """The games of one evaluation, planned: one a seed."""

    player: Player
    seeds: list[int]
    header: ShardHeader
    options: Evaluate
    folders: Folders

    @property
    def name(self) -> str:
        """That of the evaluation, with that of the subtask: the stem of its files."""
        return self.player.named(self.options.name)

    def play(self) -> PlayedGames:
        """Play them, as far as they are not there.

        Raises:
            PipelineError: the disk refuses, or a game fails.
        """
        options, player = self.options, self.player
        workers, stem, path = options.workers, f"{self.name}-raw", None
        keep = None
        if options.keep_states:
            keep = keep_of(self.folders.game, self.header, stem, options.keep_states_most)
        before = 0 if keep is None else keep.count()
        if options.keep_rollouts:
            path, _ = record(
                player, self.seeds, self.header, self.folders.shards, stem,
                workers=workers, keep=keep,
            )  # fmt: skip
            outcomes = outcomes_of(path)
        else:
            outcomes = play(player, self.seeds, self.header, workers=workers, keep=keep)
        return replace(
            figures(outcomes, player.game),
            states=None if keep is None else keep.folder,
            new_states=None if keep is None else keep.count() - before,
            rollouts=path,
        )

    def film(self, played: PlayedGames) -> Path:
        """Film the first that succeeded; without rollouts it is played once more."""
        target, number = self.folders.networks / f"{self.name}.gif", played.filmed
        if played.rollouts is not None:
            _film(played.rollouts, number, target)
            return target
        with TemporaryDirectory() as folder:
            part = play_one(self.player, self.seeds, number, self.header, Path(folder))
            _film(part, 0, target)
        return target


def figures(outcomes: Sequence[Outcome], game: GameDescription) -> PlayedGames:
    """What n episodes say."""
    n = len(outcomes)
    successes = sum(outcome.success for outcome in outcomes)
    low, high = wilson_interval(successes, n)
    returns = np.array([outcome.return_ for outcome in outcomes])
    steps = np.array([outcome.milestones for outcome in outcomes]).reshape(n, -1)
    rows = []
    for i, milestone in enumerate(game.milestones):
        reached = steps[:, i][steps[:, i] >= 0]
        rows.append(
            MilestoneFigures(
                milestone=milestone.name,
                reached=len(reached),
                rate=len(reached) / n,
                median_step=float(median(reached.tolist())) if len(reached) else None,
            )
        )
    return PlayedGames(
        episodes=n,
        success_rate=successes / n,
        success_low=low,
        success_high=high,
        return_mean=float(returns.mean()),
        return_std=float(returns.std()),
        length_mean=float(np.mean([outcome.length for outcome in outcomes])),
        milestones_mean=float((steps >= 0).sum(axis=1).mean()),
        milestones=tuple(rows),
        filmed=max(range(n), key=lambda number: outcomes[number].success),
        rollouts=None,
    )


def _film(rollouts: Path, episode: int, target: Path) -> None:
    with Shard(rollouts) as shard:
        start = int(shard.starts[episode])
        write_gif(target, shard.read_frames(start, start + int(shard.lengths[episode])))


def of_expert(name: str) -> Evaluate:
    """The settings that let the expert be evaluated in place of the network."""
    return Evaluate(
        checkpoint=EXPERT,
        name=f"{name}-expert",
        keep_rollouts=False,
        keep_states=False,
        video=False,
    )
