"""The world as text. One letter a tile; houses and furniture are painted over 'h' tiles.

Letters: # tree  . meadow  : path  " tall grass  ~ water  = bridge  f fence  h solid picture
D warp tile of a picture  r y u , flowers (red, yellow, blue, white)  < > v ledges (one way)
o rock; indoors W wall  _ floor  m mat or stairs (warp)  P pool.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# People and things, as numbered in ram.h
MOTHER, PROFESSOR, GUARD, BOY, GIRL, FARMER, HERMIT, RIVAL, LEADER = 2, 3, 4, 5, 6, 7, 8, 9, 10


@dataclass(frozen=True)
class Map:
    """A map: rows of letters, warps (x, y, map, x, y), people (kind, x, y, zone or None)."""

    name: str
    group: int
    number: int
    indoors: bool
    rows: list[str]
    warps: list[tuple[int, int, int, int, int]]
    people: list[tuple[int, int, int, tuple[int, int, int, int] | None]]
    pictures: list[tuple[str, int, int]] = field(default_factory=list)


BEDROOM = Map(
    "bedroom",
    1,
    1,
    True,
    [
        "WWWWWWWWW",
        "Whh_hh_mW",
        "W_______W",
        "W_______W",
        "Wh______W",
        "Wh______W",
        "WWWWWWWWW",
    ],
    [(7, 1, 1, 8, 2)],
    [],
    [("shelf", 1, 1), ("desk", 4, 1), ("bed", 1, 4), ("rug", 4, 3)],
)

HOUSE = Map(
    "house",
    1,
    0,
    True,
    [
        "WWWWWWWWWW",
        "Whhhh__hmW",
        "W________W",
        "W________W",
        "W__hh____W",
        "W__hh____W",
        "W________W",
        "Wh______hW",
        "WWWWmWWWWW",
    ],
    [(8, 1, 0, 7, 2), (4, 8, 2, 4, 15)],
    [(MOTHER, 6, 4, None)],
    [
        ("stove", 1, 1),
        ("shelf", 3, 1),
        ("plant", 7, 1),
        ("table", 3, 4),
        ("plant", 1, 7),
        ("plant", 8, 7),
    ],
)

TOWN = Map(
    "town",
    0,
    9,
    False,
    [
        "#########:##########",
        "#########:##########",
        "###,.....:....,..###",
        "##..,....:........##",
        "##.~~~...:hhhhh.y.##",
        "##.~~~r..:hhhhh..,##",
        "##.~~~...:hhhhh...##",
        "##...,...:hhDhh.r.##",
        "##r......::::.....##",
        "##ffffffffff:ffffff#",
        "##..,.......:hhhhhh#",
        "#.hhhhh..r..:hhhhhh#",
        "#.hhhhh.....:hhhhhh#",
        "#.hhhhh..,..:hhDhhh#",
        "#.hhDhh.....::::.y.#",
        "#.::::::::::::.....#",
        "#..,.....y......,.##",
        "####################",
    ],
    [(9, 0, 4, 6, 21), (12, 7, 8, 4, 5), (15, 13, 3, 5, 7), (4, 14, 1, 4, 7)],
    [
        (GUARD, 9, 1, None),
        (BOY, 9, 12, (7, 10, 11, 16)),
        (GIRL, 7, 4, (6, 2, 9, 8)),
        (FARMER, 12, 10, (8, 8, 12, 11)),
    ],
    [("house orange", 10, 4), ("lab", 13, 10), ("house red", 2, 11)],
)

LAB = Map(
    "lab",
    1,
    4,
    True,
    [
        "WWWWWWWWWWW",
        "Whhhh_hhhhW",
        "W_________W",
        "W_________W",
        "W_hh___hh_W",
        "W_hh___hh_W",
        "W_________W",
        "Wh_______hW",
        "WWWWWmWWWWW",
    ],
    [(5, 8, 2, 15, 14)],
    [(PROFESSOR, 5, 2, None)],
    [
        ("shelf", 1, 1),
        ("machine", 3, 1),
        ("machine", 6, 1),
        ("shelf", 8, 1),
        ("table", 2, 4),
        ("table", 7, 4),
        ("plant", 1, 7),
        ("plant", 9, 7),
    ],
)

ROUTE = Map(
    "route",
    0,
    16,
    False,
    [
        "####:#########",
        "####:#########",
        "###.:.,....,##",
        '###"""""""..##',
        '###"""""""..##',
        "###.:.......##",
        "###.:..,~~~.##",
        "###.:...~~~.##",
        "###.:.,.~~~.##",
        '###"""""""""##',
        '###"""""""""##',
        "###.:...,...##",
        "####:###....##",
        "#..<:::::::.##",
        "#.,#######:###",
        "#..#######:###",
        "#..#######:###",
        "#..,..:::::.##",
        "##....:..,..##",
        '##""""""""""##',
        '##""""""""""##',
        "##.,..:...,.##",
        "######:#######",
    ],
    [(4, 0, 5, 3, 19), (6, 22, 2, 9, 1)],
    [(FARMER, 9, 13, (8, 12, 11, 18))],
)

MEADOW = Map(
    "meadow",
    0,
    17,
    False,
    [
        "####################:###",
        "####################:###",
        "##################..:.##",
        "##################..:.##",
        '##u..u.""".u..""u..u:.##',
        '##:::::""":::::""::::u##',
        '##..u.."""..u.""..u...##',
        "###:####################",
        "###:####################",
        "###:####################",
        '###:.y..""..y..."".y.,##',
        '#.<:::::"":::::"":::::##',
        '#.#y..y.""y..y.""..y::##',
        "#.######.######v####:###",
        "#........######.####:###",
        "###############.####:###",
        '##r.r."".r."".r..r..:###',
        '##::::"":::""::::::::>.#',
        '##.:..""r..""r...r####.#',
        "###:#######hh#.........#",
        "###:####################",
    ],
    [(20, 0, 6, 10, 18), (3, 20, 4, 4, 1)],
    [(HERMIT, 19, 3, None), (GUARD, 20, 1, None), (GIRL, 10, 5, (10, 4, 13, 6))],
    [("rocks", 11, 19)],
)

BRIDGE = Map(
    "bridge",
    0,
    18,
    False,
    [
        "################",
        "################",
        "###...hhhhhh.###",
        "##..,.hhhhhh..##",
        "##.y..hhhhhh,.##",
        "##....hhhDhh..##",
        "##...:::::..y.##",
        "##,..:...,....##",
        "##...:..y.....##",
        "~~~~~=~~~~~~~~~~",
        "~~~~~=~~~~~~~~~~",
        "~~~~~=~~~~~~~~~~",
        "~~~~~=~~~~~~~~~~",
        "~~~~~=~~~~~~~~~~",
        "##..,:...r....##",
        "##...::::::.,.##",
        "##r......,:...##",
        "##########:#####",
        "##########:#####",
        "##########:#####",
    ],
    [(9, 5, 7, 5, 10), (10, 19, 5, 20, 1)],
    [(RIVAL, 5, 9, None), (BOY, 7, 16, (5, 14, 9, 16))],
    [("gym", 6, 2)],
)

GYM = Map(
    "gym",
    8,
    1,
    True,
    [
        "WWWWWWWWWWW",
        "Wh_______hW",
        "W_________W",
        "W_________W",
        "W_________W",
        "WP__PPPPPPW",
        "W_________W",
        "W_________W",
        "WPPPPPP__PW",
        "W_________W",
        "Wh_______hW",
        "WWWWWmWWWWW",
    ],
    [(5, 11, 6, 9, 6)],
    [(LEADER, 5, 2, None)],
    [("statue", 1, 1), ("statue", 9, 1), ("statue", 1, 10), ("statue", 9, 10)],
)

SIDE = Map(
    "side house",
    1,
    2,
    True,
    [
        "WWWWWWWWW",
        "Whh__hhhW",
        "W_______W",
        "W_______W",
        "W_______W",
        "Wh_____hW",
        "WWWWmWWWW",
    ],
    [(4, 6, 2, 12, 8)],
    [(GIRL, 6, 2, (5, 2, 7, 4))],
    [
        ("shelf", 1, 1),
        ("stove", 5, 1),
        ("plant", 7, 1),
        ("plant", 1, 5),
        ("plant", 7, 5),
        ("rug", 3, 3),
    ],
)

MAPS = [BEDROOM, HOUSE, TOWN, LAB, ROUTE, MEADOW, BRIDGE, GYM, SIDE]

# Where the orb can lie in the meadow: five places a lane.
ORBS = [
    (4, 16),
    (8, 18),
    (9, 16),
    (13, 18),
    (17, 16),
    (19, 10),
    (18, 12),
    (13, 12),
    (12, 10),
    (5, 12),
    (5, 4),
    (6, 6),
    (11, 4),
    (12, 6),
    (18, 6),
]

SOLID = set("#~fhoWP")
LEDGES = {"v": "DOWN", "<": "LEFT", ">": "RIGHT"}
