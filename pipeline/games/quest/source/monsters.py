"""Battle sprites, 64x64, shaded balls with an outline and hand-set faces."""

from __future__ import annotations

import math

from .canvas import Canvas, mix


def tones(base: int) -> tuple[int, ...]:
    return (
        mix(base, 0x201038, 0.5),
        mix(base, 0x201038, 0.25),
        base,
        mix(base, 0xFFFFE0, 0.35),
        mix(base, 0xFFFFE8, 0.65),
    )


def _eye(c: Canvas, x: int, y: int, iris: int = 0x181020) -> None:
    c.ellipse(x, y, 3.4, 4.4, 0xF8F8F8).ellipse(x, y + 1, 2.2, 3.0, iris)
    c.rect(x - 1, y - 1, 2, 2, 0xF8F8F8)


def sprig(back: bool) -> Canvas:
    """The partner: a teal fellow with leaf ears; seen from behind in battle."""
    c, body, leaf = Canvas(64, 64), tones(0x38B8A8), tones(0x60C840)
    c.ball(12, 46, 9, 6, body).ball(8, 38, 5, 7, leaf)
    c.ball(32, 50, 19, 15, body)
    c.ball(18, 14, 7, 14, leaf).ball(46, 14, 7, 14, leaf)
    c.ball(32, 29, 20, 16, body)
    c.ball(20, 60, 7, 4, body).ball(44, 60, 7, 4, body)
    if back:
        c.ball(32, 48, 9, 11, leaf).rect(31, 39, 2, 18, leaf[0])
        c.ball(32, 11, 4, 7, leaf)
    else:
        c.ball(32, 52, 11, 10, tones(0xF8E8B0))
        _eye(c, 24, 28)
        _eye(c, 40, 28)
        c.rect(29, 37, 6, 1, 0x182838).rect(28, 36, 1, 1, 0x182838).rect(35, 36, 1, 1, 0x182838)
        c.ball(17, 34, 3, 2, (0xF08888,)).ball(47, 34, 3, 2, (0xF08888,))
    return c.outline(0x103038)


def slime() -> Canvas:
    c, body = Canvas(64, 64), tones(0x68D038)
    c.ball(32, 46, 27, 15, body).ball(32, 36, 19, 18, body).ball(30, 18, 7, 8, body)
    c.ellipse(22, 28, 3.5, 4.5, 0xF8F8F8)
    _eye(c, 25, 40)
    _eye(c, 41, 40)
    c.rect(29, 49, 8, 2, 0x183818).rect(31, 51, 4, 2, 0xE05060)
    return c.outline(0x184018)


def drake() -> Canvas:
    c, body, belly = Canvas(64, 64), tones(0xE03020), tones(0xF8B040)
    c.polygon([(20, 30), (0, 8), (2, 34), (8, 32), (10, 42)], 0x901818)
    c.polygon([(44, 30), (63, 8), (61, 34), (55, 32), (53, 42)], 0x901818)
    c.polygon([(18, 30), (3, 13), (6, 30)], 0xF87030).polygon(
        [(46, 30), (60, 13), (57, 30)], 0xF87030
    )
    c.ball(53, 56, 9, 4, body).ball(32, 48, 17, 14, body).ball(32, 51, 10, 11, belly)
    c.ball(32, 24, 16, 14, body).ball(32, 31, 10, 6, body)
    c.polygon([(18, 16), (12, 1), (26, 10)], 0xF8E8B0).polygon(
        [(46, 16), (52, 1), (38, 10)], 0xF8E8B0
    )
    c.ball(19, 60, 7, 3.5, body).ball(45, 60, 7, 3.5, body)
    for x, s in ((25, 1), (39, -1)):
        c.ellipse(x, 22, 3.5, 3.5, 0xF8F048).rect(x - 1, 20, 2, 5, 0x181020)
        c.polygon([(x - 5, 17 - s), (x + 5, 17 + s), (x + 5, 19 + s), (x - 5, 19 - s)], 0x481010)
    c.rect(25, 33, 14, 2, 0x481010)
    for x in (26, 30, 34):
        c.polygon([(x, 34), (x + 3, 34), (x + 1, 38)], 0xF8F8F8)
    return c.outline(0x400808)


def fox() -> Canvas:
    """The rival's beast: a night-blue fox with a white tail tip."""
    c, body, white = Canvas(64, 64), tones(0x4858C8), tones(0xE8E8F8)
    c.ball(52, 38, 8, 17, body).ball(54, 22, 6, 8, white)
    c.ball(30, 48, 19, 13, body).ball(28, 50, 9, 9, white)
    c.polygon([(12, 20), (10, 0), (26, 12)], 0x303888).polygon(
        [(44, 20), (46, 0), (30, 12)], 0x303888
    )
    c.polygon([(14, 16), (13, 5), (22, 12)], 0xF088A8).polygon(
        [(42, 16), (43, 5), (34, 12)], 0xF088A8
    )
    c.ball(28, 25, 18, 14, body).ball(28, 32, 9, 6, white)
    c.ball(18, 60, 6, 3.5, white).ball(38, 60, 6, 3.5, white)
    for x in (21, 35):
        c.ellipse(x, 24, 3, 3.6, 0xF8E050).rect(x - 1, 21, 2, 6, 0x101018)
    return c.rect(26, 29, 5, 3, 0x101018).rect(28, 32, 1, 3, 0x101018).outline(0x101038)


def golem() -> Canvas:
    """The leader's giant of violet rock."""
    c, rock, dark = Canvas(64, 64), tones(0x9070B0), tones(0x705890)
    c.ball(9, 34, 9, 12, dark).ball(55, 34, 9, 12, dark)
    c.ball(8, 50, 8, 8, rock).ball(56, 50, 8, 8, rock)
    c.ball(21, 57, 9, 7, dark).ball(43, 57, 9, 7, dark)
    c.ball(32, 39, 22, 18, rock)
    c.ball(32, 16, 14, 13, rock)
    c.polygon([(18, 26), (24, 22), (40, 22), (46, 26), (32, 32)], rock[1])
    for x in (26, 38):
        c.rect(x - 3, 13, 7, 5, 0x201028).rect(x - 1, 14, 4, 3, 0xF84828)
    c.ball(32, 42, 8, 8, tones(0xF0A030)).rect(28, 22, 9, 2, 0x201028)
    for x, y in ((16, 34), (46, 48), (22, 50), (44, 30)):
        c.rect(x, y, 4, 1, rock[0]).rect(x + 3, y, 1, 4, rock[0])
    return c.outline(0x181028)


def glow(beast: Canvas) -> Canvas:
    """The same beast while it gathers force: every tone turned to fire."""

    def hot(_x: int, _y: int, c: int | None) -> int | None:
        if c is None:
            return None
        light = ((c >> 16) * 3 + (c >> 8 & 255) * 6 + (c & 255)) // 10
        return (0x801000, 0xE04000, 0xF89010, 0xF8E040, 0xFFFFE0)[min(4, light // 46)]

    return beast.cut(0, 0, 64, 64).each(hot)


def aura() -> Canvas:
    """Rays round a gathering foe; the game shows them at twice the size."""
    c = Canvas(64, 64)
    for j in range(64):
        for i in range(64):
            x, y = i - 31.5, j - 31.5
            r, a = math.hypot(x, y), math.atan2(y, x)
            spike = 22 + 9 * math.cos(a * 12)
            if r < spike:
                c.put(i, j, 0xFFFFC0 if r < spike - 8 else 0xF8E030 if r < spike - 3 else 0xF89020)
    return c
