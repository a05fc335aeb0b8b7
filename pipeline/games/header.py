"""What a cartridge image says of itself in its header."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.games.platforms import GB, GBA, GBC, Platform

_COLOUR, _COLOUR_ONLY = 0x80, 0xC0
_LOGO = bytes.fromhex("CEED6666")
"""The first bytes of a Game Boy cartridge's logo; mGBA too knows it by these."""


@dataclass(frozen=True)
class Cartridge:
    """A cartridge image's console, title, code (GBA only; may be empty) and hash."""

    platforms: tuple[Platform, ...]
    """Consoles that can play it, the best first."""
    title: str
    code: str
    sha1: str


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
    if image.startswith(b"PK"):
        raise PipelineError(f"{path}: a zip archive; unpack it and give the ROM that is inside")
    sha1 = hashlib.sha1(image).hexdigest()
    if len(image) >= 0xC0 and image[0xB2] == 0x96:
        return Cartridge((GBA,), _text(image[0xA0:0xAC]), _text(image[0xAC:0xB0]), sha1)
    if len(image) >= 0x150 and image[0x104:0x108] == _LOGO:
        return Cartridge(_game_boys(image[0x143]), _text(image[0x134:0x143]), "", sha1)
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
