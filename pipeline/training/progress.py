"""How far a training has come: what belongs to its checkpoints beside the weights."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypedDict

import torch
from torch import Tensor, nn

from pipeline.reports.results import TrainResult
from pipeline.reports.telling import told
from pipeline.training.breakdown import UPDATES, limit_of, not_finite
from pipeline.training.checkpoint import Checkpoint, Metrics


class Best(TypedDict, total=False):
    """What is known of best.pt."""

    by: str
    """What chose it: ``validation``, ``evaluation`` or ``nothing measured``."""
    score: list[float]
    """Higher is better; the first number counts most."""
    step: int


@dataclass
class Progress:
    """What is measured on the way."""

    seconds: float = 0.0
    """Wall-clock time of the updates."""
    measured: int = 0
    """The last step after which all that was due has been done: logs, validation, evaluation."""
    recent: list[tuple[float, int]] = field(default_factory=list)
    """Loss and number of right answers of the last ``train.log_every`` updates."""
    first_loss: float | None = None
    """That of the first update, before which the network was as it began."""
    above: int = 0
    """Updates in a row whose mean loss was beyond the limit, `limit_of`."""
    validation: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, float] = field(default_factory=dict)
    best: Best = field(default_factory=Best)
    """Empty as long as there is none."""
    summary: Mapping[str, object] = field(default_factory=dict)
    """The result of a finished training, as JSON; empty before."""

    @classmethod
    def of(cls, before: Checkpoint) -> Progress:
        """Where a checkpoint left off; those of older pipelines know less."""
        known = cls.__dataclass_fields__.keys() - {"summary"}
        there = {name: value for name, value in before.metrics.items() if name in known}
        return cls(**{"measured": before.step, **there})

    def kept(self) -> Metrics:
        """All of it, as a checkpoint holds it."""
        return vars(self).copy()


def summary_of(result: TrainResult) -> Mapping[str, object]:
    """What a checkpoint holds of the result of its training."""
    return {name: value for name, value in told(result).items() if name != "up_to_date"}


def result_of(metrics: Metrics) -> TrainResult:
    """The result of the finished training whose checkpoint has these metrics."""
    summary = metrics["summary"]
    known = {one.name: summary.get(one.name) for one in fields(TrainResult)}
    paths = {name: Path(summary[name]) for name in ("checkpoint", "best")}
    shards = tuple(Path(path) for path in summary["shards"])
    return TrainResult(**{**known, **paths, "shards": shards, "up_to_date": True})


class LastUpdates:
    """Loss and right answers of the last updates, and whether the training is still sound.

    Args:
        progress: from where it goes on; it writes there what `note` and `trouble` find.
        every: how many updates, ``train.log_every``.
        device: of the losses.
        actions: number of buttons.
    """

    def __init__(self, progress: Progress, every: int, device: torch.device, actions: int) -> None:
        kept = [
            (torch.tensor(loss, device=device), torch.tensor(right, device=device))
            for loss, right in progress.recent
        ]
        self._window: deque[tuple[Tensor, Tensor]] = deque(kept, maxlen=every)
        self._progress, self._actions = progress, actions

    def __len__(self) -> int:
        return len(self._window)

    def add(self, loss: Tensor, right: Tensor) -> None:
        if self._progress.first_loss is None:
            self._progress.first_loss = float(loss)
        self._window.append((loss, right))

    def loss(self) -> float:
        """Their mean loss, in nats; NaN where there are none."""
        if not self._window:
            return math.nan
        return float(torch.stack([loss for loss, _ in self._window]).mean())

    def right(self) -> float:
        """Right answers in all of them."""
        return float(torch.stack([right for _, right in self._window]).sum())

    def note(self) -> None:
        """Write them into the progress, which is about to be saved."""
        self._progress.recent = [(float(loss), int(right)) for loss, right in self._window]

    def trouble(self, network: nn.Module, *, whole: bool) -> str | None:
        """What is wrong: loss or weights are not finite, or the training diverges.

        Args:
            whole: ``train.log_every`` updates, or the training, have come to their end.
        """
        if self._window:
            loss = self.loss()
            if not math.isfinite(loss):
                return f"loss {loss:.4g}"
            told = self._diverged(loss) if whole else None
            if told:
                return told
        broken = not_finite(network.state_dict())
        return f"loss {self.loss():.4g}, weights of {broken[0]} not finite" if broken else None

    def _diverged(self, loss: float) -> str | None:
        progress = self._progress
        first = progress.first_loss or 0.0
        above = loss > limit_of(first, self._actions)
        progress.above = progress.above + len(self) if above else 0
        if progress.above < UPDATES:
            return None
        return f"mean loss {loss:.4g} over the last {len(self)} updates, {first:.4g} in the first"
