"""The Messages API's own rules: what it refuses, what it counts, how it words an answer."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
from collections.abc import Mapping
from typing import Any

from PIL import Image

from tests.model_server.replies import Asked, Reply

# Keys of a request, from the reference of POST /v1/messages.
KNOWN = {
    "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "tools",
    "tool_choice", "thinking", "output_config", "service_tier", "cache_control", "container",
}  # fmt: skip
MOST_CUSTOM_IDS = 100_000
MOST_BATCH_BYTES = 256_000_000
CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def complaint(body: Any, *, counting: bool = False) -> str | None:
    """Why the API would refuse this request as invalid, or None."""
    if not isinstance(body, dict):
        return "The request body is not valid JSON."
    for key in body:
        if key not in KNOWN:
            return f"{key}: Extra inputs are not permitted"
    needed = {"model": str, "messages": list} | ({} if counting else {"max_tokens": int})
    for key, kind in needed.items():
        if not isinstance(body.get(key), kind):
            return f"{key}: Field required"
    if not body["messages"] or body["messages"][0].get("role") != "user":
        return "messages: first message must use the user role"
    return _schema_complaint(body) or _image_complaint(Asked(body, {}, 0))


def _schema_complaint(body: Mapping[str, Any]) -> str | None:
    form = (body.get("output_config") or {}).get("format")
    if form is None:
        return None
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        return "output_config.format: a json_schema with a schema is required"
    schema = form["schema"]
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        return (
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        )
    return None


def _image_complaint(asked: Asked) -> str | None:
    for data in asked.images:
        try:
            Image.open(io.BytesIO(data)).verify()
        except Exception as why:  # noqa: BLE001 - whatever Pillow says, it is no picture
            return f"messages: Could not process image ({type(why).__name__})"
    return None


def tokens_of(asked: Asked) -> int:
    """Tokens of the input: four characters are one, and 750 pixels."""
    pixels = sum(
        width * height for width, height in (Image.open(io.BytesIO(d)).size for d in asked.images)
    )
    return (len(asked.system) + len(asked.texts)) // 4 + pixels // 750 + 8


class PromptCache:
    """Prefixes seen before, up to the system prompt's ``cache_control``; no end of time.

    A prefix shorter than ``minimum`` tokens is not cached, in silence, as the API does.
    """

    def __init__(self, minimum: int) -> None:
        self._minimum = minimum
        self._seen: set[bytes] = set()
        self._lock = threading.Lock()

    def usage(self, asked: Asked) -> dict[str, int]:
        total, prefix = tokens_of(asked), self._prefix(asked)
        with self._lock:
            known = prefix in self._seen
            if prefix is not None:
                self._seen.add(prefix)
        kept = 0 if prefix is None else len(asked.system) // 4
        return {
            "input_tokens": total - kept,
            "cache_creation_input_tokens": 0 if known else kept,
            "cache_read_input_tokens": kept if known else 0,
        }

    def _prefix(self, asked: Asked) -> bytes | None:
        system = asked.body.get("system", "")
        marked = isinstance(system, list) and any(block.get("cache_control") for block in system)
        if not marked or len(asked.system) // 4 < self._minimum:
            return None
        return hashlib.sha256((asked.model + asked.system).encode()).digest()


def message_of(asked: Asked, reply: Reply, usage: Mapping[str, int], tier: str) -> dict[str, Any]:
    """A Message as the API sends it."""
    words = sum(len(block.get("text", block.get("thinking", ""))) for block in reply.content)
    output = words // 4 + 1 if reply.output_tokens is None else reply.output_tokens
    return {
        "id": f"msg_{asked.number:024d}",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": reply.content,
        "stop_reason": reply.stop_reason,
        "stop_sequence": None,
        "stop_details": reply.stop_details,
        "usage": {**usage, "output_tokens": output, "service_tier": tier},
    }


def error_of(kind: str, message: str, request_id: str | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
    return told if request_id is None else {**told, "request_id": request_id}


def read_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
