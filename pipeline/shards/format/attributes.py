"""Attributes of HDF5 objects: text written with a fixed length, values read with a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import h5py
import numpy as np

_LONGEST_TEXT = 60_000
_LARGEST = 1 << 16


def write_text(item: h5py.Group | h5py.Dataset, name: str, text: str | Sequence[str]) -> None:
    """Write an attribute of text, or of a list of texts, with a length that is fixed.

    Text of variable length lies in a heap of HDF5's own, which a few damaged bytes turn into a
    loop without end; so it is left to what an object's header does not take, above 64 KiB.
    """
    texts = [one.encode() for one in ([text] if isinstance(text, str) else text)]
    longest = max([1, *map(len, texts)])
    if longest * len(texts) > _LONGEST_TEXT:
        item.attrs[name] = np.array(text, h5py.string_dtype())
    else:
        value = texts[0] if isinstance(text, str) else texts
        item.attrs[name] = np.array(value, h5py.string_dtype("utf-8", longest))


def attribute(
    item: h5py.Group | h5py.Dataset | h5py.h5d.DatasetID, name: str, default: Any = None
) -> Any:
    """The value of an attribute, read only if it is small enough to be one of a shard's.

    Text comes as ``str``, whether its length is fixed in the file or not.

    Raises:
        ValueError: it is not.
    """
    handle = item if isinstance(item, h5py.h5d.DatasetID) else item.id
    key = name.encode()
    if not h5py.h5a.exists(handle, key):
        return default
    opened = h5py.h5a.open(handle, key)
    shape, kind = opened.shape, opened.get_type()
    if math.prod(shape or ()) * kind.get_size() > _LARGEST:
        raise ValueError(f"attribute '{name}' is too large")
    if shape == () and isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str():
        text = np.zeros((), kind.dtype)  # nearly all of them, without h5py's many questions
        opened.read(text)
        return bytes(text[()]).decode("utf-8", "surrogateescape")
    value = (h5py.Dataset(item) if handle is item else item).attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        return np.char.decode(value, "utf-8", "surrogateescape").astype(object)
    return value
