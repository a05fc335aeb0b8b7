"""What training asks to choose its best checkpoint."""

from __future__ import annotations

from pathlib import Path

from pipeline.evaluate import once
from pipeline.reports.results import EvaluateResult
from pipeline.settings.changing import change
from pipeline.settings.fields import Evaluate, Settings
from pipeline.training.cloning import Evaluator


def evaluator(settings: Settings) -> Evaluator:
    """A judge of checkpoints: few episodes, on seeds of their own."""

    def judge(checkpoint: Path) -> EvaluateResult:
        chosen = Evaluate(
            checkpoint=str(checkpoint),
            name=f"select-{checkpoint.stem}",
            episodes=settings.train.evaluate_episodes,
            purpose="select",
            keep_rollouts=False,
            keep_states=False,
            video=False,
        )
        return once(change(settings, evaluate=chosen))

    return judge
