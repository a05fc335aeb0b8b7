"""A milestone's program: the answers that are there are tried, then a model is asked for more."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from pipeline.experts.authoring import evidence
from pipeline.experts.authoring.answer import Unusable, program_in
from pipeline.experts.authoring.attempts import (
    Attempt,
    Attempts,
    milestone_folder,
    sha256,
    write_file,
)
from pipeline.experts.authoring.correspondence import ask_all
from pipeline.experts.authoring.joining import join
from pipeline.experts.authoring.prompt import answer_seconds, request, sticky
from pipeline.experts.authoring.record import Judged, best, result
from pipeline.experts.authoring.starts import TRIALS, find_starts, seeds
from pipeline.experts.authoring.trials import Course, Sight, Start, sights, tried_with, try_program
from pipeline.experts.authoring.verdict import Try
from pipeline.experts.authoring.written import Answer, Block
from pipeline.experts.budget import Spending
from pipeline.experts.model.client import model_name, open_client
from pipeline.experts.opening import open_expert
from pipeline.games.description import GameDescription, Milestone
from pipeline.reports.video import write_gif
from pipeline.settings import expert_fields
from pipeline.settings.changing import change
from pipeline.settings.fields import Settings
from pipeline.shards.format.provenance import fingerprint
from pipeline.system.errors import PipelineError

SIGHTS = 3
"""Start states that the model is shown."""


@dataclass(frozen=True)
class Workshop:
    """What all milestones of a run share."""

    settings: Settings
    game: GameDescription
    rom: Path
    folder: Path
    """``CHECKPOINTS/RUN/author``."""
    spending: Spending

    def course(self, goal: str, max_steps: int) -> Course:
        """How a program is tried: isolated as its labels will be, but by a shorter clock."""
        timeout = answer_seconds(self.settings)
        settings = change(
            self.settings, expert=expert_fields.Expert(kind="program", timeout=timeout)
        )
        noise = sticky(self.game, self.settings)
        return Course(str(self.game.folder), self.rom, settings, goal, max_steps, noise)

    def check_loads(self, source: str) -> None:
        """Start a program in its sandbox and end it.

        Raises:
            PipelineError: it does not load, or there is no isolation for it.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "program.py")
            path.write_text(source, encoding="utf-8")
            timeout = answer_seconds(self.settings)
            expert = expert_fields.Expert(kind="program", path=path, timeout=timeout)
            with open_expert(change(self.settings, expert=expert), self.game):
                pass


class Drafting:
    """The attempts at one milestone's program.

    Args:
        before: the accepted programs of all milestones before it, by name.
    """

    def __init__(self, shop: Workshop, goal: Milestone, before: Mapping[str, str]) -> None:
        names = [milestone.name for milestone in shop.game.milestones]
        self.shop = shop
        self.goal = goal
        self.asked = self.tried = 0
        """Programs asked for, and tried, by this object."""
        self.attempts = Attempts(milestone_folder(shop.folder, goal.name, names))
        self._before = dict(before)
        self._joined = join(before, shop.game) if before else None
        self._place = names.index(goal.name)
        self._author = shop.settings.author
        self._course = shop.course(goal.name, self._author.max_steps)
        self._mark = self._common_mark()
        self._shown: list[Sight] | None = None

    def kept(self) -> Judged | None:
        """The best accepted program that was tried under these settings."""
        return best([one for one in self._judged() if one.accepted(self._author.accept)])

    def draft(self, pool: Executor) -> str | None:
        """Try and ask until a program is accepted; return why none was, or None.

        Raises:
            PipelineError: no model, no key, or a model, key or account that the service refuses;
                no start states.
        """
        starts = self._starts(pool)
        if self._try_old(pool, starts):
            return None
        begun = max((one.number for one in self.attempts.all()), default=1)
        for number in range(begun, self._author.attempts + 1):
            todo = [
                attempt
                for candidate in range(1, self._author.candidates + 1)
                if (attempt := self.attempts.get(number, candidate)).answer() is None
            ]
            if not todo:
                continue
            why = self._ask(pool, starts, todo)
            for attempt in todo:
                if attempt.answer() is not None:
                    self._judge(attempt, pool, starts)
            if self.kept() is not None:
                return None
            if why is not None:
                return f"{why}; '{self.goal.name}' has no program yet"
        return self._given_up()

    def _given_up(self) -> str:
        found = best(self._judged())
        told = "there is none" if found is None else f"the best {found.shown}"
        return (
            f"no program for '{self.goal.name}' in {self._author.attempts} attempts: {told}, and "
            f"author.accept is {self._author.accept:g}; look into {self.attempts.folder}, and "
            "raise author.attempts to go on"
        )

    def _common_mark(self) -> str:
        """What every result depends on, the answer apart."""
        isolation = self.shop.settings.expert.isolation
        decisive = self._author.model_dump(
            include={"episodes", "max_steps", "seed", "answer_timeout"}
        )
        limits = self.shop.settings.expert.model_dump(include={"timeout", "memory_mb"})
        return fingerprint(
            "author",
            self.goal.name,
            tried_with(self.shop.game),
            decisive,
            limits,
            self._course.sticky,
            "bwrap" if isolation == "auto" else isolation,
            sha256(self._joined or ""),
        )

    def _mark_of(self, attempt: Attempt, text: str) -> str:
        return fingerprint("author", self._mark, attempt.number, sha256(text))

    def _judged(self) -> list[Judged]:
        found = []
        for attempt in self.attempts.answered():
            answer, told = attempt.answer(), attempt.result()
            if answer and told and told.get("mark") == self._mark_of(attempt, answer["text"]):
                found.append(Judged(attempt, told))
        return found

    def _starts(self, pool: Executor) -> list[bytes | None]:
        joined = None
        if self._joined is not None:
            joined = self.attempts.folder / "before.py"
            write_file(joined, self._joined.encode())
        return find_starts(
            pool,
            self._course,
            self.shop.game,
            joined,
            self.attempts.folder / "starts",
            mark=self._mark,
            base=self._author.seed,
            count=self._author.episodes,
        )

    def _try_old(self, pool: Executor, starts: Sequence[bytes | None]) -> bool:
        """Try the answers that have no result of these settings, the best of old first."""
        known = {one.attempt.name for one in self._judged()}
        old = []
        for attempt in self.attempts.answered():
            if attempt.name not in known:
                told = attempt.result()
                rate = 1.0 if told is None else float(told.get("success_rate", 1.0))
                old.append((-rate, attempt.number, attempt.candidate, attempt))
        for *_, attempt in sorted(old):
            self._judge(attempt, pool, starts)
            if self.kept() is not None:
                return True
        return self.kept() is not None

    def _ask(
        self, pool: Executor, starts: Sequence[bytes | None], todo: Sequence[Attempt]
    ) -> str | None:
        settings = self.shop.settings
        model_name(settings)
        client = open_client(settings, self._author.timeout)
        if self._shown is None:
            self._shown = sights(pool, self._course, self._openings(0, starts)[:SIGHTS])
        asked = request(
            settings,
            self.shop.game,
            self.goal,
            [(one.screen, one.state) for one in self._shown],
            self._evidence(),
        )
        why = ask_all(client, settings, self.shop.spending, asked, todo)
        self.asked += sum(attempt.answer() is not None for attempt in todo)
        return why

    def _openings(self, number: int, starts: Sequence[bytes | None]) -> list[Start]:
        """The games of one attempt; each attempt has its own, its candidates the same."""
        count = self._author.episodes
        chosen = seeds(self._author.seed, self._place, TRIALS + number * count, count)
        return [Start(seed, starts[i % len(starts)]) for i, seed in enumerate(chosen)]

    def _evidence(self) -> list[Block]:
        """Of the best attempt and of the last one, and a line on each other."""
        judged = self._judged()
        chosen = best(judged)
        if chosen is None:
            return []
        shown = {one.attempt.name: one for one in (chosen, judged[-1])}
        told = {one.attempt.name: one.attempt.evidence() for one in judged}
        rest = [one["summary"] if one else name for name, one in told.items() if name not in shown]
        blocks = [block for name in shown if (one := told[name]) for block in one["blocks"]]
        return [*evidence.others(rest), *blocks]

    def _judge(self, attempt: Attempt, pool: Executor, starts: Sequence[bytes | None]) -> None:
        """Try an answer's program and write down what came of it, the result last."""
        answer = attempt.answer()
        assert answer is not None
        self.tried += 1
        tries: list[Try] = []
        source = reason = None
        try:
            source = self._program(attempt, answer)
            openings = self._openings(attempt.number, starts)
            title = f"{self.goal.name} {attempt.name}"
            tries = try_program(pool, self._course, attempt.program, openings, title=title)
            blocks = evidence.of_tries(attempt.name, source, tries)
        except Unusable as why:
            reason = str(why)
            blocks = evidence.of_unusable(attempt.name, answer["text"], reason)
        self._film(attempt, tries)
        summary = evidence.summary(attempt.name, tries, reason)
        attempt.write("evidence", {"summary": summary, "blocks": blocks})
        told = result(
            self._mark_of(attempt, answer["text"]),
            answer,
            program=None if source is None else sha256(source),
            tries=tries,
            reason=reason,
            accept=self._author.accept,
        )
        attempt.write("result", told)

    def _program(self, attempt: Attempt, answer: Answer) -> str:
        """The answer's program, written to its file.

        Raises:
            Unusable: there is none, or it does not load, alone or joined with those before it.
        """
        source = program_in(
            answer["text"],
            answer["stop_reason"],
            most=self._author.max_tokens,
            explanation=answer["explanation"],
        )
        write_file(attempt.program, source.encode())
        whole = join({**self._before, self.goal.name: source}, self.shop.game)
        for text, named in ((source, "it"), (whole, "joined with the earlier ones it")):
            try:
                self.shop.check_loads(text)
            except PipelineError as error:
                # The line begins with the path of the file that was loaded.
                why = str(error).partition("program.py: ")[2] or str(error)
                raise Unusable(f"{named} does not load: {why}") from None
        return source

    def _film(self, attempt: Attempt, tries: Sequence[Try]) -> None:
        film = next((one.film for one in tries if one.film is not None), None)
        if film is not None:
            write_gif(attempt.film, film)
