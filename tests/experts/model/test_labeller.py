"""The model as labeller: right answers get in, and nothing else becomes a button."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.emulator.env import GBAEnv
from pipeline.experts.model.labeller import ModelExpert
from pipeline.experts.opening import open_expert
from pipeline.experts.protocol import Answers, get_action
from pipeline.games.loading import load_game
from pipeline.shards.format.labels import expert_id
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.system.errors import PipelineError
from tests.experts.model.made import (
    SCREEN,
    answers_of,
    asking,
    expert,
    questions,
    right,
    settings_in,
    x_of,
)
from tests.model_server import (
    Asked,
    Reply,
    cut,
    error,
    late,
    overloaded,
    rate_limited,
    refuses,
    says,
)

UP, A = 2, 0


def statuses(answers: Answers) -> list[str]:
    return [LabelStatus(status).name for status in answers.status]


def test_every_state_gets_its_button_its_cost_and_its_reason(tmp_path: Path) -> None:
    with asking() as server:
        answers, stopped = answers_of(settings_in(tmp_path), [-5, 0, 7, -1])
    assert answers.buttons.tolist() == [UP, A, A, UP]
    assert (statuses(answers), answers.reasons, stopped) == (["LABELLED"] * 4, {}, None)
    assert answers.logs[2] == "x is 7"
    assert answers.costs is not None
    assert answers.costs.attempts.tolist() == [1, 1, 1, 1]
    assert (answers.costs.input_tokens > 50).all()
    paid = answers.costs.input_tokens * 2e-6 + answers.costs.output_tokens * 1e-5
    assert answers.costs.dollars == pytest.approx(paid)
    assert len(server.asked) == 4


def test_a_question_shows_the_game_the_state_and_the_screen(tmp_path: Path) -> None:
    with asking() as server:
        answers_of(settings_in(tmp_path), [5])
    [asked] = server.asked
    assert (asked.model, asked.body["max_tokens"]) == ("claude-test", 1024)
    for words in ("You play TINY.", "A, B, UP, DOWN", "held for 4 frames", "1. left_home (x > 1)"):
        assert words in asked.system
    assert asked.text == "next milestone: none, all are reached\nx: 5"
    [file] = asked.images
    picture = np.asarray(Image.open(io.BytesIO(file)))
    assert (picture[8:] == SCREEN[8:]).all()
    assert asked.schema is not None
    assert asked.schema["properties"]["button"]["enum"] == ["A", "B", "UP", "DOWN", "unsure"]
    assert "temperature" not in asked.body


def test_the_identity_is_the_model_and_what_it_is_told(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    identity = expert(settings).identity
    assert (identity["kind"], identity["model"]) == ("model", "claude-test")
    budgeted = settings_in(tmp_path, budget={"labels": 3}, model={"retries": 0})
    assert expert(budgeted).identity == identity
    other = settings_in(tmp_path, model={"effort": "low"})
    assert expert_id(expert(other).identity) != expert_id(identity)


ANSWERS: dict[int, tuple[Reply, str, str]] = {
    1: (says({"reason": "two doors", "button": "unsure"}), "REFUSED", "unsure: two doors"),
    2: (refuses("Not this."), "REFUSED", "the model refused: Not this."),
    3: (cut(), "INVALID", "cut off after 4 tokens; raise model.max_tokens"),
    4: (
        cut(reason="model_context_window_exceeded"),
        "INVALID",
        "the question and its answer do not fit the model's context",
    ),
    5: (says("UP"), "INVALID", "not the form that was asked for: 'UP'"),
    6: (says({"reason": "", "button": "JUMP"}), "INVALID", "no button of this game: 'JUMP'"),
    7: (says('["UP"]'), "INVALID", "not the form that was asked for: '[\"UP\"]'"),
    8: (
        error(400, "invalid_request_error", "no"),
        "FAILED",
        "400 invalid_request_error: no",
    ),
    9: (late(says("UP"), 20), "TIMED_OUT", "no answer in 1 s"),
    10: (overloaded(), "FAILED", "529 overloaded_error: Overloaded"),
}


def test_whatever_is_no_clear_answer_is_no_button(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, expert={"timeout": 1})
    with asking(lambda asked: ANSWERS[x_of(asked)][0]):
        answers, stopped = answers_of(settings, list(ANSWERS))
    assert stopped is None
    assert (answers.buttons == NO_ACTION).all()
    assert statuses(answers) == [status for _, status, _ in ANSWERS.values()]
    reasons = [answers.reasons[i] for i in range(len(ANSWERS))]
    assert reasons == [reason for _, _, reason in ANSWERS.values()]


def test_thoughts_come_first_and_do_not_count_as_the_answer(tmp_path: Path) -> None:
    reply = says({"reason": "", "button": "DOWN"}, thinking='{"button": "UP"}')
    with asking(reply):
        answers, _ = answers_of(settings_in(tmp_path), [1])
    assert answers.buttons.tolist() == [3]


def test_a_busy_server_costs_attempts_and_no_labels(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        return rate_limited() if asked.number % 2 == 0 else right(asked)

    settings = settings_in(tmp_path, model={"concurrency": 1})
    with asking(script):
        answers, _ = answers_of(settings, [-5, 0, 7])
    assert statuses(answers) == ["LABELLED"] * 3
    assert answers.costs is not None
    assert answers.costs.attempts.tolist() == [2, 2, 2]


def test_only_so_many_questions_are_under_way_at_a_time(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, model={"concurrency": 3})
    with asking(lambda asked: late(right(asked), 0.05)) as server:
        answers, _ = answers_of(settings, list(range(12)))
    assert statuses(answers) == ["LABELLED"] * 12
    assert server.most_at_once == 3


def test_the_first_question_writes_the_cache_and_the_others_read_it(tmp_path: Path) -> None:
    with asking(lambda asked: late(right(asked), 0.02), cache_minimum=10) as server:
        answers, _ = answers_of(settings_in(tmp_path), [1, 2, 3, 4, 5, 6])
    assert answers.costs is not None
    reads = answers.costs.input_tokens
    prefix = len(server.asked[0].system) // 4
    rest, out = reads - prefix, answers.costs.output_tokens
    factor = np.array([1.25, 0.1, 0.1, 0.1, 0.1, 0.1])
    dollars = (prefix * factor + rest) * 2e-6 + out * 1e-5
    assert answers.costs.dollars == pytest.approx(dollars)


def test_a_single_question_does_not_pay_for_writing_the_cache(tmp_path: Path) -> None:
    with asking(cache_minimum=10) as server:
        answers_of(settings_in(tmp_path), [1])
        answers_of(settings_in(tmp_path, model={"cache": False}), [2, 3])
    assert all("cache_control" not in asked.body["system"][0] for asked in server.asked)


def test_the_same_moment_twice_is_one_question(tmp_path: Path) -> None:
    with asking() as server:
        answers, _ = answers_of(settings_in(tmp_path), [4, 4, -4, 4])
    assert answers.buttons.tolist() == [A, A, UP, A]
    assert len(server.asked) == 2
    assert answers.costs is not None
    assert answers.costs.attempts.tolist() == [1, 0, 1, 0]
    assert (answers.costs.dollars > 0).tolist() == [True, False, True, False]


def test_a_refused_key_ends_the_run_and_keeps_what_was_answered(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        bad = error(401, "authentication_error", "invalid x-api-key")
        return bad if asked.number == 2 else right(asked)

    settings = settings_in(tmp_path, model={"concurrency": 1})
    with asking(script) as server:
        with pytest.raises(PipelineError) as caught, expert(settings) as model:
            model.answer(questions([1, 2, 3, 4]))
        assert str(caught.value).startswith("the Messages API refuses the key (401 ")
        answers, _ = answers_of(settings, [1, 2, 3, 4])
    assert statuses(answers) == ["LABELLED"] * 4
    assert len(server.asked) == 5


def test_questions_that_fail_one_after_the_other_stop_it(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, model={"concurrency": 2, "retries": 0})
    with asking(overloaded()) as server:
        answers, stopped = answers_of(settings, list(range(40)))
    assert stopped is not None
    assert stopped.endswith(
        "questions in a row failed, the last one with: 529 overloaded_error: Overloaded; the "
        "answers are kept; run the same command again to continue"
    )
    assert 11 <= len(server.asked) <= 13
    assert statuses(answers).count("UNLABELLED") == 40 - len(server.asked)


def test_a_missing_model_or_price_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"^model\.name is not set; "):
        expert(settings_in(tmp_path, model={"name": None}))
    with pytest.raises(PipelineError, match=r"^budget\.dollars is set, but what a token costs"):
        expert(settings_in(tmp_path, model={"prices": None}, budget={"dollars": 1}))


def test_it_works_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    async def notebook() -> Answers:
        return answers_of(settings_in(tmp_path), [1, -1])[0]

    with asking():
        assert asyncio.run(notebook()).buttons.tolist() == [A, UP]


def test_it_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())  # experts of other tests may be open
    with asking():
        answers_of(settings_in(tmp_path), [1, -1])
    left = set(threading.enumerate()) - before
    assert "asking a model" not in [thread.name for thread in left]


def test_it_plays_the_real_game_step_by_step(tmp_path: Path) -> None:
    def script(asked: Asked) -> Reply:
        button = "START" if "\nscreen: 0\n" in asked.text else "DOWN"
        return says({"reason": "", "button": button})

    settings = settings_in(tmp_path).model_copy(update={"game": "quest"})
    game = load_game("quest")
    with asking(script) as server, open_expert(settings, game) as model:
        assert isinstance(model, ModelExpert)
        env = GBAEnv("quest", sticky_action_probability=0.0)
        obs, info = env.reset(seed=1)
        pressed = []
        for _ in range(12):
            action = get_action(model, obs, info)
            assert action is not None
            pressed.append(game.buttons[action])
            obs, _, _, _, info = env.step(action)
    assert {"START", "DOWN"} == set(pressed)
    walking = server.asked[-1]
    assert "\nmap:\n" in walking.text
    assert "@" in walking.text
    assert Image.open(io.BytesIO(walking.images[0])).size == (240, 160)
