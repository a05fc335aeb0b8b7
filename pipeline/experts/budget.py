"""What a model's answers cost, and the limits on what a command may spend on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import PipelineError
from pipeline.settings import Budget, Prices

MILLION = 1_000_000
# Of the price of input, where model.prices does not say: the provider's usual ones.
CACHE_WRITE, CACHE_READ = 1.25, 0.1


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer or of many; the four kinds have prices of their own."""

    input_tokens: int = 0
    """Without those of the provider's cache."""
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
        )

    @property
    def read(self) -> int:
        """All that the model read, from the cache or not."""
        return self.input_tokens + self.cache_write_tokens + self.cache_read_tokens

    @property
    def tokens(self) -> int:
        return self.read + self.output_tokens


def cost(usage: Usage, prices: Prices | None, *, batch: bool = False) -> float:
    """Dollars; 0 where no prices are set.

    Args:
        batch: whether the answer came through the Message Batches API.
    """
    if prices is None:
        return 0.0
    write = CACHE_WRITE * prices.input if prices.cache_write is None else prices.cache_write
    read = CACHE_READ * prices.input if prices.cache_read is None else prices.cache_read
    dollars = (
        usage.input_tokens * prices.input
        + usage.output_tokens * prices.output
        + usage.cache_write_tokens * write
        + usage.cache_read_tokens * read
    ) / MILLION
    return dollars * (prices.batch if batch else 1.0)


@dataclass(frozen=True)
class Spent:
    """Dollars, tokens and questions: spent, or set aside for what is under way."""

    dollars: float = 0.0
    tokens: int = 0
    labels: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.dollars + other.dollars, self.tokens + other.tokens, self.labels + other.labels
        )

    def __sub__(self, other: Spent) -> Spent:
        return Spent(
            self.dollars - other.dollars, self.tokens - other.tokens, self.labels - other.labels
        )


class Spending:
    """Counts what is spent and refuses what might go beyond a limit.

    Before each question its worst case is reserved; after it the reservation is settled at what
    the answer really cost. So the limits hold whatever is under way at the time, as far as the
    worst cases are ones. For one event loop, or one thread.

    Args:
        limits: those of ``settings.budget``; one that is None never stops anything.
        prices: of ``settings.model.prices``.
        clock: seconds, for the limit in minutes, which counts from now on.

    Raises:
        PipelineError: a limit in dollars, but no prices to count them with.
    """

    def __init__(
        self,
        limits: Budget,
        prices: Prices | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if limits.dollars is not None and prices is None:
            raise PipelineError(
                "budget.dollars is set, but what a token costs is not; give model.prices.input "
                "and model.prices.output, in dollars for a million tokens"
            )
        self.limits = limits
        self.prices = prices
        self.spent = Spent()
        self.stopped: str | None = None
        """Which limit refused a question, with what was spent; None while none has."""
        self.under_way = Spent()
        """What is reserved."""
        self._questions = 0
        self._clock = clock
        self._started = clock()
        self._waiting: list[asyncio.Future[None]] = []

    def worst(self, usage: Usage, *, labels: int = 0, batch: bool = False) -> Spent:
        """What ``usage`` comes to at these prices, to be reserved."""
        return Spent(cost(usage, self.prices, batch=batch), usage.tokens, labels)

    def reserve_now(self, worst: Spent) -> bool:
        """Set ``worst`` aside, or say why not in ``stopped`` and return False."""
        reason = self._beyond(self.spent + self.under_way + worst, worst)
        if reason is not None:
            self.stopped = reason
            return False
        self._take(worst)
        return True

    async def reserve(self, worst: Spent) -> bool:
        """As ``reserve_now``, but wait for what is under way if its worst case alone forbids it."""
        while self._beyond(self.spent + self.under_way + worst, worst) is not None:
            reason = self._beyond(self.spent + worst, worst)
            if reason is not None or not self._questions:
                self.stopped = reason
                return False
            settled = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled
        self._take(worst)
        return True

    def settle(self, worst: Spent, actual: Spent | None) -> None:
        """Give back what was reserved and count what was spent.

        ``actual`` is None where nobody knows: a question that broke off may have been paid for, so
        it counts with its worst case.
        """
        self.under_way = self.under_way - worst
        self._questions -= 1
        self.spent = self.spent + (worst if actual is None else actual)
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)

    def _take(self, worst: Spent) -> None:
        self.under_way = self.under_way + worst
        self._questions += 1

    def _beyond(self, total: Spent, worst: Spent) -> str | None:
        limits, spent = self.limits, self.spent
        if limits.dollars is not None and total.dollars > limits.dollars:
            return (
                f"budget.dollars is {limits.dollars:g}: {spent.dollars:.4f} are spent and the next "
                f"question may cost {worst.dollars:.4f}"
            )
        if limits.tokens is not None and total.tokens > limits.tokens:
            return (
                f"budget.tokens is {limits.tokens}: {spent.tokens} are spent and the next question "
                f"may take {worst.tokens}"
            )
        if limits.labels is not None and total.labels > limits.labels:
            return f"budget.labels is {limits.labels}: {spent.labels} questions were put"
        minutes = (self._clock() - self._started) / 60
        if limits.minutes is not None and minutes >= limits.minutes:
            return f"budget.minutes is {limits.minutes:g}: {minutes:.1f} are over"
        return None
