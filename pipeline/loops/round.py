"""A round of labels: someone plays, the frames are made small, the expert says what was right."""

from __future__ import annotations

from pathlib import Path

from pipeline import collect, label, preprocess
from pipeline.reports.results import LabelResult
from pipeline.rollouts.player import EXPERT
from pipeline.settings.changing import change
from pipeline.settings.fields import Collect, Label, Preprocess, Settings
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
    played: Collect,
    checkpoint: Path | None,
) -> tuple[Path, ...]:
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
    told = Collect(name=name, policy=policy, round=round_)
    raw = collect.run(change(change(settings, collect=played), collect=told))
    small = preprocess.run(change(settings, preprocess=Preprocess(shards=[str(raw.shard)])))
    asked = change(settings, label=Label(shards=[str(one) for one in small.shards]))
    if settings.label.select != "all":
        # The first round has no student yet: its labels are spread evenly.
        student = settings.label.student or str(checkpoint)
        whom = Label(select="all") if checkpoint is None else Label(student=student)
        asked = change(asked, label=whom)
    answers = labelled(asked)
    if answers.stopped is not None:
        raise PipelineError(
            f"{title}: the expert stopped after {answers.asked:,} of "
            f"{answers.frames:,} steps ({answers.stopped}); all so far is kept, and the "
            "same command carries on from there"
        )
    return answers.shards


def labelled(settings: Settings) -> LabelResult:
    """Label, as a part of a loop.

    Raises:
        PipelineError: what the stage raises; and where the settings only ask what it would cost.
    """
    result = label.run(settings)
    if not isinstance(result, LabelResult):
        raise PipelineError(
            "label.dry_run: a loop cannot go on without labels; leave it out, or give it to the "
            "label stage alone"
        )
    return result
