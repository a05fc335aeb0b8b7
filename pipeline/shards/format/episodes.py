"""The table /episodes: a row an episode. Up to schema version 4 its columns were datasets apart.

A row has a CRC32 of its own, so that a damaged one costs one episode. The identity of the content
was defined when the columns lay apart, and still takes a digest of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import h5py
import numpy as np

from pipeline.shards.format.schema import EPISODE_COLUMNS, RECORDING, Array, is_recording

EPISODES = "episodes"
FINAL_FRAMES = "final_frames"
OLD_FINAL_FRAMES = "episodes/final_frame"
"""Where they lay up to schema version 4."""


def table_type(milestones: int, root_bytes: int, *, recording: bool) -> np.dtype[np.void]:
    """Type of a row: EPISODE_COLUMNS, ``root`` and, where it is known of any, ``recording``."""
    fields: list[tuple[str, object, tuple[int, ...]]] = [
        (name, dtype, (milestones,) if name == "milestones" else ())
        for name, dtype in EPISODE_COLUMNS.items()
        if name != "milestones" or milestones  # HDF5 has no arrays of nothing
    ]
    fields.append(("root", h5py.string_dtype("utf-8", root_bytes), ()))
    if recording:
        fields.append(("recording", h5py.string_dtype("utf-8", RECORDING.itemsize), ()))
    return np.dtype(fields)


def wrong_type(found: np.dtype[np.void], milestones: int) -> str:
    """What is wrong with the type of a table that was found; empty where it is right."""
    names = found.names or ()
    if "root" not in names or found["root"].kind != "S":
        return "has no column 'root' of text"
    expected = table_type(
        milestones, max(1, found["root"].itemsize), recording="recording" in names
    )
    odd = [
        name
        for name in dict.fromkeys([*(expected.names or ()), *names])
        if name not in names or name not in (expected.names or ()) or found[name] != expected[name]
    ]
    if odd:
        return f"has another column {odd[0]!r} than it should have"
    return "" if found == expected else "has its columns in another order"


def table_of(columns: Mapping[str, Array]) -> Array:
    """The table (E,) of columns (E,...) by their names; ``recording`` may be missing, or empty."""
    root, recording = columns["root"], columns.get("recording")
    known = recording is not None and any(recording.tolist())
    kind = table_type(columns["milestones"].shape[1], root.dtype.itemsize, recording=known)
    table = np.zeros(len(root), kind)
    for name in kind.names or ():
        table[name] = columns[name]
    return table


def columns_of(table: Array, milestones: int) -> dict[str, Array]:
    """Each column (E,...) of a table (E,), as EPISODE_COLUMNS, ``root`` and ``recording`` say."""
    columns = {"milestones": np.empty((len(table), milestones), "<i4")}
    for name in table.dtype.names or ():
        # Bytes that are neither true nor false must stay what they are.
        bare = table[name].view("u1") if table.dtype[name] == np.bool_ else table[name]
        columns[name] = np.ascontiguousarray(bare).view(table.dtype[name].base)
    return columns


def content_digests(
    digests: Mapping[str, str], columns: Mapping[str, Array] | None
) -> dict[str, str]:
    """``sha256`` of each dataset by its path, as the identity of the content counts them.

    Args:
        digests: of the datasets of the file.
        columns: those of the table /episodes; None in a file without it, up to version 4.
    """
    counted = dict(digests)
    if columns is None:
        return counted
    del counted[f"/{EPISODES}"]
    counted[f"/{OLD_FINAL_FRAMES}"] = counted.pop(f"/{FINAL_FRAMES}", "")
    for name, values in columns.items():
        once = hashlib.sha256(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        counted[f"/{EPISODES}/{name}"] = hashlib.sha256(once.digest()).hexdigest()
    return counted


def known_recording(text: bytes) -> str:
    """A recording as it is stored; empty, for unknown, where that is no identity."""
    return text.decode() if is_recording(text) else ""
