"""The table that ends every stage."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from pipeline.system.errors import printable

_WIDTH = 90


def _style() -> str:
    """Lines of the table as the terminal's encoding has them."""
    try:
        "─│┌".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "outline"
    return "simple_outline"


def show(value: Any) -> str:
    """A figure as a person reads it: four significant digits, lists joined, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(show(v) for v in value) if value else "-"
    return printable(str(value))


def summary_table(result: Mapping[str, Any]) -> str:
    """Two columns, name and value; rows (a list of mappings) follow as a table of their own."""
    plain = {k: v for k, v in result.items() if not _is_rows(v) and not isinstance(v, Mapping)}
    cells = [
        (k, _wrapped(v) if isinstance(v, (list, tuple)) else show(v)) for k, v in plain.items()
    ]
    parts = [tabulate(cells, tablefmt=_style())]
    parts += [f"{name}\n" + rows_table(value) for name, value in result.items() if _is_rows(value)]
    return "\n".join(parts)


def _wrapped(values: Sequence[Any]) -> str:
    """A list on lines that fit a terminal; its members stay whole, as paths must."""
    return textwrap.fill(show(values), _WIDTH, break_long_words=False, break_on_hyphens=False)


def rows_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a row, one column a key."""
    if not rows:
        return "(none)"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[show(row.get(column)) for column in columns] for row in rows]
    return tabulate(cells, headers=columns, tablefmt=_style(), disable_numparse=True)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
