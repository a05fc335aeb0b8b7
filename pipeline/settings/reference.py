"""What each setting is, made from the fields: for ``--help`` and for ``configs/README.md``.

``python -m pipeline.settings.reference`` writes the part of ``configs/README.md`` below its mark.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.settings.fields import Settings

MARK = "<!-- made by python -m pipeline.settings.reference -->\n"


class Row(NamedTuple):
    """One setting."""

    key: str
    """Without its section."""
    kind: str
    default: str
    text: str


def sections() -> dict[str, type[BaseModel]]:
    """By name, the groups of settings; "" is the top level."""
    found: dict[str, type[BaseModel]] = {"": Settings}
    for name, info in Settings.model_fields.items():
        made = info.annotation
        if isinstance(made, type) and issubclass(made, BaseModel):
            found[name] = made
    return found


def rows(section: type[BaseModel]) -> Iterator[Row]:
    """The settings of a section, but for those that are sections themselves."""
    texts = _docstrings(section)
    for name, info in section.model_fields.items():
        if name == "owner":  # loops set it
            continue
        model = _model_in(info.annotation)
        if model is None:
            text = " ".join(texts.get(name, "").split())
            yield Row(
                info.alias or name, _kind(info.annotation) + _bounds(info), _default(info), text
            )
        elif model not in sections().values():
            yield from (row._replace(key=f"{info.alias or name}.{row.key}") for row in rows(model))


@functools.cache
def _docstrings(section: type[BaseModel]) -> dict[str, str]:
    """The text below each field. pydantic would read it too, but whenever a command starts."""
    found: dict[str, str] = {}
    for made in reversed(section.__mro__):
        if not issubclass(made, BaseModel) or made is BaseModel:
            continue
        (written,) = ast.parse(textwrap.dedent(inspect.getsource(made))).body
        assert isinstance(written, ast.ClassDef)
        for field, below in itertools.pairwise(written.body):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = text
    return found


def help_text(stage: str) -> str:
    """A stage's settings, its expert's and the top level's, for a terminal of 100 columns."""
    parts = []
    asks = ["expert"] if stage in ("collect", "label", "dagger", "curriculum") else []
    for section in (stage, *asks, ""):
        made = sections().get(section)
        if made is None:
            continue
        parts.append(f"settings of {section}:" if section else "settings of every command:")
        for row in rows(made):
            default = f"; default {row.default}" if row.default else ""
            key = f"{section}.{row.key}" if section in asks else row.key
            parts += textwrap.wrap(f"  --{key}  {row.kind}{default}", 98, subsequent_indent=" " * 6)
            parts += textwrap.wrap(
                _plain(row.text), 92, initial_indent=" " * 6, subsequent_indent=" " * 6
            )
    others = ", ".join(name for name in sections() if name not in ("", stage, *asks))
    parts += textwrap.wrap(
        f"settings of other sections: --SECTION.KEY VALUE, of {others}. `make` adds --config "
        "configs/quest.yaml, whose values replace these defaults; configs/README.md has all",
        98,
    )
    return "\n".join(parts)


def markdown() -> str:
    """A table a section."""
    parts = []
    for name, made in sections().items():
        title = f"`{name}`" if name else "Of every command"
        about = "" if name == "" or not made.__doc__ else " ".join(made.__doc__.split())
        parts.append(f"\n### {title}\n" + (f"\n{about}\n" if _own_doc(made) and about else ""))
        parts.append("| key | values | default | what |\n|---|---|---|---|")
        for row in rows(made):
            cells = (f"`{row.key}`", row.kind, row.default, row.text.replace("``", "`"))
            parts.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(parts) + "\n"


def _own_doc(made: type[BaseModel]) -> bool:
    return "__doc__" in vars(made) and made is not Settings


def _plain(text: str) -> str:
    return re.sub(r"``?", "'", text)


def _model_in(kind: Any) -> type[BaseModel] | None:
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _kind(kind: Any) -> str:
    """A type in plain words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in inner)
    if origin is list:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"{_kind(inner[0])}: {_kind(inner[1])}, ..."
    names = {
        int: "whole number", float: "number", bool: "true, false", str: "text", Path: "path",
        type(None): "none",
    }  # fmt: skip
    return names.get(kind, str(kind))


def _bounds(info: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{word} {getattr(one, name):g}"
        for one in info.metadata
        for name, word in words.items()
        if getattr(one, name, None) is not None
    ]
    return f" ({', '.join(found)})" if found else ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return ""
    value = info.get_default(call_default_factory=True)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, list):
        return "[" + ", ".join(map(str, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> int:
    """Write the reference into ``configs/README.md``."""
    path = Path(__file__).parents[2] / "configs" / "README.md"
    before = path.read_text().partition(MARK)[0]
    path.write_text(before + MARK + markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
