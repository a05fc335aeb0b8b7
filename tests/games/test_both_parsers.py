"""libyaml's parser and PyYAML's own read a game alike, and the same mistake has the same line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.games import checked
from pipeline.games.loading import GAMES
from pipeline.system.errors import PipelineError

pytestmark = pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML without libyaml")


def nodes(node: yaml.Node | None) -> Iterator[tuple[str, str, int]]:
    """Every node's kind, tag and line, in the order of the text."""
    if node is None:
        return
    yield type(node).__name__, node.tag, node.start_mark.line
    for child in node.value if isinstance(node, yaml.CollectionNode) else []:
        for one in child if isinstance(child, tuple) else (child,):
            yield from nodes(one)


def read(text: str) -> Any:
    try:
        place = checked.read_tree(Path("game.yaml"), text)
    except PipelineError as error:
        return str(error)
    return place.value, list(nodes(place._node))


@pytest.mark.parametrize("game", ["quest", "emerald"])
def test_both_give_the_same_tree_and_the_same_lines(game: str) -> None:
    text = (GAMES / game / "game.yaml").read_text(encoding="utf-8")
    assert checked._by(checked._QUICK, text)[1] == checked._by(checked._Loader, text)[1]
    quick, slow = (checked._by(one, text)[0] for one in (checked._QUICK, checked._Loader))
    assert list(nodes(quick)) == list(nodes(slow))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2\n",
        "? [1]\n: 2\n",
        "[1]: 2\n",
        "a: [1, 2\nb: 3\n",
        "a: 'x\n",
        "a: *b\n",
        "a: !!python/none x\n",
        "a: one\ttwo\n",
        "{a: on?e}\n",
        "a: \x07\n",
        "a: \udc80\n",
        "a: 1\n---\nb: 2\n",
        "%YAML 3.0\n---\na: 1\n",
        " a: 1\nb: 2\n",
        "",
        "# nothing\n",
    ],
)
def test_the_quick_parser_changes_no_message(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_it = read(text)
    monkeypatch.setattr(checked, "_QUICK", None)
    assert with_it == read(text)
