"""What answers cost, and limits that hold whatever is under way."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.experts.budget import Spending, Spent, Usage, cost
from pipeline.settings.expert_fields import Budget, Prices
from pipeline.system.errors import PipelineError

PRICES = Prices(input=4, output=20)


def test_each_kind_of_token_has_its_price() -> None:
    assert cost(Usage(1_000_000), PRICES) == 4
    assert cost(Usage(0, 1_000_000), PRICES) == 20
    assert cost(Usage(cache_write_tokens=1_000_000), PRICES) == 5
    assert cost(Usage(cache_read_tokens=1_000_000), PRICES) == pytest.approx(0.4)
    assert cost(Usage(1_000_000, 1_000_000), PRICES, batch=True) == 12
    named = Prices(input=4, output=20, cache_write=7, cache_read=1, batch=0.25)
    assert cost(Usage(0, 0, 1_000_000, 1_000_000), named, batch=True) == 2
    assert cost(Usage(1_000_000), None) == 0


def test_dollars_without_prices_are_refused() -> None:
    with pytest.raises(PipelineError) as caught:
        Spending(Budget(dollars=1), None)
    assert str(caught.value) == (
        "budget.dollars is set, but what a token costs is not; give model.prices.input and "
        "model.prices.output, in dollars for a million tokens"
    )


def test_no_limits_never_stop() -> None:
    spending = Spending(Budget(), None)
    assert all(spending.reserve_now(Spent(1e9, 10**9, 10**9)) for _ in range(3))
    assert spending.stopped is None


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        (
            Budget(dollars=0.05),
            "budget.dollars is 0.05: 0.0200 are spent and the next question may cost 0.0400",
        ),
        (
            Budget(tokens=2500),
            "budget.tokens is 2500: 1000 are spent and the next question may take 2000",
        ),
        (Budget(labels=1), "budget.labels is 1: 1 questions were put"),
    ],
)
def test_the_worst_case_of_the_next_question_counts(limits: Budget, line: str) -> None:
    spending = Spending(limits, PRICES)
    worst = spending.worst(Usage(0, 2000), labels=1)
    assert spending.reserve_now(worst)
    spending.settle(worst, spending.worst(Usage(0, 1000), labels=1))
    assert not spending.reserve_now(worst)
    assert spending.stopped == line


def test_minutes_are_those_since_the_beginning() -> None:
    now = [100.0]
    spending = Spending(Budget(minutes=2), None, now=lambda: now[0])
    assert spending.reserve_now(Spent())
    now[0] += 125
    assert not spending.reserve_now(Spent())
    assert spending.stopped == "budget.minutes is 2: 2.1 are over"


def test_what_nobody_knows_counts_with_its_worst() -> None:
    spending = Spending(Budget(tokens=100), None)
    worst = spending.worst(Usage(0, 60))
    assert spending.reserve_now(worst)
    spending.settle(worst, None)
    assert spending.spent.tokens == 60
    assert not spending.reserve_now(worst)


def test_many_at_once_never_go_beyond_a_limit_and_use_it_up() -> None:
    async def go() -> tuple[Spending, int, int]:
        spending = Spending(Budget(tokens=1000), None)
        worst, most, answered = Spent(0, 100, 1), 0, 0

        async def question() -> None:
            nonlocal most, answered
            if not await spending.reserve(worst):
                return
            most = max(most, spending.spent.tokens + spending.under_way.tokens)
            await asyncio.sleep(0.001)
            spending.settle(worst, Spent(0, 20, 1))
            answered += 1

        await asyncio.gather(*(question() for _ in range(100)))
        return spending, most, answered

    spending, most, answered = asyncio.run(go())
    assert most <= 1000
    # A question more might have taken 100 of the 80 that are left.
    assert (answered, spending.spent.tokens) == (46, 920)
    assert spending.stopped is not None
