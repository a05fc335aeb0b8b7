"""A round of labels: someone plays, the frames are made small, the expert says what was right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import collect, label, preprocess
from pipeline.rollouts.player import EXPERT
from pipeline.settings.reading import Settings, change
from pipeline.system.errors import PipelineError


def own_shards(settings: Settings, loop: str, part: str | None = None) -> Settings:
    """Settings for the stages of a loop, whose shards all belong to the loop's run.

    Args:
        part: a folder in that of the run, for shards that no stage is to take by itself.

    Raises:
        PipelineError: the settings name another run to take shards from.
    """
    if settings.from_run is not None:
        raise PipelineError(
            f"from_run {settings.from_run}: {loop} learns from what it plays itself; leave that "
            "out, or name the run to preprocess, label and train"
        )
    owner = settings.shards_run
    return change(settings, owner=owner if part is None else f"{owner}/{part}")


def label_round(
    settings: Settings,
    *,
    name: str,
    title: str,
    round_: int,
    played: dict[str, Any],
    checkpoint: Path | None,
) -> list[str]:
    """Collect, preprocess and label; the labelled shards.

    Args:
        name: stem of the shards.
        title: what the round is called where the expert stops in it.
        round_: its number, told in the shards.
        played: more settings of ``collect``.
        checkpoint: the student that plays; None lets the expert play.

    Raises:
        PipelineError: what the stages raise; and an expert that stopped before all was labelled.
    """
    policy = EXPERT if checkpoint is None else str(checkpoint)
    told = {"name": name, "policy": policy, "round": round_}
    raw = collect.run(change(settings, collect={**told, **played}))
    small = preprocess.run(change(settings, preprocess={"shards": [raw["shard"]]}))
    asked: dict[str, Any] = {"shards": small["shards"]}
    if settings.label.select != "all":
        # The first round has no student yet: its labels are spread evenly.
        student = settings.label.student or str(checkpoint)
        asked |= {"select": "all"} if checkpoint is None else {"student": student}
    answers = label.run(change(settings, label=asked))
    if "stopped" in answers:
        raise PipelineError(
            f"{title}: the expert stopped after {answers['asked']:,} of "
            f"{answers['frames']:,} steps ({answers['stopped']}); all so far is kept, and the "
            "same command carries on from there"
        )
    shards: list[str] = answers["shards"]
    return shards
