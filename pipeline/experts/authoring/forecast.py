"""What programs would cost at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.experts.authoring.correspondence import FEWEST_BYTES, most_usage
from pipeline.experts.budget import Spending, Spent, Usage
from pipeline.settings.reading import Settings

# A retry shows two attempts: of each the program, max_tokens at most, and two episodes in steps.
SHOWN_ATTEMPTS = 2
STORIES_BYTES = 16_000


def forecast(
    settings: Settings, requests: Mapping[str, Mapping[str, Any]], asked: Mapping[str, int]
) -> dict[str, Any]:
    """The worst case, by milestone and in all.

    Args:
        requests: by milestone without a program, what the first attempt at it would send.
        asked: by milestone, attempts that are on disk already.

    Returns:
        ``questions``, ``input_tokens``, ``output_tokens`` and ``dollars`` (None without prices)
        at most; ``stopped_by``, the limit of the budget that would end it before.
    """
    author, prices = settings.author, settings.model.prices
    spending = Spending(settings.budget, prices)
    rows, total = [], Usage()
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


def _row(spending: Spending, questions: int, usage: Usage) -> dict[str, Any]:
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
