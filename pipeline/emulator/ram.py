"""The game's variables, read from the console's RAM where it lies."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.core import EWRAM, EWRAM_SIZE, IWRAM, IWRAM_SIZE
from pipeline.games.description import GameDescription, Location, MapWindow, Variable

State = dict[str, int | NDArray[Any]]
"""The variables of a game by name: an int, or an array of the variable's own type and shape."""

_CODES = {"u8": "B", "s8": "b", "u16": "H", "s16": "h", "u32": "I", "s32": "i"}
_U32, _S32 = struct.Struct("<I"), struct.Struct("<i")
_Spot = tuple[Any, int]
"""A block of RAM and a byte in it."""


class Ram(Protocol):
    """Two writable buffers that show the RAM as it is now: 256 KiB and 32 KiB."""

    @property
    def ewram(self) -> Any: ...
    @property
    def iwram(self) -> Any: ...


class StateReader:
    """Reads every variable that a game declares; compiled once from the description.

    Numbers behind the same pointer are unpacked together; arrays and map windows are slices of the
    RAM itself, copied. Some tens of variables cost some tens of microseconds.

    The law of hostile RAM: a number, array or window that does not lie wholly inside one of the
    two blocks of RAM (its pointer is null, say, while the game starts) reads as 0; nothing that
    lies in RAM can raise.
    """

    def __init__(self, game: GameDescription, ram: Ram) -> None:
        self._memory = _Memory(ram)
        self._owner = ram  # the buffers are dead once the emulator is
        self._variables = game.variables
        wanted = _locations(game.variables.values())
        self._groups: list[tuple[int, _Group]] = []
        slots: dict[Location, int] = {}
        for base, members in _by_base(wanted, game.pointers).items():
            self._groups += [(base, group) for group in _grouped(members)]
        for _, group in self._groups:
            for location in group.members:
                slots[location] = len(slots)
        plain = [v for v in game.variables.values() if _is_number(v) and _change(v, slots) is None]
        self._plain = tuple((v.name, slots[v.location]) for v in plain)
        self._changed = tuple(
            (v.name, slots[v.location], change)
            for v in game.variables.values()
            if _is_number(v) and (change := _change(v, slots)) is not None
        )
        self._pointers = game.pointers
        self._rest = tuple(
            self._compile(v, slots) for v in game.variables.values() if not _is_number(v)
        )

    def read(self) -> State:
        """The variables as they are now, in the order of the description."""
        raw: list[int] = []
        memory = self._memory
        for base, group in self._groups:
            raw += group.read(memory, base)
        state: dict[str, Any] = dict.fromkeys(self._variables, 0)
        for name, slot in self._plain:
            state[name] = raw[slot]
        for name, slot, change in self._changed:
            state[name] = change.apply(raw[slot], raw)
        for rest in self._rest:
            state[rest.name] = rest.read(memory, raw, state)
        return state

    def _compile(self, variable: Variable, slots: Mapping[Location, int]) -> _Array | _Window:
        if variable.window is not None:
            return _Window(variable, variable.window)
        location = variable.location
        pointer = None if location.pointer is None else self._pointers[location.pointer]
        index = variable.index
        return _Array(
            variable,
            pointer,
            _change(variable, slots),
            None if index is None else (slots[index.location], index.stride),
        )


class _Memory:
    """Finds the block of RAM that an address lies in."""

    def __init__(self, ram: Ram) -> None:
        self._ewram = ram.ewram
        self._iwram = ram.iwram

    def spot(self, address: int, span: int) -> _Spot | None:
        """Where ``span`` bytes from ``address`` lie, or None if not wholly in one block."""
        if EWRAM <= address <= EWRAM + EWRAM_SIZE - span:
            return self._ewram, address - EWRAM
        if IWRAM <= address <= IWRAM + IWRAM_SIZE - span:
            return self._iwram, address - IWRAM
        return None

    def word(self, address: int, form: struct.Struct = _U32) -> int:
        spot = self.spot(address, 4)
        return 0 if spot is None else int(form.unpack_from(*spot)[0])


class _Group:
    """Numbers behind one base that do not overlap: one unpacking with gaps."""

    def __init__(self, members: list[Location]) -> None:
        self.members = members
        self.first = _offset(members[0])
        self._pointed = members[0].pointer is not None
        form, end = "<", self.first
        for location in members:
            form += f"{_offset(location) - end}x{_CODES[location.type]}"
            end = _offset(location) + location.size
        self._form = struct.Struct(form)
        self._singles = [struct.Struct("<" + _CODES[m.type]) for m in members]

    def read(self, memory: _Memory, base: int) -> Iterable[int]:
        """The numbers; ``base`` is the pointer's own address, or 0 for absolute addresses."""
        start = memory.word(base) if self._pointed else 0
        spot = memory.spot(start + self.first, self._form.size)
        if spot is not None:
            return self._form.unpack_from(*spot)
        return [
            0
            if (single := memory.spot(start + _offset(member), member.size)) is None
            else form.unpack_from(*single)[0]
            for member, form in zip(self.members, self._singles, strict=True)
        ]


class _Change(NamedTuple):
    """From the number in RAM to the variable: decrypted, shifted, masked."""

    key: int
    """Slot of the xor key, or -1."""
    shift: int
    mask: int

    def apply(self, value: int, raw: list[int]) -> int:
        if self.key >= 0:
            value ^= raw[self.key]
        return value >> self.shift & self.mask

    def apply_all(self, values: NDArray[Any], raw: list[int]) -> NDArray[Any]:
        kind = values.dtype.type
        if self.key >= 0:
            full = (1 << 8 * values.dtype.itemsize) - 1
            values = values ^ kind(raw[self.key] & full)
        changed: NDArray[Any] = (values >> kind(self.shift)) & kind(self.mask)
        return changed


class _Array:
    """An array, or a single number whose place depends on RAM."""

    def __init__(
        self,
        variable: Variable,
        pointer: int | None,
        change: _Change | None,
        index: tuple[int, int] | None,
    ) -> None:
        self.name = variable.name
        self._pointer = pointer
        self._offset = _offset(variable.location)
        self._change = change
        self._index = index
        self._dtype = variable.dtype
        self._count = variable.count
        self._stride = variable.stride or self._dtype.itemsize
        self._span = ((self._count or 1) - 1) * self._stride + self._dtype.itemsize

    def read(self, memory: _Memory, raw: list[int], state: State) -> int | NDArray[Any]:
        start = self._offset + (0 if self._pointer is None else memory.word(self._pointer))
        if self._index is not None:
            slot, stride = self._index
            start += raw[slot] * stride
        spot = memory.spot(start, self._span)
        shape = (self._count or 1,)
        if spot is None:
            values = np.zeros(shape, self._dtype)
        else:
            values = np.ndarray(shape, self._dtype, spot[0], spot[1], (self._stride,)).copy()
            if self._change is not None:
                values = self._change.apply_all(values, raw)
        return int(values[0]) if self._count is None else values


class _Window:
    """The cells around the player out of a live grid."""

    def __init__(self, variable: Variable, window: MapWindow) -> None:
        self.name = variable.name
        self._window = window
        self._outside = variable.outside
        self._mask = variable.mask

    def read(self, memory: _Memory, raw: list[int], state: State) -> NDArray[Any]:
        window = self._window
        shape = window.rows, window.columns
        width = memory.word(window.width, _S32)
        height = memory.word(window.height, _S32)
        if width <= 0 or height <= 0:
            return np.zeros(shape, "<u2")
        spot = memory.spot(memory.word(window.cells), 2 * width * height)
        if spot is None:
            return np.zeros(shape, "<u2")
        grid = np.ndarray((height, width), "<u2", *spot)
        top = int(state[window.y]) + window.border - window.above
        left = int(state[window.x]) + window.border - window.columns // 2
        up, down = max(top, 0), min(top + window.rows, height)
        west, east = max(left, 0), min(left + window.columns, width)
        cells: NDArray[Any] = np.full(shape, self._outside, "<u2")
        if up < down and west < east:
            inside = grid[up:down, west:east]
            if self._mask is not None:
                inside = inside & np.uint16(self._mask)
            cells[up - top : down - top, west - left : east - left] = inside
        return cells


def _is_number(variable: Variable) -> bool:
    return variable.window is None and variable.count is None and variable.index is None


def _change(variable: Variable, slots: Mapping[Location, int]) -> _Change | None:
    if variable.bit is None and variable.mask is None and variable.xor is None:
        return None
    full = (1 << 8 * variable.location.size) - 1
    if variable.bit is not None:
        shift, mask = variable.bit, 1
    else:
        shift, mask = 0, full if variable.mask is None else variable.mask
    return _Change(-1 if variable.xor is None else slots[variable.xor], shift, mask)


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


def _by_base(wanted: Iterable[Location], pointers: Mapping[str, int]) -> dict[int, list[Location]]:
    """Locations by the address of their pointer; those at absolute addresses by block, 0 and 1."""
    bases: dict[int, list[Location]] = {}
    for location in wanted:
        if location.pointer is not None:
            base = pointers[location.pointer]
        else:
            base = int((location.address or 0) >= IWRAM)
        bases.setdefault(base, []).append(location)
    return bases


def _grouped(members: list[Location]) -> list[_Group]:
    """As few groups as can be without overlap."""
    groups: list[list[Location]] = []
    for location in sorted(members, key=_offset):
        for group in groups:
            if _offset(group[-1]) + group[-1].size <= _offset(location):
                group.append(location)
                break
        else:
            groups.append([location])
    return [_Group(group) for group in groups]


def _offset(location: Location) -> int:
    return location.offset if location.address is None else location.address
