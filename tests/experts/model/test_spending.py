"""A budget that holds for a whole command: its questions at once, its stages and its processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pipeline.experts.budget import Spent
from pipeline.experts.model.database import Database
from pipeline.experts.model.ledger import LEDGER, SharedBook
from pipeline.experts.model.process_names import command_id, run_id
from pipeline.experts.opening import open_expert
from pipeline.games.loading import load_game
from pipeline.settings.expert_fields import Budget
from pipeline.settings.reading import Settings
from pipeline.system.lease import lives
from tests.experts.model.made import answers_of, asking, expert, questions, right, settings_in
from tests.model_server import Asked, Reply, dropped, late


@pytest.mark.parametrize("limit", [0.004, 0.02])
def test_dollars_are_never_exceeded_and_the_next_command_goes_on(
    tmp_path: Path, limit: float
) -> None:
    settings = settings_in(tmp_path, budget={"dollars": limit}, model={"max_tokens": 100})
    with asking(lambda asked: late(right(asked), 0.01)) as server:
        answers, stopped = answers_of(settings, list(range(60)))
        put = len(server.asked)
        assert answers.costs is not None
        assert 0.3 * limit < answers.costs.dollars.sum() <= limit
        assert 0 < put < 60
        assert stopped is not None
        assert stopped.startswith(f"budget.dollars is {limit:g}: 0.0")
        answers_of(settings, list(range(60)))
        assert len(server.asked) > put
        # A question is counted for nothing, so that its worst case is close.
        assert server.requests[0].path == "/v1/messages/count_tokens"


def test_tokens_are_never_exceeded(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, budget={"tokens": 5000}, model={"max_tokens": 100})
    with asking():
        answers, stopped = answers_of(settings, list(range(60)))
    assert answers.costs is not None
    spent = int(answers.costs.input_tokens.sum() + answers.costs.output_tokens.sum())
    assert 3000 < spent <= 5000
    assert stopped is not None
    assert stopped.startswith("budget.tokens is 5000: ")


def test_minutes_end_a_command(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, budget={"minutes": 0})
    with asking() as server:
        answers, stopped = answers_of(settings, [1, 2])
    assert (answers.status.tolist(), len(server.asked)) == ([0, 0], 0)
    assert stopped is not None
    assert stopped.startswith("budget.minutes is 0: 0.0 are over; ")


def test_a_question_that_broke_off_counts_with_its_worst_case(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        return dropped() if asked.number == 0 else right(asked)

    settings = settings_in(
        tmp_path, budget={"tokens": 1500}, model={"retries": 0, "max_tokens": 1000}
    )
    with asking(script) as server:
        _, stopped = answers_of(settings, [1, 2])
    assert len(server.asked) == 1
    assert stopped is not None
    assert "budget.tokens is 1500: 1" in stopped


def test_experts_of_one_command_share_its_budget(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, budget={"labels": 5})
    with asking() as server:
        for first in (0, 3, 6):
            with expert(settings, "one-command") as model:
                model.answer(questions(range(first, first + 3)))
        assert model.stopped is not None
        assert model.stopped.startswith("budget.labels is 5: 5 questions were put")
        assert len(server.asked) == 5


def _in_a_worker(settings: Settings, first: int) -> tuple[str, str, int]:
    # As a worker opens it: whose command it belongs to, it finds out.
    with open_expert(settings, load_game(settings.game)) as model:
        status = model.answer(questions(range(first, first + 6))).status
    return command_id(), run_id(), int((status == 1).sum())


def test_worker_processes_share_the_budget_of_their_command(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, budget={"labels": 8}, model={"concurrency": 2})
    with asking(lambda asked: late(right(asked), 0.02)) as server:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            told = pool.starmap(_in_a_worker, [(settings, 0), (settings, 10)], chunksize=1)
        assert len(server.asked) == 8
    commands, runs, labels = zip(*told, strict=True)
    assert set(commands) == {command_id()}
    assert sum(labels) == 8
    assert not any(lives(run) for run in runs if run.split(":")[:2] != run_id().split(":")[:2])


def test_books_of_different_commands_are_apart(tmp_path: Path) -> None:
    database = Database(tmp_path / "book", LEDGER)
    one, other = SharedBook(database, "a", lambda: 5.0), SharedBook(database, "b", lambda: 9.0)
    assert one.take(Spent(0.5, 10, 1), Budget(dollars=0.5))
    assert not one.take(Spent(0.1, 1, 1), Budget(dollars=0.5))
    assert other.take(Spent(0.1, 1, 1), Budget(dollars=0.5))
    one.change(Spent(-0.3, -5, 0))
    assert one.total() == (Spent(0.2, 5, 1), 5.0)
    assert SharedBook(database, "b").total() == (Spent(0.1, 1, 1), 9.0)
    database.close()
