"""From a typed result to what is told of it: the JSON of ``--json`` and the table on the terminal.

A result is a frozen dataclass. Its fields are told in their order, under their names; metadata of a
field (`left_out` and the others below) say where that is otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

LEFT_OUT = {"left_out": True}
"""Of a field that is told only where it is not None."""
INLINE = {"inline": True}
"""Of a field whose own fields stand among those of the whole; none where it is None."""
UNTOLD = {"untold": True}
"""Of a field that is for the program alone, or for a report on disk."""


def called(key: str) -> Mapping[str, str]:
    """Of a field that is told under another name, such as a word of Python's own."""
    return {"key": key}


def inline(
    *, prefix: str = "", only: Sequence[str] = (), without: Sequence[str] = ()
) -> Mapping[str, object]:
    """As `INLINE`, with a prefix before each name.

    Args:
        only: names of fields, in the order in which they are told; () takes all.
        without: names of fields that are not told.
    """
    return {**INLINE, "prefix": prefix, "only": tuple(only), "without": tuple(without)}


def told_as(tell: Callable[..., object]) -> Mapping[str, object]:
    """Of a field that ``tell`` makes something else of."""
    return {"tell": tell}


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a rate, told in one column: ``0.56-0.94``."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f}-{self.high:.2f}"


def told(result: object, *, whole: bool = False) -> dict[str, object]:
    """What a result (a dataclass) tells: names and values that can be written as JSON, in order.

    Args:
        whole: with the fields that are `UNTOLD`.
    """
    if not is_dataclass(result):
        raise TypeError(f"{type(result).__name__} is no result of a stage")
    out: dict[str, object] = {}
    for one in fields(result):
        value, how = getattr(result, one.name), one.metadata
        if how.get("untold") and not whole:
            continue
        if how.get("inline"):
            out.update(_among(value, how, whole))
        elif not (how.get("left_out") and value is None):
            out[how.get("key", one.name)] = how.get("tell", _plain)(value)
    return out


def _among(value: object, how: Mapping[str, Any], whole: bool) -> dict[str, object]:
    """The fields of a field, as they stand among those of the whole."""
    inner = {} if value is None else told(value, whole=whole)
    names = [name for name in how.get("only") or inner if name in inner]
    prefix, without = how.get("prefix", ""), how.get("without", ())
    return {prefix + name: inner[name] for name in names if name not in without}


def _plain(value: object) -> object:
    if isinstance(value, (Path, Interval)):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return told(value) if is_dataclass(value) else value
