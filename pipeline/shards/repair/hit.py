"""Which episodes of a damaged shard a row belongs to, as far as what is undamaged tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.episodes import EPISODES, FINAL_FRAMES
from pipeline.shards.format.schema import Array
from pipeline.shards.format.stored import StoredDataset
from pipeline.shards.repair.examine import Examined


class Episodes(Protocol):
    """What can still be read of /episodes."""

    lengths: NDArray[np.int64] | None
    """(E,) steps of each episode; None where that is not known."""

    def value(self, name: str, index: int) -> Any:
        """What a column says of an episode; None where that is lost."""

    def start_states(self) -> NDArray[np.int64] | None:
        """(E,) row of /start_states of each, -1 where it is lost; None where all are."""


def episodes_of(found: Mapping[str, Examined], handle: int) -> Episodes:
    """Those of a shard: the table, or up to schema version 4 the group of columns."""
    table = found.get(f"/{EPISODES}")
    return _Columns(found, handle) if table is None else _Table(table, _steps(found), handle)


def _steps(found: Mapping[str, Examined]) -> int | None:
    frames = found.get("/frames")
    return None if frames is None or frames.stored is None else frames.stored.rows


def root_of(episodes: Episodes, index: int) -> str | None:
    """The game id of an episode; None where it is lost."""
    root = episodes.value("root", index)
    return None if root is None else bytes(root).decode(errors="replace")


def hit_by(episodes: Episodes, dataset: str, first: int, last: int) -> Sequence[int] | None:
    """Index of each episode that needs rows ``first`` to ``last`` of ``dataset``.

    None where that is not known.
    """
    if dataset == f"/{FINAL_FRAMES}" or f"{dataset}/".startswith(f"/{EPISODES}/"):
        return range(first, last + 1)
    if dataset == "/start_states":
        rows = episodes.start_states()
        if rows is None:
            return None
        hit: list[int] = np.flatnonzero((rows >= first) & (rows <= last)).tolist()
        return hit
    if episodes.lengths is None:
        return None
    ends = np.cumsum(episodes.lengths)
    low, high = np.searchsorted(ends, [first, last], "right")
    return range(int(low), min(int(high) + 1, len(ends)))


class _Table:
    """The rows of the table that are intact.

    Where the rows of several episodes after one another are lost, the first of them counts as
    having the steps of all.
    """

    def __init__(self, table: Examined, steps: int | None, handle: int) -> None:
        self.lengths: NDArray[np.int64] | None = None
        stored = table.stored
        if stored is None or not table.intact:
            return
        self._lost = np.array([row in table.bad for row in range(stored.rows)], np.bool_)
        self._rows = _intact(stored, self._lost, handle)
        starts = self._rows["start"].astype(np.int64)
        known = np.flatnonzero(~self._lost)
        if steps is None and (not len(known) or self._lost[-1]):
            return
        end = steps if steps is not None else int(starts[-1]) + int(self._rows["length"][-1])
        # One that is lost begins where the one before it ends.
        for row in np.flatnonzero(self._lost).tolist():
            before = int(starts[row - 1]) if row else 0
            if row and not self._lost[row - 1]:
                before += int(self._rows["length"][row - 1])
            elif row:  # of several the first one has all
                after = known[known > row]
                before = int(starts[after[0]]) if len(after) else end
            starts[row] = before
        self.lengths = np.diff(np.append(starts, end))

    def value(self, name: str, index: int) -> Any:
        there = name in (self._rows.dtype.names or ()) if self.lengths is not None else False
        if not there or self._lost[index]:
            return None
        return self._rows[index][name]

    def start_states(self) -> NDArray[np.int64] | None:
        if self.lengths is None:
            return None
        rows: NDArray[np.int64] = np.where(self._lost, -1, self._rows["start_state"])
        return rows


def _intact(stored: StoredDataset, lost: NDArray[np.bool_], handle: int) -> Array:
    """All rows, zeros where they are lost."""
    rows = np.zeros(stored.rows, stored.dtype)
    for row in np.flatnonzero(~lost).tolist():
        rows[row] = stored.read(handle, row, row + 1)[0]
    return rows


class _Columns:
    """The columns that are intact from the first row to the last."""

    def __init__(self, found: Mapping[str, Examined], handle: int) -> None:
        self._found, self._handle = found, handle
        self._read: dict[str, Array | None] = {}
        self.lengths = self._lengths()

    def _column(self, name: str) -> Array | None:
        if name not in self._read:
            one = self._found.get(f"/{EPISODES}/{name}")
            whole = one is not None and one.stored is not None and not one.bad and one.intact
            stored = one.stored if one is not None and whole else None
            rows = None if stored is None else stored.read(self._handle, 0, stored.rows)
            self._read[name] = rows
        return self._read[name]

    def _lengths(self) -> NDArray[np.int64] | None:
        """From the column, or from the starts, which say the same."""
        lengths, starts = self._column("length"), self._column("start")
        if lengths is not None:
            return lengths.astype(np.int64)
        steps = _steps(self._found)
        if starts is None or steps is None:
            return None
        derived: NDArray[np.int64] = np.diff([*starts.astype(np.int64), steps])
        return derived

    def value(self, name: str, index: int) -> Any:
        column = self._column(name)
        return None if column is None or index >= len(column) else column[index]

    def start_states(self) -> NDArray[np.int64] | None:
        rows = self._column("start_state")
        return None if rows is None else rows.astype(np.int64)
