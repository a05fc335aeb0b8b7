"""What an expert program can call without importing it, the same in every sandbox.

This text is run inside the sandbox, before the program. It keeps to what Monty runs too: no
classes with state, no generators, no imports. What it knows of the game stands in ``_GAME``, which
the sandbox fills from the section ``tools`` of game.yaml. No function calls another by its public
name, so that a program may define one of that name for itself.
"""

from __future__ import annotations

from typing import Any

_GAME: dict[str, Any] = {}
_WAYS = [("UP", 0, -1), ("DOWN", 0, 1), ("LEFT", -1, 0), ("RIGHT", 1, 0)]


def find_path(state: dict[str, Any], x: int, y: int) -> list[str] | None:
    """The buttons of the cheapest way to tile (x, y), in the coordinates of the player's x and y.

    A* over the map window of the state: walls, people and things, and warps are in the way; ledges
    are jumped in their direction only; costly tiles (tall grass) count more than others. Returns
    ``[]`` when the player is there and ``None`` when there is no way inside the window.

    A warp may be the goal: the way ends on it. A goal that cannot be entered (a person, a thing, a
    wall, a sign) is reached when the player stands beside it and looks at it: the last button
    turns, and ``[]`` means that A can be pressed.

    A goal outside the window: the way to that edge of the window that is nearest to the goal. What
    lies behind it is not known yet and may be a dead end, so for a far goal give points on the way.

    Ask anew in every step and press the first button only: people walk, and buttons stick.
    """
    area = _described("map", "find_path")
    cells, here = state[area["variable"]], [state[area["x"]], state[area["y"]]]
    if [x, y] == here:
        return []
    left, top = here[0] - area["column"], here[1] - area["row"]
    column, row = x - left, y - top
    inside = 0 <= column < len(cells[0]) and 0 <= row < len(cells)
    taken, warps = _taken(state, left, top), _warps(state, area, left, top)
    door = (column, row) if (column, row) in warps and (column, row) not in taken else None
    beside = inside and door is None and not _open(cells, column, row, taken, warps, area)
    found = _search(cells, (column, row), inside, beside, door, taken, warps, area)
    if found is None:
        return None
    path, at = found
    if beside:
        way = _way(column - at[0], row - at[1])
        if way != (path[-1] if path else _looking(state)):
            path.append(way)
    return path


def facing(state: dict[str, Any]) -> str | None:
    """Where the player looks: "UP", "DOWN", "LEFT", "RIGHT", or None when it is none of them."""
    return _looking(state)


def in_dialog(state: dict[str, Any]) -> bool:
    """Whether a text is on the screen that A moves on, those of a battle included."""
    return _reads(state, _described("in_dialog", "in_dialog"))


def in_battle(state: dict[str, Any]) -> bool:
    """Whether a battle is on: its menus and its texts."""
    return _reads(state, _described("in_battle", "in_battle"))


def log(text: object) -> None:
    """Note a line about this state; the notes come back with its label (2,000 characters at most).

    ``print`` does the same.
    """
    print(str(text)[:500])


def _described(part: str, tool: str) -> Any:
    if not _GAME.get(part):
        raise ValueError(tool + ": game.yaml says nothing of it (section tools, key " + part + ")")
    return _GAME[part]


def _reads(state: dict[str, Any], wanted: dict[str, list[int]]) -> bool:
    return any(state[name] in values for name, values in wanted.items())


def _looking(state: dict[str, Any]) -> str | None:
    known = _described("facing", "facing")
    for value, way in known["values"]:
        if state[known["variable"]] == value:
            return str(way)
    return None


def _taken(state: dict[str, Any], left: int, top: int) -> list[tuple[int, int]]:
    """Where somebody or something stands: column and row, those outside the window as well."""
    people = _GAME.get("people")
    cells: list[tuple[int, int]] = []
    if not people:
        return cells
    kinds = state[people["kind"]] if people["kind"] else []
    for i in range(len(state[people["active"]])):
        if state[people["active"]][i] and not (kinds and kinds[i] in people["ignore"]):
            c = state[people["x"]][i] - people["offset"] - left
            r = state[people["y"]][i] - people["offset"] - top
            cells.append((c, r))
    return cells


def _warps(
    state: dict[str, Any], area: dict[str, Any], left: int, top: int
) -> list[tuple[int, int]]:
    """The tiles that lead to another map: column and row, those outside the window as well."""
    cells: list[tuple[int, int]] = []
    for warps in area["warps"]:
        if all(state[name] == value for name, value in warps["at"].items()):
            cells += [(x - left, y - top) for x, y in warps["tiles"]]
    return cells


def _search(
    cells: list[list[int]],
    goal: tuple[int, int],
    inside: bool,
    beside: bool,
    door: tuple[int, int] | None,
    taken: list[tuple[int, int]],
    warps: list[tuple[int, int]],
    area: dict[str, Any],
) -> tuple[list[str], tuple[int, int]] | None:
    """A* from the player's cell to the goal, to beside it, or to an edge where it is outside.

    Returns the buttons and the cell where they end. Only a ``door``, a warp that is the goal, may
    stand in a wall.

    The queue is a list of lists: element f holds the cells whose cost and tiles left are f more
    than those of the start. Neither ever falls on the way, so it is read from its beginning once.
    """
    high, wide = len(cells), len(cells[0])
    start = (area["column"], area["row"])
    cost = {start: 0}
    came: dict[tuple[int, int], Any] = {start: None}
    done: dict[tuple[int, int], bool] = {}
    queue = [[start]]
    least = _between(start, goal)
    f, nearest, edge = 0, -1, start
    while f < len(queue):
        if not queue[f]:
            f += 1
            continue
        at = queue[f].pop(0)
        if at in done:
            continue
        done[at] = True
        left = _between(at, goal)
        if inside and left == (1 if beside else 0):
            return _back(came, at), at
        if not inside:
            for _, dx, dy in _WAYS:
                c, r = at[0] + dx, at[1] + dy
                rest = _between((c, r), goal)
                out = c < 0 or c == wide or r < 0 or r == high
                free = (c, r) == goal or (c, r) not in warps
                if out and free and (nearest < 0 or rest < nearest):
                    nearest, edge = rest, at
        for way, to, price in _steps(cells, at, door, taken, warps, area):
            total = cost[at] + price
            if to not in done and (to not in cost or total < cost[to]):
                cost[to], came[to] = total, (at, way)
                place = total + _between(to, goal) - least
                while len(queue) <= place:
                    queue.append([])
                queue[place].append(to)
    return None if nearest < 0 else (_back(came, edge), edge)


def _between(one: tuple[int, int], other: tuple[int, int]) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _open(
    cells: list[list[int]],
    c: int,
    r: int,
    taken: list[tuple[int, int]],
    warps: list[tuple[int, int]],
    area: dict[str, Any],
) -> bool:
    """Whether one can come to stand on a cell; ledges are not for standing."""
    if cells[r][c] & area["walls"] or (c, r) in taken or (c, r) in warps:
        return False
    tile = cells[r][c] & area["tile"]
    return not any(tile in tiles for tiles in area["ledges"].values())


def _steps(
    cells: list[list[int]],
    at: tuple[int, int],
    door: tuple[int, int] | None,
    taken: list[tuple[int, int]],
    warps: list[tuple[int, int]],
    area: dict[str, Any],
) -> list[tuple[str, tuple[int, int], int]]:
    """Where one step leads from a cell: button, cell, cost."""
    high, wide = len(cells), len(cells[0])
    found = []
    for way, dx, dy in _WAYS:
        c, r, price = at[0] + dx, at[1] + dy, 1
        if not (0 <= c < wide and 0 <= r < high):
            continue
        if cells[r][c] & area["tile"] in area["ledges"].get(way, []):
            c, r, price = c + dx, r + dy, 2
            if not (0 <= c < wide and 0 <= r < high):
                continue
        if (c, r) != door and not _open(cells, c, r, taken, warps, area):
            continue
        one, other = cells[at[1]][at[0]] & area["levels"], cells[r][c] & area["levels"]
        if one != other and one not in area["any_level"] and other not in area["any_level"]:
            continue
        if cells[r][c] & area["tile"] in area["costly"]:
            price += area["cost"] - 1
        found.append((way, (c, r), price))
    return found


def _back(came: dict[tuple[int, int], Any], at: tuple[int, int]) -> list[str]:
    path: list[str] = []
    while came[at] is not None:
        at, way = came[at]
        path.append(way)
    path.reverse()
    return path


def _way(dx: int, dy: int) -> str:
    for way, i, j in _WAYS:
        if i == dx and j == dy:
            return way
    return ""
