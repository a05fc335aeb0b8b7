"""What holds for whoever presses the buttons."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.agents.protocol import Actor, Choice, Turn
from pipeline.emulator.ram import State
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import NO_ACTION


@dataclass(frozen=True)
class Games:
    """B games at one moment, as an agent is shown them."""

    frames: Frames
    """(B,H,W,3) u8."""
    states: list[State]
    goals: list[int]


class AgentConformance:
    """The tests of an agent. Say ``buttons``, `make` and `games`."""

    buttons: int
    """How many the game has."""

    def make(self) -> Actor:
        """An agent that has not played yet; each call gives one that plays alike."""
        raise NotImplementedError

    def games(self) -> Games:
        """At least three different games that it can be asked about."""
        raise NotImplementedError

    def test_every_game_has_a_button(self) -> None:
        games = self.games()
        choices, _ = self._played(self.make(), games)
        assert len(choices) == len(games.frames)
        for choice in choices:
            assert type(choice.button) is int, f"{choice.button!r} is no int"
            assert 0 <= choice.button < self.buttons, f"{choice.button} is no button of the game"
            assert choice.expert == NO_ACTION or 0 <= choice.expert < self.buttons
            assert choice.asked is None or choice.expert != NO_ACTION

    def test_the_same_moment_has_the_same_button(self) -> None:
        games, agent = self.games(), self.make()
        assert _buttons(self._played(agent, games)) == _buttons(self._played(agent, games))

    def test_another_one_presses_the_same(self) -> None:
        games = self.games()
        first, second = self._played(self.make(), games), self._played(self.make(), games)
        assert _buttons(first) == _buttons(second)

    def test_the_order_of_games_changes_no_button(self) -> None:
        games, agent = self.games(), self.make()
        order = np.random.default_rng(0).permutation(len(games.frames)).tolist()
        straight, mixed = self._played(agent, games), self._played(agent, games, order)
        assert [_buttons(straight)[row] for row in order] == _buttons(mixed)

    def test_a_game_alone_goes_as_among_others(self) -> None:
        games, agent = self.games(), self.make()
        together = self._played(agent, games)
        for row in range(len(games.frames)):
            alone = self._played(agent, games, [row])
            assert _buttons(alone) == [_buttons(together)[row]]
            # Else the rest of the episode would depend on who is played beside it.
            drawn, before = alone[1][0].random(), together[1][row].random()
            assert drawn == before, "how much of its randomness a game uses depends on the others"

    def test_what_it_remembers_of_a_game_is_in_its_memory(self) -> None:
        """So that games may end, begin and change places between two steps."""
        games = self.games()
        count = len(games.frames)

        def steps(agents: list[Actor], orders: list[list[int]]) -> list[list[int]]:
            """Buttons by game, of a step an agent; of a game the same screen at each."""
            begun = _turns(games, range(count))
            pressed: list[list[int]] = [[] for _ in range(count)]
            for agent, order in zip(agents, orders, strict=True):
                turns = [dataclasses.replace(begun[row]) for row in order]
                choices = agent.act(games.frames[order], turns)
                for row, choice in zip(order, choices, strict=True):
                    pressed[row].append(choice.button)
            return pressed

        kept = steps([self.make()] * 6, [list(range(count))] * 6)
        rng = np.random.default_rng(0)
        mixed = [rng.permutation(count)[: count - step % count].tolist() for step in range(6)]
        for row, pressed in enumerate(steps([self.make() for _ in range(6)], mixed)):
            assert pressed == kept[row][: len(pressed)], (
                f"game {row} goes otherwise with others beside it, or with another agent"
            )

    def test_it_takes_no_other_randomness_than_the_games_own(self) -> None:
        games, agent = self.games(), self.make()
        # Whoever draws from these changes what others draw, and plays otherwise each time.
        kept = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        self._played(agent, games)
        after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        assert after == kept

    def test_what_it_is_shown_is_left_as_it_was(self) -> None:
        games, untouched = self.games(), copy.deepcopy(self.games())
        self._played(self.make(), games)
        assert np.array_equal(games.frames, untouched.frames)
        assert games.goals == untouched.goals
        for state, before in zip(games.states, untouched.states, strict=True):
            assert state.keys() == before.keys()
            assert all(np.array_equal(state[name], before[name]) for name in state)

    @staticmethod
    def _played(
        agent: Actor, games: Games, rows: Sequence[int] | None = None
    ) -> tuple[list[Choice], list[np.random.Generator]]:
        """What it chooses, and each game's randomness after it; a game's is its own."""
        rows = range(len(games.frames)) if rows is None else rows
        turns = _turns(games, rows)
        choices = list(agent.act(games.frames[list(rows)], turns))
        return choices, [turn.rng for turn in turns]


def _turns(games: Games, rows: Sequence[int]) -> list[Turn]:
    """The first turn of each of these games: its own randomness, nothing in its memory."""
    return [
        Turn(games.states[row], np.random.default_rng([row, 1]), games.goals[row]) for row in rows
    ]


def _buttons(played: tuple[list[Choice], list[np.random.Generator]]) -> list[tuple[int, int]]:
    return [(choice.button, choice.expert) for choice in played[0]]
