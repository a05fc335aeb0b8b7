"""What a cartridge image says of itself in its header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.games.platforms import GB, GBA, GBC, Platform

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


@dataclass(frozen=True)
class Cartridge:
    """A cartridge image's console, title, code (GBA only; may be empty), hash and edition."""

    platforms: tuple[Platform, ...]
    """Consoles that can play it, the best first."""
    title: str
    code: str
    sha1: str
    revision: int
    """0 for the first edition, 1 for one in which the maker mended something, and so on."""
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
    sha1, size = hashlib.sha1(image).hexdigest(), len(image)
    if len(image) >= 0xC0 and image[0xB2] == 0x96:
        title, code = _text(image[0xA0:0xAC]), _text(image[0xAC:0xB0])
        return Cartridge((GBA,), title, code, sha1, image[0xBC], size)
    if len(image) >= 0x150 and image[0x104:0x108] == _LOGO:
        title = _text(image[0x134:0x143])
        return Cartridge(_game_boys(image[0x143]), title, "", sha1, image[0x14C], size)
    raise PipelineError(
        f"{path}: no cartridge of a Game Boy, Game Boy Color or Game Boy Advance; give a .gb, "
        ".gbc or .gba file with --rom"
    )


def _game_boys(flag: int) -> tuple[Platform, ...]:
    if not flag & _COLOUR:
        return (GB,)
    return (GBC,) if flag & _COLOUR_ONLY == _COLOUR_ONLY else (GBC, GB)


def _text(raw: bytes) -> str:
    """Letters up to the first that is none, without blanks around them."""
    text = raw.split(b"\0")[0].decode("ascii", "replace")
    return "".join(c for c in text if c.isascii() and c.isprintable()).strip()
