"""A tiny painter: pixels as 0xRRGGBB numbers or None (see-through)."""

from __future__ import annotations

from collections.abc import Callable

Colour = int | None


def mix(a: int, b: int, t: float) -> int:
    """The colour at ``t`` of the way from ``a`` to ``b``."""
    out = 0
    for shift in (16, 8, 0):
        x, y = (a >> shift) & 255, (b >> shift) & 255
        out |= max(0, min(255, round(x + (y - x) * t))) << shift
    return out


def chance(x: int, y: int, salt: int = 0) -> int:
    """A fixed pseudo-random number 0..255 for a place, the same on every machine."""
    h = (x * 0x27D4EB2D ^ y * 0x165667B1 ^ salt * 0x9E3779B1) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return (h >> 24) & 255


class Canvas:
    """``w`` x ``h`` pixels; drawing outside is ignored."""

    def __init__(self, w: int, h: int, fill: Colour = None) -> None:
        self.w, self.h = w, h
        self.p: list[list[Colour]] = [[fill] * w for _ in range(h)]

    def put(self, x: int, y: int, c: Colour) -> None:
        if 0 <= x < self.w and 0 <= y < self.h:
            self.p[y][x] = c

    def get(self, x: int, y: int) -> Colour:
        return self.p[y][x] if 0 <= x < self.w and 0 <= y < self.h else None

    def rect(self, x: int, y: int, w: int, h: int, c: Colour) -> Canvas:
        for j in range(y, y + h):
            for i in range(x, x + w):
                self.put(i, j, c)
        return self

    def frame(self, x: int, y: int, w: int, h: int, c: Colour) -> Canvas:
        self.rect(x, y, w, 1, c).rect(x, y + h - 1, w, 1, c)
        return self.rect(x, y, 1, h, c).rect(x + w - 1, y, 1, h, c)

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, c: Colour) -> Canvas:
        for j in range(self.h):
            for i in range(self.w):
                if ((i - cx) / rx) ** 2 + ((j - cy) / ry) ** 2 <= 1.0:
                    self.p[j][i] = c
        return self

    def ball(self, cx: float, cy: float, rx: float, ry: float, tones: tuple[int, ...]) -> Canvas:
        """An ellipse lit from the upper left; ``tones`` go from dark to light."""
        for j in range(self.h):
            for i in range(self.w):
                u, v = (i - cx) / rx, (j - cy) / ry
                r = u * u + v * v
                if r <= 1.0:
                    light = -0.5 * u - 0.62 * v + 0.6 * (1.0 - r) ** 0.5
                    light += ((i + j) % 2) * 0.05
                    k = int((light + 0.75) / 1.75 * len(tones))
                    self.p[j][i] = tones[max(0, min(len(tones) - 1, k))]
        return self

    def polygon(self, points: list[tuple[float, float]], c: Colour) -> Canvas:
        for j in range(self.h):
            cuts = []
            for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
                if (y0 <= j) != (y1 <= j):
                    cuts.append(x0 + (j - y0) * (x1 - x0) / (y1 - y0))
            cuts.sort()
            for a, b in zip(cuts[::2], cuts[1::2], strict=True):
                for i in range(round(a), round(b) + 1):
                    self.put(i, j, c)
        return self

    def rows(self, x: int, y: int, art: list[str], colours: dict[str, int]) -> Canvas:
        """Pixel art as text: letters are looked up, anything else is see-through."""
        for j, line in enumerate(art):
            for i, letter in enumerate(line):
                if letter in colours:
                    self.put(x + i, y + j, colours[letter])
        return self

    def paste(self, other: Canvas, x: int, y: int) -> Canvas:
        for j in range(other.h):
            for i in range(other.w):
                if other.p[j][i] is not None:
                    self.put(x + i, y + j, other.p[j][i])
        return self

    def cut(self, x: int, y: int, w: int, h: int) -> Canvas:
        out = Canvas(w, h)
        for j in range(h):
            for i in range(w):
                out.p[j][i] = self.get(x + i, y + j)
        return out

    def outline(self, c: int) -> Canvas:
        """A line of colour ``c`` round everything that is painted."""
        edge = []
        for j in range(self.h):
            for i in range(self.w):
                if self.p[j][i] is None and any(
                    self.get(i + a, j + b) is not None
                    for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))
                ):
                    edge.append((i, j))
        for i, j in edge:
            self.p[j][i] = c
        return self

    def each(self, f: Callable[[int, int, Colour], Colour]) -> Canvas:
        for j in range(self.h):
            for i in range(self.w):
                self.p[j][i] = f(i, j, self.p[j][i])
        return self
