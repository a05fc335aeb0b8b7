"""JSON that every parser reads: NaN and the infinities, which JSON does not know, become null."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, *, indent: int | None = None) -> str:
    """``value`` as JSON; text keeps to ASCII.

    A number that is not finite (the mean of no episodes, a sum beyond its type) is null. Numbers
    and arrays of numpy are numbers and lists, and what JSON has no type for, such as a path, is
    text.
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    numpy = sys.modules.get("numpy")  # a command without its arrays starts sooner without it
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _key(key: Any) -> Any:
    """Keys are text in JSON; those that json.dumps would not take are written as they print."""
    if isinstance(key, float) and not math.isfinite(key):
        return str(key)
    return key if isinstance(key, str | int | float | None) else str(key)
