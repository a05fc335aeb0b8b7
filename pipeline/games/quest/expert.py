"""The right button for every state of quest, from what the screen shows.

People and the orb count only while they are on the screen (15 x 9 tiles round the player). No
memory, no chance: the same state gets the same button. Among equally short ways the order is UP,
DOWN, LEFT, RIGHT; a step through tall grass counts as two.
"""

from __future__ import annotations

import heapq
from functools import cache
from typing import Any

# <maps: written by source/build_assets.py>
MAPS = {
    (1, 1): (  # bedroom
        "#########",
        "###.##..#",
        "#.......#",
        "#.......#",
        "##......#",
        "##......#",
        "#########",
    ),
    (1, 0): (  # house
        "##########",
        "#####..#.#",
        "#........#",
        "#........#",
        "#..##....#",
        "#..##....#",
        "#........#",
        "##......##",
        "####.#####",
    ),
    (0, 9): (  # town
        "#########.##########",
        "#########.##########",
        "###..............###",
        "##................##",
        "##.###....#####...##",
        "##.###....#####...##",
        "##.###....#####...##",
        "##........##.##...##",
        "##................##",
        "############.#######",
        "##...........#######",
        "#.#####......#######",
        "#.#####......#######",
        "#.#####......##.####",
        "#.##.##............#",
        "#..................#",
        "#.................##",
        "####################",
    ),
    (1, 4): (  # lab
        "###########",
        "#####.#####",
        "#.........#",
        "#.........#",
        "#.##...##.#",
        "#.##...##.#",
        "#.........#",
        "##.......##",
        "#####.#####",
    ),
    (0, 16): (  # route
        "####.#########",
        "####.#########",
        "###.........##",
        '###"""""""..##',
        '###"""""""..##',
        "###.........##",
        "###.....###.##",
        "###.....###.##",
        "###.....###.##",
        '###"""""""""##',
        '###"""""""""##',
        "###.........##",
        "####.###....##",
        "#..<........##",
        "#..#######.###",
        "#..#######.###",
        "#..#######.###",
        "#...........##",
        "##..........##",
        '##""""""""""##',
        '##""""""""""##',
        "##..........##",
        "######.#######",
    ),
    (0, 17): (  # meadow
        "####################.###",
        "####################.###",
        "##################....##",
        "##################....##",
        '##....."""....""......##',
        '##....."""....."".....##',
        '##....."""....""......##',
        "###.####################",
        "###.####################",
        "###.####################",
        '###.....""......""....##',
        '#.<.....""....."".....##',
        '#.#.....""....."".....##',
        "#.######.######v####.###",
        "#........######.####.###",
        "###############.####.###",
        '##....""...""........###',
        '##....""...""........>.#',
        '##....""..."".....####.#',
        "###.##########.........#",
        "###.####################",
    ),
    (0, 18): (  # bridge
        "################",
        "################",
        "###...######.###",
        "##....######..##",
        "##....######..##",
        "##....###.##..##",
        "##............##",
        "##............##",
        "##............##",
        "#####.##########",
        "#####.##########",
        "#####.##########",
        "#####.##########",
        "#####.##########",
        "##............##",
        "##............##",
        "##............##",
        "##########.#####",
        "##########.#####",
        "##########.#####",
    ),
    (8, 1): (  # gym
        "###########",
        "##.......##",
        "#.........#",
        "#.........#",
        "#.........#",
        "##..#######",
        "#.........#",
        "#.........#",
        "#######..##",
        "#.........#",
        "##.......##",
        "#####.#####",
    ),
    (1, 2): (  # side house
        "#########",
        "###..####",
        "#.......#",
        "#.......#",
        "#.......#",
        "##.....##",
        "####.####",
    ),
}
# </maps>

TITLE, WALKING, TEXT, BATTLE_MENU, BATTLE_TEXT, WHITE_OUT, PAUSE = range(7)
SLIME, DRAKE, FOX = 1, 2, 3
ORB = 11
FACING = {1: "DOWN", 2: "UP", 3: "LEFT", 4: "RIGHT"}
WAYS = {"UP": (0, -1), "DOWN": (0, 1), "LEFT": (-1, 0), "RIGHT": (1, 0)}
BACK = {"UP": "DOWN", "DOWN": "UP", "LEFT": "RIGHT", "RIGHT": "LEFT"}
LEDGES = {"v": "DOWN", "<": "LEFT", ">": "RIGHT"}

BEDROOM, HOUSE, TOWN, LAB = (1, 1), (1, 0), (0, 9), (1, 4)
ROUTE, MEADOW, BRIDGE, GYM, SIDE = (0, 16), (0, 17), (0, 18), (8, 1), (1, 2)

Place = tuple[int, int]


def act(state: dict[str, Any]) -> str:
    """The button for one state, as game.yaml declares it."""
    screen = state["screen"]
    if screen == WALKING:
        return walk(state)
    if screen == BATTLE_MENU:
        return fight(state)
    return {TITLE: "START", PAUSE: "B", WHITE_OUT: "START"}.get(screen, "A")


def fight(state: dict[str, Any]) -> str:
    """Guard against the glow, run from red foes, hit the others; drink when the bar is short.

    Against the fox that is at two fifths, against a drake when the bar is red; a slime is not
    worth a potion. Against the golem it is below three quarters while two potions are left, as a
    press that a sticky button swallows costs up to 19 points; the last one waits for a half.
    """
    share, foe = state["party_hp"][0] / max(1, state["party_max_hp"][0]), state["foe"]
    golem = 0.74 if state["potions"] > 1 else 0.5
    weak = share <= {SLIME: 0.0, DRAKE: 0.3, FOX: 0.4}.get(foe, golem)
    if state["foe_charging"]:
        line = 2
    elif weak and state["potions"] > 0:
        line = 1
    else:
        line = 2 if foe == DRAKE else 0
    cursor = state["cursor"]
    if cursor == line:
        return "A"
    return "DOWN" if cursor < line else "UP"


def goal(state: dict[str, Any], place: Place) -> Place:
    """The tile to go to: one to step on, or the thing or person on it to press A at."""
    partner, permit = state["has_partner"], state["has_permit"]
    if place == BEDROOM:
        return (7, 1)
    if place == HOUSE:
        return (4, 8)
    if place == SIDE:
        return (4, 6)
    if place == LAB:
        return (5, 8) if partner else (5, 2)
    if place == TOWN:
        return (9, 0) if partner else (15, 13)
    if place == ROUTE:
        return (4, 0)
    if place == MEADOW:
        if permit:
            return (20, 0)
        orb = None if state["has_orb"] else seen_orb(state)
        return orb or (19, 3)
    if place == BRIDGE:
        return (9, 5)
    return (5, 2)


def on_screen(state: dict[str, Any]) -> list[tuple[int, Place]]:
    """Kind and tile of everybody and everything in view, the player excepted."""
    x, y = state["x"], state["y"]
    rows = zip(
        state["object_active"],
        state["object_kind"],
        state["object_x"],
        state["object_y"],
        strict=True,
    )
    return [
        (kind, (i, j))
        for active, kind, i, j in rows
        if active and kind != 1 and abs(i - x) <= 7 and abs(j - y) <= 4
    ]


def seen_orb(state: dict[str, Any]) -> Place | None:
    return next((place for kind, place in on_screen(state) if kind == ORB), None)


def walk(state: dict[str, Any]) -> str:
    """Follow the shortest way to the goal; step aside for people; press A at the goal's tile."""
    place = (state["map_group"], state["map_number"])
    if place not in MAPS:
        return "A"
    target = goal(state, place)
    here = (state["x"], state["y"])
    ways = field(place, target)
    way = ways.get(here)
    if way is None:
        return "A"
    button = way[1]
    people = {spot for _, spot in on_screen(state)}
    ahead = moved(here, button)
    if ahead not in people:
        return button
    if ahead == target:
        return "A" if FACING.get(state["facing"]) == button else button
    aside = []
    for order, side in enumerate(WAYS):
        spot = moved(here, side)
        if side == BACK[button]:
            continue
        if spot not in people and spot in ways and step(MAPS[place], here, side) == spot:
            aside.append((ways[spot][0], order, side))
    aside = [a for a in aside if a[0] <= way[0] + 2]
    return min(aside)[2] if aside else button


def moved(here: Place, button: str) -> Place:
    return here[0] + WAYS[button][0], here[1] + WAYS[button][1]


def step(plan: tuple[str, ...], here: Place, button: str) -> Place | None:
    """Where a step leads on the empty map, or None into a wall."""
    x, y = moved(here, button)
    if not (0 <= y < len(plan) and 0 <= x < len(plan[0])) or plan[y][x] == "#":
        return None
    if plan[y][x] in LEDGES:
        return moved((x, y), button) if LEDGES[plan[y][x]] == button else None
    return x, y


@cache
def field(place: Place, target: Place) -> dict[Place, tuple[int, str]]:
    """For every tile of a map: the cost to the target and the button to press."""
    plan = MAPS[place]
    into: dict[Place, list[tuple[Place, str]]] = {}
    for y in range(len(plan)):
        for x in range(len(plan[0])):
            if plan[y][x] != "#" and plan[y][x] not in LEDGES and (x, y) != target:
                for button in WAYS:
                    to = step(plan, (x, y), button)
                    if to is not None:
                        into.setdefault(to, []).append(((x, y), button))
    cost = {target: 0}
    queue = [(0, target)]
    while queue:
        c, spot = heapq.heappop(queue)
        if c > cost[spot]:
            continue
        price = c + (2 if plan[spot[1]][spot[0]] == '"' else 1)
        for before, _ in into.get(spot, []):
            if price < cost.get(before, 1 << 30):
                cost[before] = price
                heapq.heappush(queue, (price, before))
    ways: dict[Place, tuple[int, str]] = {}
    for spot, pairs in into.items():
        price = cost.get(spot, 1 << 30) + (2 if plan[spot[1]][spot[0]] == '"' else 1)
        for before, button in pairs:
            if cost.get(before) == price:
                best = ways.get(before)
                order = list(WAYS)
                if best is None or order.index(button) < order.index(best[1]):
                    ways[before] = (price, button)
    return ways
