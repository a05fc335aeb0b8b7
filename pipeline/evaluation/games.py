"""The games of an evaluation: unseen seeds, what they come to, and a film of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from pipeline.settings.fields import Evaluate, Settings
from pipeline.shards.format.schema import ShardHeader
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError


def refuse_trained_seeds(checkpoint: Path, seeds: Any) -> None:
    from pipeline.agents.policy import trained_seeds

    common = np.intersect1d(trained_seeds(checkpoint), seeds)
    if len(common):
        raise PipelineError(
            f"{checkpoint}: was trained on {len(common)} of these {len(seeds)} games; "
            "choose another --evaluate.seed"
        )


def play_games(
    settings: Settings, player: Player, seeds: Sequence[int], header: ShardHeader
) -> PlayedGames:
    """Play one game a seed."""
    evaluate = settings.evaluate
    path = None
    folder, stem = settings.shard_folder(player.game.name), f"{player.named(evaluate.name)}-raw"
    most, home = evaluate.keep_states_most, settings.game_folder(player.game.name)
    keep = keep_of(home, header, stem, most) if evaluate.keep_states else None
    before, workers = 0 if keep is None else keep.count(), evaluate.workers
    if evaluate.keep_rollouts:
        path, _ = record(player, seeds, header, folder, stem, workers=workers, keep=keep)
        outcomes = outcomes_of(path)
    else:
        outcomes = play(player, seeds, header, workers=workers, keep=keep)
    return replace(
        figures(outcomes, player.game),
        states=None if keep is None else keep.folder,
        new_states=None if keep is None else keep.count() - before,
        rollouts=path,
    )


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


def film_of(
    games: PlayedGames,
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    target: Path,
) -> Path:
    """Film the first episode that succeeded; without rollouts it is played once more."""
    if games.rollouts is not None:
        _film(games.rollouts, games.filmed, target)
        return target
    with TemporaryDirectory() as folder:
        _film(play_one(player, seeds, games.filmed, header, Path(folder)), 0, target)
    return target


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
