"""The loopback server is as strict as the Messages API, and counts as it does."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from tests.model_server import ModelServer, says

QUESTION: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Which button?"}],
}
LOOSE = {"type": "object", "properties": {"button": {"type": "string"}}}


def refused(**changes: Any) -> str:
    with ModelServer(says("UP")) as server, client(server) as sdk:
        with pytest.raises(anthropic.APIStatusError) as caught:
            sdk.messages.create(**{**QUESTION, **changes})
        assert caught.value.request_id is not None
    return f"{caught.value.status_code} {caught.value.type}: {caught.value.api_message}"


def client(server: ModelServer, key: str | None = None) -> Anthropic:
    return Anthropic(api_key=key or server.key, base_url=server.url, max_retries=0)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"extra_body": {"temperature": 0.5}}, "temperature: Extra inputs are not permitted"),
        (
            {"messages": [{"role": "assistant", "content": "A"}]},
            "messages: first message must use the user role",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": LOOSE}}},
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false",
        ),
    ],
)
def test_an_invalid_request_is_refused(changes: dict[str, Any], line: str) -> None:
    assert refused(**changes) == f"400 invalid_request_error: {line}"


def test_a_picture_that_is_none_is_refused() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "bm90IGEgcG5n"}
    content = [{"type": "image", "source": source}]
    line = refused(messages=[{"role": "user", "content": content}])
    assert line.startswith("400 invalid_request_error: messages: Could not process image")


def test_a_wrong_key_is_refused() -> None:
    with ModelServer(says("UP")) as server, client(server, "sk-ant-other") as sdk:
        with pytest.raises(anthropic.AuthenticationError):
            sdk.messages.create(**QUESTION)
        assert server.asked == []


def test_batches_are_listed_newest_first_and_paged() -> None:
    with ModelServer(says("UP")) as server, client(server) as sdk:
        for number in range(5):
            request: Any = {"custom_id": f"q-{number}", "params": QUESTION}
            sdk.messages.batches.create(requests=[request])
        ids = [batch.id for batch in sdk.messages.batches.list(limit=2)]
    assert ids == [f"msgbatch_{number:024d}" for number in (4, 3, 2, 1, 0)]


def test_a_batch_ends_when_it_is_let_and_its_results_come_in_another_order() -> None:
    with ModelServer(says("UP")) as server, client(server) as sdk:
        server.batches.hold = True
        requests: Any = [{"custom_id": f"q-{n}", "params": QUESTION} for n in range(3)]
        batch = sdk.messages.batches.create(requests=requests)
        assert (batch.processing_status, batch.request_counts.processing) == ("in_progress", 3)
        with pytest.raises(anthropic.AnthropicError, match="results_url"):
            sdk.messages.batches.results(batch.id)
        server.batches.release()
        results = list(sdk.messages.batches.results(batch.id))
    assert [one.custom_id for one in results] == ["q-2", "q-1", "q-0"]


def test_a_canceled_batch_was_not_processed() -> None:
    with ModelServer(says("UP")) as server, client(server) as sdk:
        server.batches.hold = True
        request: Any = {"custom_id": "q", "params": QUESTION}
        batch = sdk.messages.batches.create(requests=[request])
        sdk.messages.batches.cancel(batch.id)
        [result] = sdk.messages.batches.results(batch.id)
    assert result.result.type == "canceled"
    assert server.asked == []


@pytest.mark.parametrize("custom_id", ["a b", "", "x" * 65])
def test_a_name_that_the_api_would_not_take_is_refused(custom_id: str) -> None:
    with ModelServer(says("UP")) as server, client(server) as sdk:
        request: Any = {"custom_id": custom_id, "params": QUESTION}
        with pytest.raises(anthropic.BadRequestError):
            sdk.messages.batches.create(requests=[request])
