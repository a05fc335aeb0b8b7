"""What programs would cost at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from pipeline.experts.authoring.correspondence import FEWEST_BYTES, most_usage
from pipeline.experts.budget import Spending, Spent, Usage
from pipeline.settings.reading import Settings

if TYPE_CHECKING:  # the SDK takes a second
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

# A retry shows two attempts: of each the program, max_tokens at most, and two episodes in steps.
SHOWN_ATTEMPTS = 2
STORIES_BYTES = 16_000


class Cost(TypedDict):
    """What some questions take at most."""

    questions: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    """None without prices."""


class MilestoneCost(Cost):
    """What a milestone takes at most."""

    milestone: str


class Forecast(Cost):
    """What all milestones together take at most."""

    up_to_date: bool
    """Nothing would be asked."""
    estimate: str
    """How tokens were counted."""
    stopped_by: str | None
    """The limit of the budget that would end it before."""
    milestones: list[MilestoneCost]


def forecast(
    settings: Settings,
    requests: Mapping[str, MessageCreateParamsNonStreaming],
    asked: Mapping[str, int],
) -> Forecast:
    """The worst case, by milestone and in all.

    Args:
        requests: by milestone without a program, what the first attempt at it would send.
        asked: by milestone, attempts that are on disk already.
    """
    author, prices = settings.author, settings.model.prices
    spending = Spending(settings.budget, prices)
    rows: list[MilestoneCost] = []
    total = Usage()
    for name, request in requests.items():
        rounds = max(0, author.attempts - asked.get(name, 0))
        first = most_usage(request)
        later = first + _shown(author.max_tokens)
        usage = Usage()
        for number in range(rounds):
            for _ in range(author.candidates):
                usage = usage + (first if number == 0 and not asked.get(name) else later)
        total = total + usage
        rows.append({"milestone": name, **_row(spending, rounds * author.candidates, usage)})
    questions = sum(row["questions"] for row in rows)
    spending.reserve_now(spending.worst(total) if questions else Spent())
    return {
        "up_to_date": not questions,
        "estimate": "at most; input tokens by the size of the prompts",
        **_row(spending, questions, total),
        "stopped_by": spending.stopped,
        "milestones": rows,
    }


def _row(spending: Spending, questions: int, usage: Usage) -> Cost:
    dollars = spending.worst(usage).dollars if spending.prices is not None else None
    return {
        "questions": questions,
        "input_tokens": usage.read,
        "output_tokens": usage.output_tokens,
        "dollars": dollars,
    }


def _shown(max_tokens: int) -> Usage:
    """What the evidence of two attempts adds to a prompt."""
    return Usage(input_tokens=SHOWN_ATTEMPTS * (max_tokens + STORIES_BYTES // FEWEST_BYTES))
