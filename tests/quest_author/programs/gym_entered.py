# ruff: noqa: F821
"""Over the bridge into the gym."""


def act(state):
    if state["screen"] == 3:
        return {0: "A", 1: "UP", 2: "UP"}[state["cursor"]]
    if in_dialog(state):
        return "A"
    if state["screen"] == 6:
        return "B"
    x, y = where(state["map_group"], state["map_number"], state["y"])
    way = find_path(state, x, y)
    return (way or ["B"])[0]


def where(group, number, y):
    match group, number:
        case 0, 18:
            return (5, 13) if y >= 14 else (5, 8) if y >= 9 else (9, 5)
        case 0, 17:
            return 20, 0
        case _:
            return 5, 2
