"""Files that a game can begin in: save states of mGBA, raw or as a PNG, and in-game saves.

What they say of themselves is read here, without an emulator, to tell in one line why one does not
fit. Layouts: mGBA 0.10, ``include/mgba/internal/gba/serialize.h`` and ``gb/serialize.h``.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.games.cartridge import MULTIBOOT, filled_up, read_cartridge
from pipeline.games.containers import foreign, unpacked
from pipeline.games.description import StartState
from pipeline.games.platforms import GBA, Platform
from pipeline.system.errors import PipelineError

PNG = b"\x89PNG\r\n\x1a\n"
"""How a save state that carries a picture begins."""
_CARRIED = b"gbAs"
"""The chunk of such a PNG that holds the raw state, deflated."""
_NOTE = b"tEXt"
_NOTE_KEY = b"pokemon-il\0"


@dataclass(frozen=True)
class _Layout:
    """Where a raw state of one console says what it belongs to."""

    console: str
    size: int
    magic: int
    """The first word, without the version in its lowest byte."""
    crc32: int
    title: slice
    code: slice


_LAYOUTS = (
    _Layout("Game Boy Advance", 0x61000, 0x010000, 8, slice(0x10, 0x1C), slice(0x1C, 0x20)),
    _Layout("Game Boy or Game Boy Color", 0x11800, 0x004000, 4, slice(0x10, 0x20), slice(0, 0)),
)
_SAVES = {b"EEPROM_V": (512, 8192), b"SRAM_V": (32768,), b"SRAM_F_V": (32768,)}
_SAVES |= {b"FLASH_V": (65536,), b"FLASH512_V": (65536,), b"FLASH1M_V": (131072,)}
"""Bytes of save memory, by the name of the library that a GBA cartridge brings for it."""
_GB_SAVES = {0: 0, 1: 0x800, 2: 0x2000, 3: 0x8000, 4: 0x20000, 5: 0x10000}
"""Bytes of save memory, by byte 0x149 of a Game Boy cartridge."""
_CLOCKS = (0, 16, 44, 48)
"""Bytes of a clock that emulators put behind the save memory; ours stands still."""
_FILLED = (8192, 32768, 65536, 131072)
"""Sizes to which emulators and flash cards fill up a save that is smaller."""


@dataclass(frozen=True)
class Origin:
    """The cartridge that a save state was made with, as the state says."""

    console: str
    title: str
    code: str
    crc32: int
    """Of the whole image."""
    picture: bool
    """Whether the screen is with it."""


def read_origin(state: bytes) -> Origin:
    """Look into a save state, raw or PNG.

    Raises:
        PipelineError: it is none, or cut off or damaged; without the file's name.
    """
    raw = _carried(state) if state.startswith(PNG) else state
    for layout in _LAYOUTS:
        if int.from_bytes(raw[1:4], "little") == layout.magic and len(raw) > 4:
            if len(raw) < layout.size:
                raise PipelineError(
                    f"the save state is cut off: {len(raw)} bytes, of {layout.size}; copy it again"
                )
            crc32 = int.from_bytes(raw[layout.crc32 : layout.crc32 + 4], "little")
            title, code = _text(raw[layout.title]), _text(raw[layout.code])
            return Origin(layout.console, title, code, crc32, state.startswith(PNG))
    raise PipelineError(
        foreign(state) or "not a save state of mGBA, neither a raw one nor a PNG; save one in mGBA"
    )


@dataclass(frozen=True)
class Identity:
    """What tells two cartridges apart in their save states; compared as bytes."""

    name: bytes
    """Title and, on a Game Boy Advance, code."""
    crc32: int

    @property
    def blank(self) -> bool:
        """Whether title and code say nothing, as those of much homebrew."""
        return not self.name.strip(b"\0 \xff")


def identity_of(state: bytes) -> Identity | None:
    """Of which cartridge a save state is, from its first bytes; None where it is none.

    Cost: some 20 us, also for a PNG, of which no more than the beginning is inflated.
    """
    raw = _beginning(state) if state.startswith(PNG) else state
    for layout in _LAYOUTS:
        if int.from_bytes(raw[1:4], "little") == layout.magic and len(raw) >= 0x20:
            crc32 = int.from_bytes(raw[layout.crc32 : layout.crc32 + 4], "little")
            return Identity(bytes(raw[0x10:0x20]), crc32)
    return None


def check_state(state: bytes, rom: Path, console: Platform) -> str | None:
    """Whether a save state is one of a cartridge.

    Returns:
        None, or a warning: title and code are right, but it was made with another image.

    Raises:
        PipelineError: it is no state, damaged, or of another console or cartridge; without the
            file's name. So is a state of another image where title and code are blank in both:
            nothing else tells them apart.
    """
    origin = read_origin(state)
    ours = _LAYOUTS[0 if console is GBA else 1].console
    if origin.console != ours:
        raise PipelineError(f"a save state of a {origin.console}, not of a {console.title}")
    cartridge = read_cartridge(rom)
    # A Game Boy's title may go on in the header where ours ends.
    if origin.code != cartridge.code or not _same_title(origin.title, cartridge.title):
        raise PipelineError(
            f"a save state of {_named(origin.title, origin.code)}, not of "
            f"{_named(cartridge.title, cartridge.code)}; make one with this cartridge"
        )
    image = rom.read_bytes()
    crc32 = zlib.crc32(image)
    known = {crc32, zlib.crc32(filled_up(image))} if len(image) <= MULTIBOOT else {crc32}
    noted = _noted_rom(state) or cartridge.sha1
    if origin.crc32 in known and noted == cartridge.sha1:
        return None
    if not (origin.title or origin.code):
        raise PipelineError(unlike(origin.crc32, crc32))
    what = f"CRC32 {origin.crc32:08x}, not {crc32:08x}"
    if origin.crc32 in known:
        what = f"sha1 {noted}, not {cartridge.sha1}"
    return (
        f"made with another image of this cartridge ({what}): another edition or a changed game, "
        "which may not continue correctly"
    )


def unlike(found: int, due: int) -> str:
    """The line on a state of another image, where title and code are blank in both."""
    return (
        f"a save state of another cartridge (CRC32 {found:08x}, not {due:08x}; title and code are "
        "blank in both); make one with this cartridge"
    )


def check_save(save: bytes, rom: Path, console: Platform) -> bytes:
    """The save memory that an in-game save (``.sav``) holds, without a clock behind it.

    A save that another emulator filled up to a larger size, with one byte over and over (0xFF or
    0x00), is the same save.

    Raises:
        PipelineError: it is a save state, or its size is not that of the cartridge's save memory;
            without the file's name.
    """
    if save.startswith(PNG) or any(
        len(save) >= layout.size and int.from_bytes(save[1:4], "little") == layout.magic
        for layout in _LAYOUTS
    ):
        raise PipelineError("a save state, not an in-game save; write 'file' in place of 'save'")
    sizes = _save_sizes(rom.read_bytes(), console)
    if not sizes:
        raise PipelineError("this cartridge has no save memory")
    for size in sizes:
        if len(save) - size in _CLOCKS:
            return save[:size]
    for size in reversed(sizes):
        if _is_filled_up(save, size):
            return save[:size]
    strange = foreign(save)
    if strange is not None:
        raise PipelineError(strange)
    raise PipelineError(
        f"{len(save)} bytes, but this cartridge's save memory has "
        f"{' or '.join(str(size) for size in sizes)}; give the .sav file of this game, unpacked"
    )


def check_start(start: StartState, rom: Path, console: Platform) -> bytes | None:
    """What the file of a start state holds, checked; None if it needs none.

    Returns:
        A save state as it is, or save memory without a clock behind it.

    Raises:
        PipelineError: it cannot be read, or is none of this cartridge; the line names
            ``game.yaml`` and the file.
    """
    file, where = start.source, f"{start.where}: " if start.where else ""
    if file is None:
        return None
    try:
        data = read_file(file, "in-game save" if start.file is None else "save state")
    except PipelineError as error:
        raise PipelineError(f"{where}{error}") from None
    try:
        if start.file is None:
            return check_save(data, rom, console)
        check_state(data, rom, console)
    except PipelineError as error:
        raise PipelineError(f"{where}{file}: {error}") from None
    return data


def read_file(file: Path, kind: str = "save state") -> bytes:
    """The bytes of a state's file; of a gzip file, its content.

    Raises:
        PipelineError: it cannot be read, or is a damaged gzip file.
    """
    try:
        return unpacked(file.read_bytes(), file)
    except OSError as error:
        raise PipelineError(
            f"{file}: cannot read the {kind} ({os.strerror(error.errno or 0)})"
        ) from None


def with_note(state: bytes, note: str) -> bytes:
    """A PNG state with an ASCII text in it, which emulators pass over; :func:`note_of` finds it."""
    body = _NOTE + _NOTE_KEY + note.encode("ascii")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    end = len(state) - 12  # before IEND
    return state[:end] + chunk + state[end:]


def note_of(state: bytes) -> str | None:
    """The text that :func:`with_note` put into a PNG state.

    Raises:
        PipelineError: the PNG is cut off or damaged.
    """
    for kind, data in png_chunks(state):
        if kind == _NOTE and data.startswith(_NOTE_KEY):
            return data[len(_NOTE_KEY) :].decode("ascii", "replace")
    return None


def _noted_rom(state: bytes) -> str | None:
    """The sha1 of the ROM that the pipeline noted in a PNG state."""
    try:
        told = json.loads((note_of(state) if state.startswith(PNG) else None) or "null")
    except ValueError:
        return None
    found = told.get("rom_sha1") if isinstance(told, dict) else None
    return found if isinstance(found, str) else None


def without_note(state: bytes) -> bytes:
    """The PNG state as the emulator gave it.

    Raises:
        PipelineError: the PNG is cut off or damaged.
    """
    parts = [PNG]
    for kind, data in png_chunks(state):
        if kind == _NOTE and data.startswith(_NOTE_KEY):
            continue
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        parts += [len(data).to_bytes(4, "big"), kind, data, check]
    return b"".join(parts)


def _carried(png: bytes) -> bytes:
    """The raw state in a PNG."""
    for kind, data in png_chunks(png):
        if kind == _CARRIED:
            try:
                return zlib.decompress(data)
            except zlib.error:
                raise PipelineError(_DAMAGED) from None
    raise PipelineError("a picture without a save state in it; save a state in mGBA, not a screen")


_DAMAGED = "the save state is a PNG that is cut off or damaged; copy it again"


def png_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each part of a PNG, the end included.

    Raises:
        PipelineError: it is cut off, or a part is not as its checksum says.
    """
    at, kind = len(PNG), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        data, check = png[at + 8 : at + 8 + length], png[at + 8 + length : at + 12 + length]
        if len(check) < 4 or zlib.crc32(kind + data) != int.from_bytes(check, "big"):
            raise PipelineError(_DAMAGED)
        yield kind, data
        at += 12 + length


def _beginning(png: bytes) -> bytes:
    """The first bytes of the raw state in a PNG; nothing where there is none."""
    at = len(PNG)
    while at + 8 <= len(png):
        length, kind = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        if kind == _CARRIED:
            try:
                return zlib.decompressobj().decompress(png[at + 8 : at + 8 + length], 64)
            except zlib.error:
                return b""
        at += 12 + length
    return b""


def _is_filled_up(save: bytes, size: int) -> bool:
    """Whether nothing but filling lies behind the first ``size`` bytes, and perhaps a clock."""
    return any(
        total > size
        and len(save) - total in _CLOCKS
        and save[size:total] in (b"\xff" * (total - size), bytes(total - size))
        for total in _FILLED
    )


def _save_sizes(image: bytes, console: Platform) -> tuple[int, ...]:
    if console is GBA:
        sizes = {
            size
            for name, found in _SAVES.items()
            if re.search(re.escape(name) + rb"\d\d\d", image)
            for size in found
        }
        return tuple(sorted(sizes or {size for found in _SAVES.values() for size in found}))
    if image[0x147] in (5, 6):  # a chip with half a KiB of its own; some write it in half the bytes
        return (256, 512)
    size = _GB_SAVES.get(image[0x149], 0)
    return (size,) if size else ()


def _same_title(found: str, due: str) -> bool:
    return found == due or (bool(found) and due.startswith(found))


def _named(title: str, code: str) -> str:
    return f"'{title}' ({code})" if code else f"'{title}'"


def _text(raw: bytes) -> str:
    text = raw.split(b"\0")[0].decode("ascii", "replace")
    return "".join(c for c in text if c.isascii() and c.isprintable()).strip()
