# ruff: noqa: F821
"""North along the route and through the three lanes of the meadow until the orb is in view."""

ORB, DRAKE = 11, 2
visits = 0


class Area:
    """A rectangle of a map, and the tile to make for in it."""

    def __init__(self, group, number, left, top, right, bottom, goal):
        self.place = group, number
        self.box = left, top, right, bottom
        self.goal = goal

    def holds(self, place, x, y):
        left, top, right, bottom = self.box
        return place == self.place and left <= x <= right and top <= y <= bottom


# The first that holds counts.
AREAS = [
    Area(1, 1, 0, 0, 99, 99, (7, 1)),
    Area(1, 0, 0, 0, 99, 99, (4, 8)),
    Area(1, 2, 0, 0, 99, 99, (4, 6)),
    Area(1, 4, 0, 0, 99, 99, (5, 8)),
    Area(0, 9, 0, 9, 99, 99, (12, 8)),
    Area(0, 9, 0, 0, 99, 8, (9, 0)),
    # the route, from the south
    Area(0, 16, 0, 13, 2, 16, (2, 17)),
    Area(0, 16, 0, 17, 99, 99, (10, 16)),
    Area(0, 16, 0, 14, 99, 16, (10, 13)),
    Area(0, 16, 0, 9, 99, 13, (11, 8)),
    Area(0, 16, 8, 6, 99, 8, (11, 5)),
    Area(0, 16, 0, 3, 99, 8, (10, 2)),
    Area(0, 16, 0, 0, 99, 2, (4, 0)),
    # the meadow: the lowest lane to the right, the middle one to the left, the highest to the right
    Area(0, 17, 0, 16, 99, 99, (20, 15)),
    Area(0, 17, 20, 13, 20, 15, (20, 12)),
    Area(0, 17, 15, 14, 15, 15, (15, 16)),
    Area(0, 17, 0, 13, 8, 14, (8, 12)),
    Area(0, 17, 1, 10, 1, 12, (1, 14)),
    Area(0, 17, 0, 10, 99, 12, (3, 9)),
    Area(0, 17, 3, 7, 3, 9, (3, 6)),
    Area(0, 17, 0, 0, 99, 6, (19, 3)),
    Area(0, 18, 0, 0, 99, 99, (10, 19)),
]


def act(state):
    global visits
    visits += 1
    screen = state["screen"]
    if screen == 3:
        return fight(state)
    if in_dialog(state):
        return "A"
    if screen == 6:
        return "B"
    here = state["x"], state["y"]
    orb = seen(state, ORB)
    way = find_path(state, *orb) if orb else None
    if way is None:
        goal = next((a.goal for a in AREAS if a.holds(place(state), *here)), here)
        way = find_path(state, *goal)
    if way is None:
        log(f"no way at {here}")
        return "B"
    return way[0] if way else "A"


def place(state):
    return state["map_group"], state["map_number"]


def seen(state, kind):
    """The tile of the first such thing on the screen."""
    for i, active in enumerate(state["object_active"]):
        x, y = state["object_x"][i], state["object_y"][i]
        near = abs(x - state["x"]) <= 7 and abs(y - state["y"]) <= 4
        if active and state["object_kind"][i] == kind and near:
            return x, y
    return None


def fight(state):
    """Run from the drake, hit the slime."""
    line = 2 if state["foe"] == DRAKE else 0
    if state["foe"] == DRAKE and state["party_hp"][0] < 20 and state["potions"]:
        line = 1
    return choose(state, line)


def choose(state, line):
    if state["cursor"] == line:
        return "A"
    return "DOWN" if state["cursor"] < line else "UP"
