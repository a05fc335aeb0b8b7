"""Message batches: submitted, left, collected by the same command, and never submitted twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.experts.model import batching
from pipeline.experts.protocol import Answers
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import PipelineError
from tests.experts.model.made import answers_of, asking, right, settings_in, x_of
from tests.model_server import (
    Asked,
    ModelServer,
    Reply,
    cut,
    dropped,
    error,
    expired,
    overloaded,
    rate_limited,
    says,
    unprocessed,
)
from tests.model_server.server import Request

COLLECT = "run the same command again to collect the answers"
UNKNOWN = (
    "it is not known whether a batch with 3 questions arrived; run the same command again to find "
    "out, nothing is submitted twice"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path, model={"batch": True})


def statuses(answers: Answers) -> list[str]:
    return [LabelStatus(status).name for status in answers.status]


def only(method: str, path: str, reply: Reply) -> Callable[[Request], Reply | None]:
    """Answer such requests so, once, and let all others pass."""
    left = [reply]

    def intercept(request: Request) -> Reply | None:
        wanted = (request.method, request.path) == (method, path)
        return left.pop() if wanted and left else None

    return intercept


def created(server: ModelServer) -> list[int]:
    """The sizes of the batches that arrived."""
    return [len(batch.requests) for batch in server.batches.made]


def test_a_batch_is_submitted_left_and_collected_at_half_the_price(settings: Settings) -> None:
    with asking() as server:
        server.batches.hold = True
        first, stopped = answers_of(settings, [-5, 0, 7])
        [batch] = server.batches.made
        assert stopped == f"batch {batch.id} with 3 questions was submitted; {COLLECT}"
        assert statuses(first) == ["UNLABELLED"] * 3
        _, stopped = answers_of(settings, [-5, 0, 7])
        assert stopped == f"batch {batch.id} with 3 questions is under way; {COLLECT}"
        server.batches.release()
        answers, stopped = answers_of(settings, [-5, 0, 7])
        assert created(server) == [3]
    assert stopped is None
    assert answers.buttons.tolist() == [2, 0, 0]
    assert answers.costs is not None
    full = answers.costs.input_tokens * 2e-6 + answers.costs.output_tokens * 1e-5
    assert answers.costs.dollars == pytest.approx(full / 2)
    assert answers.costs.attempts.tolist() == [1, 1, 1]


def test_a_collected_answer_costs_nothing_the_next_time(settings: Settings) -> None:
    with asking() as server:
        for _ in range(3):
            answers, _ = answers_of(settings, [1, 2])
        assert created(server) == [2]
    assert answers.costs is not None
    assert answers.costs.dollars.sum() == 0
    assert statuses(answers) == ["LABELLED"] * 2


def test_of_new_questions_only_the_new_ones_are_submitted(settings: Settings) -> None:
    with asking() as server:
        server.batches.hold = True
        answers_of(settings, [1, 2])
        _, stopped = answers_of(settings, [1, 2, 3, 3])
        assert created(server) == [2, 1]
        assert stopped is not None
        assert "with 1 questions was submitted" in stopped
        assert "with 2 questions is under way" in stopped
        server.batches.release()
        assert statuses(answers_of(settings, [1, 2, 3, 3])[0]) == ["LABELLED"] * 4


def test_what_did_not_succeed_is_submitted_again_and_the_rest_is_not(settings: Settings) -> None:
    first = {
        1: expired(),
        2: unprocessed(),
        3: error(500, "api_error", "Internal server error"),
        4: error(400, "invalid_request_error", "no such thing"),
        5: cut(),
        6: says("what?"),
    }

    def script(asked: Asked) -> Reply:
        return first.pop(x_of(asked), None) or right(asked)

    with asking(script) as server:
        answers_of(settings, [0, 1, 2, 3, 4, 5, 6])
        second, stopped = answers_of(settings, [0, 1, 2, 3, 4, 5, 6])
        assert statuses(second) == [
            "LABELLED", "UNLABELLED", "UNLABELLED", "UNLABELLED", "FAILED", "INVALID", "INVALID",
        ]  # fmt: skip
        assert second.reasons[4] == "invalid_request_error: no such thing"
        assert second.costs is not None
        assert (second.costs.dollars > 0).tolist() == [True] + [False] * 4 + [True, True]
        assert stopped is not None
        assert "with 3 questions was submitted" in stopped
        third, stopped = answers_of(settings, [0, 1, 2, 3, 5])
        assert created(server) == [7, 3]
    assert statuses(third) == ["LABELLED"] * 4 + ["INVALID"]
    assert stopped is None


def test_many_questions_go_in_several_batches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MOST_REQUESTS", 3)
    with asking() as server:
        _, stopped = answers_of(settings, list(range(7)))
        assert created(server) == [3, 3, 1]
        names = ", ".join(batch.id for batch in server.batches.made)
        assert stopped == f"batches {names} with 7 questions were submitted; {COLLECT}"
        assert statuses(answers_of(settings, list(range(7)))[0]) == ["LABELLED"] * 7


def test_batches_are_cut_by_their_size_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MOST_BYTES", 6000)
    with asking() as server:
        answers_of(settings, list(range(7)))
        assert sum(created(server)) == 7
        assert len(created(server)) > 1


def test_a_batch_that_arrived_unnoticed_is_found_and_not_submitted_again(
    settings: Settings,
) -> None:
    with asking() as server:
        server.batches.hold = True
        server.intercept = only("POST", "/v1/messages/batches", dropped("after"))
        _, stopped = answers_of(settings, [1, 2, 3])
        assert stopped == UNKNOWN
        _, stopped = answers_of(settings, [1, 2, 3])
        [batch] = server.batches.made
        assert stopped == f"batch {batch.id} with 3 questions is under way; {COLLECT}"
        server.batches.release()
        answers, stopped = answers_of(settings, [1, 2, 3])
        assert created(server) == [3]
    assert (statuses(answers), stopped) == (["LABELLED"] * 3, None)


def test_a_batch_that_never_arrived_is_submitted_again(settings: Settings) -> None:
    with asking() as server:
        server.intercept = only("POST", "/v1/messages/batches", dropped())
        _, stopped = answers_of(settings, [1, 2, 3])
        assert (stopped, created(server)) == (UNKNOWN, [])
        _, stopped = answers_of(settings, [1, 2, 3])
        assert created(server) == [3]
        assert statuses(answers_of(settings, [1, 2, 3])[0]) == ["LABELLED"] * 3


def test_anothers_batch_of_the_same_size_is_not_taken_for_ours(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = settings_in(tmp_path / "other", model={"batch": True})
    with asking() as server:
        server.intercept = only("POST", "/v1/messages/batches", dropped())
        answers_of(settings, [1, 2, 3])
        answers_of(other, [7, 8, 9])
        _, stopped = answers_of(settings, [1, 2, 3])
        assert created(server) == [3, 3]
        assert stopped is not None
        assert statuses(answers_of(settings, [1, 2, 3])[0]) == ["LABELLED"] * 3
        assert created(server) == [3, 3]


@pytest.mark.parametrize("busy", [rate_limited(), overloaded()], ids=["429", "529"])
def test_a_busy_server_is_asked_again_to_take_a_batch(settings: Settings, busy: Reply) -> None:
    with asking() as server:
        server.intercept = only("POST", "/v1/messages/batches", busy)
        answers_of(settings, [1, 2])
        assert created(server) == [2]


def test_a_batch_that_is_refused_leaves_its_questions_free(settings: Settings) -> None:
    with asking() as server:
        bad = error(400, "invalid_request_error", "not today")
        server.intercept = only("POST", "/v1/messages/batches", bad)
        _, stopped = answers_of(settings, [1, 2])
        assert stopped == (
            "a batch with 2 questions was refused (400 invalid_request_error: not today)"
        )
        answers_of(settings, [1, 2])
        assert created(server) == [2]


def test_results_that_break_off_are_collected_by_the_next_command(settings: Settings) -> None:
    with asking() as server:
        answers_of(settings, [1, 2])
        path = f"/v1/messages/batches/{server.batches.made[0].id}/results"
        bad = error(500, "api_error", "Internal server error")
        server.intercept = lambda request: bad if request.path == path else None
        _, stopped = answers_of(settings_in_same(settings, retries=0), [1, 2])
        assert stopped == (
            "batches could not be collected (500 api_error: Internal server error); " + COLLECT
        )
        server.intercept = lambda _: None
        assert statuses(answers_of(settings, [1, 2])[0]) == ["LABELLED"] * 2
        assert created(server) == [2]


def settings_in_same(settings: Settings, **model: object) -> Settings:
    """The same settings but for some of the model's."""
    tree = settings.model_dump()
    tree["model"].update(model)
    return Settings.model_validate(tree)


def test_what_is_in_a_batch_is_not_asked_one_by_one(settings: Settings) -> None:
    direct = settings_in_same(settings, batch=False)
    with asking() as server:
        server.batches.hold = True
        answers_of(settings, [1, 2])
        answers, stopped = answers_of(direct, [1, 2, 3])
        assert statuses(answers) == ["UNLABELLED", "UNLABELLED", "LABELLED"]
        assert stopped is not None
        assert stopped.endswith(f"with 2 questions is under way; {COLLECT}")
        server.batches.release()
        assert statuses(answers_of(direct, [1, 2, 3])[0]) == ["LABELLED"] * 3
        messages = [r for r in server.requests if r.path == "/v1/messages"]
        assert len(messages) == 1


def test_only_what_the_budget_allows_at_its_worst_is_submitted(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, model={"batch": True}, budget={"labels": 2})
    with asking() as server:
        _, stopped = answers_of(settings, [1, 2, 3, 4])
        assert created(server) == [2]
        assert stopped is not None
        assert stopped.endswith("budget.labels is 2: 2 questions were put; the answers "
                                "are kept; run the same command again to continue")  # fmt: skip
        answers, _ = answers_of(settings, [1, 2, 3, 4])
        assert statuses(answers) == ["LABELLED"] * 2 + ["UNLABELLED"] * 2
        assert created(server) == [2, 2]
        assert statuses(answers_of(settings, [1, 2, 3, 4])[0]) == ["LABELLED"] * 4


def test_a_batch_that_the_provider_does_not_know_is_named(settings: Settings) -> None:
    with asking() as server:
        answers_of(settings, [1])
        batch = server.batches.made.pop()
        with pytest.raises(PipelineError) as caught:
            answers_of(settings, [1])
    line = str(caught.value)
    assert line.startswith(
        f"batch {batch.id} is not known to the Messages API (404); set the key that it was "
        "submitted with, or, if it was deleted there, give its questions up with: sqlite3 "
    )
    assert "DELETE FROM under_way WHERE batch = '" in line


def test_without_a_place_to_remember_it_nothing_is_submitted(settings: Settings) -> None:
    path = settings.game_folder("tiny") / ".answers-v1.sqlite3"
    path.mkdir(parents=True)
    with asking() as server:
        with pytest.raises(PipelineError) as caught:
            answers_of(settings, [1])
        assert created(server) == []
    assert str(caught.value) == (
        f"{path}: a batch cannot be recorded, so it would be lost; make room or give "
        "permission there, or ask with --model.batch false"
    )
