"""What each stage returns. ``--json`` and the table on the terminal tell it (`telling.told`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.reports.telling import INLINE, LEFT_OUT, UNTOLD, called, told, told_as


@dataclass(frozen=True, kw_only=True)
class CollectResult:
    """A raw shard, and how the player did in it."""

    shard: Path
    up_to_date: bool
    """It was there before."""
    episodes: int
    frames: int
    """Steps in all; of each the screen before its button."""
    labels: int
    """Steps whose right button is known already, as the expert pressed it."""
    success_rate: float
    """Share of the episodes that ended in success, in [0, 1]."""
    length_mean: float
    """Steps of an episode."""
    return_mean: float
    """Rewards of an episode, summed without a discount."""
    unfinished: list[str]
    """Collections of the same name with other settings that were interrupted and whose episodes
    still wait, a line each."""
    states: Path | None = field(default=None, metadata=LEFT_OUT)
    """Folder of the start-state library; None without ``collect.keep_states``."""
    new_states: int | None = field(default=None, metadata=LEFT_OUT)
    """How many states the library has more than before."""


@dataclass(frozen=True, kw_only=True)
class PreprocessRow:
    """One raw shard, and what became of it."""

    raw: Path
    shard: Path | None
    """The processed one; None where no step stayed."""
    up_to_date: bool
    episodes: int
    frames: int
    validation_episodes: int
    """Episodes of the validation split."""
    dropped_episodes: int
    """Episodes of the raw shard that were left out."""
    dropped_steps: int
    """Steps of the raw shard that were left out, those of whole episodes included."""


@dataclass(frozen=True, kw_only=True)
class PreprocessResult:
    """Processed shards; the numbers are sums over ``by_shard``."""

    up_to_date: bool
    """All of them were there before."""
    shards: tuple[Path, ...]
    """One for each raw shard of which a step stayed."""
    episodes: int
    frames: int
    validation_episodes: int
    dropped_episodes: int
    dropped_steps: int
    frames_per_second: int | None
    """Of the raw shards that were read; None where none was."""
    by_shard: tuple[PreprocessRow, ...]
    """A row for each raw shard, in the order of reading."""


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One processed shard, and its labels."""

    shard: Path | None
    """The labelled one; None where nothing was to be labelled, or the expert stopped before."""
    up_to_date: bool
    frames: int
    labels: int
    """Steps of the labelled shard that have a label."""
    asked: int
    """Steps about which the expert was asked now."""
    unlabelled: str | None
    """The others by their status, such as ``3 refused, 1 failed``."""
    first_reason: str | None
    """What the expert said of the first step that has no label."""
    dollars: float
    """What the labels of the shard cost."""
    stopped: str | None
    """Why the expert answered no more."""
    seconds: float = field(metadata=UNTOLD)
    """For asking and publishing."""


def label_rows(rows: Sequence[LabelRow]) -> list[dict[str, object]]:
    """The rows, without the columns that say nothing: what an expert costs that costs nothing."""
    free = not any(row.dollars or row.stopped for row in rows)
    hidden = ("dollars", "stopped") if free else ()
    return [
        {name: value for name, value in told(row).items() if name not in hidden} for row in rows
    ]


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """Labelled shards; the numbers are sums over ``by_shard``."""

    up_to_date: bool
    """All of them were there before."""
    shards: tuple[Path, ...]
    frames: int
    labels: int
    asked: int
    labels_per_second: float | None
    """None where nothing was asked."""
    dollars: float | None = field(metadata=LEFT_OUT)
    """What the labels of these shards cost; None where nothing was paid."""
    stopped: str | None = field(metadata=LEFT_OUT)
    """Why the expert answered no more: the same command carries on."""
    by_shard: tuple[LabelRow, ...] = field(metadata=told_as(label_rows))
    """A row for each processed shard."""


@dataclass(frozen=True, kw_only=True)
class FreeForecast:
    """Labels that cost nothing."""

    questions: int
    """Steps that would be asked about."""
    dollars: float = 0.0


@dataclass(frozen=True, kw_only=True)
class WayForecast:
    """What the questions would cost one by one, or in batches."""

    way: str
    dollars: float | None
    """Expected; this and the next are None without ``model.prices``."""
    most_dollars: float | None
    """At most."""
    stopped_by: str | None
    """The limit of the budget that would end it, and after how many questions; None: none would."""


@dataclass(frozen=True, kw_only=True)
class ModelForecast:
    """What a language model's labels would cost; nothing is asked."""

    questions: int
    """Steps that would be asked about."""
    estimate: str
    """How tokens were counted."""
    input_tokens: int
    """Of a question, expected."""
    most_input_tokens: int
    """Of a question, at most."""
    output_tokens: int
    """Of an answer, expected."""
    most_output_tokens: int
    """Of an answer, at most."""
    kept: str
    """How many of the questions looked at are answered already, and cost nothing."""
    dollars: float | None
    """This and the next two are those of the way that the settings choose, for all questions."""
    most_dollars: float | None
    stopped_by: str | None
    ways: tuple[WayForecast, ...]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """A run's checkpoints, and what was measured on the way."""

    checkpoint: Path
    """``final.pt``: the network after the last update."""
    best: Path
    """``best.pt``: the one that played best, or else agreed most with the expert."""
    best_step: int
    """Updates that it had."""
    best_by: str
    """By what it was chosen: ``evaluation``, ``validation`` or ``nothing measured``."""
    steps: int
    """Updates in all, those before an interruption included."""
    shards: tuple[Path, ...]
    """Those learned from."""
    labels: int
    """Labelled steps learned from."""
    parameters: int
    """Weights of the network."""
    device: str
    precision: str
    """``fp32`` or ``bf16``."""
    loss: float | None
    """Mean cross-entropy in nats over the last ``train.log_every`` updates; None, as that of
    ``accuracy`` and ``samples_per_second``, of checkpoints of older pipelines."""
    accuracy: float | None
    """Share of right answers in these updates, in [0, 1]."""
    validation_labels: int
    """Labelled steps of the validation split."""
    validation_agreement: float | None
    """Share of them in which the network chooses the expert's button, in [0, 1]."""
    success_rate: float | None = field(default=None, metadata=LEFT_OUT)
    """This and the next three: of the last evaluation of ``train.evaluate_every``; None without."""
    milestones_mean: float | None = field(default=None, metadata=LEFT_OUT)
    return_mean: float | None = field(default=None, metadata=LEFT_OUT)
    length_mean: float | None = field(default=None, metadata=LEFT_OUT)
    samples_per_second: float | None
    """Labels learned from in a second of training."""
    seconds: float
    """Spent on updates."""
    up_to_date: bool
    """All was there before."""


@dataclass(frozen=True, kw_only=True)
class MilestoneFigures:
    """One milestone in the games of an evaluation."""

    milestone: str
    reached: int
    """Games in which it was reached."""
    rate: float
    """Their share, in [0, 1]."""
    median_step: float | None
    """Steps that these games took to it; None where there are none."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the player cost, and what was had for it."""

    dollars: float
    """For the labels that it was trained on, and for the expert's program."""
    dollars_per_milestone: float | None
    """For each milestone that an episode reaches; None where none does."""
    dollars_per_success_point: float | None
    """For each percentage point of the success rate; None where that is 0."""


@dataclass(frozen=True, kw_only=True)
class PlayedGames:
    """What the games of an evaluation came to.

    Of the same seeds and the same player it is always the same, so that a report on disk is not
    made anew.
    """

    episodes: int
    success_rate: float
    """In [0, 1]."""
    success_low: float
    """This and the next: Wilson interval of the success rate, 95 %."""
    success_high: float
    return_mean: float
    """Of an episode's rewards, summed without a discount."""
    return_std: float
    """Standard deviation of these sums, over all episodes."""
    length_mean: float
    """Steps of an episode."""
    milestones_mean: float
    """Milestones that an episode reaches."""
    milestones: tuple[MilestoneFigures, ...]
    """In the game's order."""
    states: Path | None = field(default=None, metadata=LEFT_OUT)
    """Folder of the start-state library; None without ``evaluate.keep_states``."""
    new_states: int | None = field(default=None, metadata=LEFT_OUT)
    """How many states the library has more than before; of this very call."""
    filmed: int = field(metadata=UNTOLD)
    """Number of the episode that a video shows: the first that succeeded, else the first."""
    rollouts: Path | None
    """The raw shard of the games; None without ``evaluate.keep_rollouts``."""
    video: Path | None = None
    """A GIF of one episode; None without ``evaluate.video``."""

    def median_step(self, milestone: str) -> float | None:
        """Of the games that reached it, the steps to it; None where none did."""
        return {one.milestone: one.median_step for one in self.milestones}[milestone]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What judges of a contest ask of who played."""

    sees: str
    """What the player sees."""
    input: str
    """What reached the game."""
    subtask: str | None = field(default=None, metadata=LEFT_OUT)
    """``A to B``; None where it was the whole game."""
    starts: str | None = field(default=None, metadata=LEFT_OUT)
    """From which states of the library the games began; None: from a start state of the game."""
    mode: str
    """How a network chooses: ``argmax``, ``sampled`` or ``unstuck``."""
    sticky: float
    """Sticky-action probability: how often the game held the button of the step before."""


@dataclass(frozen=True, kw_only=True)
class EvaluateResult(PlayedGames):
    """Unseen games: how they went, by what rules, and at what price."""

    costs: Costs | None = field(metadata=INLINE)
    """None where nothing was paid."""
    rules: Rules = field(metadata=INLINE)
    report: Path
    """All of this, as JSON."""
    up_to_date: bool
    """Nothing was played or filmed now."""


@dataclass(frozen=True, kw_only=True)
class SubtaskRow:
    """One subtask: the network's games on it, beside the expert's from the same start states."""

    milestone: str
    """That ends the subtask."""
    start: str = field(metadata=called("from"))
    """The milestone where it begins, or ``start`` for the game's own."""
    episodes: int
    success_rate: float
    """In [0, 1]."""
    success_low: float
    """This and the next: Wilson interval of the success rate, 95 %."""
    success_high: float
    steps: float | None
    """Median of the episodes that succeeded; None where none did."""
    expert_success: float | None
    """The expert's success rate; this and the next are None where it was not measured."""
    expert_steps: float | None
    gap: float | None
    """``steps`` less ``expert_steps``."""


def shown(rows: Sequence[object]) -> list[dict[str, object]]:
    """Rows of subtasks as they are printed: the interval in one column, no number of episodes.

    Args:
        rows: of `SubtaskRow`, or of one with more columns.
    """
    out = []
    for row in map(told, rows):
        low, high = row.pop("success_low"), row.pop("success_high")
        del row["episodes"]
        items = list(row.items())
        items.insert(list(row).index("success_rate") + 1, ("interval", f"{low:.2f}-{high:.2f}"))
        out.append(dict(items))
    return out


@dataclass(frozen=True)
class TableFiles:
    """A table on disk."""

    json: Path
    csv: Path


@dataclass(frozen=True, kw_only=True)
class SubtaskFigures:
    """What holds for an evaluation of every subtask."""

    episodes: int
    """Of each subtask."""
    mode: str
    """This and the next three: as in `Rules`."""
    sticky: float
    sees: str
    input: str


@dataclass(frozen=True, kw_only=True)
class SubtasksResult:
    """``milestone all``: an evaluation of each subtask of the game."""

    up_to_date: bool
    """Nothing was played now."""
    figures: SubtaskFigures = field(metadata=INLINE)
    files: TableFiles = field(metadata=INLINE)
    subtasks: tuple[SubtaskRow, ...] = field(metadata=told_as(shown))
    """In the game's order."""
