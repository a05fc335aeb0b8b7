"""Programs in one file: each keeps its own names, and the state alone decides whose turn it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.experts.authoring.joining import condition_source, join
from pipeline.experts.authoring.scopes import NotJoinable, check
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Questions
from pipeline.games.description import GameDescription, Milestone
from pipeline.games.loading import load_game
from tests.quest_author.conversation import right

GAME = load_game("quest")
NAMES = [milestone.name for milestone in GAME.milestones]
BEFORE, STARTED, OUT = (
    {"in_game": 0, "left_home": 0},
    {"in_game": 1, "left_home": 0},
    {"in_game": 1, "left_home": 1},
)


def loaded(*sources: str, game: GameDescription = GAME) -> Any:
    """``act`` of the joined programs of the game's first milestones."""
    names = [milestone.name for milestone in game.milestones]
    space: dict[str, Any] = {"__name__": "joined"}
    source = join(dict(zip(names, sources, strict=False)), game)
    exec(compile(source, "joined", "exec"), space)
    return space["act"]


def test_each_part_plays_until_its_milestone_and_nobody_after_the_last() -> None:
    act = loaded("def act(s): return 'A'", "act = lambda s: 'B'")
    assert [act(state) for state in (BEFORE, STARTED, OUT)] == ["A", "B", None]


def test_the_part_of_the_games_last_milestone_goes_on() -> None:
    act = loaded(*[f"def act(s): return {i}" for i in range(len(NAMES))])
    none = dict.fromkeys(GAME.variables, 0)
    assert act(none) == 0
    assert act({**none, "in_game": 1}) == 1
    # A later milestone counts, whatever became of those before it.
    assert act({**none, "has_permit": 1}) == 6
    assert act({**none, "badge": 1}) == 9


def test_names_do_not_clash() -> None:
    part = "STEP = {n}\nCACHE = {{}}\ndef go(s):\n    CACHE[{n}] = STEP\n    return CACHE\n"
    part += "def act(state):\n    return sorted(go(state).items())\n"
    act = loaded(part.format(n=1), part.format(n=2))
    assert act(BEFORE) == [(1, 1)]
    assert act(STARTED) == [(2, 2)]


def test_global_names_are_those_of_the_part() -> None:
    part = """
count = {n}
class Seen:
    global kinds
    kinds = ["x"]
def note():
    global last, count
    count += 1
    last = count
def act(state):
    global count
    try:
        before = last
    except NameError:
        before = None
    note()
    return before, count, kinds
"""
    act = loaded(part.format(n=0), part.format(n=10))
    assert [act(BEFORE), act(BEFORE)] == [(None, 1, ["x"]), (1, 2, ["x"])]
    assert act(STARTED) == (None, 11, ["x"])


def test_a_global_that_is_bound_nowhere_stays_a_tool_or_a_builtin() -> None:
    act = loaded("def act(s):\n    global max, log\n    return max(1, 2)\n")
    assert act(BEFORE) == 2


def test_docstrings_long_strings_and_futures_stay_what_they_are() -> None:
    part = '''"""Of the module,
in two lines."""
from __future__ import annotations
TEXT = """one
    two
three"""
def act(state: NoSuchType) -> str:
    """Of the function."""
    global late
    late = TEXT
    return act.__doc__ + late
'''
    act = loaded(part, "def act(state):\n    return 'B'\n")
    assert act(BEFORE) == "Of the function.one\n    two\nthree"
    source = join({NAMES[0]: part}, GAME)
    assert source.index("from __future__") < source.index("def _part_01_game_started")
    assert "Of the module,\nin two lines." in source


def test_milestones_may_have_any_name_and_any_condition() -> None:
    odd = Milestone("1st (x > 3)", "x > 3 and x < 9")
    source = join({odd.name: "def act(s): return 'A'"}, replace(GAME, milestones=(odd,)))
    assert "def _part_01_1st__x___3_()" in source
    assert "state['x'] > 3 and state['x'] < 9" in source


@pytest.mark.parametrize(
    ("when", "state", "answer"),
    [
        ("badge == 1 and party_hp[0] > 0", {"badge": 1, "party_hp": [5, 0]}, True),
        ("max(party_hp) >= 7 or not badge", {"badge": 1, "party_hp": [5, 0]}, False),
        ("(x & 3) + -y == 1", {"x": 7, "y": 2}, True),
        ("any(party_hp) and sum(party_hp) // 2 == 2", {"party_hp": [5, 0]}, True),
    ],
)
def test_conditions_become_python_over_the_state(
    when: str, state: Mapping[str, Any], answer: bool
) -> None:
    source = condition_source(when, ["badge", "party_hp", "x", "y"])
    assert bool(eval(source, {"state": state})) is answer


@pytest.mark.parametrize("isolation", ["bwrap", "monty"])
def test_a_joined_program_runs_in_every_sandbox(tmp_path: Path, isolation: Any) -> None:
    program = tmp_path / "expert.py"
    noisy = """
seen = 0
def act(state):
    global seen
    seen += 1
    log(seen)
    return "B" if seen < 3 else "UP"
"""
    program.write_text(join({NAMES[0]: right("game_started"), NAMES[1]: noisy}, GAME))
    columns = {
        "screen": np.array([0, 2, 1, 1, 1, 1], np.uint8),
        "in_game": np.array([0, 0, 1, 1, 1, 1], np.uint8),
        "left_home": np.array([0, 0, 0, 0, 0, 1], np.uint8),
    }
    with ProgramExpert(program, GAME.buttons, isolation=isolation) as expert:
        answers = expert.answer(Questions(columns))
    names = [GAME.buttons[b] if b < len(GAME.buttons) else None for b in answers.buttons]
    assert names == ["START", "A", "B", "B", "UP", None]
    assert answers.logs == {2: "1", 3: "2", 4: "3"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def act(state)\n    return 'A'\n", "line 1: expected ':'"),
        ("return 'A'\n", "line 1: 'return' outside function"),
        ("def play(state): return 'A'\n", "there is no function act(state) in it"),
        ("x = '\0'", "it holds a null character"),
        (
            "from math import *\ndef act(s): return 'A'\n",
            "line 1: 'from math import *' is not possible; name what you import",
        ),
        (
            "def act(s):\n    return globals()['b']\n",
            "line 2: globals is not possible; use plain names",
        ),
        (
            "def act(s):\n    n = 0\n    def more():\n        global n\n        n = 1\n",
            "line 3: 'global n' inside a function that has a 'n' of its own; rename one of them",
        ),
    ],
)
def test_what_cannot_stand_beside_others_is_refused(source: str, why: str) -> None:
    with pytest.raises(NotJoinable) as caught:
        check(source)
    assert str(caught.value) == why


def test_the_programs_of_the_conversation_can_be_joined() -> None:
    for name in NAMES:
        check(right(name))
    assert join({name: right(name) for name in NAMES}, GAME).count("def act(state") == 11
