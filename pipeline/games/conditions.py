"""Conditions: expressions over a game's variables, such as ``badge == 1 and party_hp[0] > 0``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import simpleeval

from pipeline.games.checked import nearest
from pipeline.system.errors import PipelineError

FUNCTIONS: dict[str, Callable[..., object]] = {
    function.__name__: function for function in (abs, all, any, len, max, min, sum)
}
_OPERATORS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.RShift: simpleeval.safe_rshift,
    ast.Invert: operator.invert,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


State = Mapping[str, Any]
"""The variables of a game by name: an int, or an array of the shape that ``game.yaml`` says.

Which it is follows from the description, against which all that reads a state was checked."""


class Condition:
    """An expression that is parsed and checked once and then asked at every step.

    Numbers, ``and or not``, comparisons, ``+ - * // % & | ^ ~ >>``, elements of arrays
    (``party_hp[0]``) and the functions abs, all, any, len, max, min, sum over arrays. Evaluated by
    ``simpleeval``, never by ``eval``. The answer is kept while the variables that it reads stay the
    same.

    Args:
        expression: the text.
        names: shape of every variable that it may read.

    Raises:
        PipelineError: a mistake in the expression; its column is named, counted from 1.
    """

    def __init__(self, expression: str, names: Mapping[str, tuple[int, ...]]) -> None:
        self.expression = expression = " ".join(expression.split())
        self._tree = _parse(expression)
        _Checker(expression, names).number(self._tree.body)
        used = {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name)}
        self.reads = tuple(sorted(used & set(names)))
        """Names of the variables that it reads."""
        self._arrays = tuple(name for name in self.reads if names[name])
        self._evaluator = simpleeval.SimpleEval(operators=_OPERATORS, functions=FUNCTIONS)
        self._last_values: list[Any] | None = None
        self._last_answer = False

    def holds(self, state: State) -> bool:
        """Whether the condition is true in ``state``.

        Raises:
            PipelineError: a division by zero.
        """
        values = _values(state, self.reads)
        if values != self._last_values:
            self._last_answer = self._evaluate(state)
            self._last_values = values
        return self._last_answer

    def _evaluate(self, state: State) -> bool:
        names = {name: state[name] for name in self.reads}
        for name in self._arrays:
            names[name] = names[name].tolist()
        self._evaluator.names = names
        try:
            return bool(self._evaluator.eval(self.expression, self._tree.body))
        except ZeroDivisionError:
            raise PipelineError(
                f"condition '{self.expression}': division by zero; guard it with 'and'"
            ) from None


class Conditions:
    """Several conditions that are asked together: a microsecond while nothing they read changed."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._conditions = tuple(conditions)
        self._reads = sorted({name for condition in conditions for name in condition.reads})
        self._last_values: list[Any] | None = None
        self._last_answers: tuple[bool, ...] = ()

    def hold(self, state: State) -> tuple[bool, ...]:
        """Whether each is true in ``state``; the very same tuple while nothing changed."""
        values = _values(state, self._reads)
        if values != self._last_values:
            self._last_answers = tuple([condition.holds(state) for condition in self._conditions])
            self._last_values = values
        return self._last_answers


def _values(state: State, names: Iterable[str]) -> list[Any]:
    """What to remember of a state: numbers, and arrays as bytes."""
    return [value if type(value := state[name]) is int else value.tobytes() for name in names]


def _parse(expression: str) -> ast.Expression:
    if not expression:
        raise PipelineError("an empty condition; write one like 'badge == 1 and money > 0'")
    try:
        return ast.parse(expression, mode="eval")
    except SyntaxError as error:
        column = min(error.offset or 1, len(expression) + 1)
        raise PipelineError(
            f"condition '{expression}', column {column}: {error.msg}; write it like "
            "'badge == 1 and money > 0'"
        ) from None
    except ValueError:
        raise PipelineError(f"condition {expression!r}: not text that can be parsed") from None


class _Checker:
    """Refuses whatever is not arithmetic over known variables."""

    def __init__(self, expression: str, names: Mapping[str, tuple[int, ...]]) -> None:
        self._expression = expression
        self._names = names

    def number(self, node: ast.expr) -> None:
        shape = self.value(node)
        if shape:
            raise self._mistake(
                node, f"an array of {shape[0]}; take an element of it, or its min, max, sum"
            )

    def value(self, node: ast.expr) -> tuple[int, ...]:
        """Check ``node`` and give its shape, () for a number."""
        if isinstance(node, ast.Name):
            if node.id not in self._names:
                near = nearest(node.id, self._names)
                raise self._mistake(
                    node, f"unknown variable '{node.id}'; the nearest one is '{near}'"
                )
            return self._names[node.id]
        if isinstance(node, ast.Constant):
            if type(node.value) not in (int, bool):
                raise self._mistake(node, f"{node.value!r} is not a whole number")
            return ()
        if isinstance(node, ast.Subscript):
            return self._element(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        self._operation(node)
        return ()

    def _operation(self, node: ast.expr) -> None:
        if not isinstance(node, (ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare)):
            raise self._mistake(node, "only arithmetic, comparisons, and, or, not are possible")
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.number(child)
            elif type(child) not in _OPERATORS and not isinstance(child, ast.boolop):
                name = type(child).__name__
                raise self._mistake(node, f"the operation {name} is not possible")

    def _element(self, node: ast.Subscript) -> tuple[int, ...]:
        shape = self.value(node.value)
        if not shape:
            raise self._mistake(node, "a single number has no elements")
        index = node.slice
        if not isinstance(index, ast.Constant) or type(index.value) is not int:
            raise self._mistake(index, "an element is chosen by a plain number such as [0]")
        if not 0 <= index.value < shape[0]:
            raise self._mistake(
                index, f"there is no element {index.value}; the array has {shape[0]}"
            )
        return shape[1:]

    def _call(self, node: ast.Call) -> tuple[int, ...]:
        name = ast.unparse(node.func)
        if name not in FUNCTIONS:
            near = nearest(name, FUNCTIONS)
            raise self._mistake(node, f"unknown function '{name}'; the nearest one is '{near}'")
        shapes = [self.value(argument) for argument in node.args]
        if name == "abs":
            fits = shapes == [()]
        else:
            fits = len(shapes) == 1 and len(shapes[0]) == 1
            if name in ("max", "min"):
                fits = fits or (len(shapes) > 1 and not any(shapes))
        if not fits or node.keywords:
            raise self._mistake(node, f"{name} cannot be applied to this")
        return ()

    def _mistake(self, node: ast.expr, problem: str) -> PipelineError:
        column = node.col_offset + 1
        return PipelineError(f"condition '{self._expression}', column {column}: {problem}")
