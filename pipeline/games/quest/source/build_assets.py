"""Paint everything and write art.c, art.h (and the maps' block in ../expert.py).

Run by hand in the folder above after a change of the art or of the maps:

    python3 -m source.build_assets

Only the standard library is needed; the output is the same on every machine.
"""

from __future__ import annotations

import re
from pathlib import Path

from . import maps, monsters, panel, people, pictures, scenery, tiles
from .canvas import Canvas

HERE = Path(__file__).resolve().parent
BORDER = 7
VOID = 0x18 >> 3 << 10 | 0x10 >> 3 << 5 | 0x10 >> 3  # the dark round rooms keeps its colour


def rgb15(c: int) -> int:
    return (c >> 19 & 31) | (c >> 11 & 31) << 5 | (c >> 3 & 31) << 10


class Sheet:
    """8x8 tiles of 4 bits, without repeats, and the palettes that they share."""

    def __init__(self, palettes: int, first: int = 0) -> None:
        self.limit, self.first = palettes, first
        self.wanted: dict[tuple[int | None, ...], int] = {}
        self.merged: dict[tuple[int | None, ...], tuple[int | None, ...]] = {}

    def add(self, c: Canvas) -> list[int]:
        """The tiles of a picture, row by row, as numbers to be looked up after `pack`."""
        out = []
        for y in range(0, c.h, 8):
            for x in range(0, c.w, 8):
                cell = c.cut(x, y, 8, 8)
                key = tuple(None if p is None else rgb15(p) for row in cell.p for p in row)
                out.append(self.wanted.setdefault(key, len(self.wanted)))
        return out

    def pack(self) -> None:
        """Share the colours out to palettes, merging the closest ones until all fit."""
        swap: dict[int, int] = {}
        while True:
            groups = self._groups(swap)
            if groups is not None:
                break
            merge_closest(self.wanted, swap)
        for key in list(self.wanted):
            self.merged[key] = tuple(p if p is None else swap.get(p, p) for p in key)
        self.palettes = [[0, *sorted(g)] for g in groups]
        self.data: list[int] = []
        self.entry: list[int] = []
        seen: dict[tuple[int, ...], int] = {}
        for key in self.merged.values():
            colours = {p for p in key if p is not None}
            k = next(i for i, g in enumerate(groups) if colours <= g)
            dots = tuple(0 if p is None else self.palettes[k].index(p, 1) for p in key)
            if dots not in seen:
                seen[dots] = len(self.data) // 8
                for row in range(8):
                    line = dots[row * 8 : row * 8 + 8]
                    self.data.append(sum(d << 4 * i for i, d in enumerate(line)))
            self.entry.append(seen[dots] | (k + self.first) << 12)

    def _groups(self, swap: dict[int, int]) -> list[set[int]] | None:
        sets = sorted(
            {frozenset(swap.get(p, p) for p in key if p is not None) for key in self.wanted},
            key=lambda s: (-len(s), sorted(s)),
        )
        groups: list[set[int]] = []
        for colours in sets:
            fits = [g for g in groups if len(g | colours) <= 15]
            if fits:
                best = min(fits, key=lambda g: len(g | colours) - len(g))
                best |= colours
            elif len(colours) > 15 or len(groups) == self.limit:
                return None
            else:
                groups.append(set(colours))
        return groups

    def palette_words(self) -> list[int]:
        return [w for p in self.palettes for w in p + [0] * (16 - len(p))]


def parts(v: int) -> tuple[int, int, int]:
    return v & 31, v >> 5 & 31, v >> 10 & 31


def distance(x: int, y: int) -> int:
    return sum((a - b) ** 2 for a, b in zip(parts(x), parts(y), strict=True))


def merge_closest(wanted: dict[tuple[int | None, ...], int], swap: dict[int, int]) -> None:
    """Let the rarer of the two colours that differ least be drawn as the other."""
    used: dict[int, int] = {}
    for key in wanted:
        for p in key:
            if p is not None:
                used[swap.get(p, p)] = used.get(swap.get(p, p), 0) + 1
    free = [c for c in used if c != VOID]
    pairs = [
        (distance(x, y) * min(used[x], used[y]) ** 0.5, x, y) for x in free for y in free if x < y
    ]
    _, x, y = min(pairs)
    keep, lose = (x, y) if used[x] >= used[y] else (y, x)
    for k in [lose, *(k for k, v in swap.items() if v == lose)]:
        swap[k] = keep


class World:
    """All metatiles: four tile entries and a behaviour byte each."""

    BEHAVIOUR = {'"': 1, "v": 2, "<": 3, ">": 4}

    def __init__(self) -> None:
        self.sheet = Sheet(12)
        self.known: dict[tuple[tuple[int, ...], int, int], int] = {}

    def metatile(self, c: Canvas, solid: bool, behaviour: int) -> int:
        key = (tuple(self.sheet.add(c)), int(solid), behaviour)
        return self.known.setdefault(key, len(self.known)) | (0x400 if solid else 0)

    def cells(self, m: maps.Map) -> tuple[int, int, list[int]]:
        """The live grid of a map, its border of seven cells included."""
        wide, tall = len(m.rows[0]), len(m.rows)
        overlay = Canvas(wide * 16, tall * 16)
        for name, x, y in m.pictures:
            overlay.paste(scenery.picture(name), x * 16, y * 16)
        out = []
        for y in range(-BORDER, tall + BORDER):
            for x in range(-BORDER, wide + BORDER):
                letter = letter_at(m, x, y)
                c = ground(m, letter, x, y)
                c.paste(overlay.cut(x * 16, y * 16, 16, 16), 0, 0)
                solid = letter in maps.SOLID
                level = 0x1000 if letter in "~P" else 0x3000
                out.append(self.metatile(c, solid, self.BEHAVIOUR.get(letter, 0)) | level)
        return wide + 2 * BORDER, tall + 2 * BORDER, out


def letter_at(m: maps.Map, x: int, y: int) -> str:
    """The map's letter, continued beyond its edges."""
    inside = 0 <= y < len(m.rows) and 0 <= x < len(m.rows[0])
    if inside:
        return m.rows[y][x]
    if m.indoors:
        return " "
    if 0 <= y < len(m.rows) and m.rows[y][max(0, min(len(m.rows[0]) - 1, x))] == "~":
        return "~"
    near = m.rows[max(0, min(len(m.rows) - 1, y))][x] if 0 <= x < len(m.rows[0]) else "#"
    return ":" if near == ":" else "#"


def ground(m: maps.Map, letter: str, x: int, y: int) -> Canvas:
    def beside(kinds: str) -> int:
        around = ((1, 0, -1), (2, 0, 1), (4, -1, 0), (8, 1, 0))
        return sum(b for b, a, c in around if letter_at(m, x + a, y + c) not in kinds)

    if m.indoors:
        style = {"lab": "lab", "gym": "gym"}.get(m.name, "home")
        if letter == " ":
            return Canvas(16, 16, 0x101018)
        if letter == "W":
            front = letter_at(m, x, y + 1) not in "W " and y == 0
            return tiles.wall(front, style)
        if letter == "P":
            return tiles.pool()
        if letter == "m":
            return tiles.mat() if y == len(m.rows) - 1 else tiles.stairs()
        return tiles.floor(x) if style == "home" else tiles.tiled_floor(x, y)
    if letter in "#":
        return tiles.tree(letter_at(m, x, y + 1) == "#", tiles.grass(x, y))
    if letter in ":D":
        return tiles.path(x, y, beside(":D=mh<>v") if letter == ":" else 0)
    if letter == "~":
        return tiles.water(beside("~="))
    if letter in tiles.FLOWERS:
        return tiles.flower(letter, x, y)
    if letter in "<>v":
        return tiles.ledge(letter, x, y)
    plain = {'"': tiles.tall_grass, "=": tiles.bridge}
    if letter in plain:
        return plain[letter]()
    return tiles.fence(x, y) if letter == "f" else tiles.grass(x, y)


class Header:
    def __init__(self) -> None:
        self.lines = ["/* Written by build_assets.py: do not edit. */", '#include "art.h"', ""]
        self.names = [
            "/* Written by build_assets.py: do not edit. */",
            "#pragma once",
            '#include "ram.h"',
            "",
        ]

    def array(self, kind: str, name: str, values: list[int]) -> None:
        self.names.append(f"extern const {kind} {name}[{len(values)}];")
        self.lines.append(f"const {kind} {name}[{len(values)}] = {{")
        for i in range(0, len(values), 12):
            self.lines.append("  " + " ".join(f"0x{v:X}," for v in values[i : i + 12]))
        self.lines.append("};")

    def number(self, name: str, value: int) -> None:
        self.names.append(f"#define {name} {value}")


def write_world(out: Header) -> None:
    world = World()
    grids = [world.cells(m) for m in maps.MAPS]
    world.sheet.pack()
    entry = world.sheet.entry
    out.array("u32", "map_tiles", world.sheet.data)
    out.array("u16", "map_palette", world.sheet.palette_words())
    keys = list(world.known)
    out.array("u16", "metatiles", [entry[t] for quad, _, _ in keys for t in quad])
    out.array("u8", "behaviours", [b for _, _, b in keys])
    table = []
    for m, (w, h, cells) in zip(maps.MAPS, grids, strict=True):
        name = m.name.replace(" ", "_")
        out.array("u16", f"cells_{name}", cells)
        out.array("u8", f"warps_{name}", [v for warp in m.warps for v in warp])
        zones = [
            v
            for kind, x, y, zone in m.people
            for v in (kind, x, y, *(zone or (0, 0, 0, 0)), int(zone is not None))
        ]
        out.array("u8", f"people_on_{name}", zones or [0])
        table.append(
            f"  {{{m.group}, {m.number}, {w}, {h}, {len(m.warps)}, {len(m.people)},"
            f" cells_{name}, warps_{name}, people_on_{name}}},"
        )
    out.names.append(f"extern const MapInfo maps[{len(table)}];")
    out.lines += [f"const MapInfo maps[{len(table)}] = {{", *table, "};"]
    out.array("u8", "orb_places", [v for place in maps.ORBS for v in place])
    print(
        len(world.known),
        "metatiles,",
        len(world.sheet.data) // 8,
        "tiles,",
        len(world.sheet.palettes),
        "palettes",
    )


def write_picture(out: Header, name: str, c: Canvas, palettes: int, first: int) -> None:
    sheet = Sheet(palettes, first)
    numbers = sheet.add(c)
    sheet.pack()
    out.array("u32", f"{name}_tiles", sheet.data)
    out.array("u16", f"{name}_palette", sheet.palette_words())
    out.array("u16", f"{name}_map", [sheet.entry[n] for n in numbers])
    print(name, len(sheet.data) // 8, "tiles,", len(sheet.palettes), "palettes")


def write_panel(out: Header) -> None:
    """Interface tiles lie in palettes 12 to 15; the bars' palette has its own entry."""
    sheet = Sheet(4, 12)
    parts = {
        "FONT": panel.letters(),
        "FRAME": panel.frame(),
        "ARROW": [panel.arrow()],
        "LABEL": [panel.label(t, on) for t in panel.LABELS for on in (False, True)],
        "ICON": panel.icons(),
        "BAR": panel.bars(),
        "DARK": [Canvas(8, 8, panel.STRIP)],
    }
    numbers = {name: [n for c in cs for n in sheet.add(c)] for name, cs in parts.items()}
    sheet.pack()
    out.array("u32", "panel_tiles", sheet.data)
    out.array("u16", "panel_palette", sheet.palette_words())
    for name, ns in numbers.items():
        out.array("u16", f"panel_{name.lower()}", [sheet.entry[n] for n in ns])
    for which, tone in enumerate((rgb15(0xFF00FF), rgb15(0x00FFFF))):
        k = next(i for i, p in enumerate(sheet.palettes) if tone in p)
        out.number(f"BAR_COLOUR_{which}", (k + 12) * 16 + sheet.palettes[k].index(tone))
    print("panel", len(sheet.data) // 8, "tiles,", len(sheet.palettes), "palettes")


def sprite(pictures_: list[Canvas], fixed: list[int] | None = None) -> tuple[list[int], list[int]]:
    """Tile words and one palette of 16 for frames that share their colours."""
    colours = fixed or [
        0,
        *sorted({rgb15(p) for c in pictures_ for row in c.p for p in row if p is not None}),
    ]
    while len(colours) > 16:
        raise SystemExit(f"a sprite has {len(colours) - 1} colours")
    words = []
    for c in pictures_:
        for y in range(0, c.h, 8):
            for x in range(0, c.w, 8):
                for j in range(8):
                    line = [c.p[y + j][x + i] for i in range(8)]
                    words.append(
                        sum(
                            (0 if p is None else colours.index(rgb15(p), 1)) << 4 * i
                            for i, p in enumerate(line)
                        )
                    )
    return words, colours + [0] * (16 - len(colours))


def nearest(c: Canvas, count: int) -> Canvas:
    """Merge the closest colours until ``count`` are left."""
    used: dict[int, int] = {}
    for row in c.p:
        for p in row:
            if p is not None:
                used[rgb15(p) | 0] = used.get(rgb15(p), 0) + 1
    swap = {k: k for k in used}

    while len(used) > count:
        pairs = [
            (distance(x, y) * min(used[x], used[y]), x, y) for x in used for y in used if x < y
        ]
        _, x, y = min(pairs)
        keep, lose = (x, y) if used[x] >= used[y] else (y, x)
        used[keep] += used.pop(lose)
        swap = {k: keep if v == lose else v for k, v in swap.items()}

    def change(_x: int, _y: int, p: int | None) -> int | None:
        if p is None:
            return None
        r, g, b = parts(swap[rgb15(p)])
        return r << 19 | g << 11 | b << 3

    return c.each(change)


def write_sprites(out: Header) -> None:
    looks = list(people.LOOKS)
    tiles_, palettes = [], []
    for look in looks:
        words, palette = sprite([nearest(c, 15) for c in people.person(look)])
        tiles_ += words
        palettes += palette
    words, palette = sprite([nearest(people.orb(), 15)])
    out.array("u32", "people_tiles", tiles_ + words)
    out.array("u16", "people_palette", palettes + palette)
    beasts = [
        monsters.sprig(True),
        monsters.slime(),
        monsters.drake(),
        monsters.fox(),
        monsters.golem(),
        monsters.glow(monsters.golem()),
        monsters.aura(),
    ]
    tiles_, palettes = [], []
    for beast in beasts:
        words, palette = sprite([nearest(beast, 15)])
        tiles_ += words
        palettes += palette
    out.array("u32", "beast_tiles", tiles_)
    out.array("u16", "beast_palette", palettes)


def write_expert_maps() -> None:
    """Put the walkable plan of every map between the marks in ../expert.py."""
    plain = {**dict.fromkeys(maps.SOLID, "#"), '"': '"', **{k: k for k in maps.LEDGES}}
    lines = ["MAPS = {"]
    for m in maps.MAPS:
        lines.append(f"    ({m.group}, {m.number}): (  # {m.name}")
        for row in m.rows:
            text = "".join(plain.get(a, ".") for a in row)
            lines.append(f"        '{text}'," if '"' in text else f'        "{text}",')
        lines.append("    ),")
    lines.append("}")
    path = HERE.parent / "expert.py"
    if path.exists():
        text = path.read_text()
        block = "# <maps: written by source/build_assets.py>\n" + "\n".join(lines) + "\n# </maps>"
        path.write_text(re.sub(r"# <maps.*?# </maps>", lambda _: block, text, flags=re.S))


def main() -> None:
    out = Header()
    write_world(out)
    write_picture(out, "title", pictures.title(), 12, 0)
    write_picture(out, "field", pictures.battle().cut(0, 0, 240, 112), 12, 0)
    write_panel(out)
    write_sprites(out)
    (HERE / "art.c").write_text("\n".join(out.lines) + "\n")
    (HERE / "art.h").write_text("\n".join(out.names) + "\n")
    write_expert_maps()


if __name__ == "__main__":
    main()
