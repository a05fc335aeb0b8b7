"""The experts of the pipeline: a program, a model over HTTP, a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.conformance import ExpertConformance
from pipeline.experts.opening import open_expert
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Answers, Expert, Questions
from pipeline.experts.sandbox import opening
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.training.checkpoint import save_checkpoint
from tests.experts.model import made as model_made
from tests.experts.test_checkpoint_expert import sharp, shown
from tests.loading import made
from tests.model_server import Asked, Reply, refuses

BUTTONS = ("A", "B", "UP", "DOWN")
PROGRAM = """
def act(state):
    if state["x"] == 3:
        raise ValueError("no idea")
    return ["A", "B", "UP", "JUMP"][state["x"] % 4] if state["x"] != 6 else None
"""


class TestProgram(ExpertConformance):
    buttons = len(BUTTONS)

    @pytest.fixture(autouse=True)
    def _program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # How a program is isolated has tests of its own; a trusted one starts ten times as fast.
        monkeypatch.setattr(opening, "ships", lambda path: True)
        self.path = tmp_path / "expert.py"
        self.path.write_text(PROGRAM)

    def make(self) -> Expert:
        return ProgramExpert(self.path, BUTTONS, isolation="trusted")

    def questions(self) -> Questions:
        return Questions({"x": np.arange(9, dtype=np.int16)})


class TestCheckpoint(ExpertConformance):
    buttons = len(made.BUTTONS)
    mode = "argmax"

    @pytest.fixture(autouse=True)
    def _checkpoint(self, tmp_path: Path) -> None:
        self.game = load_game(made.game_folder(tmp_path / "paper"))
        self.path = tmp_path / "teacher.pt"
        save_checkpoint(self.path, sharp())

    def make(self) -> Expert:
        told = {"kind": "policy", "path": self.path, "mode": self.mode}
        return open_expert(Settings.model_validate({"expert": told}), self.game)

    def questions(self) -> Questions:
        return Questions({"x": np.zeros(6, np.int16)}, list(shown(6)))


class TestCheckpointThatDraws(TestCheckpoint):
    mode = "sampled"


def _says(asked: Asked) -> Reply:
    return refuses("Not this.") if model_made.x_of(asked) == 2 else model_made.right(asked)


class TestModel(ExpertConformance):
    buttons = 4

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        self.folder = tmp_path
        with model_made.asking(_says):
            yield

    def make(self) -> Expert:
        return model_made.expert(model_made.settings_in(self.folder))

    def make_stopped(self) -> Expert:
        spent = model_made.settings_in(self.folder, budget={"labels": 1})
        expert = model_made.expert(spent, "spent")
        expert.answer(model_made.questions([100, 101]))
        return expert

    def questions(self) -> Questions:
        return model_made.questions([-5, 0, 2, 7])


class Remembers:
    """Answers by a count of its questions: no function of the state."""

    identity = {"kind": "counter"}
    screens = "none"
    stopped = None
    asked = 0

    def answer(self, questions: Questions) -> Answers:
        answers = Answers.unanswered(len(questions))
        for row in range(len(questions)):
            answers.buttons[row] = self.asked % 3
            self.asked += 1
        answers.status[:] = LabelStatus.LABELLED
        return answers

    def close(self) -> None: ...

    def __enter__(self) -> Remembers:
        return self

    def __exit__(self, *exc: object) -> None: ...


@pytest.mark.parametrize(
    "broken",
    [
        "test_asked_again_it_answers_the_same",
        "test_the_order_of_questions_changes_no_answer",
        "test_a_question_alone_is_answered_as_among_others",
    ],
)
def test_an_expert_that_remembers_is_found_out(broken: str) -> None:
    class Suite(ExpertConformance):
        buttons = 4

        def make(self) -> Expert:
            return Remembers()  # type: ignore[return-value]

        def questions(self) -> Questions:
            return Questions({"x": np.arange(4, dtype=np.int16)})

    with pytest.raises(AssertionError, match="a function of its state"):
        getattr(Suite(), broken)()
    Suite().test_another_one_answers_the_same()
