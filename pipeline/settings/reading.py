"""Settings: one YAML an experiment, read into the typed fields of ``pipeline.settings.fields``."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.settings.expert_fields import Mode, PlayMode
from pipeline.settings.fields import Dagger, Settings
from pipeline.system.errors import PipelineError

__all__ = [
    "Dagger",
    "Mode",
    "PlayMode",
    "Settings",
    "load_settings",
    "merge",
    "valid_keys",
    "validated",
]


RENAMED = {
    "train.told_goal": "train.goal_conditioned",
    "preprocess.restate": "preprocess.reread_state",
}
"""Settings that once had another name, which is still read, and those of today."""


def section_of(kind: Any) -> type[BaseModel] | None:
    """The section that a field holds, also where it may be left out."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def valid_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Every key as it is written on the command line, such as ``train.steps``."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        section = section_of(field.annotation)
        if section is not None:
            keys += valid_keys(section, f"{prefix}{name}.")
        else:
            keys.append(prefix + (field.alias or name))
    return keys


def merge(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Lay ``over`` upon ``base``, section by section; neither is changed."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
        )
    return out


def tell_renamed(old: str, new: str, where: str) -> None:
    """Say what a setting is called today that was given by an older name."""
    print(f"{where}: {old} is now called {new}", file=sys.stderr, flush=True)


def _with_todays_keys(tree: Mapping[str, object], where: str) -> Mapping[str, object]:
    """A tree of settings, its older names replaced.

    Raises:
        PipelineError: it has a setting under both names.
    """
    for old, new in RENAMED.items():
        section, _, name = old.partition(".")
        values = tree.get(section)
        if not isinstance(values, dict) or name not in values:
            continue
        tell_renamed(old, new, where)
        key = new.partition(".")[2]
        if key in values:
            raise PipelineError(f"{where}: {old} and {new} are one setting; leave {old} out")
        kept = {one: value for one, value in values.items() if one != name}
        tree = {**tree, section: {**kept, key: values[name]}}
    return tree


def load_settings(
    path: Path | None = None, overrides: Mapping[str, object] | None = None
) -> Settings:
    """Read settings from a YAML file (none: the defaults) and lay ``overrides`` upon them.

    ``overrides`` maps dotted keys (``train.steps``) to values.

    Raises:
        PipelineError: no such file, not YAML, an unknown key (the nearest valid one is named),
            or a value of the wrong type or out of range.
    """
    tree: Mapping[str, object] = {}
    where = "the command line"
    if path is not None:
        where = str(path)
        tree = _with_todays_keys(_read_yaml(path), where)
    validated(tree, where)
    for dotted, value in (overrides or {}).items():
        nested: Any = value
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        tree = merge(tree, nested)
    return validated(tree, "the command line" if overrides else where)


def validated(tree: Mapping[str, object], where: str) -> Settings:
    """Check a nested mapping of settings; ``where`` names its origin in the error."""
    try:
        return Settings.model_validate(dict(tree))
    except ValidationError as error:
        raise PipelineError(_one_line(error, where)) from None


def _read_yaml(path: Path) -> Mapping[str, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        found = sorted(str(p) for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        near = difflib.get_close_matches(str(path), found, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}?" if near else "give an existing file with --config"
        raise PipelineError(
            f"{path}: cannot read the configuration ({os.strerror(error.errno or 0)}); {hint}"
        ) from None
    except UnicodeDecodeError:
        raise PipelineError(f"{path}: not a text file; give a YAML file with --config") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise PipelineError(f"{path}, line {line}: not valid YAML ({problem}); fix it") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise PipelineError(f"{path}: expected sections such as 'train:', found a bare value")
    return tree


def _one_line(error: ValidationError, where: str) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = valid_keys()
        sections = sorted({k.split(".")[0] for k in keys})
        near = difflib.get_close_matches(key, keys + sections, n=1, cutoff=0.0)
        return f"{where}: unknown key '{key}'; the nearest valid one is '{near[0]}'"
    problem = first["msg"][0].lower() + first["msg"][1:]
    return f"{where}: {key} is {first['input']!r}: {problem}"
