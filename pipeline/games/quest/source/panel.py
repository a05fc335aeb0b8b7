"""Interface tiles: font, box frame, menu labels, icons of the status strip, bars."""

from __future__ import annotations

from .canvas import Canvas, mix
from .font import GLYPHS, write
from .people import orb

INK, PAPER, RIM, RIM_DARK = 0x303048, 0xF8F8F0, 0x4878C8, 0x284888
STRIP, EMPTY = 0x202840, 0x384468


def letters() -> list[Canvas]:
    """ASCII 32..126, 8x8 on paper; letters the font lacks are blank."""
    out = []
    for code in range(32, 127):
        c = Canvas(8, 8, PAPER)
        if chr(code) in GLYPHS:
            write(c, 1, 1, chr(code), 0xC0C4D0)
            c2 = Canvas(8, 8)
            write(c2, 0, 0, chr(code), INK)
            c = Canvas(8, 8, PAPER).paste(c.cut(0, 0, 8, 8), 0, 0).paste(c2, 0, 0)
        out.append(c)
    return out


def frame() -> list[Canvas]:
    """Nine tiles of a box: corners, edges, middle, row by row."""
    c = Canvas(24, 24, PAPER)
    c.frame(0, 0, 24, 24, RIM_DARK).frame(1, 1, 22, 22, RIM).frame(2, 2, 20, 20, RIM)
    c.frame(3, 3, 18, 18, RIM_DARK)
    for x, y in ((0, 0), (23, 0), (0, 23), (23, 23)):
        c.put(x, y, STRIP)
    for x, y in ((3, 3), (20, 3), (3, 20), (20, 20)):
        c.put(x, y, RIM)
    return [c.cut(i * 8, j * 8, 8, 8) for j in range(3) for i in range(3)]


def arrow() -> Canvas:
    """The bright sign 'press A' in the corner of a text box."""
    c = Canvas(16, 16, PAPER)
    c.rect(0, 0, 16, 16, 0xE83830).rect(1, 1, 14, 14, 0xF85848)
    return c.polygon([(2, 4), (13, 4), (8, 13)], 0xF8F8F8)


LABELS = ("FIGHT", "ITEM", "RUN", "GUARD")


def label(text: str, chosen: bool) -> Canvas:
    """One menu line, 80x16."""
    back, ink = (0xF87818, 0xF8F8F8) if chosen else (0x405078, 0xA8B8D8)
    c = Canvas(80, 16, back)
    c.rect(0, 0, 80, 1, mix(back, 0xFFFFFF, 0.4)).rect(0, 15, 80, 1, mix(back, 0, 0.35))
    if chosen:
        c.polygon([(3, 2), (3, 13), (11, 8)], 0xF8F8F8)
    write(c, 15, 1, text, mix(back, 0, 0.5), 2)
    write(c, 14, 1, text, ink, 2)
    return c


def _slot(on: bool, tone: int) -> Canvas:
    c = Canvas(16, 16, STRIP)
    if on:
        return c.rect(1, 1, 14, 14, tone)
    return c.rect(1, 1, 14, 14, EMPTY).rect(2, 2, 12, 12, 0x283050)


def icons() -> list[Canvas]:
    """Pairs (missing, there): partner, orb, permit, rival, badge, potion."""
    out = []
    for on in (False, True):
        c = _slot(on, 0x186860)
        if on:
            c.ellipse(5, 4, 2, 3, 0x60C840).ellipse(11, 4, 2, 3, 0x60C840)
            c.ellipse(8, 9, 5.4, 5, 0x40D0C0).rect(5, 7, 2, 3, STRIP).rect(10, 7, 2, 3, STRIP)
        out.append(c)
    for on in (False, True):
        c = _slot(on, 0x781068)
        if on:
            c.paste(orb().cut(2, 17, 12, 13), 2, 2)
        out.append(c)
    for on in (False, True):
        c = _slot(on, 0x2050C0)
        if on:
            c.rect(3, 2, 10, 12, 0xF8F8F8).rect(5, 4, 6, 2, 0x5890F8).rect(5, 7, 6, 1, 0x8098B8)
            c.rect(5, 9, 6, 1, 0x8098B8).rect(9, 10, 4, 4, 0xE84040)
        out.append(c)
    for on in (False, True):
        c = _slot(on, 0xA01820)
        if on:
            for n in range(10):
                c.rect(3 + n, 3 + n, 2, 1, 0xF8F8F8).rect(12 - n, 3 + n, 2, 1, 0xF8F8F8)
            c.rect(2, 10, 5, 2, 0xF8C838).rect(9, 10, 5, 2, 0xF8C838)
        out.append(c)
    for on in (False, True):
        c = _slot(on, 0xB07808)
        if on:
            c.polygon([(8, 1), (14, 7), (8, 14), (2, 7)], 0xF8E040)
            c.polygon([(8, 4), (11, 7), (8, 11), (5, 7)], 0xF8F8C0)
        out.append(c)
    for on in (False, True):
        c = _slot(on, EMPTY)
        if on:
            c.rect(6, 2, 4, 3, 0xF8F8F8).rect(4, 5, 8, 9, 0xF8F8F8).rect(5, 7, 6, 6, 0xF05090)
            c.rect(7, 8, 2, 4, 0xF8F8F8).rect(6, 9, 4, 2, 0xF8F8F8)
        out.append(c)
    return out


def bars() -> list[Canvas]:
    """For the partner and the foe: upper halves 0..8 filled, then lower halves.

    The fillings' colours (magenta, cyan) are places in the palette that the game sets.
    """
    out = []
    for tone in (0xFF00FF, 0x00FFFF):
        for lower in (False, True):
            for fill in range(9):
                c = Canvas(8, 8, STRIP)
                y, h = (0, 6) if lower else (2, 6)
                c.rect(0, y, 8, h, 0x485070).rect(0, y, fill, h, tone)
                c.rect(0, 6 if lower else 1, 8, 1, 0xC8D0E8)
                out.append(c)
    return out
