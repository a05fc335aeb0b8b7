"""Where in RAM does a number lie? Search by what plays did to it, as cheat tools do.

A play is some buttons, with the RAM before and after it. A comparison says what the play did to the
number: it grew, it grew by 1, it did not change, it now is 5. Every place in RAM, read as every
type, is a candidate until a comparison does not hold for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.games.description import TYPES
from pipeline.games.platforms import GBA, Block, Platform
from pipeline.system.errors import PipelineError

BIT = "bit"
_BITS = 8
KINDS = (*TYPES, BIT)
LARGEST_OFFSET = 0x2000
"""Bytes behind a pointer's target that are searched."""

Values = NDArray[np.int64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Comparison:
    """What a play did to the number."""

    word: str
    """One of COMPARISONS."""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.word} {self.number}" if COMPARISONS[self.word].number else self.word


@dataclass(frozen=True)
class _Rule:
    number: bool
    """Whether it takes a number."""
    holds: Callable[[Values, Values, int], NDArray[np.bool_]]
    """(before, after, number)."""
    about: str


COMPARISONS: Mapping[str, _Rule] = {
    "equal": _Rule(True, lambda _before, after, n: after == n, "it is N now"),
    "not": _Rule(True, lambda _before, after, n: after != n, "it is not N now"),
    "changed": _Rule(False, lambda before, after, _n: after != before, "it is another now"),
    "unchanged": _Rule(False, lambda before, after, _n: after == before, "it is the same still"),
    "greater": _Rule(False, lambda before, after, _n: after > before, "it grew"),
    "less": _Rule(False, lambda before, after, _n: after < before, "it fell"),
    "by": _Rule(True, lambda before, after, n: after - before == n, "it grew by N (-1: fell by 1)"),
}


@dataclass(frozen=True)
class Play:
    """The RAM before and after some buttons, one array of bytes a block, and the comparisons."""

    before: Sequence[NDArray[np.uint8]]
    after: Sequence[NDArray[np.uint8]]
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Found:
    """A place that fits all comparisons."""

    kinds: tuple[str, ...]
    """The types as which it fits."""
    address: int | None = None
    pointer: int | None = None
    """Address of the pointer behind whose target it lies."""
    offset: int = 0
    bit: int | None = None
    values: tuple[int, ...] = ()
    """What it was after each play, as the first of ``kinds``."""

    def place(self, console: Platform) -> str:
        """In words: an address, or a pointer's and an offset."""
        if self.pointer is not None:
            return f"[{console.written(self.pointer)}] + 0x{self.offset:X}"
        bit = "" if self.bit is None else f" bit {self.bit}"
        return console.written(self.address or 0) + bit

    def yaml(self, name: str, console: Platform) -> str:
        """The line for ``variables:`` in ``game.yaml``."""
        place = f"address: {console.written(self.address or 0)}"
        if self.pointer is not None:
            place = f"pointer: {name}_block, offset: 0x{self.offset:X}"
        if self.bit is not None:
            return f"{name}: {{{place}, type: u8, bit: {self.bit}}}"
        more = f"   # fits as {', '.join(self.kinds[1:])} too" if len(self.kinds) > 1 else ""
        return f"{name}: {{{place}, type: {self.kinds[0]}}}{more}"

    def as_dict(self, name: str, console: Platform) -> dict[str, object]:
        """The fields and the line for ``game.yaml``, as ``--json`` prints them."""
        return {**asdict(self), "line": self.yaml(name, console)}


@dataclass(frozen=True)
class Result:
    """What a search left."""

    total: int
    found: list[Found]
    """The first of them."""


def search(
    plays: Sequence[Play], console: Platform, kinds: Sequence[str], limit: int = 20
) -> Result:
    """Places at fixed addresses that fit all comparisons; the first ``limit`` are listed.

    Those at multiples of 4 come first, then those at multiples of 2, each by address: games keep
    most of their numbers there.

    A place that fits as several of ``kinds`` is one: the narrowest comes first, and a type with a
    sign only counts where it reads other values than the one without.

    Cost: some 5 ms a play and kind on the 288 KiB of a Game Boy Advance.
    """
    if not any(play.comparisons for play in plays):
        return Result(0, [])
    fitting = [
        (kind, index, _fitting(plays, index, kind, console))
        for kind in kinds
        for index in range(len(console.blocks))
    ]
    keys = [_keys(console.blocks[index], places, kind, console) for kind, index, places in fitting]
    all_keys = _aligned_first(np.unique(np.concatenate(keys)) if keys else np.arange(0))
    fits: dict[int, list[_Fit]] = {int(key): [] for key in all_keys[:limit]}
    for (kind, index, places), own in zip(fitting, keys, strict=True):
        chosen = np.isin(own, all_keys[:limit])
        seen = [_values(play.after[index], kind, console)[places[chosen]] for play in plays]
        rows = np.stack(seen, axis=1).tolist()
        for key, row in zip(own[chosen].tolist(), rows, strict=True):
            fits[key].append(_Fit(kind, tuple(row)))
    found = []
    for key, unsorted in fits.items():
        merged = _merged(unsorted)
        bit = key % _BITS if merged[0].kind == BIT else None
        types = tuple(fit.kind for fit in merged)
        found.append(Found(types, key // _BITS, bit=bit, values=merged[0].values))
    return Result(len(all_keys), found)


def emptied_by(
    plays: Sequence[Play], console: Platform, kinds: Sequence[str]
) -> tuple[int, Comparison] | None:
    """The first comparison after which no place at a fixed address was left, and its play's number.

    None if some are left. Cost: as :func:`search`, a few times.
    """
    for index, play in enumerate(plays):
        if not play.comparisons or search(plays[: index + 1], console, kinds, 0).total:
            continue
        for count, comparison in enumerate(play.comparisons, 1):
            part = replace(play, comparisons=play.comparisons[:count])
            if not search([*plays[:index], part], console, kinds, 0).total:
                return index, comparison
    return None


def check_number(comparison: Comparison, kinds: Sequence[str]) -> None:
    """Refuse a number that no variable of ``kinds`` can hold, or change by.

    Raises:
        PipelineError: the line says what they hold.
    """
    if not COMPARISONS[comparison.word].number:
        return
    ranges = [(0, 1) if kind == BIT else _bounds(kind) for kind in kinds]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    verb = "hold"
    if comparison.word == "by":
        widest = max(high - low for low, high in ranges)
        low, high, verb = -widest, widest, "change by"
    if not low <= comparison.number <= high:
        what = f"a {kinds[0]}" if len(kinds) == 1 else "a variable"
        raise PipelineError(f"--{comparison}: {what} can {verb} {low} to {high}")


def _bounds(kind: str) -> tuple[int, int]:
    info = np.iinfo(TYPES[kind])
    return int(info.min), int(info.max)


def _aligned_first(keys: Places) -> Places:
    addresses = keys // _BITS
    rank = np.where(addresses % 4 == 0, 0, np.where(addresses % 2 == 0, 1, 2))
    ordered: Places = keys[np.lexsort((keys, rank))]
    return ordered


def search_behind_pointers(
    plays: Sequence[Play], console: Platform, kinds: Sequence[str], limit: int = 20
) -> Result:
    """Places behind pointers that moved, nearest to the pointer's target first.

    A pointer is a word of RAM that holds an address in RAM before and after every play that is
    compared, and not always the same one. Places up to LARGEST_OFFSET bytes behind are searched.
    """
    told = [play for play in plays if play.comparisons]
    found: list[Found] = []
    for pointer, targets in _moving_pointers(told, console):
        for kind in kinds:
            if kind != BIT:
                found += _behind(told, pointer, targets, kind, console)
    fits: dict[tuple[int, int], list[_Fit]] = {}
    for one in found:
        fits.setdefault((one.pointer or 0, one.offset), []).append(_Fit(one.kinds[0], one.values))
    rows = []
    for (pointer, offset), unsorted in fits.items():
        merged = _merged(unsorted)
        types = tuple(fit.kind for fit in merged)
        rows.append(Found(types, None, pointer, offset, None, merged[0].values))
    rows.sort(key=lambda one: (one.offset, -(one.pointer or 0)))
    return Result(len(rows), rows[:limit])


class _Fit(NamedTuple):
    """One type as which a place fits, and what it read after each play."""

    kind: str
    values: tuple[int, ...]


def _merged(fits: list[_Fit]) -> list[_Fit]:
    """Narrow before wide, unsigned before signed, and no signed one that says the same."""
    ordered = sorted(fits, key=lambda fit: KINDS.index(fit.kind))
    unsigned = {fit for fit in ordered if fit.kind[0] == "u"}
    return [
        fit
        for fit in ordered
        if _Fit("u" + fit.kind[1:], fit.values) not in unsigned or fit in unsigned
    ]


def _keys(block: Block, places: Places, kind: str, console: Platform) -> Places:
    """One number for an address and a bit; it rises with both."""
    if kind == BIT:
        return (block.start + places // 8) * _BITS + places % 8
    return (block.start + places * _step(int(kind[1:]) // 8, console)) * _BITS


def _fitting(plays: Sequence[Play], block: int, kind: str, console: Platform) -> Places:
    """Places of a block that fit all comparisons."""
    places: Places | None = None
    for play in plays:
        if not play.comparisons:
            continue
        before = _values(play.before[block], kind, console)
        after = _values(play.after[block], kind, console)
        if places is None:
            places = np.arange(len(before))
        before, after = before[places].astype(np.int64), after[places].astype(np.int64)
        fits = np.ones(len(places), np.bool_)
        for comparison in play.comparisons:
            rule = COMPARISONS[comparison.word]
            fits &= rule.holds(before, after, comparison.number)
        places = places[fits]
    return np.arange(0) if places is None else places


def _values(ram: NDArray[np.uint8], kind: str, console: Platform) -> NDArray[Any]:
    """Every number of a block; numbers lie at multiples of their size where the console asks it."""
    if kind == BIT:
        return np.unpackbits(ram, bitorder="little")
    dtype = np.dtype(TYPES[kind])
    step = _step(dtype.itemsize, console)
    size = max(0, (len(ram) - dtype.itemsize) // step + 1)
    values: NDArray[Any] = np.ndarray((size,), dtype, ram.tobytes(), strides=(step,))
    return values


def _step(size: int, console: Platform) -> int:
    return size if console is GBA else 1


def _moving_pointers(
    plays: Sequence[Play], console: Platform
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Addresses of pointers, with where each points before and after every play."""
    for index, block in enumerate(console.blocks):
        sights = [
            _values(ram[index], console.pointer, console).astype(np.int64)
            for play in plays
            for ram in (play.before, play.after)
        ]
        if not sights:
            return
        targets = np.stack(sights)
        inside = np.ones(targets.shape[1], np.bool_)
        for row in targets:
            inside &= np.any([(b.start <= row) & (row < b.end) for b in console.blocks], axis=0)
        moved = inside & (targets != targets[0]).any(axis=0)
        for place in np.flatnonzero(moved).tolist():
            address = block.start + place * _step(int(console.pointer[1:]) // 8, console)
            pairs = targets[:, place].reshape(-1, 2).tolist()
            yield address, [(before, after) for before, after in pairs]


def _behind(
    plays: Sequence[Play],
    pointer: int,
    targets: Sequence[tuple[int, int]],
    kind: str,
    console: Platform,
) -> list[Found]:
    """What lies behind one pointer and fits."""
    dtype = np.dtype(TYPES[kind])
    step = _step(dtype.itemsize, console)
    fits = np.ones(LARGEST_OFFSET // step, np.bool_)
    seen: list[Values] = []
    for play, (start, end) in zip(plays, targets, strict=True):
        before = _numbers_at(play.before, start, dtype, step, console)
        after = _numbers_at(play.after, end, dtype, step, console)
        size = min(len(before), len(after), len(fits))
        fits, seen = fits[:size], [values[:size] for values in seen]
        for comparison in play.comparisons:
            rule = COMPARISONS[comparison.word]
            fits &= rule.holds(before[:size], after[:size], comparison.number)
        if not fits.any():
            return []
        seen.append(after[:size])
    return [
        Found((kind,), None, pointer, place * step, None, tuple(int(v[place]) for v in seen))
        for place in np.flatnonzero(fits).tolist()
    ]


def _numbers_at(
    ram: Sequence[NDArray[np.uint8]],
    address: int,
    dtype: np.dtype[Any],
    step: int,
    console: Platform,
) -> Values:
    """The numbers from ``address`` to LARGEST_OFFSET behind it or the end of its block."""
    for block, data in zip(console.blocks, ram, strict=True):
        if block.start <= address < block.end:
            part = data[address - block.start :][: LARGEST_OFFSET + dtype.itemsize - step]
            size = max(0, (len(part) - dtype.itemsize) // step + 1)
            numbers: NDArray[Any] = np.ndarray((size,), dtype, part.tobytes(), strides=(step,))
            return numbers.astype(np.int64)
    return np.empty(0, np.int64)
