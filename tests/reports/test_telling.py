"""What is told of a typed result."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.reports.results import FreeForecast, LabelResult, LabelRow
from pipeline.reports.telling import (
    INLINE,
    LEFT_OUT,
    UNTOLD,
    Interval,
    called,
    inline,
    told,
    told_as,
)
from pipeline.system.strict_json import json_text


@dataclass(frozen=True)
class Inner:
    low: float
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Outer:
    shard: Path
    nothing: float | None = field(default=None, metadata=LEFT_OUT)
    shown: float | None = None
    start: str = field(metadata=called("from"))
    own: Inner = field(metadata=INLINE)
    whole: Inner | None = field(metadata=inline(prefix="whole_", without=("high",)))
    chosen: Inner | None = field(metadata=inline(only=("high",), prefix="its_"))
    interval: Interval
    rows: tuple[Inner, ...]
    count: tuple[int, ...] = field(metadata=told_as(len))
    secret: int = field(metadata=UNTOLD)


def outer(**changed: object) -> Outer:
    given: dict[str, object] = {
        "shard": Path("a/b.h5"),
        "start": "here",
        "own": Inner(0.5, None),
        "whole": Inner(1.0, 2.0),
        "chosen": None,
        "interval": Interval(0.345, 1.0),
        "rows": (Inner(float("nan"), 1.0),),
        "count": (1, 2, 3),
        "secret": 7,
    }
    return Outer(**{**given, **changed})  # type: ignore[arg-type]


def test_fields_are_told_in_their_order_as_their_metadata_say() -> None:
    names = ["shard", "shown", "from", "low", "high", "whole_low", "interval", "rows", "count"]
    found = told(outer())
    assert list(found) == names
    assert found["shard"] == "a/b.h5"
    assert found["interval"] == "0.34-1.00"
    assert found["count"] == 3
    assert (found["low"], found["high"], found["whole_low"]) == (0.5, None, 1.0)
    assert json_text(found["rows"]) == '[{"low": null, "high": 1.0}]'


def test_what_is_left_out_is_told_where_it_is_there() -> None:
    found = told(outer(nothing=0.0, whole=None, chosen=Inner(1.0, 2.0)))
    assert (found["nothing"], found["its_high"]) == (0.0, 2.0)
    assert "whole_low" not in found
    assert told(outer(), whole=True)["secret"] == 7


def test_only_a_dataclass_is_a_result() -> None:
    with pytest.raises(TypeError, match="dict is no result of a stage"):
        told({"shard": "a"})


def row(**changed: object) -> LabelRow:
    given: dict[str, object] = {
        "shard": None, "up_to_date": False, "frames": 3, "labels": 0, "asked": 0,
        "unlabelled": None, "first_reason": None, "dollars": 0.0, "stopped": None, "seconds": 1.0,
    }  # fmt: skip
    return LabelRow(**{**given, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize("paid", [{"dollars": 0.5}, {"stopped": "a batch is under way"}])
def test_columns_of_what_costs_are_told_where_something_does(paid: dict[str, object]) -> None:
    def columns(*rows: LabelRow) -> list[list[str]]:
        result = LabelResult(
            up_to_date=True, shards=(), frames=0, labels=0, asked=0, labels_per_second=None,
            dollars=None, stopped=None, by_shard=rows,
        )  # fmt: skip
        shown = told(result)["by_shard"]
        assert isinstance(shown, list)
        return [list(one) for one in shown]

    free = ["shard", "up_to_date", "frames", "labels", "asked", "unlabelled", "first_reason"]
    assert columns(row(), row()) == [free, free]
    assert columns(row(), row(**paid)) == [[*free, "dollars", "stopped"]] * 2


def test_a_free_forecast_is_short() -> None:
    assert told(FreeForecast(questions=30)) == {"questions": 30, "dollars": 0.0}
