"""The one place that talks to the Messages API: a client from settings, one question, its errors.

The key comes from the environment alone and goes into the client alone: no text that leaves this
file holds it.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import anthropic
import anyio
import httpx2
from anthropic import AsyncAnthropic
from anthropic.types import Message, MessageCountTokensParams
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from pipeline.experts.budget import Usage
from pipeline.settings.expert_fields import ExpertSettings
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError, printable

__all__ = ["QuestionFailed", "Reply", "Usage", "ask", "model_name", "open_client", "reply_of"]

KEY, TOKEN = "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"
ADDRESS, HEADERS = "ANTHROPIC_BASE_URL", "ANTHROPIC_CUSTOM_HEADERS"
LONGEST_REASON = 200
NO_MESSAGE = "the server's answer is not a message"


@dataclass(frozen=True)
class Reply:
    """An answer that was paid for, whether it is of use or not."""

    text: str
    """The text blocks, joined; thoughts are none of them."""
    message: Message
    usage: Usage
    request_id: str | None
    attempts: int
    """How often the question was put, the SDK's repeats included."""

    @property
    def stop_reason(self) -> str:
        """``end_turn``, ``refusal``, ``max_tokens``, ``model_context_window_exceeded`` ..."""
        return self.message.stop_reason or "end_turn"

    @property
    def explanation(self) -> str:
        """Of a refusal, where the API gives one."""
        details = getattr(self.message, "stop_details", None)
        return (details.explanation or "") if details is not None else ""

    @property
    def blocks(self) -> list[dict[str, object]]:
        """All content blocks, as JSON; thoughts come first where the model thinks."""
        return [block.model_dump(mode="json") for block in self.message.content]


class QuestionFailed(Exception):
    """One question got no answer; others may get one.

    ``status`` is FAILED or TIMED_OUT; ``paid`` says whether it may have been paid for all the same.
    """

    def __init__(self, status: LabelStatus, reason: str, attempts: int, paid: bool) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.attempts = attempts
        self.paid = paid


def model_name(settings: ExpertSettings) -> str:
    """The model's id.

    Raises:
        PipelineError: none is set.
    """
    if not settings.model.name:
        raise PipelineError(
            "model.name is not set; give the id of a model, as the provider lists it, "
            "with --model.name"
        )
    return settings.model.name


def open_client(settings: ExpertSettings, timeout: float) -> AsyncAnthropic:
    """The SDK's client, with the key of the environment; close it.

    Args:
        timeout: seconds without a sign from the server, for one attempt.

    Raises:
        PipelineError: the environment holds no key, or none that can be one, or an address with
            a password.
    """
    key, token = _secret(KEY), _secret(TOKEN)
    if key is None and token is None:
        raise PipelineError(
            f"the environment holds no key; set {KEY} (or {TOKEN}) before asking a model"
        )
    if "@" in os.environ.get(ADDRESS, ""):
        raise PipelineError(
            f"{ADDRESS} holds a user name or a password, which would be sent in place of the key, "
            f"and logged; what a proxy wants to know goes into {HEADERS}"
        )
    return AsyncAnthropic(
        api_key=key,
        auth_token=token if key is None else None,
        base_url=settings.model.base_url,
        timeout=timeout,
        max_retries=settings.model.retries,
        middleware=[_count_attempts],
    )


def has_key() -> bool:
    """Whether the environment holds something to ask with."""
    return _secret(KEY) is not None or _secret(TOKEN) is not None


def _secret(name: str) -> str | None:
    secret = os.environ.get(name, "").strip()
    if not secret:
        return None
    if not (secret.isascii() and secret.isprintable()) or " " in secret:
        raise PipelineError(
            f"{name} holds a space, a line break or another character that no key has; set it again"
        )
    return secret


_attempts: ContextVar[list[int]] = ContextVar("attempts")
"""Of the question that the running task puts; the SDK tells it only of answers."""


async def _count_attempts(request: Any, call_next: Any) -> Any:
    counted = _attempts.get(None)
    if counted is not None:
        counted[0] += 1
    return await call_next(request)


async def ask(
    client: AsyncAnthropic, request: MessageCreateParamsNonStreaming, *, timeout: float
) -> Reply:
    """Put one question: ``request`` is what ``messages.create`` takes.

    The SDK repeats it after 408, 409, 429, 5xx and a broken connection, within ``timeout`` seconds
    in all.

    Raises:
        QuestionFailed: this question got no answer.
        PipelineError: no question would get one: the key, the model or the account is refused.
    """
    counted = [0]
    _attempts.set(counted)
    try:
        # Not asyncio's wait_for, which may swallow an interrupt in Python 3.11 and before.
        with anyio.fail_after(timeout):
            message = await client.messages.create(**request, timeout=timeout)
        return reply_of(message, counted[0])
    except (TimeoutError, anthropic.APITimeoutError):
        reason = f"no answer in {timeout:g} s"
        raise QuestionFailed(LabelStatus.TIMED_OUT, reason, counted[0], True) from None
    except anthropic.APIStatusError as error:
        fatal = fatal_error(error, client, str(request.get("model")))
        if fatal is not None:
            raise fatal from None
        reason = reason_of(error, client)
        raise QuestionFailed(LabelStatus.FAILED, reason, counted[0], False) from None
    except (anthropic.AnthropicError, ValueError) as error:
        # ValueError: a body that says it is JSON and is not. The errors' own texts are left out:
        # they may hold an address with a password in it.
        raise _broken(error, counted[0]) from None


def _broken(error: Exception, attempts: int) -> QuestionFailed:
    if isinstance(error.__cause__, httpx2.ConnectError):
        return QuestionFailed(LabelStatus.FAILED, "no connection to the server", attempts, False)
    if isinstance(error, anthropic.APIConnectionError):
        return QuestionFailed(LabelStatus.FAILED, "the connection broke", attempts, True)
    return QuestionFailed(LabelStatus.FAILED, NO_MESSAGE, attempts, True)


async def count_tokens(client: AsyncAnthropic, request: MessageCountTokensParams) -> int | None:
    """Input tokens of a request as the provider counts them, for nothing; None if it does not.

    Raises:
        PipelineError: the key, the model or the account is refused.
    """
    try:
        return (await client.messages.count_tokens(**request)).input_tokens
    except anthropic.APIStatusError as error:
        if error.status_code == 403:
            return None  # a key may be allowed to ask but not to count
        fatal = fatal_error(error, client, str(request.get("model")))
        if fatal is not None:
            raise fatal from None
        return None
    except (anthropic.AnthropicError, ValueError):
        return None


def reply_of(message: Message, attempts: int) -> Reply:
    """The parts of a message that count.

    Raises:
        QuestionFailed: it is none; the SDK does not check what the server sends.
    """
    try:
        text = "".join(block.text for block in message.content if block.type == "text")
        usage = Usage(
            message.usage.input_tokens or 0,
            message.usage.output_tokens or 0,
            message.usage.cache_creation_input_tokens or 0,
            message.usage.cache_read_input_tokens or 0,
        )
        return Reply(text, message, usage, getattr(message, "_request_id", None), attempts)
    except (AttributeError, TypeError):
        raise QuestionFailed(LabelStatus.FAILED, NO_MESSAGE, attempts, True) from None


def reason_of(error: anthropic.APIStatusError, client: AsyncAnthropic) -> str:
    """One line on an error of the API: its number, its type and its own words."""
    told = f"{error.status_code} {error.type or 'error'}: {error.api_message or 'no message'}"
    return scrubbed(told, client)[:LONGEST_REASON]


def fatal_error(
    error: anthropic.APIStatusError, client: AsyncAnthropic, model: str
) -> PipelineError | None:
    """The line to end with where no further question makes sense; None where one may."""
    told = reason_of(error, client)
    if error.status_code == 401:
        return PipelineError(
            f"the Messages API refuses the key ({told}); set a valid {KEY} (or {TOKEN})"
        )
    if error.status_code == 403:
        return PipelineError(
            f"the Messages API does not allow this key to ask {model} ({told}); set {KEY} to "
            "another one"
        )
    if error.status_code == 402 or error.type == "billing_error":
        return PipelineError(
            f"the Messages API asks for payment ({told}); add credit to the account and run the "
            "same command again"
        )
    if error.status_code == 404 and error.type == "not_found_error":
        return PipelineError(
            f"model.name: the Messages API has no model '{model}' ({told}); set it in the "
            "configuration, or with --model.name, to one that the provider lists"
        )
    if error.status_code == 404:
        return PipelineError(
            "model.base_url: what answers there is not the Messages API (404); fix it, or the "
            f"environment's {ADDRESS}"
        )
    return None


def scrubbed(text: str, client: AsyncAnthropic) -> str:
    """Printable, on one line, and without the secrets that were sent, should a server repeat them.

    Those are the client's key and the values of the environment's own headers.
    """
    headers = (line.partition(":")[2].strip() for line in os.environ.get(HEADERS, "").split("\n"))
    for secret in (client.api_key, client.auth_token, *headers):
        if secret:
            text = text.replace(secret, "***")
    return printable(" ".join(text.split()))
