"""Message batches: made, listed, canceled; results in another order than the questions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.model_server.replies import Reply
from tests.model_server.wire import CUSTOM_ID, MOST_CUSTOM_IDS, complaint, error_of

DAY = timedelta(hours=24)


@dataclass
class Batch:
    id: str
    requests: list[dict[str, Any]]
    created: datetime
    status: str = "in_progress"
    ended: datetime | None = None
    results: list[dict[str, Any]] = field(default_factory=list)

    def told(self, url: str) -> dict[str, Any]:
        kinds = [one["result"]["type"] for one in self.results]
        names = ("succeeded", "errored", "canceled", "expired")
        counts = {name: kinds.count(name) for name in names}
        done = self.status == "ended"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": self.status,
            "request_counts": {**counts, "processing": 0 if done else len(self.requests)},
            "created_at": self.created.isoformat(),
            "expires_at": (self.created + DAY).isoformat(),
            "ended_at": None if self.ended is None else self.ended.isoformat(),
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{url}/v1/messages/batches/{self.id}/results" if done else None,
        }


class Batches:
    """All batches of a server. While ``hold`` is set they stay under way until ``release``."""

    def __init__(self, ask: Callable[[Mapping[str, Any], str], tuple[Reply, dict[str, Any]]]):
        self.hold = False
        self.made: list[Batch] = []
        self._ask = ask
        self._lock = threading.RLock()

    def complaint(self, body: Any) -> str | None:
        requests = body.get("requests") if isinstance(body, dict) else None
        if not isinstance(requests, list) or not requests:
            return "requests: Field required"
        if len(requests) > MOST_CUSTOM_IDS:
            return f"requests: List should have at most {MOST_CUSTOM_IDS} items"
        ids = [str(one.get("custom_id")) for one in requests]
        if not all(CUSTOM_ID.fullmatch(one) for one in ids):
            return "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"
        if len(set(ids)) < len(ids):
            return "requests: custom_id must be unique within the batch"
        return None

    def create(self, requests: list[dict[str, Any]]) -> Batch:
        with self._lock:
            batch = Batch(f"msgbatch_{len(self.made):024d}", requests, datetime.now(timezone.utc))
            self.made.append(batch)
            if not self.hold:
                self._end(batch)
            return batch

    def release(self) -> None:
        """Every batch under way ends now."""
        with self._lock:
            for batch in self.made:
                if batch.status != "ended":
                    self._end(batch)

    def find(self, batch_id: str) -> Batch | None:
        return next((batch for batch in self.made if batch.id == batch_id), None)

    def cancel(self, batch: Batch) -> None:
        with self._lock:
            if batch.status == "in_progress":
                batch.results = [_result(one, {"type": "canceled"}) for one in batch.requests]
                batch.status, batch.ended = "ended", datetime.now(timezone.utc)

    def page(self, limit: int, after: str | None) -> tuple[list[Batch], bool]:
        """Newest first, those after the one named ``after``."""
        newest = self.made[::-1]
        ids = [batch.id for batch in newest]
        first = ids.index(after) + 1 if after in ids else 0
        return newest[first : first + limit], first + limit < len(newest)

    def results(self, batch: Batch) -> bytes:
        return b"".join(json.dumps(one).encode() + b"\n" for one in batch.results[::-1])

    def _end(self, batch: Batch) -> None:
        for one in batch.requests:
            wrong = complaint(one["params"])
            if wrong is not None:
                told = error_of("invalid_request_error", wrong)
                batch.results.append(_result(one, {"type": "errored", "error": told}))
                continue
            reply, message = self._ask(one["params"], str(one["custom_id"]))
            if reply.in_batch != "succeeded":
                result: dict[str, Any] = {"type": reply.in_batch}
            elif reply.status != 200:
                told = error_of(reply.error_type, reply.error_message)
                result = {"type": "errored", "error": told}
            else:
                result = {"type": "succeeded", "message": message}
            batch.results.append(_result(one, result))
        batch.status, batch.ended = "ended", datetime.now(timezone.utc)


def _result(request: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": request["custom_id"], "result": result}
