"""The words of a command line: settings, a command's own options, and files, in any order.

A setting's value is read by the type of its field, never by YAML: ``--run 01`` is a name,
``--steps 500`` a number. ``VALUES`` says how each type is written.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from pipeline.settings.reading import RENAMED, Settings, section_of, valid_keys
from pipeline.system.errors import PipelineError
from pipeline.system.written_paths import expanded

VALUES = (
    "Options stand before or after files, as --key value or --key=value; -- ends them. Lists: "
    "a b, a,b or [a, b] (where files follow: a,b); a file that is there may have a comma in its "
    "name. Mappings: A=2,B=3 or '{A: 2}'. Switches: --video, or --video no. 'none' or nothing "
    "(--rom=) says none, where that is possible. ~ and $NAME in paths are filled in."
)

_TRUE_OR_FALSE = frozenset(("true", "false", "yes", "no", "on", "off", "1", "0", "y", "n"))
_NONE = ("", "none")
_NONE_OF_A_NUMBER = ("null", "~", "None", "Null", "NULL")
"""YAML's, for fields that hold no text."""


@dataclass
class Words:
    """A command line, taken apart."""

    own: list[str] = field(default_factory=list)
    """The command's own options, for argparse, each value joined to its option with ``=``."""
    plain: list[str] = field(default_factory=list)
    """Words that are neither options nor their values: files and the like, or commands."""
    settings: list[tuple[str, list[str]]] = field(default_factory=list)
    """Names of settings as they were written, and their values."""

    def arguments(self) -> list[str]:
        """For argparse."""
        plain = [_filled_in(word) for word in self.plain]
        if any(word.startswith("-") for word in plain):
            return [*self.own, "--", *plain]
        # First, or an option whose value may be left out would take one of them.
        return [*plain, *self.own]


def take_apart(
    words: Sequence[str],
    own: Mapping[str, argparse.Action],
    kind_of: Callable[[str], Any],
    *,
    plain: int | None = 0,
) -> Words:
    """Tell options, their values and other words apart.

    Args:
        own: options that are argparse's, by their names with dashes.
        kind_of: the type of a setting by its name; raises where there is none.
        plain: how many words that are no options the command needs; None where it takes none,
            so that every word after a setting is its value.
    """
    taken, position, lent = Words(), 0, []
    while position < len(words):
        word = words[position]
        position += 1
        if word == "--":
            taken.plain += words[position:]
            break
        if not _is_option(word):
            taken.plain.append(word)
            continue
        name, equals, value = word.partition("=")
        following = _following(words, position)
        action = own.get(name) or own.get("--" + name[2:].replace("_", "-"))
        if action is None and not name.startswith("--"):
            taken.own.append(word)  # argparse says what it thinks of it
            continue
        if action is None:
            kind = kind_of(name[2:])
            values = [value] if equals else _values(kind, following, greedy=plain is None)
            position += 0 if equals else len(values)
            taken.settings.append((name[2:], values))
            continue
        option = action.option_strings[-1] if name not in action.option_strings else name
        values = [value] if equals else following[: _most(action)]
        position += 0 if equals else len(values)
        if action.type is Path:
            values = [_filled_in(one) for one in values]
        if action.nargs == "?" and values and not equals:
            lent.append(len(taken.own))
        if action.nargs in ("+", "*"):
            taken.own += [option, *values]
        else:
            taken.own.append(f"{option}={values[0]}" if values else option)
    if plain and len(taken.plain) < plain and lent:
        # "--add FILE": the word was no place to add but the file that is missing.
        option, _, value = taken.own[lent[-1]].partition("=")
        taken.own[lent[-1]] = option
        taken.plain.append(value)
    return taken


def own_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """A parser's options by their names."""
    return dict(parser._option_string_actions)


def words_needed(parser: argparse.ArgumentParser) -> int:
    """How many words that are no options a parser asks for at least."""
    return sum(not one.option_strings and one.nargs in (None, "+") for one in parser._actions)


def _is_option(word: str) -> bool:
    """-1, - and .5 are values; -h and --key are none."""
    return bool(re.match(r"--|-[A-Za-z]", word))


def _following(words: Sequence[str], position: int) -> list[str]:
    """The words up to the next option."""
    end = position
    while end < len(words) and not words[end].startswith("--"):
        end += 1
    return list(words[position:end])


def _most(action: argparse.Action) -> int | None:
    return {0: 0, "+": None, "*": None}.get(action.nargs, 1)


def _values(kind: Any, following: list[str], *, greedy: bool) -> list[str]:
    """Of the words that follow a setting, those that are its value."""
    if not following:
        return []
    closing = {"[": "]", "{": "}"}.get(following[0][:1])
    if closing and get_origin(kind) in (list, dict):
        for count, word in enumerate(following, 1):
            if word.endswith(closing):
                return following[:count]
    if greedy:
        return following
    if kind is bool and following[0].lower() not in _TRUE_OR_FALSE:
        return []
    return following[:1]


def kind_of_key(key: str) -> Any:
    """The annotation of a setting, by its whole key."""
    *sections, name = key.split(".")
    model: type[BaseModel] = Settings
    for section in sections:
        model = section_of(model.model_fields[section].annotation) or model
    named = {one.alias or key: one for key, one in model.model_fields.items()}
    return named[name].annotation


def full_key(stage: str, name: str, own: Sequence[str] = ()) -> str:
    """The whole key of a setting.

    The stage's own section may be left out, and the name may be an older one.

    Args:
        own: other options that the command has, with their dashes.

    Raises:
        PipelineError: there is none; the nearest option is named.
    """
    keys, written = valid_keys(), name
    name = name.replace("-", "_")
    for key in (f"{stage}.{name}", name):
        if key in keys:
            return key
        if key in RENAMED:
            return RENAMED[key]
    short = [key.partition(".")[2] for key in keys if key.startswith(f"{stage}.")]
    known = [*keys, *short, *(one[2:] for one in own if one.startswith("--"))]
    near = difflib.get_close_matches(written, known, n=1, cutoff=0.0)
    near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise PipelineError(f"the command line: unknown key '--{name}'; the nearest is '--{near[0]}'")


def typed(key: str, words: list[str]) -> Any:
    """The value of a setting, read by the type of its field.

    What does not fit the type stays as it was written: reading the settings says so.

    Raises:
        PipelineError: no value, or several where one is due.
    """
    kind = kind_of_key(key)
    if get_origin(kind) is list:
        return _checked(kind, _items(kind, words))
    if not words and kind is bool:
        return True
    if not words:
        raise PipelineError(f"the command line: --{key} needs a value")
    if get_origin(kind) is dict:
        return _checked(kind, _pairs(" ".join(words)))
    if len(words) > 1:
        raise PipelineError(f"the command line: --{key} takes one value, not {len(words)}")
    word, members = words[0], get_args(kind)
    if type(None) in members:
        text = any(one is str or one is Path for one in map(_plain, members))
        if word in _NONE or (not text and word in _NONE_OF_A_NUMBER):
            return None
    if re.fullmatch(r"[+-]?0[xob][0-9a-fA-F_]+", word) and int in (kind, *members):
        try:
            return int(word, 0)
        except ValueError:
            return word
    return _checked(kind, word)


def _plain(kind: Any) -> Any:
    """The ``str`` of ``Annotated[str, ...]``."""
    return getattr(kind, "__origin__", kind)


def _checked(kind: Any, value: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return value


def _items(kind: Any, words: list[str]) -> list[str]:
    """The members of ``a b``, ``a,b`` or ``[a, b]``."""
    files = _plain(get_args(kind)[0]) is str
    if words and words[0][:1] == "[" and not (files and _is_there(words[0])):
        found = _flow(" ".join(words))
        if isinstance(found, list):
            return found
    items: list[str] = []
    for word in words:
        if files and _is_there(word):
            items.append(word)
        else:
            items += [part.strip() for part in word.split(",") if part.strip()]
    return items


def _is_there(word: str) -> bool:
    try:
        return Path(expanded(word)).exists()
    except (OSError, ValueError, PydanticCustomError):  # too long, a zero byte, no such variable
        return False


def _pairs(text: str) -> Any:
    """The mapping that ``{A: 2, B: 3}`` or ``A=2,B=3`` writes; else the text."""
    if text.lstrip()[:1] == "{":
        found = _flow(text)
        return found if isinstance(found, dict) else text
    pairs = [part.rpartition("=") for part in re.split(r"[,\s]+", text) if part]
    if not all(equals for _, equals, _ in pairs):
        return text
    return {name: value for name, _, value in pairs}


def _flow(text: str) -> Any:
    """YAML in which every word stays a word; the field says what type it is.

    The loader builds str, list and dict only.
    """
    try:
        return yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  builds nothing but text
    except yaml.YAMLError:
        return text


def _filled_in(word: str) -> str:
    try:
        return str(expanded(word))
    except PydanticCustomError as error:
        raise PipelineError(f"the command line: '{word}': {error.message()}") from None
