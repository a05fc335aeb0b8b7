"""Answers that were paid for, by content: nothing is paid for twice, and a broken run carries on.

One hidden sqlite file in the game's folder of shards, shared by all processes that ask a model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.experts.budget import Usage
from pipeline.experts.model.database import Database, in_chunks
from pipeline.experts.model.leases import LEASES, Leases
from pipeline.experts.model.ledger import LEDGER
from pipeline.experts.model.process_names import run_id
from pipeline.experts.model.under_way import BATCHES
from pipeline.shards.format.schema import LabelStatus

FILE_NAME = ".answers-v1.sqlite3"

ANSWERS = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,      -- of the question: model, instructions, state, screen
    status INTEGER NOT NULL,   -- a LabelStatus
    button TEXT,
    note TEXT NOT NULL,        -- why this button, or why none
    cut_at INTEGER,            -- max_tokens, where they were too few
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    dollars REAL NOT NULL,
    batch INTEGER NOT NULL,    -- 1 through the Message Batches API
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,
    request_id TEXT,
    time REAL NOT NULL,
    teller TEXT NOT NULL       -- the run that has its cost in its shard, or will have
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS asking (key TEXT PRIMARY KEY, run TEXT NOT NULL) WITHOUT ROWID;
"""

TOLD = "told"
_COLUMNS = (
    "key, status, button, note, cut_at, attempts, input_tokens, output_tokens, "
    "cache_write_tokens, cache_read_tokens, dollars, batch, model, prompt, request_id, time, teller"
)


@dataclass(frozen=True)
class Kept:
    """An answer to a question: a button, or a reason why there is none; and what it cost."""

    status: LabelStatus
    button: str | None
    note: str
    usage: Usage = field(default_factory=Usage)
    dollars: float = 0.0
    attempts: int = 0
    batch: bool = False
    cut_at: int | None = None
    request_id: str | None = None

    def free(self) -> Kept:
        """The same for one who need not pay for it any more."""
        return replace(self, usage=Usage(), dollars=0.0, attempts=0)


class KeptAnswers:
    """The answers of one game. For one thread at a time; close it.

    The cost of an answer belongs to the run that paid for it, and its shard tells it. Where that
    run died before it was over, the next one that needs the answer tells its cost in its place; of
    a run on another host that is when its lease is over. So it is with a question that it claimed.

    Args:
        model, prompt: what all questions of this expert share.
    """

    def __init__(self, folder: Path, model: str, prompt: str) -> None:
        self.run = run_id()
        self.database = Database(folder / FILE_NAME, ANSWERS + LEDGER + BATCHES + LEASES)
        self.leases = Leases(self.database, self.run)
        self._model = model
        self._prompt = prompt
        self._given: set[str] = set()

    def find(self, keys: Iterable[str], buttons: Sequence[str], max_tokens: int) -> dict[str, Kept]:
        """The answers that are kept to these questions.

        One that was cut off counts only while no more ``max_tokens`` are allowed than then; one
        that names no button of this game does not count.
        """
        found: dict[str, Kept] = {}
        for some in in_chunks(list(keys)):
            marks = ", ".join("?" * len(some))
            sql = f"SELECT {_COLUMNS} FROM answers WHERE key IN ({marks})"
            for row in self.database.read(sql, some):
                kept = _read(row, buttons)
                if kept is None or (kept.cut_at is not None and max_tokens > kept.cut_at):
                    continue
                found[row[0]] = kept if self._tells(row[0], row[-1]) else kept.free()
        return found

    def _tells(self, key: str, teller: str) -> bool:
        """Whether this run has to tell the cost of an answer now; it does so once."""
        if key in self._given or teller == TOLD:
            return False
        if teller != self.run:
            if self.leases.held(teller):
                return False
            self.leases.hold()
            sql = "UPDATE answers SET teller = ? WHERE key = ? AND teller = ?"
            if self.database.write((sql, (self.run, key, teller))) != 1:
                return False
        self._given.add(key)
        return True

    def keep(self, key: str, kept: Kept) -> None:
        """Keep an answer that was just given; now it is safe, even if this process dies."""
        self._given.add(key)
        self.leases.hold()
        marks = ", ".join("?" * 17)
        self.database.write(
            (f"INSERT OR REPLACE INTO answers ({_COLUMNS}) VALUES ({marks})", self._row(key, kept)),
            ("DELETE FROM asking WHERE key = ?", (key,)),
        )

    def keep_all(self, kept: Mapping[str, Kept]) -> None:
        """Keep answers that came of a batch; who asks for them tells their cost."""
        self.leases.hold()
        marks = ", ".join("?" * 17)
        rows = [self._row(key, one) for key, one in kept.items()]
        self.database.write_many(
            f"INSERT OR REPLACE INTO answers ({_COLUMNS}) VALUES ({marks})", rows
        )

    def mean_usage(self) -> Usage | None:
        """Tokens of each kept answer of this model to these instructions; None if none is kept."""
        sql = (
            "SELECT count(*), avg(input_tokens), avg(output_tokens), avg(cache_write_tokens), "
            "avg(cache_read_tokens) FROM answers WHERE model = ? AND prompt = ? AND batch = 0"
        )
        for count, *means in self.database.read(sql, (self._model, self._prompt)):
            if count:
                return Usage(*(round(mean) for mean in means))
        return None

    def _row(self, key: str, kept: Kept) -> tuple[Any, ...]:
        usage = kept.usage
        return (
            key, int(kept.status), kept.button, kept.note, kept.cut_at, kept.attempts,
            usage.input_tokens, usage.output_tokens, usage.cache_write_tokens,
            usage.cache_read_tokens, kept.dollars, int(kept.batch), self._model, self._prompt,
            kept.request_id, time.time(), self.run,
        )  # fmt: skip

    def claim(self, key: str) -> str | None:
        """Claim a question; None where this run may ask it, or the run that asks it and lives."""
        self.leases.hold()
        sql = "INSERT OR IGNORE INTO asking (key, run) VALUES (?, ?)"
        if self.database.write((sql, (key, self.run))) != 0:
            return None  # a lost database forbids nothing: that is the ledger's work
        [(holder,)] = self.database.read("SELECT run FROM asking WHERE key = ?", (key,)) or [("",)]
        if holder == self.run:
            return None
        if holder and not self.leases.held(holder):
            sql = "UPDATE asking SET run = ? WHERE key = ? AND run = ?"
            if self.database.write((sql, (self.run, key, holder))) != 0:
                return None
        return str(holder)

    def release(self, key: str) -> None:
        """Give a claim up without an answer."""
        self.database.write(("DELETE FROM asking WHERE key = ? AND run = ?", (key, self.run)))

    def close(self, finished: bool) -> None:
        """End; with ``finished`` the costs of this run's answers count as told in its shard."""
        if self.database.opened and finished:
            sql = "UPDATE answers SET teller = ? WHERE teller = ?"
            self.database.write((sql, (TOLD, self.run)))
        self.leases.end(finished=finished)
        self.database.close()


def _read(row: tuple[Any, ...], buttons: Sequence[str]) -> Kept | None:
    status, button, note, cut_at, attempts = row[1:6]
    labelled = status == LabelStatus.LABELLED
    if labelled != (button is not None) or (labelled and button not in buttons):
        return None
    usage = Usage(*row[6:10])
    return Kept(
        LabelStatus(status), button, note, usage, row[10], attempts, bool(row[11]), cut_at, row[14]
    )
