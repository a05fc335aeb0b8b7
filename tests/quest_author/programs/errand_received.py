# ruff: noqa: F821
"""To the house with the blue roof, and talk to the professor."""

import json

BEDROOM, HOUSE, TOWN, LAB, SIDE = (1, 1), (1, 0), (0, 9), (1, 4), (1, 2)
# Where to go on each map, as text so that it is easily extended.
GOALS = json.loads("""
{
  "1,1": [7, 1],
  "1,0": [4, 8],
  "1,2": [4, 6],
  "1,4": [5, 2]
}
""")


def act(state):
    if in_dialog(state):
        return "A"
    if state["screen"] == 6:
        return "B"
    place = (state["map_group"], state["map_number"])
    x, y = goal(state) if place == TOWN else GOALS[f"{place[0]},{place[1]}"]
    way = find_path(state, x, y)
    if way is None:
        return "B"
    return way[0] if way else "A"


def goal(state):
    """The lab lies beyond the fence in the south: the gap is at (12, 9)."""
    if state["y"] < 9:
        return 12, 9
    return 15, 13
