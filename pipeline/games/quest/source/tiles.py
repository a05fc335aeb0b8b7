"""The 16x16 ground tiles, painted with regard to their neighbours."""

from __future__ import annotations

from .canvas import Canvas, chance, mix

GRASS, GRASS_DARK, GRASS_LIGHT = 0x90D868, 0x70C058, 0xB0F088
PATH, PATH_DARK, PATH_LIGHT = 0xF0D898, 0xD8B070, 0xF8E8B8
WATER, WATER_DARK, WATER_LIGHT = 0x58A8F0, 0x3880D8, 0xA0D8F8
LEAF = (0x185038, 0x287848, 0x40A058, 0x68C868, 0x98E078)
TRUNK, TRUNK_DARK = 0xA06840, 0x704028
FLOWERS = {
    "r": (0xF04848, 0xF8F8A0),
    "y": (0xF8D030, 0xF88830),
    "u": (0x5870F8, 0xF8F8F8),
    ",": (0xF8F8F8, 0xF8C840),
}


def grass(x: int, y: int) -> Canvas:
    """Short grass with a few blades; four variants."""
    c = Canvas(16, 16, GRASS)
    kind = chance(x, y, 1) % 4
    for n in range(2 + kind % 2):
        i, j = chance(n, kind, 2) % 12 + 1, chance(n, kind, 3) % 11 + 2
        c.put(i, j, GRASS_DARK)
        c.put(i + 1, j + 1, GRASS_DARK)
        c.put(i + 2, j, GRASS_DARK)
        c.put(i + 1, j, GRASS_LIGHT)
    return c


def flower(letter: str, x: int, y: int) -> Canvas:
    c = grass(x, y)
    petal, heart = FLOWERS[letter]
    for i, j in ((4, 4), (11, 7), (5, 12)):
        c.rect(i - 1, j + 2, 4, 2, GRASS_DARK)
        c.rect(i - 2, j - 1, 5, 3, petal).rect(i - 1, j - 2, 3, 5, petal)
        c.rect(i - 2, j + 1, 1, 1, mix(petal, 0, 0.25)).put(i, j + 2, mix(petal, 0, 0.25))
        c.rect(i - 1, j - 1, 2, 2, heart)
    return c


def tall_grass() -> Canvas:
    """Dark upright tufts: clearly another thing than short grass, also when small."""
    c = Canvas(16, 16, 0x48A850)
    for j in (0, 8):
        for i in range(-4, 16, 8):
            k = i + (4 if j else 0)
            c.polygon([(k, j + 7), (k + 3, j), (k + 4, j + 7)], 0x206838)
            c.polygon([(k + 3, j + 7), (k + 6, j + 1), (k + 7, j + 7)], 0x308840)
            c.put(k + 3, j + 1, 0xB8F080)
            c.put(k + 3, j + 2, 0x78D060)
            c.put(k + 6, j + 2, 0x98E070)
            c.put(k + 6, j + 3, 0x78D060)
    return c


def tree(below: bool, ground: Canvas) -> Canvas:
    """A round crown with light from the upper left; the trunk shows where no tree is below."""
    c = ground
    if below:
        c.rect(0, 0, 16, 16, LEAF[0])
    else:
        c.rect(5, 11, 6, 5, TRUNK_DARK).rect(6, 11, 3, 4, TRUNK)
        c.rect(1, 14, 4, 2, GRASS_DARK).rect(11, 14, 4, 2, GRASS_DARK)
    c.ball(7.5, 6.8, 8.2, 7.6, LEAF)
    for n in range(5):
        i, j = chance(n, 5, 7) % 10 + 3, chance(n, 6, 7) % 8 + 3
        c.put(i, j, LEAF[4 if n % 2 else 1])
        c.put(i + 1, j + 1, LEAF[1])
    return c


def _edges(c: Canvas, mask: int, rim: tuple[int, int], ground: int) -> Canvas:
    """Give a filled tile a rounded rim at the sides in ``mask`` (1 up, 2 down, 4 left, 8 right)."""
    for n in range(16):
        wave = 1 if n % 8 in (2, 3, 4, 5) else 0
        for d in range(3 + wave):
            tone = ground if d < 1 + wave else rim[0] if d < 2 + wave else rim[1]
            for side, i, j in ((1, n, d), (2, n, 15 - d), (4, d, n), (8, 15 - d, n)):
                if mask & side:
                    c.put(i, j, tone)
    for a, b, i0, j0 in ((1, 4, 0, 0), (1, 8, 12, 0), (2, 4, 0, 12), (2, 8, 12, 12)):
        if mask & a and mask & b:
            for j in range(4):
                for i in range(4):
                    u, v = (i if b == 4 else 3 - i), (j if a == 1 else 3 - j)
                    if u + v < 4:
                        c.put(i0 + i, j0 + j, ground if u + v < 3 else rim[0])
    return c


def path(x: int, y: int, mask: int) -> Canvas:
    c = Canvas(16, 16, PATH)
    kind = chance(x, y, 4) % 3
    for n in range(4):
        i, j = chance(n, kind, 5) % 14 + 1, chance(n, kind, 6) % 13 + 1
        c.put(i, j, PATH_DARK)
        c.put(i + 1, j, PATH_LIGHT)
    return _edges(c, mask, (PATH_DARK, PATH_LIGHT), GRASS)


def water(mask: int) -> Canvas:
    c = Canvas(16, 16, WATER)
    for j, i in ((3, 2), (7, 9), (11, 3), (14, 10)):
        c.rect(i, j, 4, 1, WATER_LIGHT).rect(i + 1, j + 1, 4, 1, WATER_DARK)
    return _edges(c, mask, (0xC8A868, WATER_DARK), GRASS)


def bridge() -> Canvas:
    c = Canvas(16, 16, 0xC89058)
    for j in (0, 4, 8, 12):
        c.rect(1, j, 14, 1, 0x885830).rect(1, j + 1, 14, 1, 0xE0B078)
    return c.rect(0, 0, 2, 16, 0x704020).rect(14, 0, 2, 16, 0x704020).rect(0, 0, 1, 16, 0xB07840)


def fence(x: int, y: int) -> Canvas:
    c = grass(x, y)
    c.rect(0, 6, 16, 3, 0xF8F0D8).rect(0, 9, 16, 1, 0xA88858).rect(0, 11, 16, 2, 0xF0E0C0)
    c.rect(0, 13, 16, 1, 0xA88858)
    for i in (1, 9):
        c.rect(i, 3, 5, 12, 0xA88858).rect(i, 3, 4, 11, 0xF8F8F0).put(i, 3, GRASS)
    return c


def ledge(letter: str, x: int, y: int) -> Canvas:
    """A step in the ground: bright rim above, brown face below, towards where one falls."""
    c = grass(x, y)
    tall = [0xE8F8A8, 0x60A840, 0xD8A058, 0xB87840, 0x986030, 0x784820, 0x58A048]
    for n in range(16):
        for d, tone in enumerate(tall):
            for k in range(2 if d in (2, 3, 4) else 1):
                pos = 3 + d + (min(max(d - 2, 0), 3) if d != 6 else 3) + k
                spot = {"v": (n, pos), ">": (pos, n), "<": (15 - pos, n)}[letter]
                c.put(*spot, tone)
    return c


def floor(x: int) -> Canvas:
    c = Canvas(16, 16, 0xE8C890)
    for j in (0, 8):
        c.rect(0, j, 16, 1, 0xC8A068).rect(0, j + 1, 16, 1, 0xF8E0B0)
        c.rect(4 if (j + x * 8) % 16 else 12, j, 1, 8, 0xC8A068)
    return c


def tiled_floor(x: int, y: int) -> Canvas:
    c = Canvas(16, 16, 0xD8E0E8 if (x + y) % 2 else 0xB8C8D8)
    return c.frame(0, 0, 16, 16, 0xA0B0C8).rect(1, 1, 14, 1, 0xF0F8F8).rect(1, 1, 1, 14, 0xF0F8F8)


def wall(front: bool, style: str) -> Canvas:
    """An indoor wall: its papered front where floor is below, dark top elsewhere."""
    top, paper, stripe = {
        "home": (0x604838, 0xF8E8C0, 0xF0D098),
        "lab": (0x485868, 0xE0F0F8, 0xB8D8E8),
        "gym": (0x483868, 0xC8B0E8, 0xA888D8),
    }[style]
    c = Canvas(16, 16, top)
    if not front:
        return c
    c.rect(0, 0, 16, 3, top).rect(0, 3, 16, 11, paper)
    for i in (2, 10):
        c.rect(i, 3, 3, 9, stripe)
    return (
        c.rect(0, 3, 16, 1, 0xF8F8F8)
        .rect(0, 12, 16, 2, mix(stripe, 0, 0.3))
        .rect(0, 14, 16, 2, mix(top, 0, 0.3))
    )


def pool() -> Canvas:
    c = Canvas(16, 16, 0x6858C8)
    for j, i in ((3, 2), (7, 9), (11, 3), (14, 10)):
        c.rect(i, j, 5, 1, 0xB8A8F8).rect(i + 1, j + 1, 5, 1, 0x4838A0)
    return c


def mat() -> Canvas:
    c = Canvas(16, 16, 0x302838).rect(1, 0, 14, 15, 0xD84840).frame(2, 1, 12, 12, 0xF8C848)
    return c.polygon([(4, 5), (11, 5), (8, 10)], 0xF8F0D0)


def stairs() -> Canvas:
    c = Canvas(16, 16, 0x504038)
    for n in range(4):
        c.rect(1, n * 4, 14, 3, mix(0xF8D898, 0x806040, 0.25 * (3 - n)))
        c.rect(1, n * 4, 14, 1, 0xF8E8B8)
    return c
