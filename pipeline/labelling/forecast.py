"""What labels would cost: an estimate, for which nobody is asked."""

from __future__ import annotations

from pathlib import Path

from pipeline.experts.protocol import Questions
from pipeline.labelling.new_labels import Labelling
from pipeline.labelling.plan import planned, steps_to_ask
from pipeline.labelling.pool import ExpertPool, sample
from pipeline.labelling.screens import screens_of
from pipeline.labelling.work import LabelWork
from pipeline.reports.results import FreeForecast, ModelForecast
from pipeline.shards.reader import Shard


def forecast(
    sources: list[Path], work: LabelWork, pool: ExpertPool
) -> FreeForecast | ModelForecast:
    """What the labels would cost; no expert is asked, and nothing is published.

    Raises:
        PipelineError: a shard cannot be read or does not fit, or screens are not there.
    """
    questions, few = 0, None
    for source in sources:
        plan = planned(source, work, pool.expert)
        if plan.done:
            continue
        home = work.task.folders.game
        with Shard(source) as shard, screens_of(shard, pool.expert.screens, home) as gallery:
            labels = Labelling.of(shard)
            todo = steps_to_ask(shard, plan.left_off, labels, work, plan)
            questions += len(todo)
            if few is None and len(todo):
                few = _held(sample(shard, todo, gallery))
    if few is None or work.task.expert.expert.kind != "model":
        return FreeForecast(questions=questions)
    from pipeline.experts.model.forecast import forecast_labels

    return forecast_labels(work.task.expert, work.task.game, questions, few)


def _held(questions: Questions) -> Questions:
    """The same with its screens read, as its shard is about to be closed."""
    screens = questions.screens
    if screens is None:
        return questions
    return Questions(questions.state, [screens[i] for i in range(len(screens))])
