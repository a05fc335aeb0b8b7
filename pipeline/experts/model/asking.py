"""Questions put one by one, many at a time: reserved, asked, settled, kept."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from anthropic import AsyncAnthropic

from pipeline.experts.budget import Spending, Spent, cost
from pipeline.experts.model.client import QuestionFailed, Reply, ask, count_tokens, scrubbed
from pipeline.experts.model.estimate import Estimate, countable
from pipeline.experts.model.kept import Kept, KeptAnswers
from pipeline.experts.model.meaning import meaning
from pipeline.experts.model.prompt import Prompt, Question
from pipeline.settings.expert_fields import ExpertSettings
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError, printable

CARRY_ON = "the answers are kept; run the same command again to continue"
# So many failures in a row, and one more for each question under way: then something is wrong that
# the next question does not fix.
FAILURES = 9
# Seconds between looks at a question that another process is asking, at first and later; and after
# which the wait is told of.
LOOK, LATER, PATIENCE = 0.05, 1.0, 2.0


@dataclass(frozen=True)
class Desk:
    """What all ways of asking share."""

    settings: ExpertSettings
    buttons: tuple[str, ...]
    prompt: Prompt
    kept: KeptAnswers
    spending: Spending
    estimate: Estimate

    def read(self, reply: Reply, client: AsyncAnthropic, *, batch: bool) -> tuple[Kept, bool]:
        """What an answer comes to, with its cost, and whether to keep it."""
        told = meaning(reply, self.buttons)
        note = scrubbed(told.note, client)
        dollars = cost(reply.usage, self.settings.model.prices, batch=batch)
        kept = Kept(
            told.status, told.button, note, reply.usage, dollars, reply.attempts, batch,
            self.settings.model.max_tokens if told.cut else None, reply.request_id,
        )  # fmt: skip
        return kept, told.lasts

    def worst(self, question: Question, *, batch: bool = False) -> Spent:
        """The most that a question may cost."""
        usage = self.estimate.worst(question)
        return self.spending.worst(usage, labels=1, batch=batch)

    async def calibrate(self, client: AsyncAnthropic, question: Question) -> None:
        """Have one question counted by the provider, where a limit makes it worth the while."""
        limits = self.settings.budget
        if self.estimate.counted or (limits.dollars is None and limits.tokens is None):
            return
        request = countable(self.prompt.request(question, cached=False))
        tokens = await count_tokens(client, request)
        if tokens is not None:
            self.estimate.calibrate(question, tokens)


class Asking:
    """Asks with bounded concurrency; ``stopped`` says why it asks no more."""

    def __init__(self, desk: Desk, client: AsyncAnthropic) -> None:
        self.stopped: str | None = None
        self._desk = desk
        self._client = client
        self._failures = 0
        self._primed = False
        self._waited_for: set[str] = set()

    async def ask_each(
        self, source: Iterator[Question], count: int, given: dict[str, Kept]
    ) -> None:
        """Put ``count`` questions and fill ``given`` by their keys; those left out were not put.

        The first goes alone: the others then find the instructions in the provider's cache,
        instead of paying for writing them, each for itself.
        """
        cached = self._desk.settings.model.cache and (count > 1 or self._primed)
        first = next(source, None)
        if first is None:
            return
        await self._desk.calibrate(self._client, first)
        if cached and not self._primed:
            await self._work(iter([first]), given, cached=cached)
            self._primed = True
        else:
            source = chain([first], source)
        workers = min(self._desk.settings.model.concurrency, count)
        # Where one ends in an error, the others still take in what they asked for: it is paid for.
        ends = await asyncio.gather(
            *(self._work(source, given, cached=cached) for _ in range(workers)),
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _work(
        self, source: Iterator[Question], given: dict[str, Kept], *, cached: bool
    ) -> None:
        while self.stopped is None:
            question = next(source, None)
            if question is None:
                return
            try:
                kept = await self._others(question) or await self._put(question, cached=cached)
            except PipelineError as error:
                self.stopped = str(error)
                raise
            if kept is not None:
                given[question.key] = kept

    async def _others(self, question: Question) -> Kept | None:
        """Claim the question; or the answer to it that another process asked for meanwhile."""
        desk, began = self._desk, time.monotonic()
        while True:
            holder = desk.kept.claim(question.key)
            claimed = holder is None
            # Looked for after the claim: the other may have been done just before it.
            found = desk.kept.find([question.key], desk.buttons, desk.settings.model.max_tokens)
            if found and claimed:
                desk.kept.release(question.key)
            if found:
                return found[question.key]
            if holder is None:
                return None
            long = time.monotonic() - began > PATIENCE
            if long and holder and holder not in self._waited_for:
                self._waited_for.add(holder)
                who = desk.kept.leases.holder(holder)
                line = f"waiting for answers to the same questions, which are asked by {who}"
                print(printable(line), file=sys.stderr, flush=True)
            await asyncio.sleep(LATER if long else LOOK)

    async def _put(self, question: Question, *, cached: bool) -> Kept | None:
        desk = self._desk
        kept = False
        try:
            worst = desk.worst(question)
            if self.stopped is not None or not await desk.spending.reserve(worst):
                self.stopped = self.stopped or f"{desk.spending.stopped}; {CARRY_ON}"
                return None
            actual: Spent | None = None
            try:
                request = desk.prompt.request(question, cached=cached)
                reply = await ask(self._client, request, timeout=desk.settings.expert.timeout)
                answer, kept = desk.read(reply, self._client, batch=False)
                actual = Spent(answer.dollars, reply.usage.tokens, 1)
            except QuestionFailed as failed:
                answer = Kept(failed.status, None, failed.reason, attempts=failed.attempts)
                actual = None if failed.paid else Spent(labels=1)
            finally:
                desk.spending.settle(worst, actual)
            if kept:
                desk.kept.keep(question.key, answer)
        finally:
            if not kept:
                desk.kept.release(question.key)
        self._note(answer)
        return answer

    def _note(self, answer: Kept) -> None:
        if answer.status not in (LabelStatus.FAILED, LabelStatus.TIMED_OUT):
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= FAILURES + self._desk.settings.model.concurrency:
            self.stopped = (
                f"{self._failures} questions in a row failed, the last one with: {answer.note}; "
                f"{CARRY_ON}"
            )
