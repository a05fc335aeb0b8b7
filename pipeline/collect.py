"""Stage 1, collect: someone plays the game; frames, buttons, rewards and RAM become a raw shard."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.games.task import task_of
from pipeline.reports.results import CollectResult
from pipeline.rollouts.keeping_states import keep_of
from pipeline.rollouts.parts import unfinished
from pipeline.rollouts.player import make_player
from pipeline.rollouts.recording import record
from pipeline.rollouts.seeds import episode_seeds
from pipeline.settings.fields import Settings
from pipeline.shards.reader import Shard

NOT_DECISIVE = {"name", "workers", "policy", "keep_states", "keep_states_most", "round"}
"""Settings that do not change the shard, or are told otherwise."""


def run(settings: Settings) -> CollectResult:
    """Play ``collect.episodes`` episodes and publish them as one raw shard.

    The player is the expert, a checkpoint, or DAgger's mixture of both. Where the expert played,
    its button is the step's label already; the rest is for the label stage.

    Raises:
        PipelineError: see `make_player` and `record`. Every finished episode is kept and the same
            command carries on.
    """
    collect, task = settings.collect, task_of(settings)
    player = make_player(task, collect, policy=collect.policy, beta=collect.beta, purpose="collect")
    seeds = episode_seeds("collect", collect.seed, collect.episodes, collect.first)
    decisive = collect.model_dump(mode="json", exclude=NOT_DECISIVE)
    header = player.header("collect", decisive)
    if collect.round is not None:
        told = {**header.provenance, "rounds": [collect.round]}
        header = replace(header, provenance=told)
    folder, stem = task.folders.shards, f"{player.named(collect.name)}-raw"
    keep = None
    if collect.keep_states:  # for all runs of the game
        keep = keep_of(task.folders.game, header, stem, collect.keep_states_most)
    before = 0 if keep is None else keep.count()
    path, up_to_date = record(
        player, seeds.tolist(), header, folder, stem, workers=collect.workers, keep=keep
    )
    with Shard(path) as shard:
        return CollectResult(
            shard=path,
            up_to_date=up_to_date,
            episodes=shard.n_episodes,
            frames=shard.n_frames,
            labels=int(np.count_nonzero(shard.column("label_status") == 1)),
            success_rate=float(shard.success.mean()),
            length_mean=float(shard.lengths.mean()),
            return_mean=float(shard.returns.mean()),
            unfinished=unfinished(folder, stem, header),
            states=None if keep is None else keep.folder,
            new_states=None if keep is None else keep.count() - before,
        )
