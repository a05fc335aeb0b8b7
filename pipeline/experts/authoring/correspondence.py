"""Asking a model for programs, several at a time; a paid answer is on disk before it is read."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from time import perf_counter
from typing import cast

from anthropic import AsyncAnthropic
from anthropic.types import Base64ImageSourceParam
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from PIL import Image

from pipeline.experts.authoring.attempts import Attempt
from pipeline.experts.authoring.written import Answer, Block
from pipeline.experts.budget import Spending, Spent, Usage
from pipeline.experts.model.client import QuestionFailed, Reply, ask
from pipeline.settings.reading import Settings

# Bytes of text to a token: the tables of numbers in a state have about 2, words and code 3 to 4.
# For a worst case, so that few questions cost more than what was set aside for them.
FEWEST_BYTES = 2
PIXELS = 750
OVERHEAD = 200


def ask_all(
    client: AsyncAnthropic,
    settings: Settings,
    spending: Spending,
    request: MessageCreateParamsNonStreaming,
    attempts: Sequence[Attempt],
) -> str | None:
    """Ask for one program an attempt, all at once, and write ``prompt`` and ``answer`` of each.

    Args:
        client: used and closed.

    Returns:
        Why some attempts have no answer (a limit of the budget, or the service), None if all have.

    Raises:
        PipelineError: the service refuses the key, the model or the account.
    """
    for attempt in attempts:
        attempt.write("prompt", request)
    return asyncio.run(_ask_all(client, settings, spending, request, attempts))


async def _ask_all(
    client: AsyncAnthropic,
    settings: Settings,
    spending: Spending,
    request: MessageCreateParamsNonStreaming,
    attempts: Sequence[Attempt],
) -> str | None:
    slots = asyncio.Semaphore(settings.model.concurrency)

    async def one(attempt: Attempt) -> str | None:
        async with slots:
            return await _ask(client, settings, spending, request, attempt)

    async with client:
        # All are waited for, whatever becomes of one: they are paid for.
        told = await asyncio.gather(*(one(attempt) for attempt in attempts), return_exceptions=True)
    for outcome in told:
        if isinstance(outcome, BaseException):
            raise outcome
    return next((outcome for outcome in told if isinstance(outcome, str)), None)


async def _ask(
    client: AsyncAnthropic,
    settings: Settings,
    spending: Spending,
    request: MessageCreateParamsNonStreaming,
    attempt: Attempt,
) -> str | None:
    worst = spending.worst(most_usage(request))
    if not await spending.reserve(worst):
        return spending.stopped
    started, actual = perf_counter(), None
    try:
        reply = await ask(client, request, timeout=settings.author.timeout)
        actual = spending.worst(reply.usage)
        dollars = actual.dollars if spending.prices is not None else None
        attempt.write("answer", _answer(reply, dollars, perf_counter() - started))
    except QuestionFailed as failed:
        actual = None if failed.paid else Spent()
        return f"the model gave no answer ({failed.reason})"
    finally:
        spending.settle(worst, actual)
    return None


def _answer(reply: Reply, dollars: float | None, seconds: float) -> Answer:
    return {
        "text": reply.text,
        "stop_reason": reply.stop_reason,
        "explanation": reply.explanation,
        "model": reply.message.model,
        "request_id": reply.request_id,
        "questions": reply.attempts,
        "input_tokens": reply.usage.read,
        "output_tokens": reply.usage.output_tokens,
        "usage": asdict(reply.usage),
        "dollars": dollars,
        "seconds": round(seconds, 3),
        "blocks": reply.blocks,
    }


def most_usage(request: MessageCreateParamsNonStreaming) -> Usage:
    """The tokens that a question may take: all of its input written to the cache, if it is used."""
    read = OVERHEAD
    cached = False
    (message,) = request["messages"]
    told = cast("list[Block]", request["system"]), cast("list[Block]", message["content"])
    for block in chain(*told):
        cached = cached or "cache_control" in block
        read += _size(block)
    most = int(request["max_tokens"])
    if cached:
        return Usage(output_tokens=most, cache_write_tokens=read)
    return Usage(input_tokens=read, output_tokens=most)


def _size(block: Block) -> int:
    if block["type"] == "text":
        return -(-len(block["text"].encode()) // FEWEST_BYTES)
    source = cast("Base64ImageSourceParam", block["source"])
    picture = Image.open(io.BytesIO(base64.b64decode(str(source["data"]))))
    return -(-picture.width * picture.height // PIXELS)
