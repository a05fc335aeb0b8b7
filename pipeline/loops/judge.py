"""What training asks to choose its best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.evaluate import run
from pipeline.settings.reading import Settings, change


def evaluator(settings: Settings) -> Callable[[Path], dict[str, Any]]:
    """A judge of checkpoints: few episodes, on seeds of their own."""

    def judge(checkpoint: Path) -> dict[str, Any]:
        chosen = {
            "checkpoint": str(checkpoint),
            "name": f"select-{checkpoint.stem}",
            "episodes": settings.train.evaluate_episodes,
            "purpose": "select",
            "keep_rollouts": False,
            "keep_states": False,
            "video": False,
        }
        return run(change(settings, evaluate=chosen))

    return judge
