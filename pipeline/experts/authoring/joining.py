"""Programs of single milestones joined into one file that plays the whole game."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence

from pipeline.experts.authoring.scopes import as_function
from pipeline.games.description import GameDescription


def join(parts: Mapping[str, str], game: GameDescription) -> str:
    """One program out of the first milestones' programs: each until its milestone, then the next.

    It has no memory: for a state it takes the part after the last milestone, in the order of
    ``game.yaml``, whose ``when`` holds in it. Beyond the last part's milestone it gives no button,
    unless that is the game's last one. Each part is the body of a function of its own and keeps
    its names; comments are lost.

    Args:
        parts: source by milestone: the game's first ``len(parts)`` milestones, in their order.

    Raises:
        NotJoinable: a part is no program that can be moved; see `scopes.check`.
    """
    whole = len(parts) == len(game.milestones)
    functions, future = [], False
    for number, (name, source) in enumerate(parts.items(), 1):
        function, needs_future = as_function(_function_name(number, name), source)
        functions.append(function)
        future = future or needs_future
    made = ", ".join(f"{function.name}()" for function in functions)
    blocks = [
        _heading(parts, game, whole),
        *(["from __future__ import annotations"] if future else []),
        *(f"\n\n{ast.unparse(ast.fix_missing_locations(one))}" for one in functions),
        f"\n\n_PARTS = [{made}]",
        "\n\n" + _reached(parts, game),
        "\n\n" + (_ACT_WHOLE if whole else _ACT),
    ]
    return "\n".join(blocks)


def condition_source(when: str, variables: Sequence[str]) -> str:
    """A condition of ``game.yaml`` as Python over ``state``: ``x > 0`` is ``state['x'] > 0``.

    The description's reader has checked it: numbers, arrays, arithmetic, comparisons and the
    functions of `conditions.FUNCTIONS`, which are Python's own.
    """
    tree = ast.parse(" ".join(when.split()), mode="eval")
    return ast.unparse(ast.fix_missing_locations(_OverState(variables).visit(tree)))


_ACT = '''def act(state):
    """The button for one state; None beyond the last part's milestone."""
    reached = _reached(state)
    return _PARTS[reached](state) if reached < len(_PARTS) else None
'''

_ACT_WHOLE = '''def act(state):
    """The button for one state."""
    return _PARTS[min(_reached(state), len(_PARTS) - 1)](state)
'''


def _heading(parts: Mapping[str, str], game: GameDescription, whole: bool) -> str:
    scope = "the whole game" if whole else f"its first {len(parts)} milestones"
    text = f"Plays {game.name}, {scope}: one program a milestone, each until its milestone."
    beside = "Written by a language model; which, and at what cost, stands beside it as JSON."
    return f'"""{text}\n\n{beside}\n"""'


def _function_name(number: int, milestone: str) -> str:
    return f"_part_{number:02d}_" + re.sub(r"\W", "_", milestone, flags=re.ASCII)


def _reached(parts: Mapping[str, str], game: GameDescription) -> str:
    lines = [
        "def _reached(state):",
        '    """How many milestones are behind this state, by the last that holds in it."""',
    ]
    whens = {milestone.name: milestone.when for milestone in game.milestones}
    for number, name in reversed(list(enumerate(parts, 1))):
        condition = condition_source(whens[name], list(game.variables))
        lines += [f"    if {condition}:  # {json.dumps(name)}", f"        return {number}"]
    return "\n".join([*lines, "    return 0"])


class _OverState(ast.NodeTransformer):
    def __init__(self, variables: Sequence[str]) -> None:
        self._variables = set(variables)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id not in self._variables:
            return node
        return ast.Subscript(ast.Name("state", ast.Load()), ast.Constant(node.id), ast.Load())
