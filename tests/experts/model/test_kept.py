"""Answers that are kept: never paid for twice, whatever breaks, and never in the way."""

from __future__ import annotations

import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.experts.model.kept import FILE_NAME
from pipeline.experts.protocol import Answers
from pipeline.settings.reading import Settings
from tests.experts.model.made import answers_of, asking, expert, questions, right, settings_in
from tests.model_server import Asked, Reply, cut, error, late, refuses, says


def kept_file(settings: Settings) -> Path:
    return settings.game_folder("tiny") / FILE_NAME


def spent(answers: Answers) -> tuple[int, float]:
    assert answers.costs is not None
    return int(answers.costs.attempts.sum()), float(answers.costs.dollars.sum())


def test_a_kept_answer_costs_nothing_and_needs_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    with asking() as server:
        first, _ = answers_of(settings, [-5, 0, 7])
        assert spent(first)[0] == 3
        assert len(server.asked) == 3
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    again, stopped = answers_of(settings, [7, -5])
    assert (again.buttons.tolist(), stopped) == ([0, 2], None)
    assert again.logs == {0: "x is 7", 1: "x is -5"}
    assert spent(again) == (0, 0.0)


@pytest.mark.parametrize(
    "section", [{"name": "claude-other"}, {"effort": "high"}], ids=["model", "effort"]
)
def test_another_model_or_another_prompt_is_another_question(
    tmp_path: Path, section: dict[str, str]
) -> None:
    with asking() as server:
        answers_of(settings_in(tmp_path), [1])
        answers_of(settings_in(tmp_path, model=section), [1])
    assert len(server.asked) == 2


def test_prices_and_retries_make_no_other_question(tmp_path: Path) -> None:
    with asking() as server:
        answers_of(settings_in(tmp_path), [1])
        changed = {"prices": None, "retries": 5, "concurrency": 1, "max_tokens": 2000}
        answers_of(settings_in(tmp_path, model=changed), [1])
    assert len(server.asked) == 1


def test_refusals_and_doubts_are_kept_as_they_were_paid_for(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        return refuses() if "x: 1" in asked.text else says({"reason": "", "button": "unsure"})

    with asking(script) as server:
        first, _ = answers_of(settings_in(tmp_path), [1, 2])
        again, _ = answers_of(settings_in(tmp_path), [1, 2])
    assert len(server.asked) == 2
    assert again.reasons == first.reasons


def test_failures_and_malformed_answers_are_asked_again(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        bad = [error(400, "invalid_request_error", "no"), says("what?")]
        return bad[asked.number] if asked.number < 2 else right(asked)

    settings = settings_in(tmp_path, model={"concurrency": 1})
    with asking(script) as server:
        first, _ = answers_of(settings, [1, 2])
        again, _ = answers_of(settings, [1, 2])
    assert (first.status.tolist(), again.status.tolist()) == ([3, 5], [1, 1])
    assert len(server.asked) == 4


def test_a_cut_answer_is_asked_again_only_with_more_tokens(tmp_path: Path) -> None:
    with asking(cut()) as server:
        server.script = lambda asked: cut() if asked.number < 1 else right(asked)
        answers_of(settings_in(tmp_path), [1])
        same, _ = answers_of(settings_in(tmp_path), [1])
        assert same.status.tolist() == [5]
        assert len(server.asked) == 1
        more, _ = answers_of(settings_in(tmp_path, model={"max_tokens": 2048}), [1])
    assert more.status.tolist() == [1]


def test_a_damaged_file_is_set_aside_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    path = kept_file(settings)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 500)
    with asking() as server:
        answers, _ = answers_of(settings, [1, -1])
        again, _ = answers_of(settings, [1, -1])
    assert answers.buttons.tolist() == again.buttons.tolist() == [0, 2]
    assert len(server.asked) == 2
    assert path.with_name(FILE_NAME + ".damaged-1").read_bytes().startswith(b"this is no")
    assert capsys.readouterr().err == (
        f"{path}: damaged (file is not a database); set aside as {FILE_NAME}.damaged-1, a new "
        "one is started\n"
    )


def test_a_page_that_rots_costs_answers_and_no_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    xs = list(range(60))
    with asking() as server:
        answers_of(settings, xs)
        path = kept_file(settings)
        data = bytearray(path.read_bytes())
        for page in range(1, len(data) // 4096):
            data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
        path.write_bytes(data)
        again, stopped = answers_of(settings, xs)
    assert (again.status.tolist(), stopped) == ([1] * 60, None)
    assert "set aside as" in capsys.readouterr().err
    assert len(server.asked) == 120


def test_another_file_of_that_name_is_set_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    path = kept_file(settings)
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE answers (something TEXT)")
    other.close()
    with asking():
        answers, _ = answers_of(settings, [1])
    assert answers.buttons.tolist() == [0]
    assert "(no such column: " in capsys.readouterr().err


def test_a_button_that_the_game_has_not_is_not_believed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with asking() as server:
        answers_of(settings, [1])
        with sqlite3.connect(kept_file(settings)) as database:
            database.execute("UPDATE answers SET button = 'JUMP'")
        database.close()
        answers, _ = answers_of(settings, [1])
    assert answers.buttons.tolist() == [0]
    assert len(server.asked) == 2


def test_a_place_that_cannot_be_written_costs_no_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    kept_file(settings).mkdir(parents=True)
    with asking():
        answers, stopped = answers_of(settings, [1, -1])
    assert (answers.buttons.tolist(), stopped) == ([0, 2], None)
    assert capsys.readouterr().err == (
        f"{kept_file(settings)}: cannot be used (unable to open database file); the answers of "
        "this run are not kept\n"
    )


def _answer_in_a_process(settings: Settings, xs: list[int]) -> list[int]:
    buttons: list[int] = answers_of(settings, xs)[0].buttons.tolist()
    return buttons


def test_two_processes_at_once_put_each_question_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, model={"concurrency": 4})
    xs = list(range(-10, 10))
    with asking(lambda asked: late(right(asked), 0.05)) as server:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            told = pool.starmap(_answer_in_a_process, [(settings, xs), (settings, xs[::-1])])
        assert len(server.asked) == 20
    assert told[0] == told[1][::-1]


def test_two_experts_of_a_process_put_each_question_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, model={"concurrency": 2})
    with asking(lambda asked: late(right(asked), 0.05)) as server:
        with ThreadPoolExecutor(2) as pool:
            told = list(pool.map(lambda xs: answers_of(settings, xs)[0], [[1, 2, 3], [3, 2, 1]]))
        assert len(server.asked) == 3
    # One of them paid for each, and tells it.
    assert sum(spent(answers)[0] for answers in told) == 3


def test_the_cost_of_a_run_that_broke_off_is_told_by_the_next(tmp_path: Path) -> None:
    """Where it ends by an exception; where it is killed, the test of the command looks."""
    settings = settings_in(tmp_path)
    with asking():
        model = expert(settings)
        paid = spent(model.answer(questions([1, 2])))
        model.__exit__(KeyError)
        # This process lives: the answers are still its own run's to tell.
        assert spent(answers_of(settings, [1, 2])[0]) == (0, 0.0)
        path = kept_file(settings)
        with sqlite3.connect(path) as database:
            [(teller,)] = set(database.execute("SELECT teller FROM answers"))
            host, _, *rest = teller.split(":")
            database.execute("UPDATE answers SET teller = ?", (":".join([host, "4194305", *rest]),))
        database.close()
        assert spent(answers_of(settings, [1, 2])[0]) == pytest.approx(paid)
        assert spent(answers_of(settings, [1, 2])[0]) == (0, 0.0)
