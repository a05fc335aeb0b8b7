"""The game's variables, read from the console's RAM where it lies."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.games.conditions import Condition
from pipeline.games.description import GameDescription, Location, MapWindow, Variable
from pipeline.games.platforms import PLATFORMS, Platform

State = dict[str, int | NDArray[Any]]
"""The variables of a game by name: an int, or an array of the variable's own type and shape."""

_CODES = {"u8": "B", "s8": "b", "u16": "H", "s16": "h", "u32": "I", "s32": "i"}
_U32, _S32 = struct.Struct("<I"), struct.Struct("<i")
_Spot = tuple[Any, int]
"""A block of RAM and a byte in it."""


class Ram(Protocol):
    """A writable buffer for each block of the platform's RAM; it shows the RAM as it is now."""

    @property
    def ram(self) -> Sequence[Any]: ...


class StateReader:
    """Reads every variable that a game declares; compiled once from the description.

    Numbers behind the same pointer are unpacked together; arrays and map windows are slices of the
    RAM itself, copied. Some tens of variables cost some 10 to 20 microseconds; those of Pokemon
    Emerald, a hundred with its four map windows, less than 50 (``tests/bench/bench_ram.py``).

    Reading never fails, whatever lies in RAM: a number, array or window that does not lie wholly
    inside one of the blocks of RAM (its pointer is null, say, while the game starts) reads as 0.
    """

    def __init__(self, game: GameDescription, ram: Ram) -> None:
        self._owner = ram  # the buffers are dead once the emulator is
        memory = _Memory(PLATFORMS[game.platform], ram)
        variables = game.variables.values()
        groups = [
            _Group(memory, members, base)
            for base, locations in _by_base(_locations(variables), game.pointers).items()
            for members in _without_overlap(locations, memory)
        ]
        self._groups = [group.read for group in groups]
        slots: dict[Location, int] = {}
        for group in groups:
            for location in group.members:
                slots[location] = len(slots)
        self._zeros: State = dict.fromkeys(game.variables, 0)
        self._plain: list[tuple[str, int]] = []
        self._changed: list[tuple[str, int, _Change]] = []
        self._rest: list[tuple[str, Callable[[list[int], State], int | NDArray[Any]]]] = []
        sights: dict[MapWindow, _Sight] = {}
        shapes = {name: variable.shape for name, variable in game.variables.items()}
        for variable in variables:
            change = _change(variable, slots)
            if variable.when is not None:
                self._rest.append((variable.name, _Computed(variable.when, shapes).read))
            elif variable.window is not None:
                first = variable.window not in sights
                sight = sights.setdefault(variable.window, _Sight(memory, variable.window))
                self._rest.append((variable.name, _Window(sight, variable, first).read))
            elif not _is_number(variable):
                array = _Array(memory, variable, game.pointers, slots, change)
                self._rest.append((variable.name, array.read))
            elif change is None:
                self._plain.append((variable.name, slots[variable.location]))
            else:
                self._changed.append((variable.name, slots[variable.location], change))

    def read(self) -> State:
        """The variables as they are now, in the order of the description."""
        raw: list[int] = []
        for read_group in self._groups:
            raw += read_group()
        state = self._zeros.copy()
        for name, slot in self._plain:
            state[name] = raw[slot]
        for name, slot, (key, mask, shift, ones) in self._changed:
            value = raw[slot] if key < 0 else raw[slot] ^ raw[key]
            value = (value & mask) >> shift
            state[name] = value.bit_count() if ones else value
        for name, read in self._rest:
            state[name] = read(raw, state)
        return state


class _Memory:
    """Finds the block of RAM that an address lies in."""

    def __init__(self, platform: Platform, ram: Ram) -> None:
        self._platform = platform
        parts = zip(platform.blocks, ram.ram, strict=True)
        self._blocks = [(block.start, block.end, data) for block, data in parts]
        self.pointer = struct.Struct("<" + _CODES[platform.pointer])
        """An address that the game stores."""

    def spot(self, address: int, span: int) -> _Spot | None:
        """Where ``span`` bytes from ``address`` lie, or None if not wholly in one block."""
        for start, end, data in self._blocks:
            if start <= address <= end - span:
                return data, address - start
        return None

    def block_end(self, address: int) -> int:
        """Where the block that ``address`` lies in ends; 0 outside all of them."""
        return next((end for start, end, _ in self._blocks if start <= address < end), 0)

    def fixed(self, address: int) -> _Spot:
        """Where an address of the description lies; those were checked when it was read."""
        spot = self.spot(address, 1)
        if spot is None:
            raise ValueError(f"{self._platform.written(address)} is outside the console's RAM")
        return spot


class _Group:
    """Numbers behind one base that do not overlap: one unpacking with gaps.

    ``base`` is the address of their pointer; None for numbers at addresses of their own.
    """

    def __init__(self, memory: _Memory, members: list[Location], base: int | None) -> None:
        self.members = members
        self._memory = memory
        self._first = _offset(members[0])
        self._pointer = None if base is None else memory.fixed(base)
        form, end = "<", self._first
        for location in members:
            form += f"{_offset(location) - end}x{_CODES[location.type]}"
            end = _offset(location) + location.size
        self._form = struct.Struct(form)
        self._spot = memory.fixed(self._first) if base is None else None

    def read(self) -> Iterable[int]:
        spot = self._spot
        if spot is None and self._pointer is not None:
            (start,) = self._memory.pointer.unpack_from(*self._pointer)
            spot = self._memory.spot(start + self._first, self._form.size)
            if spot is None:
                return self._one_by_one(start)
        return self._form.unpack_from(*spot) if spot is not None else ()

    def _one_by_one(self, start: int) -> list[int]:
        """Some of the group lies outside the RAM: that is 0, the rest is read."""
        values = []
        for location in self.members:
            spot = self._memory.spot(start + _offset(location), location.size)
            form = "<" + _CODES[location.type]
            values.append(0 if spot is None else struct.unpack_from(form, *spot)[0])
        return values


class _Change(NamedTuple):
    """From the number in RAM to the variable: decrypted, masked, shifted, its bits counted."""

    key: int
    """Slot of the xor key, or -1."""
    mask: int
    shift: int
    ones: bool

    def apply(self, values: NDArray[Any], raw: list[int]) -> NDArray[Any]:
        kind = values.dtype.type
        if self.key >= 0:
            full = (1 << 8 * values.dtype.itemsize) - 1
            values = values ^ kind(raw[self.key] & full)
        changed: NDArray[Any] = (values & kind(self.mask)) >> kind(self.shift)
        if self.ones:
            bits = np.unpackbits(changed.view(np.uint8).reshape(len(changed), -1), axis=1)
            changed = bits.sum(axis=1).astype(values.dtype)
        return changed


class _Array:
    """An array, or a single number whose place depends on RAM."""

    def __init__(
        self,
        memory: _Memory,
        variable: Variable,
        pointers: Mapping[str, int],
        slots: Mapping[Location, int],
        change: _Change | None,
    ) -> None:
        pointer, index = variable.location.pointer, variable.index
        self._memory = memory
        self._pointer = None if pointer is None else memory.fixed(pointers[pointer])
        self._offset = _offset(variable.location)
        self._index = None if index is None else (slots[index.location], index.stride)
        self._change = change
        self._length = variable.length
        self._dtype = variable.dtype
        self._count = variable.count
        self._stride = variable.stride or self._dtype.itemsize
        self._span = ((self._count or 1) - 1) * self._stride + self._dtype.itemsize
        self._at, self._there = 0, self._view(0)

    def read(self, raw: list[int], state: State) -> int | NDArray[Any]:
        start = 0
        if self._pointer is not None:
            (start,) = self._memory.pointer.unpack_from(*self._pointer)
        if self._index is not None:
            slot, stride = self._index
            start += raw[slot] * stride
        if start != self._at:
            self._at, self._there = start, self._view(start)
        if self._there is None:
            return np.zeros(self._count, self._dtype) if self._count is not None else 0
        values = self._there.copy()
        if self._change is not None:
            values = self._change.apply(values, raw)
        if self._length is not None:
            values[max(int(state[self._length]), 0) :] = 0
        return values if self._count is not None else int(values[0])

    def _view(self, start: int) -> NDArray[Any] | None:
        spot = self._memory.spot(start + self._offset, self._span)
        if spot is None:
            return None
        view: NDArray[Any] = np.ndarray(
            (self._count or 1,), self._dtype, spot[0], spot[1], (self._stride,)
        )
        return view


class _Sight:
    """The cells around the player out of a live grid: what all windows of the same place share."""

    def __init__(self, memory: _Memory, window: MapWindow) -> None:
        self._memory = memory
        self._window = window
        self.shape = window.rows, window.columns
        self._header = tuple(
            memory.fixed(address) for address in (window.width, window.height, window.cells)
        )
        self._grid_of: tuple[int, int, int] | None = None
        self._grid: NDArray[Any] | None = None
        self.seen: NDArray[Any] | None = None
        """A copy of the cells that lie on the grid; None if there is no grid in RAM."""
        self.place: tuple[slice, slice] | None = None
        """Where they belong in the window; None if they fill it."""

    def look(self, state: State) -> None:
        """See what is there now, with the player where ``state`` has him."""
        width, height, cells = self._header
        present = (
            _S32.unpack_from(*width)[0],
            _S32.unpack_from(*height)[0],
            _U32.unpack_from(*cells)[0],
        )
        if present != self._grid_of:
            self._grid_of, self._grid = present, self._find(*present)
        grid, window = self._grid, self._window
        if grid is None:
            self.seen = None
            return
        rows, columns = self.shape
        top = int(state[window.y]) + window.border - window.above
        left = int(state[window.x]) + window.border - columns // 2
        self.seen = seen = grid[
            max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)
        ].copy()
        self.place = None
        if seen.shape != self.shape:
            up, west = max(-top, 0), max(-left, 0)
            self.place = slice(up, up + seen.shape[0]), slice(west, west + seen.shape[1])

    def _find(self, width: int, height: int, cells: int) -> NDArray[Any] | None:
        """The whole grid where it lies, or None if there is none in RAM."""
        if width <= 0 or height <= 0:
            return None
        spot = self._memory.spot(cells, 2 * width * height)
        return None if spot is None else np.ndarray((height, width), "<u2", *spot)


class _Window:
    """A variable that shows a sight, or some bits of each of its cells."""

    def __init__(self, sight: _Sight, variable: Variable, first: bool) -> None:
        self._sight = sight
        self._first = first  # the first to be read looks for all
        self._dtype = variable.dtype
        self._outside = variable.outside
        self._mask = None if variable.mask is None else np.uint16(variable.mask)
        self._shift = np.uint16(variable.shift)

    def read(self, _raw: list[int], state: State) -> NDArray[Any]:
        sight = self._sight
        if self._first:
            sight.look(state)
        cells = sight.seen
        if cells is None:
            return np.zeros(sight.shape, self._dtype)
        if self._mask is not None:
            cells = cells & self._mask
        if self._shift:
            cells = cells >> self._shift
        if sight.place is None:
            return cells.astype(self._dtype)  # a copy in any case
        window: NDArray[Any] = np.full(sight.shape, self._outside, self._dtype)
        window[sight.place] = cells  # the slices of nothing take nothing
        return window


class _Computed:
    """A number that is not in RAM: whether a condition over the variables before it holds."""

    def __init__(self, when: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._condition = Condition(when, shapes)

    def read(self, _raw: list[int], state: State) -> int:
        return int(self._condition.holds(state))


def _is_number(variable: Variable) -> bool:
    special = (variable.window, variable.count, variable.index, variable.when)
    return all(part is None for part in special)


def _change(variable: Variable, slots: Mapping[Location, int]) -> _Change | None:
    plain = variable.bit is None and variable.mask is None and variable.xor is None
    if plain and not variable.shift and not variable.ones:
        return None
    full = (1 << 8 * variable.location.size) - 1
    mask, shift = full if variable.mask is None else variable.mask, variable.shift
    if variable.bit is not None:
        mask, shift = 1 << variable.bit, variable.bit
    key = -1 if variable.xor is None else slots[variable.xor]
    return _Change(key, mask, shift, variable.ones)


def _locations(variables: Iterable[Variable]) -> dict[Location, None]:
    """Every single number that must be read, each once, in order."""
    wanted: dict[Location, None] = {}
    for variable in variables:
        if _is_number(variable):
            wanted[variable.location] = None
        if variable.xor is not None:
            wanted[variable.xor] = None
        if variable.index is not None:
            wanted[variable.index.location] = None
    return wanted


def _by_base(
    wanted: Iterable[Location], pointers: Mapping[str, int]
) -> dict[int | None, list[Location]]:
    """Locations by the address of their pointer; None for those at addresses of their own."""
    bases: dict[int | None, list[Location]] = {}
    for location in wanted:
        base = None if location.pointer is None else pointers[location.pointer]
        bases.setdefault(base, []).append(location)
    return bases


def _without_overlap(locations: list[Location], memory: _Memory) -> list[list[Location]]:
    """As few groups as can be in which no number overlaps another or leaves its block of RAM."""
    groups: list[list[Location]] = []
    for location in sorted(locations, key=_offset):
        for group in groups:
            last = group[-1]
            apart = _offset(last) + last.size <= _offset(location)
            ends = memory.block_end(_offset(last)), memory.block_end(_offset(location))
            if apart and ends[0] == ends[1]:
                group.append(location)
                break
        else:
            groups.append([location])
    return groups


def _offset(location: Location) -> int:
    return location.offset if location.address is None else location.address
