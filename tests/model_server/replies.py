"""What the server was asked, and what a test lets it answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Asked:
    """One question: a POST to /v1/messages, or one request of a batch."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    """Names in lower case."""
    number: int
    """Place among all questions of this server, from 0; retries are questions too."""
    custom_id: str | None = None
    """In a batch."""

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def system(self) -> str:
        given = self.body.get("system", "")
        return given if isinstance(given, str) else "\n".join(block["text"] for block in given)

    @property
    def text(self) -> str:
        """The text of the last message."""
        return "\n".join(b["text"] for b in _blocks(self.body["messages"][-1]) if "text" in b)

    @property
    def texts(self) -> str:
        """The text of all messages."""
        every = [block for message in self.body["messages"] for block in _blocks(message)]
        return "\n".join(block["text"] for block in every if block["type"] == "text")

    @property
    def images(self) -> list[bytes]:
        """The pictures of all messages, as files."""
        every = [block for message in self.body["messages"] for block in _blocks(message)]
        return [
            base64.b64decode(block["source"]["data"]) for block in every if block["type"] == "image"
        ]

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer has to have."""
        form = (self.body.get("output_config") or {}).get("format")
        return None if form is None else dict(form["schema"])


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


@dataclass(frozen=True)
class Reply:
    """An answer of the server: ``content`` blocks, or an error, or none at all."""

    content: list[dict[str, Any]] = field(default_factory=list)
    stop_reason: str = "end_turn"
    stop_details: dict[str, Any] | None = None
    status: int = 200
    error_type: str = ""
    error_message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds before the answer."""
    drop: Literal["no", "before", "after"] = "no"
    """Close the connection without a word, ``before`` doing what was asked or ``after`` it."""
    in_batch: Literal["succeeded", "canceled", "expired"] = "succeeded"
    output_tokens: int | None = None
    """None counts the content."""
    raw: str | None = None
    """The body itself, whatever it is."""


Script = Reply | Sequence[Reply] | Callable[[Asked], Reply]
"""The same reply always; one after the other, the last for ever; or a function of the question."""


def says(text: str | Mapping[str, Any], *, thinking: str | None = None) -> Reply:
    """An answer as text, or as the JSON that a schema demanded; thoughts come first."""
    words = text if isinstance(text, str) else json.dumps(dict(text))
    thoughts = [] if thinking is None else [_thought(thinking)]
    return Reply([*thoughts, {"type": "text", "text": words, "citations": None}])


def _thought(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": "EqQBCgIYAhIM"}


def cut(text: str = '{"button": "U', reason: str = "max_tokens") -> Reply:
    """An answer that ends in the middle, for want of tokens or of context."""
    return replace(says(text), stop_reason=reason)


def refuses(explanation: str = "This request was declined.") -> Reply:
    details = {"type": "refusal", "category": "cyber", "explanation": explanation}
    return Reply([], "refusal", details)


def error(status: int, kind: str, message: str, retry_after: str | None = None) -> Reply:
    """An error as the API words it."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Reply(status=status, error_type=kind, error_message=message, headers=headers)


def garbles(body: str) -> Reply:
    """An answer that calls itself JSON and may be none, as of a proxy that is not well."""
    return Reply(raw=body)


def rate_limited(retry_after: str = "0.01") -> Reply:
    return error(429, "rate_limit_error", "Too many requests.", retry_after)


def overloaded(retry_after: str = "0.01") -> Reply:
    return error(529, "overloaded_error", "Overloaded", retry_after)


def late(reply: Reply, seconds: float) -> Reply:
    return replace(reply, delay=seconds)


def dropped(when: Literal["before", "after"] = "before") -> Reply:
    return Reply(drop=when)


def expired() -> Reply:
    """In a batch: not processed within its 24 hours."""
    return Reply(in_batch="expired")


def unprocessed() -> Reply:
    """In a batch: canceled before it was processed."""
    return Reply(in_batch="canceled")


def reply_of(script: Script, asked: Asked) -> Reply:
    if isinstance(script, Reply):
        return script
    if callable(script):
        return script(asked)
    return script[min(asked.number, len(script) - 1)]
