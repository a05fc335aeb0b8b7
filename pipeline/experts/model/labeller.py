"""The model as expert: asked for the button of each state, counted and kept."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import numpy as np
from anthropic import AsyncAnthropic

from pipeline.experts.budget import Spending
from pipeline.experts.model.asking import Asking, Desk
from pipeline.experts.model.batching import Batching
from pipeline.experts.model.client import model_name, open_client
from pipeline.experts.model.estimate import Estimate
from pipeline.experts.model.kept import Kept, KeptAnswers
from pipeline.experts.model.ledger import SharedBook
from pipeline.experts.model.loop import Loop
from pipeline.experts.model.process_names import command_id
from pipeline.experts.model.prompt import Prompt, questions_of
from pipeline.experts.protocol import Answers, Costs, Identity, Questions, Screens
from pipeline.games.description import GameDescription
from pipeline.settings.expert_fields import ExpertSettings
from pipeline.shards.format.schema import LabelStatus


class ModelExpert:
    """Asks a language model; a failed or doubtful answer is never replaced by a button.

    Every answer is kept by content (model, instructions, state, screen) in the game's folder of
    shards, the moment it comes: the same question is never paid for twice, by whatever process. It
    stops, with a reason in ``stopped``, where the next question's worst case would pass a limit of
    ``settings.budget``, where questions fail one after the other, and where a batch is under way.

    "unsure" and refusals are REFUSED; cut, malformed or unknown ones INVALID; errors FAILED; no
    answer within ``settings.expert.timeout`` seconds is TIMED_OUT.

    Args:
        command: whose budget it spends; None takes this command's, all its processes together.

    Raises:
        PipelineError: no model is named, or dollars are limited but no prices are given. While it
            is asked: no key, or one that is refused; a model that there is not; no credit.
    """

    def __init__(
        self, settings: ExpertSettings, game: GameDescription, command: str | None = None
    ) -> None:
        self._name = model_name(settings)
        prompt = Prompt(game, settings.model)
        kept = KeptAnswers(settings.game_folder(game.name), self._name, prompt.sha256)
        book = SharedBook(kept.database, command or command_id())
        spending = Spending(settings.budget, settings.model.prices, book)
        estimate = Estimate(prompt, settings.model)
        self._desk = Desk(settings, tuple(game.buttons), prompt, kept, spending, estimate)
        self._index = {name: i for i, name in enumerate(game.buttons)}
        self._stopped: str | None = None
        self._loop: Loop | None = None
        self._client: AsyncAnthropic | None = None
        self._ways: tuple[Asking, Batching] | None = None

    @property
    def identity(self) -> Identity:
        return {"kind": "model", "model": self._name, "prompt": self._desk.prompt.sha256}

    @property
    def screens(self) -> Screens:
        return "native"

    @property
    def stopped(self) -> str | None:
        return self._stopped

    def __enter__(self) -> ModelExpert:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end(finished=exc[0] is None)

    def close(self) -> None:
        # In the ``finally`` of a run that broke off, what its answers cost is told nowhere yet.
        self._end(finished=sys.exc_info()[0] is None)

    def answer(self, questions: Questions) -> Answers:
        """Ask about n states; answers that are kept need no key."""
        rows: dict[str, list[int]] = {}
        for i, question in questions_of(self._desk.prompt, questions, range(len(questions))):
            rows.setdefault(question.key, []).append(i)
        given = self._find(rows)
        missing = {key: places[0] for key, places in rows.items() if key not in given}
        if missing and self._stopped is None:
            if self._loop is None:
                self._loop = Loop()
            self._loop.run(self._ask(questions, missing, given))
        return self._answers(len(questions), rows, given)

    def _find(self, keys: Iterable[str]) -> dict[str, Kept]:
        return self._desk.kept.find(keys, self._desk.buttons, self._desk.settings.model.max_tokens)

    async def _ask(
        self, questions: Questions, missing: dict[str, int], given: dict[str, Kept]
    ) -> None:
        """Fill ``given``: from batches that are over, and then by asking in the way that is set."""
        if self._ways is None:
            self._client = open_client(self._desk.settings, self._desk.settings.expert.timeout)
            self._ways = Asking(self._desk, self._client), Batching(self._desk, self._client)
        asking, batching = self._ways
        given.update(await batching.collect(missing))
        waiting = batching.waiting(missing)
        todo = [i for key, i in missing.items() if key not in given and key not in waiting]
        source = (question for _, question in questions_of(self._desk.prompt, questions, todo))
        if self._desk.settings.model.batch:
            await batching.submit(source)
        else:
            await asking.ask_each(source, len(todo), given)
        reasons = [reason for reason in (asking.stopped, batching.stopped) if reason]
        self._stopped = "; ".join(reasons) or None

    def _answers(self, count: int, rows: dict[str, list[int]], given: dict[str, Kept]) -> Answers:
        answers, costs = Answers.unanswered(count), Costs.none(count)
        for key, kept in given.items():
            for i in rows[key]:
                answers.status[i] = kept.status
                if kept.status == LabelStatus.LABELLED and kept.button is not None:
                    answers.buttons[i] = self._index[kept.button]
                    if kept.note:
                        answers.logs[i] = kept.note
                else:
                    answers.reasons[i] = kept.note
                costs.attempts[i] = min(kept.attempts, 255)
                costs.input_tokens[i] = kept.usage.read
                costs.output_tokens[i] = kept.usage.output_tokens
                costs.dollars[i] = np.float32(kept.dollars)
                kept = kept.free()  # the same question again costs nothing
        return Answers(answers.buttons, answers.status, answers.reasons, costs, answers.logs)

    def _end(self, *, finished: bool) -> None:
        if self._loop is not None:
            if self._client is not None:
                self._loop.run(self._client.close())
            self._loop.close()
            self._loop = self._client = self._ways = None
        self._desk.kept.close(finished)
