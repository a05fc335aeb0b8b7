"""Conditions: what they understand, what they refuse, and that nothing stale is answered."""

from typing import Any

import numpy as np
import pytest

from pipeline.games.conditions import Condition
from pipeline.system.errors import PipelineError

SHAPES: dict[str, tuple[int, ...]] = {"badge": (), "money": (), "hp": (3,), "map": (2, 2)}
STATE: dict[str, Any] = {
    "badge": 1,
    "money": 300,
    "hp": np.array([20, 0, 7], np.uint16),
    "map": np.array([[1, 2], [3, 4]], np.uint16),
}


@pytest.mark.parametrize(
    "expression",
    [
        "badge == 1",
        "badge",
        "badge == 1 and money > 100",
        "badge == 0 or not money <= 299",
        "100 < money < 301",
        "money & 0x100 and not money & 1",
        "(money >> 8) % 2 == 1",
        "money // 3 + 1 * 2 - 2 == 100",
        "~badge == -2",
        "(badge | 2) ^ 1 == 2",
        "hp[0] == 20 and hp[2] != 0",
        "map[1][0] == 3",
        "sum(hp) == 27 and max(hp) == 20 and min(hp) == 0 and len(hp) == 3",
        "any(hp) and not all(hp)",
        "max(badge, money) == 300 and abs(badge - 3) == 2",
        "sum(map[1]) == 7",
        "money == 300 and True",
    ],
)
def test_true_conditions_hold(expression: str) -> None:
    assert Condition(expression, SHAPES).holds(STATE) is True
    assert Condition(f"not ({expression})", SHAPES).holds(STATE) is False


def test_arithmetic_of_arrays_does_not_wrap_around() -> None:
    state = {**STATE, "hp": np.array([65535, 65535, 65535], np.uint16)}
    assert Condition("hp[0] + hp[1] == 131070 and hp[0] - hp[1] - 1 == -1", SHAPES).holds(state)


def test_the_answer_follows_the_variables_that_it_reads() -> None:
    condition = Condition("badge == 1 and hp[1] > 0", SHAPES)
    assert condition.reads == ("badge", "hp")
    hp = np.array([20, 0, 7], np.uint16)
    state = {**STATE, "hp": hp}
    assert not condition.holds(state)
    hp[1] = 5  # the same array, changed in place
    assert condition.holds(state)
    assert condition.holds({**state, "money": 0})
    assert not condition.holds({**state, "badge": 0})


@pytest.mark.parametrize(
    "expression, message",
    [
        ("badge = 1", "column 7: invalid syntax; write it like 'badge == 1 and money > 0'"),
        ("badge == 1 1", "column 12: invalid syntax; write it like"),
        ("(badge", "column 1: '(' was never closed; write it like"),
        (
            "money > 0 and bagde == 1",
            "column 15: unknown variable 'bagde'; the nearest one is 'badge'",
        ),
        ("badge == 1.5", "column 10: 1.5 is not a whole number"),
        ("badge == 'x'", "column 10: 'x' is not a whole number"),
        ("hp > 0", "column 1: an array of 3; take an element of it, or its min, max, sum"),
        ("map[0] == 1", "column 1: an array of 2; take an element of it, or its min, max, sum"),
        ("badge[0]", "column 1: a single number has no elements"),
        ("hp[3]", "column 4: there is no element 3; the array has 3"),
        ("hp[-1]", "column 4: an element is chosen by a plain number such as [0]"),
        ("hp[badge]", "column 4: an element is chosen by a plain number such as [0]"),
        ("sun(hp)", "column 1: unknown function 'sun'; the nearest one is 'sum'"),
        ("sum(map)", "column 1: sum cannot be applied to this"),
        ("sum(badge)", "column 1: sum cannot be applied to this"),
        ("abs(hp)", "column 1: abs cannot be applied to this"),
        ("max(hp, 1)", "column 1: max cannot be applied to this"),
        ("badge ** 9", "column 1: the operation Pow is not possible"),
        ("money / 2 > 1", "column 1: the operation Div is not possible"),
        ("badge << 9", "column 1: the operation LShift is not possible"),
        ("badge in hp", "column 1: the operation In is not possible"),
        ("badge is 1", "column 1: the operation Is is not possible"),
        ("badge.real", "column 1: only arithmetic, comparisons, and, or, not are possible"),
        ("[badge]", "column 1: only arithmetic, comparisons, and, or, not are possible"),
        ("lambda: 1", "column 1: only arithmetic, comparisons, and, or, not are possible"),
        (
            "__import__('os').system('x')",
            "column 1: unknown function '__import__('os').system'; the nearest one is 'sum'",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_column(expression: str, message: str) -> None:
    with pytest.raises(PipelineError) as error:
        Condition(expression, SHAPES)
    assert str(error.value).startswith(f"condition '{expression}', {message}")
    assert "\n" not in str(error.value)


def test_an_empty_condition_is_refused() -> None:
    with pytest.raises(PipelineError) as error:
        Condition(" ", SHAPES)
    assert str(error.value) == "an empty condition; write one like 'badge == 1 and money > 0'"


def test_a_condition_may_stand_on_several_lines() -> None:
    assert Condition("badge == 1\n  and money == 300", SHAPES).holds(STATE)


def test_a_division_by_zero_names_the_condition() -> None:
    condition = Condition("100 // (badge - 1) == 0", SHAPES)
    with pytest.raises(PipelineError) as error:
        condition.holds(STATE)
    assert str(error.value) == (
        "condition '100 // (badge - 1) == 0': division by zero; guard it with 'and'"
    )
