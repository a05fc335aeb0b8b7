# ruff: noqa: F821
"""Out of the meadow to the bridge; the rival stops whoever comes by, and his fox is beaten."""

LOW = 0.6  # of the hit points: drink then
cursor = {"FIGHT": 0, "ITEM": 1, "RUN": 2}


def act(state):
    if state["screen"] == 3:
        return battle(state)
    if in_dialog(state):
        return "A"
    if state["screen"] == 6:
        return "B"
    x, y = goal(state)
    way = find_path(state, x, y)
    if way is None:
        return "B"
    return way[0] if way else "A"


def goal(state):
    place, x, y = (state["map_group"], state["map_number"]), state["x"], state["y"]
    if place == (0, 17):
        if y <= 6:
            return 20, 0
        for top, left, right, gx, gy in (
            (16, 0, 99, 20, 15), (13, 20, 20, 20, 12), (14, 15, 15, 15, 16), (13, 0, 8, 8, 12),
            (10, 1, 1, 1, 14), (10, 0, 99, 3, 9), (7, 3, 3, 3, 6),
        ):  # fmt: skip
            if y >= top and left <= x <= right:
                return gx, gy
    if place == (0, 18):
        if y >= 14:
            return 5, 13
        return 5, 9 if y > 9 else 8
    return x, y


def battle(state):
    share = state["party_hp"][0] / max(1, state["party_max_hp"][0])
    if state["foe"] == 2:
        want = "ITEM" if share <= 0.3 and state["potions"] else "RUN"
    elif state["foe"] == 1:
        want = "FIGHT"
    else:
        want = "ITEM" if share <= LOW and state["potions"] else "FIGHT"
    line = cursor[want]
    if state["cursor"] == line:
        return "A"
    return "DOWN" if state["cursor"] < line else "UP"
