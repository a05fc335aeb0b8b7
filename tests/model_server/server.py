"""The HTTP side: routes, headers, keys, and a record of everything that came in."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.model_server.batches import Batches
from tests.model_server.replies import Asked, Reply, Script, reply_of
from tests.model_server.wire import (
    MOST_BATCH_BYTES,
    PromptCache,
    complaint,
    error_of,
    message_of,
    read_json,
    tokens_of,
)

KEY = "sk-ant-loopback"


@dataclass(frozen=True)
class Request:
    """Something that came in, whether it was answered or not."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any


Answer = tuple[int, dict[str, str], bytes]


class ModelServer:
    """The Messages API on 127.0.0.1; a context manager.

    Args:
        script: what it answers to questions; see Script. It runs in the server's threads.
        key: the key that it takes, as ``x-api-key`` or as bearer; all others are refused.
        cache_minimum: tokens from which a marked prefix is cached.
        counts: whether the key may count tokens.

    ``intercept`` sees every request first: a Reply of its own is given in place of the answer
    (with ``drop="after"`` what was asked is done, but the connection closed).
    """

    def __init__(
        self,
        script: Script,
        *,
        key: str = KEY,
        cache_minimum: int = 1024,
        counts: bool = True,
    ) -> None:
        self.script = script
        self.key = key
        self.counts = counts
        self.intercept: Callable[[Request], Reply | None] = lambda _: None
        self.requests: list[Request] = []
        self.asked: list[Asked] = []
        self.batches = Batches(self._ask_in_batch)
        self.most_at_once = 0
        self.stopping = threading.Event()
        self._at_once = 0
        self._cache = PromptCache(cache_minimum)
        self._lock = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.model = self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def environment(self) -> dict[str, str]:
        """What a process needs to ask this server."""
        return {"ANTHROPIC_API_KEY": self.key, "ANTHROPIC_BASE_URL": self.url}

    def __enter__(self) -> ModelServer:
        serve = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        serve.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request: Request, request_id: str) -> Answer | None:
        """The status, headers and body for a request; None closes the connection."""
        with self._lock:
            self.requests.append(request)
        forced = self.intercept(request)
        if forced is not None and forced.drop != "after":
            return self._forced(forced, request_id)
        status, told = self._route(request)
        if forced is not None or status is None:
            return None
        if isinstance(told, bytes):
            return status, {"content-type": "application/json"}, told
        if status >= 400:
            told = {**told, "request_id": request_id}
        headers = dict(told.pop("headers", {})) if isinstance(told, dict) else {}
        return status, {"content-type": "application/json", **headers}, json.dumps(told).encode()

    def _forced(self, reply: Reply, request_id: str) -> Answer | None:
        self.stopping.wait(reply.delay)
        if reply.drop == "before":
            return None
        told = error_of(reply.error_type, reply.error_message, request_id)
        headers = {"content-type": "application/json", **reply.headers}
        return reply.status, headers, json.dumps(told).encode()

    def _route(self, request: Request) -> tuple[int | None, Any]:
        if not self._knows(request.headers):
            return 401, error_of("authentication_error", "invalid x-api-key")
        if "anthropic-version" not in request.headers:
            return 400, error_of("invalid_request_error", "anthropic-version: header is required")
        place = request.path.strip("/").split("/")
        if request.method == "POST" and place == ["v1", "messages"]:
            return self._message(request)
        if request.method == "POST" and place == ["v1", "messages", "count_tokens"]:
            return self._count(request)
        if place[:3] == ["v1", "messages", "batches"]:
            return self._batches(request, place[3:])
        return 404, error_of("not_found_error", "Not found")

    def _knows(self, headers: Mapping[str, str]) -> bool:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return self.key in (headers.get("x-api-key"), bearer)

    def _message(self, request: Request) -> tuple[int | None, Any]:
        wrong = complaint(request.body)
        if wrong is not None:
            return 400, error_of("invalid_request_error", wrong)
        asked = self._note(request.body, request.headers, None)
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            reply = reply_of(self.script, asked)
            self.stopping.wait(reply.delay)
        finally:
            with self._lock:
                self._at_once -= 1
        if reply.drop != "no":
            return None, None
        if reply.raw is not None:
            return reply.status, reply.raw.encode()
        if reply.status != 200:
            told = error_of(reply.error_type, reply.error_message)
            return reply.status, {**told, "headers": reply.headers}
        told = message_of(asked, reply, self._cache.usage(asked), "standard")
        return 200, {**told, "headers": reply.headers}

    def _note(
        self, body: Mapping[str, Any], headers: Mapping[str, str], custom_id: str | None
    ) -> Asked:
        with self._lock:
            asked = Asked(body, headers, len(self.asked), custom_id)
            self.asked.append(asked)
        return asked

    def _ask_in_batch(
        self, params: Mapping[str, Any], custom_id: str
    ) -> tuple[Reply, dict[str, Any]]:
        asked = self._note(params, {}, custom_id)
        reply = reply_of(self.script, asked)
        return reply, message_of(asked, reply, self._cache.usage(asked), "batch")

    def _count(self, request: Request) -> tuple[int, Any]:
        if not self.counts:
            return 403, error_of("permission_error", "This key may not count tokens.")
        wrong = complaint(request.body, counting=True)
        if wrong is not None:
            return 400, error_of("invalid_request_error", wrong)
        return 200, {"input_tokens": tokens_of(Asked(request.body, {}, 0))}

    def _batches(self, request: Request, place: list[str]) -> tuple[int, Any]:
        if request.method == "POST" and not place:
            wrong = self.batches.complaint(request.body)
            if wrong is not None:
                return 400, error_of("invalid_request_error", wrong)
            return 200, self.batches.create(request.body["requests"]).told(self.url)
        if not place:
            return 200, self._listed(request.query)
        batch = self.batches.find(place[0])
        if batch is None:
            return 404, error_of("not_found_error", f"No batch {place[0]}")
        if place[1:] == ["cancel"] and request.method == "POST":
            self.batches.cancel(batch)
        elif place[1:] == ["results"]:
            if batch.status != "ended":
                return 404, error_of("not_found_error", "The batch has no results yet")
            return 200, self.batches.results(batch)
        return 200, batch.told(self.url)

    def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        found, more = self.batches.page(int(query.get("limit", "20")), query.get("after_id"))
        told = [batch.told(self.url) for batch in found]
        ends = (told[0]["id"], told[-1]["id"]) if told else (None, None)
        return {"data": told, "has_more": more, "first_id": ends[0], "last_id": ends[1]}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    model: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        data = self.rfile.read(size)
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = read_json(data) if data else None
        request = Request(self.command, url.path, query, headers, body)
        request_id = f"req_{id(self):x}{len(self.server.model.requests):08d}"
        if size > MOST_BATCH_BYTES:
            told = error_of("request_too_large", "Request exceeds the maximum size", request_id)
            answer: Answer | None = (413, {}, json.dumps(told).encode())
        else:
            answer = self.server.model.answer(request, request_id)
        if answer is None:
            self.close_connection = True
            return
        status, more, content = answer
        self.send_response(status)
        self.send_header("request-id", request_id)
        self.send_header("content-length", str(len(content)))
        for name, value in more.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at the requests themselves."""
