"""Reading a YAML tree strictly: a mistake ends in one line that says where it is."""

from __future__ import annotations

import copy
import difflib
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.system.errors import PipelineError

_REQUIRED = object()


class _Strict(yaml.constructor.SafeConstructor):
    """Building in which a key that is listed twice is an error, not a silent overwriting."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key that is a list or a mapping", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Loader(_Strict, yaml.SafeLoader):
    """All of it in Python: slow, and the one whose messages are shown."""


_QUICK: type[Any] | None = None
"""The same by libyaml's parser, ten times as fast; none where PyYAML was built without it."""
if yaml.__with_libyaml__:

    class _QuickLoader(_Strict, yaml.CSafeLoader):
        """Words its errors otherwise, so that :func:`_parsed` shows none of them."""

    _QUICK = _QuickLoader
_DOUBTFUL = {"\t", "?"}
"""What the two do not read alike."""


class Place:
    """A value of the tree and the path that leads to it, such as ``variables.money.xor``."""

    def __init__(
        self,
        value: Any,
        file: Path,
        path: str = "",
        node: yaml.Node | None = None,
        line: int | None = None,
    ) -> None:
        self.value = value
        self.file = file
        self.path = path
        self._node = node
        self._line = line

    def mistake(self, problem: str) -> PipelineError:
        line = "" if self._line is None else f", line {self._line}"
        path = f"{self.path}: " if self.path else ""
        return PipelineError(f"{self.file}{line}: {path}{problem}")

    def table(self, allowed: Iterable[str]) -> Table:
        """This value as a mapping with no other keys than ``allowed``."""
        mapping = self._mapping()
        for key in mapping:
            if key not in set(allowed):
                near = nearest(str(key), allowed)
                raise self.mistake(f"unknown key '{key}'; the nearest valid one is '{near}'")
        return Table(self, mapping)

    def items(self) -> Iterator[tuple[str, Place]]:
        """The entries of a mapping whose keys are names of the user's own choice."""
        for key, value in self._mapping().items():
            if not isinstance(key, str) or not key.isidentifier():
                raise self.mistake(
                    f"'{key}' is not a name; use letters, digits and _, no digit first"
                )
            yield key, self._inside(key, value)

    def elements(self) -> list[Place]:
        if not isinstance(self.value, list):
            raise self.mistake(f"expected a list, found {self.value!r}")
        return [self._inside(str(i), value) for i, value in enumerate(self.value)]

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.mistake(f"expected text, found {self.value!r}; put it in quotes")
        return self.value

    def one_of(self, names: Iterable[str]) -> str:
        name = self.text()
        if name not in set(names):
            raise self.mistake(
                f"unknown '{name}'; the nearest valid one is '{nearest(name, names)}'"
            )
        return name

    def integer(self, low: int, high: int) -> int:
        value = self.value
        if type(value) is not int or not low <= value <= high:
            raise self.mistake(f"expected a whole number from {low} to {high}, found {value!r}")
        return value

    def flag(self) -> bool:
        if type(self.value) is not bool:
            raise self.mistake(f"expected true or false, found {self.value!r}")
        return self.value

    def number(self, low: float = float("-inf"), high: float = float("inf")) -> float:
        value = self.value
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.mistake(f"expected a number from {low} to {high}, found {value!r}")
        return float(value)

    def _mapping(self) -> dict[Any, Any]:
        if not isinstance(self.value, dict):
            raise self.mistake(f"expected keys and values, found {self.value!r}")
        return self.value

    def _inside(self, key: str, value: Any) -> Place:
        node, line = self._child(key)
        path = f"{self.path}.{key}" if self.path else key
        return Place(value, self.file, path, node, line)

    def _child(self, key: str) -> tuple[yaml.Node | None, int | None]:
        """The node behind a key and the line where the key stands; this place's, if it has none."""
        node = self._node
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                if key_node.value == key:
                    return value_node, key_node.start_mark.line + 1
        if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
            element = node.value[int(key)]
            return element, element.start_mark.line + 1
        return None, self._line


class Table:
    """A mapping whose keys are known."""

    def __init__(self, place: Place, mapping: dict[Any, Any]) -> None:
        self.place = place
        self._mapping = mapping

    def __contains__(self, key: str) -> bool:
        return key in self._mapping

    def get(self, key: str, default: Any = _REQUIRED) -> Place:
        """The value of a key; without a default the key must be there."""
        if key not in self._mapping and default is _REQUIRED:
            raise self.place.mistake(f"the key '{key}' is missing; add it")
        return self.place._inside(key, self._mapping.get(key, default))

    def section(self, key: str, default: Any) -> Place:
        """As :meth:`get`, but a key with nothing behind it, or only comments, is the default."""
        value = self._mapping.get(key)
        return self.place._inside(key, default if value is None else value)


def nearest(name: str, names: Iterable[str]) -> str:
    """The name that looks most like ``name``."""
    choices = sorted(names)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.0)
    return near[0] if near else "(none)"


def read_tree(file: Path, text: str | None = None) -> Place:
    """Parse a YAML file, or ``text`` that is said to come from it.

    Raises:
        PipelineError: it cannot be read or is not YAML; the line is named.
    """
    try:
        text = file.read_text(encoding="utf-8") if text is None else text
        node, tree = _parsed(text)
        tree = copy.copy(tree)  # who asked before may have changed what was said at the top
    except OSError as error:
        raise PipelineError(
            f"{file}: cannot read the game's description ({os.strerror(error.errno or 0)})"
        ) from None
    except UnicodeDecodeError:
        raise PipelineError(f"{file}: not a text file; a game.yaml is UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "cannot be parsed"
        line = (mark.line if mark is not None else 0) + 1
        raise PipelineError(f"{file}, line {line}: not valid YAML ({problem}); fix it") from None
    return Place(tree, file, node=node)


@lru_cache(maxsize=4)  # each stage of a loop reads the same description
def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes of a text, with their lines, and what they say."""
    # libyaml also takes a tab inside a word, and a "?" inside one in {braces}; those who have one
    # of the two parsers must not write what the other refuses.
    if _QUICK is not None and not _DOUBTFUL & set(text):
        try:
            return _by(_QUICK, text)
        except (yaml.YAMLError, UnicodeError):
            pass  # the slower one says what is wrong
    return _by(_Loader, text)


def _by(loader_class: type[Any], text: str) -> tuple[yaml.Node | None, Any]:
    loader = loader_class(text)
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()
