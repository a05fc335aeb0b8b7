"""A setting that is NaN or infinite is refused in one line: NaN would pass every bound."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from pipeline.__main__ import read_overrides
from pipeline.settings.fields import Settings
from pipeline.settings.reading import load_settings, section_of
from pipeline.system.errors import PipelineError


def keys_with(kind: Any, model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Dotted keys of the fields that are ``kind``, or are it where they are given at all."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            found += keys_with(kind, section, f"{prefix}{name}.")
        elif get_origin(field.annotation) is not dict and kind in (
            field.annotation,
            *get_args(field.annotation),
        ):
            found.append(prefix + (field.alias or name))
    return found


def refusal(key: str, value: Any) -> str:
    tree: Any = value
    for part in reversed(key.split(".")):
        tree = {part: tree}
    if key.startswith("model.prices."):
        tree["model"]["prices"] = {"input": 1, "output": 1, **tree["model"]["prices"]}
    with pytest.raises(PipelineError) as error:
        load_settings(None, tree)
    return str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "inf"])
def test_no_number_of_the_settings_may_be_odd(value: Any) -> None:
    floats = keys_with(float)
    assert {"train.learning_rate", "collect.beta", "budget.dollars"} < set(floats)
    assert "model.prices.input" in floats
    for key in floats:
        assert refusal(key, value) == (
            f"the command line: {key} is {value!r}: input should be a finite number"
        )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_whole_number_of_the_settings_may_be_odd(value: float) -> None:
    whole = keys_with(int)
    assert "collect.patience" in whole
    for key in whole:
        assert refusal(key, value).startswith(f"the command line: {key} is {value!r}: input should")


@pytest.mark.parametrize(
    ("key", "name"),
    [("train.action_weights", "A"), ("train.round_weights", 0), ("train.shard_weights", "a.h5")],
)
def test_no_weight_may_be_odd(key: str, name: Any) -> None:
    assert refusal(key, {name: math.nan}) == (
        f"the command line: {key}.{name} is nan: input should be a finite number"
    )


def test_a_file_names_itself_and_the_command_line_too(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("budget: {dollars: .inf}\n")
    with pytest.raises(PipelineError) as error:
        load_settings(path)
    assert str(error.value) == f"{path}: budget.dollars is inf: input should be a finite number"
    for word in ("nan", "inf", "-inf"):
        given = read_overrides("train", [f"--learning_rate={word}"])
        with pytest.raises(PipelineError, match=r"train\.learning_rate is .* should be a finite"):
            load_settings(None, given)
