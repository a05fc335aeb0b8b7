"""One question over HTTP: what comes back, and what each failure is called."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from pipeline.experts.budget import Usage
from pipeline.experts.model.client import QuestionFailed, Reply, ask, model_name, open_client
from pipeline.settings.reading import Settings, load_settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.model_server import (
    ModelServer,
    Script,
    cut,
    dropped,
    error,
    garbles,
    late,
    overloaded,
    rate_limited,
    refuses,
    says,
)

QUESTION: dict[str, Any] = {
    "model": "claude-test",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Rules. " * 1000, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "Which button?"}],
}


def put(
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    *,
    times: int = 1,
    timeout: float = 20.0,
    settings: Settings | None = None,
    **server: Any,
) -> list[Reply | QuestionFailed]:
    async def go() -> list[Reply | QuestionFailed]:
        given: list[Reply | QuestionFailed] = []
        async with open_client(settings or Settings(), timeout) as client:
            for _ in range(times):
                try:
                    given.append(await ask(client, QUESTION, timeout=timeout))
                except QuestionFailed as failed:
                    given.append(failed)
        return given

    with ModelServer(script, **server) as loopback:
        for name, value in loopback.environment().items():
            monkeypatch.setenv(name, value)
        return asyncio.run(go())


def failed(script: Script, monkeypatch: pytest.MonkeyPatch, **how: Any) -> QuestionFailed:
    [given] = put(script, monkeypatch, **how)
    assert isinstance(given, QuestionFailed)
    return given


def answered(script: Script, monkeypatch: pytest.MonkeyPatch, **how: Any) -> Reply:
    [given] = put(script, monkeypatch, **how)
    assert isinstance(given, Reply)
    return given


def test_the_text_is_found_behind_the_thoughts(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = answered(says("UP", thinking="The door is above."), monkeypatch)
    assert (reply.text, reply.stop_reason, reply.attempts) == ("UP", "end_turn", 1)
    assert [block["type"] for block in reply.blocks] == ["thinking", "text"]
    assert reply.request_id is not None
    assert reply.request_id.startswith("req_")


def test_tokens_of_the_cache_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = put(says("UP"), monkeypatch, times=2)
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert first.usage == Usage(11, 1, cache_write_tokens=1750)
    assert second.usage == Usage(11, 1, cache_read_tokens=1750)
    assert second.usage.read == first.usage.read == 1761


def test_a_busy_server_is_asked_again_and_the_attempts_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reply = answered([rate_limited(), overloaded(), says("UP")], monkeypatch)
    assert (reply.text, reply.attempts) == ("UP", 3)


def test_a_server_that_stays_busy_fails_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    given = failed(overloaded(), monkeypatch)
    assert (given.status, given.reason) == (
        LabelStatus.FAILED,
        "529 overloaded_error: Overloaded",
    )
    assert (given.attempts, given.paid) == (3, False)


def test_how_often_a_question_is_repeated_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = change(Settings(), model={"retries": 0})
    assert failed(rate_limited(), monkeypatch, settings=settings).attempts == 1


def test_a_late_answer_is_a_time_out_that_may_have_been_paid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = failed(late(says("UP"), 10), monkeypatch, timeout=0.3)
    assert (given.status, given.reason) == (LabelStatus.TIMED_OUT, "no answer in 0.3 s")
    assert given.paid


def test_a_connection_that_breaks_is_tried_again_and_then_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert answered([dropped(), says("UP")], monkeypatch).attempts == 2
    settings = change(Settings(), model={"retries": 0})
    given = failed(dropped(), monkeypatch, settings=settings)
    assert (given.reason, given.attempts, given.paid) == ("the connection broke", 1, True)


def test_no_server_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = change(Settings(), model={"base_url": "http://127.0.0.1:9", "retries": 0})
    given = failed(says("UP"), monkeypatch, settings=settings)
    assert (given.reason, given.paid) == ("no connection to the server", False)


def test_an_invalid_request_fails_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    given = failed(error(400, "invalid_request_error", "messages: too\nlong"), monkeypatch)
    assert given.reason == "400 invalid_request_error: messages: too long"


@pytest.mark.parametrize("body", ["<html>", '{"content": 5}', "{"])
def test_an_answer_that_is_no_message_fails_by_itself(
    body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = failed(garbles(body), monkeypatch)
    assert (given.reason, given.paid) == ("the server's answer is not a message", True)


def test_stop_reasons_come_through(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answered(cut(), monkeypatch).stop_reason == "max_tokens"
    full = cut(reason="model_context_window_exceeded")
    assert answered(full, monkeypatch).stop_reason == "model_context_window_exceeded"
    refusal = answered(refuses("Not this."), monkeypatch)
    assert (refusal.text, refusal.stop_reason, refusal.explanation) == ("", "refusal", "Not this.")


FATAL = {
    "retired": (
        error(404, "not_found_error", "model: claude-test"),
        "model.name: the Messages API has no model 'claude-test' (404 "
        "not_found_error: model: claude-test); set it in the configuration, or with --model.name, "
        "to one that the provider lists",
    ),
    "key": (
        error(401, "authentication_error", "invalid x-api-key"),
        "the Messages API refuses the key (401 authentication_error: invalid x-api-key); set a "
        "valid ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN)",
    ),
    "forbidden": (
        error(403, "permission_error", "no access"),
        "the Messages API does not allow this key to ask claude-test (403 permission_error: "
        "no access); set ANTHROPIC_API_KEY to another one",
    ),
    "payment": (
        error(402, "billing_error", "no credit"),
        "the Messages API asks for payment (402 billing_error: no credit); add credit to the "
        "account and run the same command again",
    ),
    "address": (
        replace(garbles("<html>Not Found</html>"), status=404),
        "model.base_url: what answers there is not the Messages API (404); fix it, or the "
        "environment's ANTHROPIC_BASE_URL",
    ),
}


@pytest.mark.parametrize("case", FATAL)
def test_what_makes_all_questions_pointless_ends_with_one_line(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, line = FATAL[case]
    with pytest.raises(PipelineError) as caught:
        put(script, monkeypatch)
    assert str(caught.value) == line


def test_a_missing_key_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with pytest.raises(PipelineError) as caught:
        open_client(Settings(), 1)
    assert str(caught.value) == (
        "the environment holds no key; set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) before "
        "asking a model"
    )


def test_a_key_that_cannot_be_one_is_said_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant one")
    with pytest.raises(PipelineError) as caught:
        open_client(Settings(), 1)
    assert str(caught.value) == (
        "ANTHROPIC_API_KEY holds a space, a line break or another character that no key has; "
        "set it again"
    )


def test_an_address_of_the_environment_with_a_password_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-1")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://me:secret@proxy/")
    with pytest.raises(PipelineError) as caught:
        open_client(Settings(), 1)
    assert str(caught.value) == (
        "ANTHROPIC_BASE_URL holds a user name or a password, which would be sent in place of the "
        "key, and logged; what a proxy wants to know goes into ANTHROPIC_CUSTOM_HEADERS"
    )


def test_a_token_is_as_good_as_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with ModelServer(says("UP")) as loopback:
        monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
        monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", loopback.key + "\n")
        settings = change(Settings(), model={"base_url": loopback.url})

        async def go() -> Reply:
            async with open_client(settings, 5) as client:
                return await ask(client, QUESTION, timeout=5)

        assert asyncio.run(go()).text == "UP"


def test_a_missing_model_is_said() -> None:
    with pytest.raises(PipelineError) as caught:
        model_name(Settings())
    assert str(caught.value) == (
        "model.name is not set; give the id of a model, as the provider lists it, with --model.name"
    )


@pytest.mark.parametrize(
    "url", ["https://me:secret@proxy/", "me:secret@proxy", "http://h/?k=secret"]
)
def test_an_address_with_a_password_is_refused_unseen(url: str) -> None:
    with pytest.raises(PipelineError) as caught:
        load_settings(None, {"model.base_url": url})
    assert str(caught.value) == (
        "model.base_url holds a user name, a password or a query; take it out, what a proxy wants "
        "to know goes into the environment variable ANTHROPIC_CUSTOM_HEADERS"
    )


def test_a_key_is_in_no_error_and_no_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = "sk-ant-planted-0123456789"
    caplog.set_level(logging.DEBUG)
    repeats = error(400, "invalid_request_error", f"no {key} here")
    given = failed([rate_limited(), repeats], monkeypatch, key=key)
    assert given.reason == "400 invalid_request_error: no *** here"
    assert key not in repr(given) + repr(vars(given))
    with pytest.raises(PipelineError) as caught:
        put(error(401, "authentication_error", f"bad {key}"), monkeypatch, key=key)
    assert key not in str(caught.value)
    assert key not in caplog.text
