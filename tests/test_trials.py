"""Programs tried in the real emulator: what ends an episode, and what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import pytest

from pipeline.experts.authoring.joining import join
from pipeline.experts.authoring.starts import seeds
from pipeline.experts.authoring.trials import (
    LAST,
    LINES,
    Course,
    Start,
    arrivals,
    sights,
    try_program,
)
from pipeline.experts.authoring.verdict import Try, verdict
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.system.workers import local_executor
from tests.quest_author.conversation import right

GAME = load_game("quest")
NAMES = [milestone.name for milestone in GAME.milestones]


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with local_executor(1) as executor:
        yield executor


def course(goal: str, max_steps: int = 60) -> Course:
    return Course(str(GAME.folder), find_rom(GAME), Settings(), goal, max_steps, 0.2)


def tried(pool: Executor, folder: Path, source: str, goal: str, starts: list[Start]) -> list[Try]:
    program = folder / "program.py"
    program.write_text(source)
    return try_program(pool, course(goal), program, starts, title="test")


def test_an_episode_ends_at_its_milestone(pool: Executor, tmp_path: Path) -> None:
    tries = tried(pool, tmp_path, right("game_started"), "game_started", [Start(1), Start(2)])
    assert [(one.seed, one.reached, one.steps, one.film) for one in tries] == [
        (1, True, 1, None),
        (2, True, 1, None),
    ]
    assert verdict(tries).shown == "2 of 2 (0.34-1.00)"


def test_what_is_kept_of_a_failure_is_bounded_and_shows_its_end(
    pool: Executor, tmp_path: Path
) -> None:
    source = "def act(s):\n    log('seen\\n' + str(s['screen']))\n    return 'L'\n"
    one, other = tried(pool, tmp_path, source, "game_started", [Start(1), Start(2)])
    assert (one.reached, one.steps, one.reason) == (False, 60, "not reached in 60 steps")
    assert [moment.step for moment in one.last] == list(range(61 - LAST, 61))
    assert one.last[-1].asked is None
    assert {moment.pressed for moment in one.last[:-1]} == {"L"}
    assert one.last[0].state["party_hp"] == [0] * 6
    assert one.log[-1] == "step 59: seen / 0"
    assert len(one.log) == LINES
    assert one.film is not None
    assert one.film.shape == (61, 160, 240, 3)
    assert other.film is None  # one film a job is enough


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "def act(s):\n    return 'L' if s['screen'] else s['scene']\n",
            "step 0: failed: KeyError: 'scene', line 2",
        ),
        (
            "def act(s):\n    return 'LEFTT'\n",
            "step 0: invalid: 'LEFTT' is not a button of this game",
        ),
        ("def act(s):\n    pass\n", "step 0: refused: the program gave no button"),
    ],
)
def test_a_step_without_a_button_ends_the_episode(
    pool: Executor, tmp_path: Path, source: str, reason: str
) -> None:
    (one,) = tried(pool, tmp_path, source, "game_started", [Start(1)])
    assert (one.reached, one.steps, one.reason) == (False, 0, reason)
    assert one.film is not None
    assert len(one.film) == 2


def test_a_program_that_counts_its_calls_is_found_out(pool: Executor, tmp_path: Path) -> None:
    source = "n = 0\ndef act(s):\n    global n\n    n += 1\n    return 'LR'[n % 2]\n"
    one, other = tried(pool, tmp_path, source, "game_started", [Start(1), Start(2)])
    assert one.again == (60, 60)
    assert other.again == (0, 0)
    (steady,) = tried(pool, tmp_path, "def act(s): return 'L'", "game_started", [Start(1)])
    assert steady.again == (60, 0)


def test_a_program_that_does_not_load_fails_every_episode(pool: Executor, tmp_path: Path) -> None:
    tries = tried(pool, tmp_path, "1 / 0\ndef act(s): ...\n", "game_started", [Start(1), Start(2)])
    assert [one.steps for one in tries] == [0, 0]
    assert "ZeroDivisionError: division by zero" in tries[0].reason


def test_an_endless_loop_costs_one_answer_time_an_episode(pool: Executor, tmp_path: Path) -> None:
    settings = Settings.model_validate({"expert": {"timeout": 0.5}})
    (tmp_path / "program.py").write_text("def act(s):\n    while True: pass\n")
    quick = Course(str(GAME.folder), find_rom(GAME), settings, "game_started", 60, 0.2)
    (one,) = try_program(pool, quick, tmp_path / "program.py", [Start(1)], title="test")
    assert one.reason == "step 0: timed out: no answer in 0.5 s"


def test_episodes_begin_where_a_joined_program_arrived(pool: Executor, tmp_path: Path) -> None:
    joined = tmp_path / "joined.py"
    joined.write_text(join({name: right(name) for name in NAMES[:2]}, GAME))
    there = arrivals(pool, course("left_home", 100), joined, [5, 6], title="test")
    assert [one.seed for one in there] == [5, 6]
    assert there[0].reached == ("game_started", "left_home")
    starts = [Start(7, one.state) for one in there]
    seen = sights(pool, course("errand_received"), starts)
    assert [(one.state["left_home"], one.state["map_number"]) for one in seen] == [(1, 9), (1, 9)]
    assert seen[0].screen.shape == (160, 240, 3)
    tries = tried(pool, tmp_path, right("errand_received"), "errand_received", starts)
    assert all(one.reached and one.steps > 5 for one in tries)


def test_the_authors_games_are_none_of_an_evaluation_and_no_two_alike() -> None:
    every = [seeds(0, place, offset, 50) for place in (0, 9) for offset in (0, 1 << 18, 1 << 19)]
    flat = np.array(every).ravel()
    assert set((flat >> 30).tolist()) == {2}  # "select"; an evaluation's are 3
    assert len(np.unique(flat)) == len(flat)
