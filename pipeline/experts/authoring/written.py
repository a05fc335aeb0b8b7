"""The content of the JSON files in an author's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Union

if TYPE_CHECKING:  # the SDK takes a second
    from anthropic.types import ImageBlockParam, TextBlockParam

Block = Union["TextBlockParam", "ImageBlockParam"]
"""A part of a message: text or an image."""


class Answer(TypedDict):
    """``answer.json``: all that a model said to one question, and what that cost."""

    text: str
    stop_reason: str
    explanation: str
    """Of a refusal; else empty."""
    model: str
    request_id: str | None
    questions: int
    """How often the question was put, the SDK's repeats included."""
    input_tokens: int
    output_tokens: int
    usage: dict[str, int]
    """Tokens by kind, as `pipeline.experts.budget.Usage` has them."""
    dollars: float | None
    """None without prices."""
    seconds: float
    blocks: list[dict[str, object]]
    """All content blocks as the API gave them."""


class Evidence(TypedDict):
    """``evidence.json``: what the next prompt shows of an attempt."""

    summary: str
    """One line."""
    blocks: list[Block]


class TryRow(TypedDict):
    """An episode in ``result.json``."""

    seed: int
    reached: bool
    steps: int


class FailedTryRow(TryRow):
    """An episode that did not reach the milestone."""

    reason: str


class Result(TypedDict):
    """``result.json``: how an attempt's program did, or why it could not be tried."""

    mark: str
    """What the result depends on; under another one the program is tried again."""
    sha256: str | None
    """Of the program; None where the answer holds none."""
    model: str
    input_tokens: int
    output_tokens: int
    dollars: float | None
    accept: float
    """The rate that was asked for, in [0, 1]."""
    accepted: bool
    reason: str | None
    """Why the answer or the program is of no use; None where it could be tried."""
    episodes: int
    reached: int
    success_rate: float
    success_low: float
    success_high: float
    """Wilson interval of the rate, 95 %."""
    median_steps: float | None
    """Of the episodes that reached the milestone."""
    asked_again: int
    """States that were put to it once more, out of order."""
    answered_otherwise: int
    """How many of them it answered otherwise."""
    tries: list[TryRow]


class AttemptsCost(TypedDict):
    """What all attempts at a milestone took."""

    attempts: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """None where no answer had a price."""


class MilestoneRow(AttemptsCost):
    """A milestone."""

    milestone: str
    accepted: bool
    program: str | None
    """Name of the attempt."""
    success_rate: float | None
    success_low: float | None
    success_high: float | None
    median_steps: float | None


class ProgramRow(MilestoneRow):
    """A milestone with a program, as ``expert.json`` has it."""

    sha256: str | None
    model: str


class Whole(TypedDict):
    """How the joined program did, in ``expert.json``."""

    success_rate: float
    success_low: float
    success_high: float
    median_steps: float | None
    mark: str
    """What that depends on."""


class StartRow(TypedDict):
    """A start state in ``starts.json``."""

    file: str
    seed: int
    steps: int
    sha256: str
