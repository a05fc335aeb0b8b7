"""A console's screen as a picture, with words beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.frames import Frames

_SCALE = 3
_MARGIN = 12
_LETTERS = 14
_LINE = 19
_CELL = 10
"""Width of a letter where columns matter."""
_PAPER, _INK = (250, 250, 247), (30, 30, 34)


def draw_screen(screen: Frames, lines: Sequence[str], path: Path) -> None:
    """Write ``screen`` (H,W,3) u8, three times as large, with ``lines`` on its right.

    Lines that begin with a blank are set letter under letter, as maps need it.
    """
    height, width = screen.shape[0] * _SCALE, screen.shape[1] * _SCALE
    font = ImageFont.load_default(_LETTERS)
    wide = max((_width(line, font) for line in lines), default=0)
    tall = max(height, len(lines) * _LINE) + 2 * _MARGIN
    picture = Image.new("RGB", (width + wide + 3 * _MARGIN, tall), _PAPER)
    large = Image.fromarray(screen).resize((width, height), Image.Resampling.NEAREST)
    picture.paste(large, (_MARGIN, _MARGIN))
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        place = width + 2 * _MARGIN, _MARGIN + row * _LINE
        if not line.startswith(" "):
            pen.text(place, line, _INK, font)
            continue
        for column, letter in enumerate(line.lstrip()):
            pen.text((place[0] + column * _CELL, place[1]), letter, _INK, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _width(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return len(line) * _CELL if line.startswith(" ") else int(font.getlength(line))
