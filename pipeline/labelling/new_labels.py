"""The labels of a shard while they are being made: what it had, and what the expert says."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.experts.protocol import Answers, Costs
from pipeline.shards.format.labels import Labels, reason_text, told_labels
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.shards.reader import Shard

_ADDED = {"attempt": "attempts", "input_tokens": "input_tokens",
          "output_tokens": "output_tokens", "dollars": "dollars"}  # fmt: skip
"""What is spent on a step, and its name in Costs."""


@dataclass
class Labelling:
    """The labels of N steps, filled in place.

    Of an answer all is kept: who gave it or failed to, when, why there is no button, and what it
    cost. Asked again, an expert adds to what it cost before; another one replaces it, and the
    shard that it replaces still tells. A step that an expert did not come to stays as it was.
    """

    buttons: NDArray[np.uint8]
    """(N,) NO_ACTION where there is no label."""
    status: NDArray[np.uint8]
    """(N,) of LabelStatus."""
    columns: Labels
    """(N,) each of LABEL_COLUMNS."""
    answered: int = 0
    """Steps that `take` was given answers about, with a button or without."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each reason was given for an answer without a button."""

    @classmethod
    def of(cls, shard: Shard) -> Labelling:
        """The labels of a shard; where it has no ``/labels``, what its provenance tells of them."""
        status = shard.column("label_status")
        columns = shard.labels()
        if columns is None:
            columns = told_labels(shard.header.provenance, status)
        return cls(shard.column("expert_actions").copy(), status.copy(), columns)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(N,) whether a step has a label."""
        rows: NDArray[np.bool_] = self.status == LabelStatus.LABELLED
        return rows

    def score(self, rows: NDArray[np.intp], scores: NDArray[np.float32]) -> None:
        """Note the ``scores`` (n,) for which the steps ``rows`` (n,) were chosen."""
        self.columns["score"][rows] = scores

    def carry_on(self, path: Path) -> NDArray[np.bool_]:
        """Take over the answers that ``path`` got since it began with the same labels.

        Returns:
            (N,) whether the answer about a step was taken over.
        """
        with Shard(path) as shard:
            begun = Labelling.of(shard)
        time = begun.columns["time"]
        since: NDArray[np.bool_] = np.isfinite(time) & (time != self.columns["time"])
        self.buttons[since], self.status[since] = begun.buttons[since], begun.status[since]
        for name, values in begun.columns.items():
            self.columns[name][since] = values[since]
        return since

    def take(self, rows: NDArray[np.intp], answers: Answers, who: str, now: float) -> None:
        """Fill in the answers about ``rows`` (n,).

        Args:
            who: the expert's id.
            now: Unix seconds.
        """
        given = answers.status != LabelStatus.UNLABELLED
        self._pay(rows[given], answers, given, who)
        self.columns["reason"][rows[given]] = b""
        for i, reason in answers.reasons.items():
            if given[i]:
                self.columns["reason"][rows[i]] = reason_text(reason)
        self.reasons.update(answers.reasons.values())
        rows = rows[given]
        self.status[rows] = answers.status[given]
        labelled = answers.status[given] == LabelStatus.LABELLED
        self.buttons[rows] = np.where(labelled, answers.buttons[given], NO_ACTION)
        self.columns["expert"][rows] = who.encode()
        self.columns["time"][rows] = now
        self.answered += len(rows)

    def _pay(
        self, rows: NDArray[np.intp], answers: Answers, given: NDArray[np.bool_], who: str
    ) -> None:
        costs = answers.costs or Costs.none(len(given))
        asked = costs.attempts if answers.costs else np.ones(len(given), np.uint8)
        same = self.columns["expert"][rows] == who.encode()
        for name, its in _ADDED.items():
            column = self.columns[name]
            new = (asked if name == "attempt" else getattr(costs, its))[given]
            total = np.where(same, column[rows], 0).astype(np.float64) + new
            if column.dtype.kind == "u":
                total = np.minimum(total, np.iinfo(column.dtype).max)
            column[rows] = total.astype(column.dtype)
