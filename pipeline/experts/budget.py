"""What a model's answers cost, and the limits on what a command may spend on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.settings.expert_fields import Budget, Prices
from pipeline.system.errors import PipelineError

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


class Book:
    """A sum of what is spent and set aside: this one for as long as its object lives.

    Args:
        now: Unix seconds.
    """

    lost: str | None = None
    """Why nothing may be spent any more, whatever the limits: nobody knows the sum."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._total = Spent()
        self._began = now()

    def total(self) -> tuple[Spent, float]:
        """The sum, and since when it is kept, in Unix seconds."""
        return self._total, self._began

    def take(self, worst: Spent, limits: Budget) -> bool:
        """Add ``worst``, unless the sum would then pass a limit."""
        fits = beyond(self._total + worst, limits) is None
        if fits:
            self._total = self._total + worst
        return fits

    def change(self, by: Spent) -> None:
        self._total = self._total + by


def beyond(total: Spent, limits: Budget) -> str | None:
    """The limit that ``total`` passes: dollars, tokens or labels."""
    # Sums of dollars are not exact.
    if limits.dollars is not None and total.dollars > limits.dollars + 1e-9:
        return "dollars"
    if limits.tokens is not None and total.tokens > limits.tokens:
        return "tokens"
    if limits.labels is not None and total.labels > limits.labels:
        return "labels"
    return None


class Spending:
    """Counts what is spent and refuses what might go beyond a limit.

    Before each question its worst case is reserved; after it the reservation is settled at what
    the answer really cost. So the limits hold whatever is under way at the time, as far as the
    worst cases are ones. For one event loop, or one thread.

    Args:
        limits: those of ``settings.budget``; one that is None never stops anything.
        prices: of ``settings.model.prices``.
        book: where the sum is kept; one that others share makes the limits theirs too.
        now: Unix seconds, for the limit in minutes, which counts from the book's beginning.

    Raises:
        PipelineError: a limit in dollars, but no prices to count them with.
    """

    def __init__(
        self,
        limits: Budget,
        prices: Prices | None,
        book: Book | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if limits.dollars is not None and prices is None:
            raise PipelineError(
                "budget.dollars is set, but what a token costs is not; give model.prices.input "
                "and model.prices.output, in dollars for a million tokens"
            )
        self.limits = limits
        self.prices = prices
        self.spent = Spent()
        """By this object alone."""
        self.under_way = Spent()
        """What is reserved."""
        self.stopped: str | None = None
        """Which limit refused a question, with what was spent; None while none has."""
        self._book = Book(now) if book is None else book
        self._questions = 0
        self._now = now
        self._waiting: list[asyncio.Future[None]] = []

    def worst(self, usage: Usage, *, labels: int = 0, batch: bool = False) -> Spent:
        """What ``usage`` comes to at these prices, to be reserved."""
        return Spent(cost(usage, self.prices, batch=batch), usage.tokens, labels)

    def reserve_now(self, worst: Spent) -> bool:
        """Set ``worst`` aside, or say why not in ``stopped`` and return False."""
        if self._late() or not self._book.take(worst, self.limits):
            self.stopped = self._reason(worst)
            return False
        self.under_way = self.under_way + worst
        self._questions += 1
        return True

    async def reserve(self, worst: Spent) -> bool:
        """As ``reserve_now``, but wait for what is under way if its worst case alone forbids it."""
        while not self.reserve_now(worst):
            total, _ = self._book.total()
            if (
                not self._questions
                or self._book.lost is not None
                or self._late()
                or beyond(total - self.under_way + worst, self.limits) is not None
            ):
                return False
            self.stopped = None
            settled = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled
        return True

    def settle(self, worst: Spent, actual: Spent | None) -> None:
        """Give back what was reserved and count what was spent.

        ``actual`` is None where nobody knows: a question that broke off may have been paid for, so
        it counts with its worst case.
        """
        actual = worst if actual is None else actual
        self._book.change(actual - worst)
        self.under_way = self.under_way - worst
        self.spent = self.spent + actual
        self._questions -= 1
        waiting, self._waiting = self._waiting, []
        for settled in waiting:
            if not settled.done():
                settled.set_result(None)

    def _minutes(self) -> float:
        return (self._now() - self._book.total()[1]) / 60

    def _late(self) -> bool:
        return self.limits.minutes is not None and self._minutes() >= self.limits.minutes

    def _reason(self, worst: Spent) -> str:
        limits = self.limits
        if self._book.lost is not None:
            return self._book.lost
        if self._late():
            return f"budget.minutes is {limits.minutes:g}: {self._minutes():.1f} are over"
        spent = self._book.total()[0] - self.under_way
        passed = beyond(spent + self.under_way + worst, limits)
        if passed == "dollars":
            return (
                f"budget.dollars is {limits.dollars:g}: {spent.dollars:.4f} are spent and the next "
                f"question may cost {worst.dollars:.4f}"
            )
        if passed == "tokens":
            return (
                f"budget.tokens is {limits.tokens}: {spent.tokens} are spent and the next question "
                f"may take {worst.tokens}"
            )
        return f"budget.labels is {limits.labels}: {spent.labels} questions were put"
