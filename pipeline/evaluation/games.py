"""The games of an evaluation: unseen seeds, what they come to, and a film of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.games.description import GameDescription
from pipeline.reports.statistics import wilson_interval
from pipeline.reports.video import write_gif
from pipeline.rollouts.keeping_states import keep_of
from pipeline.rollouts.player import EXPERT, Player
from pipeline.rollouts.recording import Outcome, outcomes_of, play, play_one, record
from pipeline.settings.reading import Settings
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


def play_games(
    settings: Settings, player: Player, seeds: Sequence[int], header: ShardHeader
) -> dict[str, Any]:
    """Play one game a seed; the figures, with what was kept and which game is filmed.

    Raises:
        PipelineError: the disk refuses, or a game fails.
    """
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
    result = figures(outcomes, player.game)
    if keep is not None:
        result |= {"states": str(keep.folder), "new_states": keep.count() - before}
    filmed = max(range(len(outcomes)), key=lambda number: outcomes[number].success)
    result["filmed"] = filmed  # the first that succeeded, else the first
    result["rollouts"] = None if path is None else str(path)
    return result


def figures(outcomes: Sequence[Outcome], game: GameDescription) -> dict[str, Any]:
    """What n episodes say: rates with intervals, means, and each milestone's count and step."""
    n = len(outcomes)
    successes = sum(outcome.success for outcome in outcomes)
    low, high = wilson_interval(successes, n)
    returns = np.array([outcome.return_ for outcome in outcomes])
    steps = np.array([outcome.milestones for outcome in outcomes]).reshape(n, -1)
    rows = []
    for i, milestone in enumerate(game.milestones):
        reached = steps[:, i][steps[:, i] >= 0]
        rows.append(
            {
                "milestone": milestone.name,
                "reached": len(reached),
                "rate": len(reached) / n,
                "median_step": float(median(reached.tolist())) if len(reached) else None,
            }
        )
    return {
        "episodes": n,
        "success_rate": successes / n,
        "success_low": low,
        "success_high": high,
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "length_mean": float(np.mean([outcome.length for outcome in outcomes])),
        "milestones_mean": float((steps >= 0).sum(axis=1).mean()),
        "milestones": rows,
    }


def film_of(
    result: Mapping[str, Any],
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    target: Path,
) -> Path:
    """Film the first episode that succeeded; without rollouts it is played once more."""
    chosen, rollouts = int(result["filmed"]), result["rollouts"]
    if rollouts is not None:
        _film(Path(rollouts), chosen, target)
        return target
    with TemporaryDirectory() as folder:
        _film(play_one(player, seeds, chosen, header, Path(folder)), 0, target)
    return target


def _film(rollouts: Path, episode: int, target: Path) -> None:
    with Shard(rollouts) as shard:
        start = int(shard.starts[episode])
        write_gif(target, shard.read_frames(start, start + int(shard.lengths[episode])))


def of_expert(name: str) -> dict[str, Any]:
    """The settings that let the expert be evaluated in place of the network."""
    one = {"checkpoint": EXPERT, "name": f"{name}-expert"}
    return {**one, "keep_rollouts": False, "keep_states": False, "video": False}
