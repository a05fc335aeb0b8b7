"""The Message Batches API: submit at half the price, leave, and collect with the same command."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator

import anthropic
from anthropic import AsyncAnthropic
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic.types.messages.batch_create_params import Request

from pipeline.experts.model.asking import CARRY_ON, Desk
from pipeline.experts.model.client import (
    LONGEST_REASON,
    QuestionFailed,
    fatal_error,
    reason_of,
    reply_of,
    scrubbed,
)
from pipeline.experts.model.kept import Kept
from pipeline.experts.model.prompt import Question
from pipeline.experts.model.under_way import Submitted, UnderWay
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError

COLLECT = "run the same command again to collect the answers"
# The provider takes 100,000 requests or 256 MB. Fewer bytes, as they lie in memory twice.
MOST_REQUESTS = 100_000
MOST_BYTES = 64_000_000
# Answers kept at a time while a batch is collected.
PORTION = 500
# Seconds by which the provider's clock may differ from ours, and a batch take to arrive.
SKEW = 900.0
# Seconds after which the provider has no results any more: 29 days, and one to be sure.
GONE = 30 * 86_400.0


class Batching:
    """Submits questions as batches and collects what became of those submitted earlier.

    Guaranteed: a question is in one batch at most, whenever a process is killed, as long as the
    provider lists its batches to the same key. A batch that was submitted by a process that died
    before it had the id is known by its number of questions and its time, and, when it is over, by
    its questions; until then, and until a submitter of another host must be dead (``lease``), its
    questions wait. Requests that create a batch are not repeated by the SDK, as one that broke off
    may have arrived.
    """

    def __init__(self, desk: Desk, client: AsyncAnthropic) -> None:
        self._desk = desk
        self._client = client
        self._under_way = UnderWay(desk.kept.database, desk.kept.leases)
        self._reasons: list[str] = []
        self._collected = False
        self._failed = False
        self._told: set[str] = set()
        self._wanted: set[str] = set()
        self._loose: dict[str, Kept] = {}

    @property
    def stopped(self) -> str | None:
        return "; ".join(self._reasons) or None

    def waiting(self, keys: Iterable[str]) -> set[str]:
        """Those of the questions that are under way in a batch."""
        batches, found = self._under_way.waiting(keys)
        for one in batches:
            if one.name in self._told or self._failed:
                continue
            self._told.add(one.name)
            if one.id is not None:
                self._say_under_way(one.id, one)
            elif self._under_way.is_at_work(one):
                self._reasons.append(
                    f"a batch with {one.questions} questions is being submitted by "
                    f"{self._under_way.submitter(one)}; {COLLECT}"
                )
            else:
                self._reasons.append(_unknown(one.questions))
        return found

    def _say_under_way(self, batch_id: str, submitted: Submitted) -> None:
        self._reasons.append(
            f"batch {batch_id} with {submitted.questions} questions is under way; {COLLECT}"
        )

    async def collect(self, missing: Iterable[str]) -> dict[str, Kept]:
        """Take in every batch that is over; the answers among them to the ``missing`` questions.

        Questions that expired or were canceled, and those that the server failed on, may be asked
        again; one that it refused as invalid is FAILED.
        """
        wanted = list(missing)
        self._wanted = set(wanted)
        open_ones = [] if self._collected else self._under_way.open_ones()
        self._collected = True
        try:
            for submitted in open_ones:
                await self._take_in(submitted)
        except anthropic.APIStatusError as error:
            fatal = fatal_error(error, self._client, str(self._desk.settings.model.name))
            if fatal is not None:
                raise fatal from None
            self._failed = True
            self._reasons.append(
                f"batches could not be collected ({self._reason(error)}); {COLLECT}"
            )
        except (anthropic.AnthropicError, ValueError):
            self._failed = True
            self._reasons.append(f"batches could not be collected (no connection); {COLLECT}")
        given = {key: self._loose[key] for key in wanted if key in self._loose}
        self._loose.update((key, one.free()) for key, one in given.items())
        desk = self._desk
        return (
            given
            if not open_ones
            else given | desk.kept.find(wanted, desk.buttons, desk.settings.model.max_tokens)
        )

    async def _take_in(self, submitted: Submitted) -> None:
        if submitted.id is None:
            if not self._under_way.take_over(submitted):
                return  # another process does
            try:
                await self._find_out(submitted)
            finally:
                self._under_way.let_go(submitted.name)
            return
        batch = await self._found(submitted)
        if batch is not None and batch.processing_status == "ended":
            await self._collect(batch, submitted)
            self._under_way.collected(submitted.name)

    async def _find_out(self, submitted: Submitted) -> None:
        """Settle a batch of which only the intention to submit it is recorded.

        Its size and time tell whether it arrived, and once it is over its questions do. Where the
        provider has no such batch, its questions are free again.
        """
        for batch in await self._listed(submitted):
            if batch.processing_status != "ended":
                self._told.add(submitted.name)
                if self._under_way.keys(submitted.name) & self._wanted:
                    self._say_under_way(batch.id, submitted)
                return
            if await self._collect(batch, submitted):
                self._under_way.submitted(submitted.name, batch.id)
                self._under_way.collected(submitted.name)
                return
        self._under_way.forget(submitted.name)

    async def _collect(self, batch: MessageBatch, submitted: Submitted) -> int:
        """Keep the answers of a batch that is over; how many of its questions are ours."""
        keys, ours = self._under_way.keys(submitted.name), 0
        answers: dict[str, Kept] = {}
        async for line in await self._client.messages.batches.results(batch.id):
            if line.custom_id not in keys:
                continue
            ours += 1
            self._read(line, answers)
            if len(answers) >= PORTION:
                self._desk.kept.keep_all(answers)
                answers = {}
        self._desk.kept.keep_all(answers)
        return ours

    def _read(self, line: MessageBatchIndividualResponse, answers: dict[str, Kept]) -> None:
        result = line.result
        if result.type == "succeeded":
            try:
                kept, lasts = self._desk.read(reply_of(result.message, 1), self._client, batch=True)
            except QuestionFailed as failed:
                kept, lasts = Kept(failed.status, None, failed.reason, attempts=1), False
            (answers if lasts else self._loose)[line.custom_id] = kept
        elif result.type == "errored" and result.error.error.type == "invalid_request_error":
            told = f"invalid_request_error: {result.error.error.message}"
            reason = scrubbed(told, self._client)[:LONGEST_REASON]
            self._loose[line.custom_id] = Kept(LabelStatus.FAILED, None, reason, attempts=1)

    async def _found(self, submitted: Submitted) -> MessageBatch | None:
        """The batch at the provider's; None where there is none, and its questions are free."""
        try:
            return await self._client.messages.batches.retrieve(str(submitted.id))
        except anthropic.NotFoundError:
            if time.time() - submitted.time > GONE:
                self._under_way.forget(submitted.name)
                return None
            raise PipelineError(
                f"batch {submitted.id} is not known to the Messages API (404); set the key that it "
                f"was submitted with, or, if it was deleted there, give its questions up with: "
                f"sqlite3 {self._desk.kept.database.path} "
                f"\"DELETE FROM under_way WHERE batch = '{submitted.name}'; "
                f"DELETE FROM batches WHERE name = '{submitted.name}'\""
            ) from None

    async def _listed(self, submitted: Submitted) -> list[MessageBatch]:
        """Batches that may be the one of which only the intention is known."""
        known, found = self._under_way.known_ids(), []
        async for batch in self._client.messages.batches.list(limit=100):
            created = batch.created_at.timestamp()
            if created < submitted.time - SKEW:
                break  # newest come first
            counts = batch.request_counts
            size = (
                counts.processing + counts.succeeded + counts.errored
                + counts.canceled + counts.expired
            )  # fmt: skip
            near = created <= submitted.time + SKEW
            if near and size == submitted.questions and batch.id not in known:
                found.append(batch)
        return found

    async def submit(self, source: Iterator[Question]) -> None:
        """Submit all questions, as many as the budget allows, in one batch or more."""
        first = next(source, None)
        if first is None:
            return
        await self._desk.calibrate(self._client, first)
        sent: list[tuple[str, int]] = []
        for chunk in self._chunks(first, source):
            batch_id = await self._create(chunk)
            if batch_id is None:
                break
            sent.append((batch_id, len(chunk)))
        if sent:
            names = ", ".join(batch_id for batch_id, _ in sent)
            count = sum(n for _, n in sent)
            ones = "batch" if len(sent) == 1 else "batches"
            be = "was" if len(sent) == 1 else "were"
            self._reasons.insert(
                0, f"{ones} {names} with {count} questions {be} submitted; {COLLECT}"
            )

    def _chunks(self, first: Question, source: Iterator[Question]) -> Iterator[list[Request]]:
        chunk: list[Request] = []
        size = 0
        following = next(source, None)
        # For one question alone nobody reads what it writes to the provider's cache.
        cached = self._desk.settings.model.cache and following is not None
        question: Question | None = first
        while question is not None:
            worst = self._desk.worst(question, batch=True)
            if not self._desk.spending.reserve_now(worst):
                self._reasons.append(f"{self._desk.spending.stopped}; {CARRY_ON}")
                break
            # What is submitted is paid for, by this command, whoever collects it.
            self._desk.spending.settle(worst, None)
            params = self._desk.prompt.request(question, cached=cached)
            request: Request = {"custom_id": question.key, "params": params}
            length = len(json.dumps(request)) + 2
            if chunk and (len(chunk) >= MOST_REQUESTS or size + length > MOST_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(request)
            size += length
            question, following = following, next(source, None)
        if chunk:
            yield chunk

    async def _create(self, chunk: list[Request]) -> str | None:
        name = self._under_way.intend([request["custom_id"] for request in chunk])
        self._told.add(name)
        client = self._client.with_options(max_retries=0)
        for attempt in range(self._desk.settings.model.retries + 1):
            if not self._under_way.is_ours(name):
                self._reasons.append(
                    f"a batch with {len(chunk)} questions was not submitted, as this process stood "
                    f"still and another one took them over; {COLLECT}"
                )
                return None
            try:
                batch = await client.messages.batches.create(requests=chunk)
                if not self._under_way.submitted(name, batch.id):
                    self._reasons.append(
                        f"batch {batch.id} cannot be recorded in "
                        f"{self._desk.kept.database.path}: if a later command submits its "
                        f"{len(chunk)} questions again, cancel this one"
                    )
                return batch.id
            except anthropic.APIStatusError as error:
                if error.status_code in (429, 529) and attempt < self._desk.settings.model.retries:
                    await asyncio.sleep(_pause(error, attempt))
                    continue
                if error.status_code >= 500 and error.status_code != 529:
                    break
                self._under_way.forget(name)
                fatal = fatal_error(error, self._client, str(self._desk.settings.model.name))
                if fatal is not None:
                    raise fatal from None
                self._reasons.append(
                    f"a batch with {len(chunk)} questions was refused ({self._reason(error)})"
                )
                return None
            except anthropic.APIConnectionError:
                break
        self._under_way.let_go(name)
        self._reasons.append(_unknown(len(chunk)))
        return None

    def _reason(self, error: anthropic.APIStatusError) -> str:
        return reason_of(error, self._client)


def _unknown(questions: int) -> str:
    return (
        f"it is not known whether a batch with {questions} questions arrived; run the same command "
        "again to find out, nothing is submitted twice"
    )


def _pause(error: anthropic.APIStatusError, attempt: int) -> float:
    """Seconds to wait: what the server asks for, or twice as long each time."""
    try:
        return float(error.response.headers["retry-after"])
    except (KeyError, ValueError):
        return float(min(0.5 * 2**attempt, 8.0))
