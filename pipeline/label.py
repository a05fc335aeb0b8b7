"""Stage 3, label: the expert says what the right button was, offline, from what the shard holds."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.labelling.forecast import forecast
from pipeline.labelling.plan import processed_shards, stem_of
from pipeline.labelling.pool import ExpertPool
from pipeline.labelling.shard import label_shard
from pipeline.labelling.work import labelling_of
from pipeline.reports.results import FreeForecast, LabelResult, LabelRow, ModelForecast
from pipeline.settings.reading import Settings
from pipeline.shards.reader import check_shards
from pipeline.shards.run_shards import refuse_same_stem
from pipeline.system.errors import PipelineError


def run(settings: Settings) -> LabelResult | FreeForecast | ModelForecast:
    """Label processed shards; each gives a new shard with the same frames.

    No emulator takes part: the expert is asked about the RAM state stored with each step, and
    shown the stored screens where it looks at any. A failed answer is stored as unlabelled with
    its status, never as a button. Labels that a shard has already are kept unless
    ``label.relabel``. Each label says who gave it, when and for how much.

    An expert that stops (a budget is spent, a batch is under way) ends the stage early: what it
    answered is published, ``stopped`` says why, and the same command carries on from there.

    With a subtask of the game (``milestone``, or ``from`` and ``to``) only the steps between its
    two milestones are asked about; shards without any are left out.

    With ``label.dry_run`` nothing is asked: what a model would cost at most is returned.

    Raises:
        PipelineError: no shard to label, a shard of another game, an expert that cannot be asked,
            a program that answers otherwise when it is asked again (its shard is then not
            published), or screens that are not there.
    """
    work = labelling_of(settings)
    game, subtask = work.task.game, work.task.subtask
    sources = processed_shards(work.task.folders, work.options.shards)
    check_shards(sources, kind="processed", game=game.name, actions=game.buttons)
    if len({source.parent for source in sources}) > 1:
        refuse_same_stem("label", [(one, stem_of(one, work.task.folders)) for one in sources])
    with ExpertPool(work.task.expert, game, work.options.workers) as pool:
        if work.options.dry_run:
            return forecast(sources, work, pool)
        rows = [label_shard(source, work, pool) for source in sources]
    result = _result(rows)
    if subtask is not None and not result.shards and result.stopped is None:
        raise PipelineError(
            f"{', '.join(map(str, sources))}: no step between '{subtask.start or 'the start'}' and "
            f"'{subtask.goal or 'the end'}'; collect and preprocess some with the same "
            "--milestone, or --from and --to"
        )
    return result


def _result(rows: Sequence[LabelRow]) -> LabelResult:
    """The figures of all shards together; ``rows`` has one a shard."""
    seconds = sum(row.seconds for row in rows)
    answers = sum(row.asked for row in rows)
    # Each shard may have a batch of its own; what stopped all of them is said once.
    stopped = list(dict.fromkeys(row.stopped for row in rows if row.stopped))
    return LabelResult(
        up_to_date=all(row.up_to_date for row in rows),
        shards=tuple(row.shard for row in rows if row.shard),
        frames=sum(row.frames for row in rows),
        labels=sum(row.labels for row in rows),
        asked=answers,
        labels_per_second=answers / seconds if answers else None,
        dollars=sum(row.dollars for row in rows) or None,
        stopped="; ".join(stopped) or None,
        by_shard=tuple(rows),
    )
