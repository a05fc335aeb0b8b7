"""What each loop returns, and the rows of its table (see `pipeline.reports.results`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.reports.results import Costs, EvaluateResult, SubtaskRow, TableFiles, shown
from pipeline.reports.telling import INLINE, LEFT_OUT, Interval, inline, told_as


@dataclass(frozen=True, kw_only=True)
class DaggerRow:
    """One round of DAgger."""

    round: int
    """From 0."""
    beta: float
    """The expert's share of the steps, in [0, 1]."""
    labels: int
    """Of this round and all before, those of the validation split included."""
    agreement: float | None
    """Share of the validation split in which the network chooses the expert's button, in [0, 1];
    None without one."""
    success_rate: float
    """Of the games that choose between checkpoints, in [0, 1]."""
    interval: Interval
    """Wilson interval of the success rate, 95 %."""
    milestones_mean: float
    """Milestones that one of these games reaches."""
    seconds: float
    """For the whole round."""
    dollars: float | None = field(default=None, metadata=LEFT_OUT)
    """For the labels of this round and all before, the program that gave them included; None where
    nothing was paid."""


@dataclass(frozen=True, kw_only=True)
class DaggerResult:
    """The last round's network on unseen games, and how it came to that."""

    checkpoint: Path
    """``final.pt`` of the run."""
    labels: int
    """Of all rounds, those of the validation split included."""
    evaluation: EvaluateResult = field(metadata=inline(without=("up_to_date", "report")))
    costs: Costs | None = field(metadata=INLINE)
    """Those of all rounds; None where nothing was paid."""
    seconds: float
    """For all of it."""
    rounds: tuple[DaggerRow, ...]


@dataclass(frozen=True, kw_only=True)
class LearnedRow:
    """How a network learned one subtask."""

    milestone: str
    """That ends the subtask."""
    limit: int
    """Steps that an episode had."""
    rounds: int
    labels: int
    """That the subtask added."""
    updates: int
    """That the subtask added."""
    reached_target: bool
    """Its last success rate was ``curriculum.target`` or more."""


@dataclass(frozen=True, kw_only=True)
class CurriculumRow:
    """One subtask: the policy on unseen games beside the expert, and how it was learned."""

    judged: SubtaskRow = field(metadata=INLINE)
    learned: LearnedRow = field(metadata=INLINE)


@dataclass(frozen=True, kw_only=True)
class CurriculumFigures:
    """What a curriculum tells beside its table."""

    network: str
    """``one`` for all subtasks, or one for ``each``."""
    goal_conditioned: bool
    """The network is told which milestone is next."""
    policy: Path
    """A checkpoint, or with a network for each subtask the switching policy of them."""
    labels: int
    """In all, those of the validation split included."""
    updates: int
    """In all."""
    evaluation: EvaluateResult = field(
        metadata=inline(
            only=(
                "episodes", "success_rate", "success_low", "success_high", "length_mean",
                "milestones_mean", "mode", "sticky", "sees", "input", "rollouts", "video",
            )
        )
    )  # fmt: skip
    """Unseen games from the first subtask's start to the last one's end."""


@dataclass(frozen=True, kw_only=True)
class CurriculumResult(CurriculumFigures):
    """What a curriculum came to, and its table."""

    files: TableFiles = field(metadata=INLINE)
    seconds: float
    """For all of it."""
    subtasks: tuple[CurriculumRow, ...] = field(metadata=told_as(shown))
    """In the game's order."""


@dataclass(frozen=True, kw_only=True)
class CompareCell:
    """One method at one budget with one training seed."""

    method: str
    seed: int
    labels: int
    """Queries to the expert, one label each."""
    updates: int
    """In all."""
    episodes: int
    """Unseen games that judge it."""
    success_rate: float
    """In [0, 1]."""
    milestones_mean: float
    length_mean: float
    """Steps of a game."""
    report: Path
    """Of the evaluation."""


@dataclass(frozen=True, kw_only=True)
class CompareRow:
    """One method at one budget, pooled over the training seeds."""

    method: str
    labels: int
    """As those of `CompareCell`."""
    updates: int
    episodes: int
    """Of all seeds together."""
    success_rate: float
    """Of these games, in [0, 1]."""
    success_low: float
    """This and the next: Wilson interval of the pooled games, 95 %; how much training seeds differ
    it does not know."""
    success_high: float
    by_seed: tuple[float, ...]
    """Success rate with each seed."""
    milestones_mean: float
    """Mean over the seeds."""


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """The table of all methods and budgets, and its curves."""

    table: Path
    """Rows and cells, as JSON."""
    plot: Path
    rows: tuple[CompareRow, ...]


@dataclass(frozen=True, kw_only=True)
class WholeProgram:
    """The joined program, from the game's start to the last milestone that it has a part for."""

    success_rate: float
    """In [0, 1]."""
    success_low: float
    """This and the next: Wilson interval, 95 %."""
    success_high: float
    median_steps: float | None
    """Of the games that succeeded; None where none did."""


@dataclass(frozen=True, kw_only=True)
class AuthorRow:
    """One milestone's program."""

    milestone: str
    program: str | None
    """The name of the attempt that was accepted; None where none was, as its figures are."""
    attempts: int
    """Programs that were asked for, those of earlier commands included."""
    success_rate: float | None
    """In [0, 1]."""
    interval: Interval | None
    """Wilson interval of the success rate, 95 %."""
    median_steps: float | None
    tokens: int
    """Sent and received, for all attempts."""
    dollars: float | None
    """For all attempts; None where none had a price."""


@dataclass(frozen=True, kw_only=True)
class AuthorResult:
    """The joined program, and what it is made of."""

    up_to_date: bool
    """Nothing was asked, tried or written now, and no milestone lacks its program."""
    program: Path | None
    """``expert.py``; None where no milestone has a program."""
    use: str | None
    """The option that makes it the expert."""
    plays: str
    """``3 of 10 milestones``."""
    whole: WholeProgram | None = field(metadata=inline(prefix="whole_"))
    """None where no milestone has a program."""
    asked: int
    """Questions to the model now."""
    attempts: int
    """This and the next two: of all rows."""
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """Of all rows; None where none had a price."""
    milestones: tuple[AuthorRow, ...]
    error: str | None = field(default=None, metadata=LEFT_OUT)
    """Why a milestone has no program, where one has none."""


@dataclass(frozen=True, kw_only=True)
class AuthorCost:
    """What the programs of one milestone, or of all, would cost at most."""

    questions: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """None without ``model.prices``."""


@dataclass(frozen=True, kw_only=True)
class AuthorCostRow:
    """What the programs of one milestone would cost at most."""

    milestone: str
    cost: AuthorCost = field(metadata=INLINE)


@dataclass(frozen=True, kw_only=True)
class AuthorForecast:
    """What the programs would cost at most; nothing is asked."""

    up_to_date: bool
    """There is nothing to ask."""
    estimate: str
    """How it was counted."""
    total: AuthorCost = field(metadata=INLINE)
    stopped_by: str | None
    """The limit of the budget that would end it before."""
    milestones: tuple[AuthorCostRow, ...]
