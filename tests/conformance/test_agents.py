"""The agents of the pipeline: a network, several by milestone, the expert, DAgger's mixture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.agents.network import NetworkActor
from pipeline.agents.policy import make_actor
from pipeline.agents.protocol import Actor, Choice, Turn
from pipeline.agents.switching import FORMAT
from pipeline.conformance import AgentConformance
from pipeline.conformance.agent import Games
from pipeline.experts.expert_actor import ExpertActor, MixedActor
from pipeline.experts.program import ProgramExpert
from pipeline.experts.sandbox import opening
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.shards.format.frames import Frames
from pipeline.training.checkpoint import save_checkpoint
from tests.experts.test_checkpoint_expert import sharp
from tests.loading import made


class Agents(AgentConformance):
    """All play the game of paper."""

    buttons = len(made.BUTTONS)

    @pytest.fixture(autouse=True)
    def _game(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.game: GameDescription = load_game(made.game_folder(tmp_path / "paper"))
        save_checkpoint(tmp_path / "one.pt", sharp())

    def games(self) -> Games:
        frames = np.random.default_rng(3).integers(0, 256, (5, 160, 240, 3), np.uint8)
        states: list[dict[str, Any]] = [{"x": np.int16(n)} for n in range(5)]
        return Games(frames, states, [0, 1, 0, 0, 1])


class TestNetwork(Agents):
    def make(self) -> Actor:
        return NetworkActor(self.folder / "one.pt", self.game)


class TestNetworkThatDraws(Agents):
    def make(self) -> Actor:
        return NetworkActor(self.folder / "one.pt", self.game, mode="sampled")


class TestNetworkThatNotices(Agents):
    def make(self) -> Actor:
        return NetworkActor(self.folder / "one.pt", self.game, mode="unstuck")


class TestSwitchingPolicy(Agents):
    def make(self) -> Actor:
        path = self.folder / "final.json"
        named = {"far": "one.pt"}
        path.write_text(json.dumps({"format": FORMAT, "version": 1, "checkpoints": named}))
        return make_actor(path, self.game, "sampled")


class TestExpert(Agents):
    @pytest.fixture(autouse=True)
    def _expert(self, _game: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(opening, "ships", lambda path: True)
        path = self.folder / "expert.py"
        path.write_text("def act(state):\n    return ['A', 'B', 'UP'][state['x'] % 3]\n")
        with ProgramExpert(path, made.BUTTONS, isolation="trusted") as self.expert:
            yield

    def make(self) -> Actor:
        return ExpertActor(self.expert)


class TestMixture(TestExpert):
    def make(self) -> Actor:
        network = NetworkActor(self.folder / "one.pt", self.game, mode="sampled")
        return MixedActor(ExpertActor(self.expert), network, 0.5)


class Shared:
    """Draws for all games from the first one's randomness."""

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        return [Choice(int(turns[0].rng.integers(10))) for _ in frames]


class Counting:
    """Keeps in itself how often it was asked, not in each game's memory."""

    def __init__(self) -> None:
        self.asked = 0

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        self.asked += 1
        return [Choice(self.asked % 10) for _ in frames]


def suite_of(made: type[Actor]) -> AgentConformance:
    """The tests of an agent in six games with the same black screen."""

    class Suite(AgentConformance):
        buttons = 10

        def make(self) -> Actor:
            return made()

        def games(self) -> Games:
            return Games(np.zeros((6, 2, 2, 3), np.uint8), [{}] * 6, [0] * 6)

    return Suite()


def test_an_agent_that_plays_by_its_company_is_found_out() -> None:
    suite = suite_of(Shared)
    suite.test_the_same_moment_has_the_same_button()
    with pytest.raises(AssertionError):
        suite.test_a_game_alone_goes_as_among_others()
    with pytest.raises(AssertionError):
        suite.test_the_order_of_games_changes_no_button()


def test_an_agent_that_remembers_beside_the_games_is_found_out() -> None:
    suite = suite_of(Counting)
    with pytest.raises(AssertionError):
        suite.test_what_it_remembers_of_a_game_is_in_its_memory()


class Summing:
    """Goes by how many games there are, from a game's second step on."""

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        choices = []
        for turn in turns:
            later = turn.memory.setdefault("later", False)
            turn.memory["later"] = True
            choices.append(Choice(len(turns) % 10 if later else 0))
        return choices


def test_an_agent_that_goes_by_its_company_later_is_found_out() -> None:
    suite = suite_of(Summing)
    suite.test_a_game_alone_goes_as_among_others()
    with pytest.raises(AssertionError, match="goes otherwise with others beside it"):
        suite.test_what_it_remembers_of_a_game_is_in_its_memory()
