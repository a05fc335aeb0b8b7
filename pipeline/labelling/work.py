"""What the label stage has before it: the task, who is asked, and how the steps are chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.games.task import Task, task_of
from pipeline.settings.fields import Label, Settings


@dataclass(frozen=True)
class LabelWork:
    """What the label stage does, resolved from settings."""

    task: Task
    options: Label
    threads: int
    """Of torch, where a student chooses the steps; 0: one a core."""
    device: str
    """Where that student lies."""

    @property
    def student(self) -> Path:
        """The checkpoint that chooses the steps, where one does."""
        named = self.options.student
        return self.task.folders.networks / "final.pt" if named is None else Path(named)


def labelling_of(settings: Settings) -> LabelWork:
    """The label stage's work.

    Raises:
        PipelineError: no such game, or no such subtask of it.
    """
    return LabelWork(
        task=task_of(settings),
        options=settings.label,
        threads=settings.train.threads,
        device=settings.train.device,
    )
