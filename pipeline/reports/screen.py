"""A console's screen as a picture, with words beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.shards.format.frames import Frames

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_SCALE = 3
_MARGIN = 12
_LETTERS = 14
_LINE = 19
_CELL = 10
"""Width of a letter where columns matter."""
_PAPER, _INK = (250, 250, 247), (30, 30, 34)


def draw_screen(
    screen: Frames, lines: Sequence[str], path: Path, below: Sequence[str] = ()
) -> None:
    """Write ``screen`` (H,W,3) u8, three times as large, with words.

    Args:
        lines: on its right; those that begin with a blank are set letter under letter, as maps
            need it.
        below: short words under it, in columns.
    """
    height, width = screen.shape[0] * _SCALE, screen.shape[1] * _SCALE
    font = ImageFont.load_default(_LETTERS)
    wide = width + 3 * _MARGIN + max((_width(line, font) for line in lines), default=0)
    tall = max(height, len(lines) * _LINE) + 2 * _MARGIN
    column = max((_width(word, font) for word in below), default=0) + 2 * _MARGIN
    columns = max(1, wide // column)
    rows = -(-len(below) // columns)
    picture = Image.new("RGB", (wide, tall + (rows * _LINE + _MARGIN if rows else 0)), _PAPER)
    large = Image.fromarray(screen).resize((width, height), Image.Resampling.NEAREST)
    picture.paste(large, (_MARGIN, _MARGIN))
    pen = ImageDraw.Draw(picture)
    for row, line in enumerate(lines):
        _write(pen, (width + 2 * _MARGIN, _MARGIN + row * _LINE), line, font)
    for index, word in enumerate(below):
        place = _MARGIN + index // rows * column, tall + index % rows * _LINE
        _write(pen, place, word, font)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], line: str, font: _Font) -> None:
    if not line.startswith(" "):
        pen.text(place, line, _INK, font)
        return
    for column, letter in enumerate(line.lstrip()):
        pen.text((place[0] + column * _CELL, place[1]), letter, _INK, font)


def _width(line: str, font: _Font) -> int:
    return len(line) * _CELL if line.startswith(" ") else int(font.getlength(line))
