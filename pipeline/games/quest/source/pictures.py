"""The title picture and the battle meadow, 240x160."""

from __future__ import annotations

from .canvas import Canvas, chance, mix
from .font import bits
from .monsters import sprig, tones


def _sky(c: Canvas, top: int, bottom: int, height: int, bands: int) -> None:
    for j in range(height):
        for i in range(c.w):
            level = j / height * bands
            step = int(level) + (1 if level % 1 > 0.5 and (i + j) % 2 else 0)
            c.put(i, j, mix(top, bottom, min(step, bands) / bands))


def _hills(c: Canvas, base: int, swing: int, period: int, salt: int, tone: int, rim: int) -> None:
    for i in range(c.w):
        knots = [chance(k, salt) % swing for k in range(c.w // period + 3)]
        k, rest = divmod(i, period)
        t = rest / period
        t = t * t * (3 - 2 * t)
        y = base - round(knots[k] * (1 - t) + knots[k + 1] * t)
        c.rect(i, y, 1, c.h - y, tone).rect(i, y, 1, 2, rim)


def _logo(c: Canvas, text: str, x: int, y: int, scale: int) -> None:
    ink = Canvas(c.w, c.h)
    for n, letter in enumerate(text):
        for j, row in enumerate(bits(letter)):
            for i, on in enumerate(row):
                if on:
                    ink.rect(x + (n * 6 + i) * scale, y + j * scale, scale, scale, 1)
    rim = ink.cut(0, 0, c.w, c.h)
    for _ in range(3):
        rim.outline(2)
    tall = 7 * scale
    for j in range(c.h):
        for i in range(c.w):
            if rim.p[j][i] is not None:
                c.put(i + 2, j + 3, 0x182048)
    for j in range(c.h):
        for i in range(c.w):
            kind = rim.p[j][i]
            if kind == 2:
                near = ink.get(i - 1, j) or ink.get(i + 1, j) or ink.get(i, j - 1)
                near = near or ink.get(i, j + 1)
                c.put(i, j, 0xF8F8F8 if near else 0x283878)
            elif kind == 1:
                t = (j - y) / tall
                c.put(i, j, (0xF8F088, 0xF8D830, 0xF8B020, 0xF08018, 0xD85818)[min(4, int(t * 5))])


def title() -> Canvas:
    c = Canvas(240, 160)
    _sky(c, 0x4080E0, 0xF8D8A0, 112, 8)
    c.ellipse(190, 64, 22, 22, 0xF8F0B0).ellipse(190, 64, 18, 18, 0xFFFFF0)
    for x, y, r in ((34, 72, 12), (50, 70, 16), (70, 74, 10), (150, 82, 9), (164, 80, 12)):
        c.ellipse(x, y, r, r * 0.55, 0xF8F8F8)
    _hills(c, 104, 26, 30, 3, 0x7090C8, 0xA8C0E0)
    _hills(c, 116, 20, 24, 8, 0x489078, 0x78B890)
    _hills(c, 132, 14, 40, 5, 0x58B050, 0xA0E070)
    for n in range(16):
        x = n * 16 + chance(n, 2) % 9
        y = 127 + chance(n, 3) % 7 - (4 if 3 < n < 11 else 0)
        if not 80 < x < 170:
            c.rect(x - 1, y + 5, 3, 6, 0x704028)
            c.ball(x, y, 8, 9, (0x185038, 0x287848, 0x40A058, 0x68C868))
    for j in range(142, 160):
        for i in range(240):
            if chance(i, j, 9) < 18:
                c.put(i, j, 0x3C9040)
    _logo(c, "QUEST", 34, 14, 6)
    friend = sprig(False)
    c.ellipse(120, 130, 26, 4, 0x3C9040)
    c.paste(friend, 88, 69)
    c.ellipse(162, 131, 9, 3, 0x3C9040).ball(162, 123, 8, 8, tones(0xF040B8))
    c.ellipse(160, 120, 2, 2, 0xFFFFFF)
    return c


def battle() -> Canvas:
    c = Canvas(240, 160)
    _sky(c, 0x78C8F8, 0xE8F8F0, 64, 5)
    _hills(c, 62, 12, 40, 4, 0x88C8A0, 0xA8E0B8)
    c.rect(0, 60, 240, 100, 0xA8E078)
    for j in range(62, 160, 5):
        c.rect(0, j, 240, 1 + (j - 60) // 30, 0x98D868)
    for x, y, rx, ry in ((178, 73, 52, 11), (60, 113, 60, 13)):
        c.ellipse(x, y, rx, ry, 0x60A850).ellipse(x, y - 1, rx - 3, ry - 2, 0x88C860)
        c.ellipse(x, y - 2, rx - 10, ry - 4, 0xA0D870)
    return c
