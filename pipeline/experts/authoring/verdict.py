"""What is known of a program after it has played: one ``Try`` an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from pipeline.experts.authoring.written import FailedTryRow, TryRow
from pipeline.experts.protocol import PlainState
from pipeline.reports.statistics import wilson_interval
from pipeline.shards.format.frames import Frames


@dataclass(frozen=True)
class Moment:
    """A step as it is shown to who wrote the program."""

    step: int
    state: PlainState
    """Before the step."""
    asked: str | None
    """The program's button; None where the episode ended before it, or it gave none."""
    pressed: str | None
    """The button that was pressed: with stickiness, sometimes the one before."""


@dataclass(frozen=True)
class Try:
    """One episode of a program, from a milestone's start state."""

    seed: int
    reached: bool
    steps: int
    reason: str = ""
    """Why the milestone was not reached."""
    trail: tuple[Moment, ...] = ()
    """Of an episode that failed: some steps spread over it."""
    last: tuple[Moment, ...] = ()
    """... and its last ones."""
    log: tuple[str, ...] = ()
    """... and the last that the program logged, with the step."""
    film: Frames | None = field(default=None, repr=False, compare=False)
    """(n,H,W,3) u8: screens spread over it and the last one; of few episodes only."""

    again: tuple[int, int] = (0, 0)
    """States that were put to it once more, out of order, and how many of them it answered
    otherwise; a label is asked for like that."""

    def row(self) -> TryRow:
        """As it stands in ``result.json``."""
        told: TryRow = {"seed": self.seed, "reached": self.reached, "steps": self.steps}
        if self.reached:
            return told
        failed: FailedTryRow = {**told, "reason": self.reason}
        return failed


@dataclass(frozen=True)
class Verdict:
    """How often a program reached its milestone."""

    episodes: int
    reached: int
    median_steps: float | None
    """Of the episodes that reached it."""

    @property
    def rate(self) -> float:
        return self.reached / self.episodes if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson, 95 %."""
        return wilson_interval(self.reached, self.episodes)

    @property
    def shown(self) -> str:
        low, high = self.interval
        return f"{self.reached} of {self.episodes} ({low:.2f}-{high:.2f})"


def verdict(tries: Sequence[Try]) -> Verdict:
    """What the episodes that tried a program say together."""
    steps = [one.steps for one in tries if one.reached]
    return Verdict(len(tries), len(steps), float(median(steps)) if steps else None)
