"""Experts as actors: alone, or mixed with a network by DAgger's beta."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.agents.protocol import Actor, Asked, Choice, Turn
from pipeline.experts.determinism import Recheck
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Answers, Costs, Expert, Questions
from pipeline.games.conditions import State
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.labels import expert_id
from pipeline.shards.format.schema import NO_ACTION, Episode, LabelStatus
from pipeline.system.errors import PipelineError


def _stack(states: Sequence[State]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([state[name] for state in states]) for name in states[0]}


def _called(expert: Expert) -> str:
    identity = expert.identity
    return str(identity.get("path") or identity.get("model") or identity["kind"])


class ExpertActor:
    """Presses what the expert says; its choice is kept as the step's label.

    Raises:
        PipelineError: the expert failed for a state. An expert that plays must know every state
            it comes to; pressing something else in its name would poison the demonstration.
    """

    def __init__(self, expert: Expert) -> None:
        self._expert = expert

    def end_episode(self, episode: Episode, buttons: Sequence[str]) -> None:
        """After each episode that it played: see that its program is a function of the state.

        A program that may remember forgets this episode instead.

        Raises:
            PipelineError: asked again about a state, it gives another button.
        """
        expert = self._expert
        if not isinstance(expert, ProgramExpert):
            return
        if expert.remembers:
            expert.begin_episode()
            return
        asked = np.flatnonzero(episode.expert_actions != NO_ACTION)
        recheck = Recheck(asked)
        questions = Questions({name: one[asked] for name, one in episode.state.items()})
        buttons_ = episode.expert_actions[asked]
        status = np.full(len(asked), LabelStatus.LABELLED, np.uint8)
        recheck.note(asked, questions, Answers(buttons_, status))
        breach = recheck.breach(expert, buttons)
        if breach is not None:
            where = f"step {breach.row} of the episode with seed {episode.seed}"
            raise PipelineError(breach.told(str(expert.path), where))

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        """The expert's button for each of B games; an :class:`Agent` without randomness or goals.

        Raises:
            PipelineError: the expert has no button for one of them.
        """
        states = [turn.state for turn in turns]
        screens = None if self._expert.screens == "none" else list(frames)
        answers = self._expert.answer(Questions(_stack(states), screens, len(states)))
        self._refuse_failures(answers)
        asked = [None] * len(states) if answers.costs is None else self._told(answers.costs)
        return [
            Choice(int(button), int(button), told)
            for button, told in zip(answers.buttons, asked, strict=True)
        ]

    def _told(self, costs: Costs) -> list[Asked | None]:
        who, now = expert_id(self._expert.identity), time()
        rows = zip(
            costs.attempts, costs.input_tokens, costs.output_tokens, costs.dollars, strict=True
        )
        return [Asked(who, now, int(n), int(i), int(o), float(d)) for n, i, o, d in rows]

    def _refuse_failures(self, answers: Answers) -> None:
        stopped = self._expert.stopped
        if stopped is not None and (answers.status == LabelStatus.UNLABELLED).any():
            raise PipelineError(
                f"{_called(self._expert)}: the expert stopped while playing ({stopped})"
            )
        for i, status in enumerate(answers.status):
            if status != LabelStatus.LABELLED:
                raise PipelineError(
                    f"{_called(self._expert)}: the expert failed while playing "
                    f"({LabelStatus(status).name.lower()}: {answers.reasons.get(i, '')}); fix it"
                )


class MixedActor:
    """DAgger's mixture policy: at each step the expert with probability beta, else the network.

    Ross, Gordon and Bagnell 2011, "A Reduction of Imitation Learning and Structured Prediction to
    No-Regret Online Learning": pi_i = beta_i * expert + (1 - beta_i) * student. The coin is the
    episode's own generator, so an episode does not depend on those played beside it. The expert
    is asked only for the steps that it plays.
    """

    def __init__(self, expert: Actor, network: Actor, beta: float) -> None:
        self._expert = expert
        self._network = network
        self._beta = beta

    def act(self, frames: Frames, turns: Sequence[Turn]) -> list[Choice]:
        by_expert = [turn.rng.random() < self._beta for turn in turns]
        choices: dict[int, Choice] = {}
        for actor, experts in ((self._expert, True), (self._network, False)):
            rows = [i for i, expert in enumerate(by_expert) if expert is experts]
            if rows:
                chosen = actor.act(frames[rows], [turns[i] for i in rows])
                choices.update(zip(rows, chosen, strict=True))
        return [choices[i] for i in range(len(turns))]
