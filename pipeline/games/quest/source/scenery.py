"""Houses and furniture: pictures of several tiles."""

from __future__ import annotations

from .canvas import Canvas, mix
from .font import write

INK = 0x483038


def house(w: int, h: int, roof: int, wall: int, door_at: int, sign: str = "") -> Canvas:
    """A house of ``w`` x ``h`` tiles with a door in tile column ``door_at``."""
    wide, tall = w * 16, h * 16
    c = Canvas(wide, tall)
    eaves = tall - 30
    dark, light = mix(roof, 0x201020, 0.35), mix(roof, 0xFFFFFF, 0.35)
    c.rect(4, eaves - 2, wide - 8, tall - eaves + 1, wall)
    for j in range(eaves + 6, tall - 2, 6):
        c.rect(4, j, wide - 8, 1, mix(wall, 0x806040, 0.25))
    c.rect(4, eaves, wide - 8, 3, mix(wall, 0x402020, 0.45))
    c.polygon([(8, 2), (wide - 9, 2), (wide - 1, eaves), (0, eaves)], roof)
    for j in range(2, eaves):
        if j % 7 == 0:
            inset = round(8 - 8 * (j - 2) / (eaves - 2))
            c.rect(inset, j, wide - 2 * inset, 1, dark)
            for i in range(inset + (j // 7 % 2) * 5, wide - inset, 10):
                c.rect(i, max(j - 6, 6), 1, j - max(j - 6, 6), mix(roof, 0x201020, 0.18))
    c.rect(9, 3, wide - 18, 3, light).rect(1, eaves - 2, wide - 2, 2, dark)
    for i in range(w):
        x = i * 16
        if i == door_at:
            c.rect(x + 1, tall - 21, 14, 21, INK).rect(x + 2, tall - 20, 12, 20, 0x985830)
            c.rect(x + 3, tall - 19, 10, 8, 0xC88048).rect(x + 3, tall - 9, 10, 8, 0xC88048)
            c.rect(x + 11, tall - 10, 2, 2, 0xF8E050)
        elif 0 < i < w - 1 or w <= 5:
            left = x + (4 if 0 < i < w - 1 else 6 if i == 0 else 1)
            c.rect(left, tall - 20, 9, 10, INK).rect(left + 1, tall - 19, 7, 8, 0x68B8F0)
            c.rect(left + 1, tall - 19, 7, 3, 0xC8F0F8).rect(left + 4, tall - 19, 1, 8, INK)
    if sign:
        n = len(sign) * 6 + 3
        c.rect(wide // 2 - n // 2, 12, n + 1, 12, INK)
        c.rect(wide // 2 - n // 2 + 1, 13, n - 1, 10, 0xF8F0C8)
        write(c, wide // 2 - n // 2 + 3, 15, sign, 0x903020)
    c.rect(4, tall - 2, wide - 8, 2, mix(wall, 0x402020, 0.5))
    if door_at >= 0:
        c.rect(door_at * 16 + 2, tall - 2, 12, 2, 0x704028)
    return c.outline(INK)


def _box(c: Canvas, x: int, y: int, w: int, h: int, tone: int) -> None:
    c.rect(x, y, w, h, INK).rect(x + 1, y + 1, w - 2, h - 2, tone)
    c.rect(x + 1, y + 1, w - 2, 1, mix(tone, 0xFFFFFF, 0.5))
    c.rect(x + 1, y + h - 2, w - 2, 1, mix(tone, 0, 0.3))


def shelf() -> Canvas:
    c = Canvas(32, 16)
    _box(c, 1, 0, 30, 16, 0xA86838)
    books = (0xD84848, 0x4878D8, 0x48A858, 0xE8C040, 0x9858B8)
    for j in (2, 9):
        c.rect(3, j, 26, 5, 0x603820)
        for i in range(12):
            c.rect(3 + i * 2, j + i % 3 // 2, 2, 5 - i % 3 // 2, books[(i * 7 + j) % 5])
    return c


def desk() -> Canvas:
    c = Canvas(32, 16)
    _box(c, 1, 5, 30, 11, 0xB87840)
    _box(c, 5, 0, 12, 9, 0x607080)
    return c.rect(7, 2, 8, 5, 0x88E0F8).rect(20, 7, 8, 4, 0xF8F8F8).rect(21, 8, 5, 1, 0x8090A0)


def bed() -> Canvas:
    c = Canvas(16, 32)
    _box(c, 1, 0, 14, 31, 0xB87840)
    c.rect(3, 3, 10, 6, 0xF8F8F8).rect(3, 8, 10, 1, 0xC0C8D8).rect(2, 10, 12, 19, 0x4880E0)
    return c.rect(2, 10, 12, 3, 0xF8F8F8).rect(4, 16, 8, 2, 0x80B0F8).rect(2, 27, 12, 2, 0x3058A8)


def table() -> Canvas:
    c = Canvas(32, 32)
    _box(c, 1, 3, 30, 22, 0xD89858)
    c.rect(3, 25, 4, 6, 0x804820).rect(25, 25, 4, 6, 0x804820).rect(2, 22, 28, 2, 0xA86838)
    c.ellipse(10, 11, 4.5, 3.5, 0xF8F8F8).ellipse(10, 11, 2.5, 1.8, 0x98D0F0)
    c.ellipse(22, 15, 4.5, 3.5, 0xF8F8F8).ellipse(22, 15, 2.5, 1.8, 0xF0A058)
    return c


def stove() -> Canvas:
    c = Canvas(32, 16)
    _box(c, 1, 1, 30, 15, 0xD8E0E8)
    c.rect(3, 3, 12, 4, 0x88A8C0).rect(5, 4, 8, 2, 0x5890D8).rect(18, 3, 11, 4, 0x404850)
    return c.rect(20, 4, 2, 2, 0xF06030).rect(25, 4, 2, 2, 0xF06030).rect(3, 9, 26, 1, 0x8898A8)


def machine() -> Canvas:
    c = Canvas(32, 16)
    _box(c, 1, 0, 30, 16, 0x90A8B8)
    c.rect(3, 2, 14, 8, 0x183048).rect(4, 3, 12, 6, 0x40D890).rect(5, 6, 3, 1, 0x183048)
    c.rect(8, 4, 2, 3, 0x183048).rect(12, 5, 3, 1, 0x183048)
    for i in range(3):
        c.rect(20 + i * 3, 3, 2, 2, (0xF05050, 0xF8D850, 0x58D858)[i])
    return c.rect(19, 8, 10, 5, 0x607888)


def plant() -> Canvas:
    c = Canvas(16, 16)
    c.rect(5, 10, 6, 6, INK).rect(6, 11, 4, 4, 0xD07838)
    return c.ball(7.5, 5.5, 6.5, 5.5, (0x206838, 0x389850, 0x60C060, 0xA0E880)).outline(0x183820)


def rug() -> Canvas:
    c = Canvas(48, 32)
    c.rect(1, 1, 46, 30, 0xD85868).frame(2, 2, 44, 28, 0xF8D888).frame(4, 4, 40, 24, 0xA83850)
    return c.ellipse(24, 16, 9, 7, 0xF8D888).ellipse(24, 16, 6, 4, 0xD85868)


def rocks() -> Canvas:
    c = Canvas(32, 16)
    c.ball(9, 9, 7, 6, (0x505868, 0x788090, 0xA0A8B8, 0xD0D8E0))
    return c.ball(23, 8, 7, 7, (0x505868, 0x788090, 0xA0A8B8, 0xD0D8E0)).outline(0x303848)


def statue() -> Canvas:
    c = Canvas(16, 16)
    _box(c, 2, 11, 12, 5, 0x8890A8)
    c.ball(7.5, 6, 5, 5.5, (0x606880, 0x9098B0, 0xC0C8D8, 0xF0F0F8)).outline(0x303848)
    return c.rect(5, 5, 2, 2, 0xF8D030).rect(9, 5, 2, 2, 0xF8D030)


def picture(name: str) -> Canvas:
    """A picture by the name that maps.py uses."""
    if name == "house red":
        return house(5, 4, 0xE05848, 0xF8E8C8, 2)
    if name == "house orange":
        return house(5, 4, 0xF0A038, 0xF0E0D0, 2)
    if name == "lab":
        return house(6, 4, 0x5078C8, 0xE8F0F0, 2, "LAB")
    if name == "gym":
        return house(6, 4, 0x9858C0, 0xF8E0A0, 3, "GYM")
    return {
        "shelf": shelf,
        "desk": desk,
        "bed": bed,
        "table": table,
        "stove": stove,
        "machine": machine,
        "plant": plant,
        "rug": rug,
        "rocks": rocks,
        "statue": statue,
    }[name]()
