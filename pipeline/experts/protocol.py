"""What every expert is: states (and screens, where asked for) in, buttons with status out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import NO_ACTION, LabelStatus

Screens = Literal["none", "native", "processed"]
"""Which screens an expert looks at: none, those of the console (160x240), or those of the shard."""


PlainState = dict[str, Any]
"""The game's variables as a program gets them: int for numbers, nested lists for arrays."""


class Identity(TypedDict, total=False):
    """What decides an expert's answers; see :attr:`Expert.identity`."""

    kind: str
    """program, model, policy, or another of one's own."""
    path: str
    """Name of the file of a program or a checkpoint."""
    sha256: str
    """Of that file: a program's text, a checkpoint's weights and contract."""
    memory: str
    """``episode`` where a program may remember what it was asked before."""
    mode: str
    """How a checkpoint chooses: argmax or sampled."""
    model: str
    """A language model's id."""
    prompt: str
    """sha256 of what a language model is told of the game."""


class Looks(Protocol):
    """n screens, read when they are asked for: an expert may need few of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Frames:
        """Screen i, (H,W,3) u8."""
        ...


@dataclass(frozen=True)
class Questions:
    """n states of one game.

    ``state`` maps each variable to its n values, (n, ...); ``screens`` are those that the expert
    asked for, None where it asked for none. ``count`` is n, for games without variables.
    """

    state: Mapping[str, NDArray[Any]]
    screens: Looks | None = None
    count: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.state.values()))) if self.state else self.count

    def row(self, i: int) -> PlainState:
        """State i with int for numbers and nested lists for arrays, as a program gets it."""
        return {name: column[i].tolist() for name, column in self.state.items()}


@dataclass(frozen=True)
class Costs:
    """What n answers cost, each (n,): a free expert's are all zero."""

    attempts: NDArray[np.uint8]
    """How often the question was put; 0 where it was not, as for an answer that was kept."""
    input_tokens: NDArray[np.uint32]
    output_tokens: NDArray[np.uint32]
    dollars: NDArray[np.float32]

    @classmethod
    def none(cls, count: int) -> Costs:
        return cls(
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint32),
            np.zeros(count, np.uint32),
            np.zeros(count, np.float32),
        )


@dataclass(frozen=True)
class Answers:
    """What an expert said of n states.

    ``buttons`` (n,) u8 indexes the game's buttons, NO_ACTION where there is no answer; ``status``
    (n,) u8 is a LabelStatus; ``reasons`` maps the index of a state without a button to what went
    wrong; ``costs`` is None where the answers were free; ``logs`` maps the index of a state to
    what the expert noted on the way.
    """

    buttons: NDArray[np.uint8]
    status: NDArray[np.uint8]
    reasons: dict[int, str] = field(default_factory=dict)
    costs: Costs | None = None
    logs: dict[int, str] = field(default_factory=dict)

    @classmethod
    def unanswered(cls, count: int) -> Answers:
        return cls(
            np.full(count, NO_ACTION, np.uint8),
            np.full(count, LabelStatus.UNLABELLED, np.uint8),
        )


class Expert(Protocol):
    """Who gives the right button; a context manager that ends what it started."""

    @property
    def identity(self) -> Identity:
        """What decides its answers: kind, and sha256 of the program or checkpoint, or the model.

        Equal identities give interchangeable labels; how a program is isolated, how long it may
        take and what it costs are no part of it.
        """
        ...

    @property
    def screens(self) -> Screens:
        """Which screens ``Questions.screens`` must hold."""
        ...

    @property
    def stopped(self) -> str | None:
        """Why it answers no more (a budget is spent, a batch is under way), or None.

        Questions put to an expert that stopped come back UNLABELLED.
        """
        ...

    def answer(self, questions: Questions) -> Answers:
        """Answer all questions; a failed one has no button, its status and a reason.

        An answer is a function of its state (and screen): whatever was asked before, in whatever
        order and by how many processes, the same state gets the same button. Only then are labels
        what the expert plays. Of programs `pipeline.experts.determinism` asks some states again.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Expert: ...

    def __exit__(self, *exc: object) -> None: ...


def get_action(
    expert: Expert, obs: Frames, info: Mapping[str, Any], timeout: float | None = None
) -> int | None:
    """Ask about one step of a Gymnasium environment, for players that go step by step.

    ``obs`` is the environment's observation, (H,W,3) u8; ``info["state"]`` its variables. None
    where the expert gave no button, or none within ``timeout`` seconds (None: the expert's own
    limit); an expert that is too late is closed, which ends what it was doing, and starts anew
    with the next question.
    """
    state = {name: np.asarray(value)[None] for name, value in info["state"].items()}
    questions = Questions(state, None if expert.screens == "none" else [obs])
    if timeout is None:
        answers = expert.answer(questions)
    else:
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(expert.answer, questions)
            if not wait([answering], timeout).done:
                expert.close()
                return None
            answers = answering.result()
    return None if answers.status[0] != LabelStatus.LABELLED else int(answers.buttons[0])
