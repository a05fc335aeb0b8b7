# ruff: noqa: F821
"""Down the stairs and out of the door; mother's words are moved on with A."""

BEDROOM, HOUSE = (1, 1), (1, 0)
DOORS = {BEDROOM: (7, 1), HOUSE: (4, 8)}


def act(state):
    if in_dialog(state):
        return "A"
    if state["screen"] == 6:  # the pause box
        return "B"
    door = DOORS.get((state["map_group"], state["map_number"]))
    if door is None:
        return "START" if state["screen"] == 0 else "A"
    way = find_path(state, *door)
    return way[0] if way else "B"
