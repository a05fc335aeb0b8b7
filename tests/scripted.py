"""An expert that does what a test says: it has a price, a purse, and looks at screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from pipeline.experts.protocol import Answers, Costs, Expert, Questions, Screens
from pipeline.labelling import pool
from pipeline.shards.format.schema import NO_ACTION, LabelStatus

CENT = np.float32(0.01)


@dataclass
class Scripted:
    """Presses button 1 everywhere, but times out where ``x`` is ``late``.

    It stops when ``purse`` questions were asked. Those that ``kept`` says are answered for nothing.
    """

    purse: int = 1 << 30
    late: int | None = None
    kept: set[int] = field(default_factory=set)
    screens: Screens = "none"
    model: str = "a-model-1"
    sizes: list[int] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    opened: int = 0
    stopped: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": "model", "model": self.model}

    def answer(self, questions: Questions) -> Answers:
        x = questions.state["x"].tolist()
        self.sizes.append(len(x))
        if questions.screens is not None:
            self.seen += [questions.screens[i] for i in range(len(questions.screens))]
        answers, costs = Answers.unanswered(len(x)), Costs.none(len(x))
        for i, value in enumerate(x):
            if value in self.kept:
                self._press(answers, i, value)
            elif self.purse:
                self.purse -= 1
                self._press(answers, i, value)
                costs.attempts[i], costs.dollars[i] = 1, CENT
                costs.input_tokens[i], costs.output_tokens[i] = 900, 7
            else:
                self.stopped = "1 dollar is spent"
        return Answers(answers.buttons, answers.status, answers.reasons, costs)

    def _press(self, answers: Answers, i: int, value: int) -> None:
        late = value == self.late
        answers.buttons[i] = NO_ACTION if late else 1
        answers.status[i] = LabelStatus.TIMED_OUT if late else LabelStatus.LABELLED
        if late:
            answers.reasons[i] = "no answer in 60 s"

    def close(self) -> None: ...

    def __enter__(self) -> Scripted:
        self.opened += 1
        self.stopped = None
        return self

    def __exit__(self, *exc: object) -> None: ...


def put_in(monkeypatch: pytest.MonkeyPatch, expert: Expert) -> None:
    """Have the label stage ask ``expert``."""
    monkeypatch.setattr(pool, "open_expert", lambda settings, game: expert)
