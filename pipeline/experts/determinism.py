"""Whether a program is what it must be: a function of the state.

An expert that remembers, or draws at random, gives other labels than it plays: labels are asked for
one by one, out of the order of the game and by several processes. So some states are put to it
once more, in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.experts.protocol import Answers, Expert, Questions
from pipeline.shards.format.schema import LabelStatus

LEAST, MOST, SHARE = 8, 32, 50
"""States that are asked about again: one of SHARE, within these bounds."""
_NO_BUTTON = (LabelStatus.REFUSED, LabelStatus.INVALID)


@dataclass(frozen=True)
class Breach:
    """A state that a program answered in two ways."""

    row: int
    """As the caller counts states."""
    before: str
    after: str

    def told(self, program: str, where: str) -> str:
        """The line that a user reads.

        Args:
            where: which state it was.
        """
        return (
            f"{program}: asked again about {where}, the program answers {self.after}, not "
            f"{self.before} as before; it remembers what it was asked, or draws at random, so its "
            "labels differ from its play; make act(state) a function of the state alone, or let it "
            "keep its memory within an episode: collect --expert.memory episode"
        )


@dataclass
class Recheck:
    """Some of N answers, kept to be compared with what the program says when it is asked again.

    Args:
        rows: (N,) the states that will be asked about, ascending, as the caller counts them.
    """

    rows: NDArray[np.intp]
    _states: list[Mapping[str, NDArray[Any]]] = field(default_factory=list)
    _rows: list[int] = field(default_factory=list)
    _buttons: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = min(len(self.rows), max(LEAST, min(MOST, len(self.rows) // SHARE)))
        places = np.linspace(0, len(self.rows) - 1, count).round().astype(int)
        self._chosen: NDArray[np.intp] = self.rows[places] if count else self.rows

    def note(self, rows: NDArray[np.intp], questions: Questions, answers: Answers) -> None:
        """Keep those of these answers that were chosen and have a button."""
        chosen = np.isin(rows, self._chosen) & (answers.status == LabelStatus.LABELLED)
        for i in np.flatnonzero(chosen).tolist():
            self._states.append({name: one[i].copy() for name, one in questions.state.items()})
            self._rows.append(int(rows[i]))
            self._buttons.append(int(answers.buttons[i]))

    def breach(self, expert: Expert, buttons: Sequence[str]) -> Breach | None:
        """Ask again, in an order that no counter follows; the first state answered otherwise.

        What came too late or died this time says nothing of memory and is passed over.
        """
        if not self._states:
            return None
        order = np.random.default_rng(len(self._rows)).permutation(len(self._rows)).tolist()
        state = {name: np.stack([self._states[i][name] for i in order]) for name in self._states[0]}
        again = expert.answer(Questions(state, None, len(order)))
        for place, i in enumerate(order):
            if again.status[place] == LabelStatus.LABELLED:
                button = int(again.buttons[place])
                if button != self._buttons[i]:
                    return Breach(self._rows[i], buttons[self._buttons[i]], buttons[button])
            elif again.status[place] in _NO_BUTTON:
                return Breach(self._rows[i], buttons[self._buttons[i]], "no button")
        return None
