"""Batches that are under way, as the file of the answers remembers them.

A batch is written down before it is submitted, without the provider's id, and again with it. A
process that dies in between leaves a row without an id: whether the batch arrived is then found out
from the provider's list, before anything is submitted again. While it may be at work (it lives, or
its lease is not over) nobody else looks; who looks takes the row over first, so that one that was
only held up notices, and submits nothing.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.experts.model.database import Database, in_chunks
from pipeline.experts.model.leases import Leases
from pipeline.system.errors import PipelineError

BATCHES = """
CREATE TABLE IF NOT EXISTS batches (
    name TEXT PRIMARY KEY,     -- ours, before the provider's is known
    id TEXT,                   -- the provider's
    questions INTEGER NOT NULL,
    run TEXT NOT NULL,         -- who submits it, or finds out whether it arrived; '' for nobody
    time REAL NOT NULL,
    collected INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS under_way (key TEXT PRIMARY KEY, batch TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "name, id, questions, run, time"


@dataclass(frozen=True)
class Submitted:
    """A batch: ``id`` is None while it is not known whether it arrived."""

    name: str
    id: str | None
    questions: int
    run: str
    time: float
    """Unix seconds, just before it was submitted."""


class UnderWay:
    """The batches of one game; for one thread at a time."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        self._run = leases.run

    def intend(self, keys: Sequence[str]) -> str:
        """Write down that a batch with these questions is about to be submitted; its name.

        Raises:
            PipelineError: it cannot be written down; then it must not be submitted.
        """
        self._leases.hold()
        name = uuid.uuid4().hex
        kept = self._database.write(
            ("INSERT INTO batches (name, questions, run, time) VALUES (?, ?, ?, ?)",
             (name, len(keys), self._run, time.time())),
            *(
                ("INSERT OR REPLACE INTO under_way (key, batch) VALUES (?, ?)", (key, name))
                for key in keys
            ),
            durable=True,
        )  # fmt: skip
        if kept is None:
            raise self._cannot()
        return name

    def _cannot(self) -> PipelineError:
        return PipelineError(
            f"{self._database.path}: a batch cannot be recorded, so it would be lost; "
            "make room or give permission there, or ask with --model.batch false"
        )

    def is_ours(self, name: str) -> bool:
        """Whether the batch is still ours to submit; ask just before each try.

        False where this process stood still so long that another one took its questions over.

        Raises:
            PipelineError: nobody can know, as the file is lost.
        """
        sql = "UPDATE batches SET time = ? WHERE name = ? AND run = ?"
        changed = self._database.write((sql, (time.time(), name, self._run)), durable=True)
        if changed is None or self._database.replaced():
            raise self._cannot()
        return changed == 1

    def take_over(self, submitted: Submitted) -> bool:
        """Become the one who finds out whether a batch arrived; False if another one did."""
        self._leases.hold()
        sql = "UPDATE batches SET run = ? WHERE name = ? AND run = ? AND id IS NULL"
        values = (self._run, submitted.name, submitted.run)
        return self._database.write((sql, values), durable=True) == 1

    def submitted(self, name: str, batch_id: str) -> bool:
        """The batch arrived, and this is the provider's id; whether that could be written down."""
        sql = "UPDATE batches SET id = ? WHERE name = ?"
        return self._database.write((sql, (batch_id, name)), durable=True) == 1

    def let_go(self, name: str) -> None:
        """Whether the batch arrived is not known, and this run does nothing about it any more."""
        sql = "UPDATE batches SET run = '' WHERE name = ? AND run = ?"
        self._database.write((sql, (name, self._run)), durable=True)

    def forget(self, name: str) -> None:
        """The batch is none, or none of ours: its questions may be asked again."""
        self._database.write(
            ("DELETE FROM under_way WHERE batch = ?", (name,)),
            ("DELETE FROM batches WHERE name = ?", (name,)),
            durable=True,
        )

    def collected(self, name: str) -> None:
        """The answers are kept. The id stays, so that the batch is not taken for another one."""
        self._database.write(
            ("DELETE FROM under_way WHERE batch = ?", (name,)),
            ("UPDATE batches SET collected = 1 WHERE name = ?", (name,)),
            durable=True,
        )

    def open_ones(self) -> list[Submitted]:
        """Those that are not collected, oldest first; not those being submitted right now."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM batches WHERE collected = 0 ORDER BY time"
        )
        return [one for one in (Submitted(*row) for row in rows) if not self.is_at_work(one)]

    def is_at_work(self, submitted: Submitted) -> bool:
        """Whether somebody is submitting the batch, or finding out whether it arrived."""
        run = submitted.run
        return submitted.id is None and bool(run) and self._leases.held(run)

    def submitter(self, submitted: Submitted) -> str:
        """Who does that, as a message names it."""
        return self._leases.holder(submitted.run)

    def known_ids(self) -> set[str]:
        return {row[0] for row in self._database.read("SELECT id FROM batches WHERE id NOT NULL")}

    def keys(self, name: str) -> set[str]:
        sql = "SELECT key FROM under_way WHERE batch = ?"
        return {row[0] for row in self._database.read(sql, (name,))}

    def waiting(self, keys: Iterable[str]) -> tuple[list[Submitted], set[str]]:
        """Those of the questions that are in batches which are not collected, and the batches."""
        batches: dict[str, Submitted] = {}
        found: set[str] = set()
        for some in in_chunks(list(keys)):
            marks = ", ".join("?" * len(some))
            sql = (
                f"SELECT key, {_COLUMNS} FROM under_way JOIN batches ON name = batch "
                f"WHERE key IN ({marks})"
            )
            for key, *row in self._database.read(sql, some):
                found.add(key)
                batches[row[0]] = Submitted(*row)
        return list(batches.values()), found
