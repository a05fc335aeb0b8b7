"""Asking an expert about many steps: in waves, by several processes or by one that asks many."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.experts.determinism import Breach, Recheck
from pipeline.experts.opening import open_expert
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Answers, Expert, Questions
from pipeline.games.description import GameDescription
from pipeline.labelling.screens import Gallery
from pipeline.settings.expert_fields import ExpertChoice
from pipeline.shards.reader import Shard
from pipeline.system.workers import cores

BATCH = 1024
"""Steps that one copy of the expert is asked about at a time; only their state is held."""

Rows = NDArray[np.intp]


class ExpertPool:
    """The expert of a stage, open for all of its shards; a context manager.

    A program runs in several processes, each with a thread here that only waits for it. Any other
    expert is opened once: it asks several questions at a time by itself, has a budget, or uses the
    GPU.

    Args:
        workers: copies of a program; 0 takes one a core.
    """

    def __init__(self, choice: ExpertChoice, game: GameDescription, workers: int) -> None:
        self._choice, self._game, self._workers = choice, game, workers
        self._stack = ExitStack()
        self._experts: list[Expert] = []

    def __enter__(self) -> ExpertPool:
        self._several(1)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def expert(self) -> Expert:
        return self._experts[0]

    @property
    def stopped(self) -> str | None:
        """Why one of them answers no more."""
        return next((e.stopped for e in self._experts if e.stopped is not None), None)

    def begin(self) -> None:
        """Open an expert that stopped anew, before the next shard.

        What stopped it may be over, or may have concerned only the questions of the last shard.
        """
        if self.stopped is not None:
            self._stack.close()
            self._experts.clear()
            self._several(1)

    def ask(
        self,
        shard: Shard,
        rows: Rows,
        gallery: Gallery,
        take: Callable[[Rows, Answers], object],
    ) -> Breach | None:
        """Ask about the steps ``rows`` (n,), ascending; ``take`` gets the answers, batch by batch.

        Ends early where the expert stops. The shard is read by this thread alone, for all copies of
        the expert at once; questions that are submitted as one batch are read at once, too.

        Returns:
            A program is asked about some steps again, in another order: the first one that it
            answered otherwise. None where there is none.
        """
        size = max(1, len(rows)) if self._together() else BATCH
        shares = [rows[first : first + size] for first in range(0, len(rows), size)]
        experts = self._several(len(shares))
        recheck = Recheck(rows)
        with (
            ThreadPoolExecutor(len(experts)) as pool,
            tqdm(total=len(rows), desc="label", unit="step", disable=None) as bar,
        ):
            for first in range(0, len(shares), len(experts)):
                wave = shares[first : first + len(experts)]
                batches = [
                    Questions(_columns(shard, share), gallery(share), len(share)) for share in wave
                ]
                if len(experts) == 1:  # in this thread, which is the one that Ctrl-C interrupts
                    told = iter([experts[0].answer(batches[0])])
                else:
                    told = pool.map(_answer, experts, batches)
                for share, batch, answers in zip(wave, batches, told, strict=False):
                    take(share, answers)
                    recheck.note(share, batch, answers)
                    bar.update(len(share))
                if self.stopped is not None:
                    return None
        # A model would be paid for it, and a network is a function of what it sees.
        program = isinstance(experts[0], ProgramExpert)
        return recheck.breach(experts[0], self._game.buttons) if program else None

    def _together(self) -> bool:
        return self._choice.expert.kind == "model" and self._choice.model.batch

    def _several(self, wanted: int) -> list[Expert]:
        """At most so many experts, opened where they are not."""
        program = self._choice.expert.kind == "program"
        most = (self._workers or cores()) if program else 1
        count = max(1, min(wanted, most))
        while len(self._experts) < count:
            expert = self._stack.enter_context(open_expert(self._choice, self._game))
            self._experts.append(expert)
        return self._experts[:count]


def _answer(expert: Expert, questions: Questions) -> Answers:
    return expert.answer(questions)


def _columns(shard: Shard, share: Rows) -> dict[str, NDArray[Any]]:
    first, last = int(share[0]), int(share[-1]) + 1
    return {name: shard.state(name, first, last)[share - first] for name in shard.state_names}


def sample(shard: Shard, rows: Rows, gallery: Gallery) -> Questions:
    """At most 16 questions about ``rows`` (n,), evenly spread, to estimate the cost of all."""
    few = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 16)).round().astype(int))]
    return Questions(_columns(shard, few), gallery(few), len(few))
