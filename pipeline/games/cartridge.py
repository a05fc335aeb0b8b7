"""What a cartridge image says of itself in its header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.games.platforms import GB, GBA, GBC, Platform
from pipeline.system.errors import PipelineError

_ARCHIVES = {
    b"PK": "zip",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "rar",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
}
_COLOUR, _COLOUR_ONLY = 0x80, 0xC0
_LOGO = bytes.fromhex("CEED6666")
"""The first bytes of a Game Boy cartridge's logo; mGBA too knows it by these."""
MULTIBOOT = 0x40000
"""Bytes of the largest image that mGBA may take for one that is sent to a console by cable."""
_POWER, _NO_POWER = 0x80000, 0x60000
"""Sizes of images that are filled up: a power of two, and none."""


@dataclass(frozen=True)
class Cartridge:
    """A cartridge image's console, title, code (GBA only; may be empty), hash and edition."""

    platforms: tuple[Platform, ...]
    """Consoles that can play it, the best first."""
    title: str
    code: str
    sha1: str
    revision: int
    """0 for the first edition, 1 for one in which the maker fixed something, and so on."""
    size: int
    """Bytes."""


def read_cartridge(path: Path) -> Cartridge:
    """Read the header of a cartridge image.

    Raises:
        PipelineError: no such file, or not an image of a cartridge; a zipped one is named.
    """
    try:
        image = path.read_bytes()
    except OSError as error:
        raise PipelineError(
            f"{path}: cannot read the ROM ({os.strerror(error.errno or 0)}); give an existing "
            "file with --rom"
        ) from None
    for magic, kind in _ARCHIVES.items():
        if image.startswith(magic):
            raise PipelineError(
                f"{path}: a {kind} archive; unpack it and give the ROM that is inside"
            )
    sha1, size = hashlib.sha1(image, usedforsecurity=False).hexdigest(), len(image)
    if len(image) >= 0xC0 and image[3] == 0xEA and image[0xB2] == 0x96:
        title, code = _text(image[0xA0:0xAC]), _text(image[0xAC:0xB0])
        return Cartridge((GBA,), title, code, sha1, image[0xBC], size)
    if len(image) >= 0x150 and image[0x104:0x108] == _LOGO:
        title = _text(image[0x134:0x143])
        return Cartridge(_game_boys(image[0x143]), title, "", sha1, image[0x14C], size)
    raise PipelineError(
        f"{path}: {_refusal(image, path.suffix.lower())}; give a .gb, .gbc or .gba file with --rom"
    )


def filled_up(image: bytes) -> bytes:
    """A Game Boy Advance image made so large that mGBA cannot take it for a multiboot one.

    Behind its end lies what mGBA reads where such a cartridge has ended, so nothing in the game can
    tell: of each half-word its own number; where the size is no power of two, 0 for ever, as in a
    flash cartridge.
    """
    if len(image) & (len(image) - 1):
        return image + bytes(_NO_POWER - len(image))
    return image + np.arange(len(image) // 2, _POWER // 2).astype("<u2").tobytes()


def _refusal(image: bytes, suffix: str) -> str:
    """What in the header is not as it must be: the byte, what it is, what is due."""
    advance = _wrong(image, 3, b"\xea") or _wrong(image, 0xB2, b"\x96")
    if len(image) < 0xC0:
        advance = f"{len(image)} bytes, but a header ends at 0xC0"
    boy = _wrong(image, 0x104, _LOGO)
    if len(image) < 0x150:
        boy = f"{len(image)} bytes, but a header ends at 0x150"
    if suffix in (".gb", ".gbc"):
        return f"not a Game Boy cartridge ({boy})"
    if suffix == ".gba":
        return f"not a Game Boy Advance cartridge ({advance})"
    return (
        "no cartridge of a Game Boy, Game Boy Color or Game Boy Advance (as a Game Boy's: "
        f"{boy}; as a Game Boy Advance's: {advance})"
    )


def _wrong(image: bytes, at: int, due: bytes) -> str | None:
    """The first byte from ``at`` that is not the one due, in words."""
    for place, (found, right) in enumerate(zip(image[at:], due, strict=False), at):
        if found != right:
            return f"byte 0x{place:X} is 0x{found:02X}, not 0x{right:02X}"
    return None


def _game_boys(flag: int) -> tuple[Platform, ...]:
    if not flag & _COLOUR:
        return (GB,)
    return (GBC,) if flag & _COLOUR_ONLY == _COLOUR_ONLY else (GBC, GB)


def _text(raw: bytes) -> str:
    """Letters up to the first that is none, without blanks around them."""
    text = raw.split(b"\0")[0].decode("ascii", "replace")
    return "".join(c for c in text if c.isascii() and c.isprintable()).strip()
