"""The program as expert: ``act(state) -> button``, asked in batches, never in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pipeline.experts.protocol import Answers, Identity, Questions, Screens
from pipeline.experts.sandbox import (
    Isolation,
    Limits,
    Program,
    Reply,
    Trouble,
    bounded,
    isolation_of,
    open_sandbox,
)
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.system.errors import PipelineError

BATCH = 1024
"""States sent at a time; after a death the rest of them is sent again."""
MAX_PROGRAM = 4 << 20
_FORGOTTEN = "its process ended during the episode, and the program's memory with it"
MAX_LOGS = 1 << 20
"""Characters of notes kept from one call; those of later states are dropped."""


class ProgramExpert:
    """Asks an expert program about states; a failed answer is never replaced by a button.

    A state at which the program hangs, dies or runs out of memory gets no label, and a fresh
    process goes on with the next one. A program that writes into the channel of its answers loses
    the whole batch. What it did before never reaches the next batch.

    Its answer must be a function of the state. With ``remembers`` it may depend on the states of
    the same episode, too; :meth:`begin_episode` loads it anew, and where its process ends before
    the episode does, the rest of the episode has no answers.

    The program may call the tools of ``pipeline.experts.tools`` without importing them.

    Args:
        path: the program's file, which defines ``act(state: dict) -> str``. Variables arrive as
            int, arrays as nested lists.
        buttons: the game's button names, in the order of the actions.
        timeout: seconds the program may take for one state before it is killed; that state is
            then TIMED_OUT.
        isolation: ``auto`` trusts programs that ship with the project and puts all others in bwrap.
        memory_mb: what an isolated program may use.
        tools: what the tools know of the game, from ``tools_data(game)``.
        loading: seconds until it must be ready to be asked.
        remembers: its answers depend on what it was asked before in the episode.

    Raises:
        PipelineError: no such file, no such isolation on this machine, or the program fails while
            it is loaded for the first time.
    """

    def __init__(
        self,
        path: Path,
        buttons: Sequence[str],
        timeout: float = 60.0,
        *,
        isolation: Literal["auto", "trusted", "bwrap", "monty"] = "auto",
        memory_mb: int = 1024,
        tools: Mapping[str, Any] | None = None,
        loading: float = 60.0,
        remembers: bool = False,
    ) -> None:
        real = path.resolve()  # once: links may lead elsewhere the next time
        source = _read(real, path)
        try:
            text = source.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise PipelineError(
                f"{path}: not a Python file; an expert program is UTF-8 text"
            ) from None
        self.path = path
        self.sha256 = hashlib.sha256(source).hexdigest()
        self.isolation: Isolation = isolation_of(real, isolation)
        self._index = {name: i for i, name in enumerate(buttons)}
        limits = Limits(answer=timeout, loading=loading, memory_mb=memory_mb)
        program = Program(path.name, text, tools or {})
        self._sandbox = open_sandbox(program, self.isolation, limits)
        self._room = MAX_LOGS
        self.remembers = remembers
        self._begun = False

    def __enter__(self) -> ProgramExpert:
        try:
            self._sandbox.start()
        except Trouble as trouble:
            raise PipelineError(
                f"{self.path}: the expert program does not load ({trouble.reason}); fix it"
            ) from None
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def identity(self) -> Identity:
        """What a shard's provenance says of this expert."""
        told: Identity = {"kind": "program", "path": self.path.name, "sha256": self.sha256}
        return {**told, "memory": "episode"} if self.remembers else told

    @property
    def screens(self) -> Screens:
        return "none"

    @property
    def stopped(self) -> str | None:
        return None

    def close(self) -> None:
        self._sandbox.close()

    def begin_episode(self) -> None:
        """Forget what was asked before: the next question is put to a fresh process."""
        self._begun = False
        self._sandbox.close()

    def answer(self, questions: Questions) -> Answers:
        """Ask about n states."""
        answers = Answers.unanswered(len(questions))
        self._room = MAX_LOGS
        for first in range(0, len(questions), BATCH):
            self._ask(questions, answers, first, min(first + BATCH, len(questions)))
        return answers

    def _ask(self, questions: Questions, answers: Answers, first: int, last: int) -> None:
        """Fill rows ``first`` to ``last``, with as many processes as it takes.

        A process that was asked before may have been spoilt by then: where it fails at its first
        state, or loses the batch, a fresh one is asked the same.
        """
        while first < last:
            sent = first
            try:
                fresh = self._sandbox.start()
            except Trouble as trouble:
                reason = f"the program does not load again ({trouble.reason})"
                self._fail(answers, range(first, last), trouble.status, reason)
                return
            if self.remembers:
                if fresh and self._begun:
                    self._fail(answers, range(first, last), LabelStatus.FAILED, _FORGOTTEN)
                    return
                self._begun = True
            rows = {name: column[first:last] for name, column in questions.state.items()}
            try:
                for reply in self._sandbox.ask(rows, last - first):
                    self._note(answers, first, reply)
                    first += 1
            except Trouble as trouble:
                if first == last and not trouble.whole:
                    return  # it died after its last answer
                if not fresh and (trouble.whole or first == sent):
                    self._fail(answers, range(sent, first), LabelStatus.UNLABELLED, None)
                    first = sent
                elif trouble.whole:
                    self._fail(answers, range(sent, last), trouble.status, trouble.reason)
                    return
                else:
                    self._fail(answers, range(first, first + 1), trouble.status, trouble.reason)
                    first += 1

    def _note(self, answers: Answers, row: int, reply: Reply) -> None:
        if reply.outcome == "button" and reply.text in self._index:
            answers.status[row] = LabelStatus.LABELLED
            answers.buttons[row] = self._index[reply.text]
        elif reply.outcome in ("button", "invalid"):
            shown = repr(reply.text) if reply.outcome == "button" else reply.text
            answers.status[row] = LabelStatus.INVALID
            answers.reasons[row] = f"{bounded(shown, 100)} is not a button of this game"
        elif reply.outcome == "refused":
            answers.status[row] = LabelStatus.REFUSED
            answers.reasons[row] = "the program gave no button"
        else:
            answers.status[row] = LabelStatus.FAILED
            answers.reasons[row] = reply.text
        if reply.notes and self._room > 0:
            answers.logs[row] = reply.notes
            self._room -= len(reply.notes)

    @staticmethod
    def _fail(answers: Answers, rows: range, status: LabelStatus, reason: str | None) -> None:
        for row in rows:
            answers.buttons[row] = NO_ACTION
            answers.status[row] = status
            answers.logs.pop(row, None)
            answers.reasons.pop(row, None)
            if reason is not None:
                answers.reasons[row] = reason


def _read(real: Path, named: Path) -> bytes:
    """A program's bytes; what is no file, such as /dev/zero, would never end."""
    try:
        if not real.is_file():
            raise FileNotFoundError
        with real.open("rb") as file:
            source = file.read(MAX_PROGRAM + 1)
    except OSError:
        raise PipelineError(
            f"{named}: no expert program there; give one with --expert.path FILE"
        ) from None
    if len(source) > MAX_PROGRAM:
        raise PipelineError(f"{named}: larger than {MAX_PROGRAM >> 20} MiB; give a smaller program")
    return source
