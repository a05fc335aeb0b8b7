"""What a command has spent, over all its stages, rounds and worker processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.experts.budget import Book, Spent
from pipeline.experts.model.database import Database
from pipeline.settings.expert_fields import Budget
from pipeline.system.lease import began

LEDGER = """
CREATE TABLE IF NOT EXISTS spent (
    command TEXT PRIMARY KEY, dollars REAL NOT NULL, tokens INTEGER NOT NULL,
    labels INTEGER NOT NULL, began REAL NOT NULL
) WITHOUT ROWID;
"""
_ADD = (
    "UPDATE spent SET dollars = dollars + ?, tokens = tokens + ?, labels = labels + ? "
    "WHERE command = ?"
)
_FITS = (
    " AND (? IS NULL OR dollars + ? <= ? + 1e-9) AND (? IS NULL OR tokens + ? <= ?)"
    " AND (? IS NULL OR labels + ? <= ?)"
)
# The ledger that this process knows: begun at that time, with no less in it than it put there.
_KNOWN = " AND (? IS NULL OR began = ?) AND dollars >= ? - 1e-6 AND tokens >= ? AND labels >= ?"


@dataclass
class _Own:
    """What this process put into the ledger of a command, and when that ledger began."""

    total: Spent = field(default_factory=Spent)
    began: float | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)


# By file and command. An expert that stopped is opened anew by the same process: what the process
# has spent until then must outlast it.
_OWN: dict[tuple[str, str], _Own] = {}


class SharedBook(Book):
    """A sum in the file of the answers, one for each command: its processes add to the same.

    So a budget holds for the whole command, however often its stages open an expert. Each process
    keeps count of its own part, too. Where the ledger is lost (the file cannot be written, was
    removed or begun anew), no process knows what the others spend: then whoever has a limit asks no
    more. Without a limit nobody asks on either where answers are kept that cannot be reached, as
    they would be paid for again. ``lost`` says so.
    """

    def __init__(
        self, database: Database, command: str, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__(now)
        self._database = database
        self._command = command
        self._began_here = now()
        self._own = _OWN.setdefault((str(database.path.absolute()), command), _Own())
        self._why: str | None = None

    def total(self) -> tuple[Spent, float]:
        rows = self._rows()
        own = self._own
        if self._why or not rows:
            return own.total, self._began_here if own.began is None else own.began
        dollars, tokens, labels, began = rows[0]
        return Spent(dollars, tokens, labels), began

    def take(self, worst: Spent, limits: Budget) -> bool:
        with self._own.lock:
            if self._why is None:
                taken = self._taken(worst, limits)
                if self._why is None:
                    return taken
            limited = (limits.dollars, limits.tokens, limits.labels) != (None, None, None)
            if limited or self._database.out_of_reach():
                self.lost = (
                    f"{self._database.path}: the count of what this command has spent is lost "
                    f"({self._why}); nothing more is asked, so that nothing is paid twice "
                    "and no budget is exceeded"
                )
                return False
            self._own.total = self._own.total + worst
            return True

    def _taken(self, worst: Spent, limits: Budget) -> bool:
        own = self._own
        if self._database.replaced():
            self._why = "the file was removed or replaced"
            return False
        if own.began is None and self._damaged_meanwhile():
            self._why = "it was damaged and set aside while this command ran"
            return False
        begin = "INSERT OR IGNORE INTO spent VALUES (?, 0, 0, 0, ?)"
        fits = [
            value
            for limit, more in (
                (limits.dollars, worst.dollars),
                (limits.tokens, worst.tokens),
                (limits.labels, worst.labels),
            )
            for value in (limit, more, limit)
        ]
        known = [own.began, own.began, *self._values(own.total)]
        statements: list[tuple[str, Any]] = [
            (_ADD + _FITS + _KNOWN, (*self._values(worst), self._command, *fits, *known))
        ]
        if own.began is None:
            statements.insert(0, (begin, (self._command, self._began_here)))
        changed = self._database.write(*statements)
        if changed is None:
            self._why = self._database.why
            return False
        rows = self._rows() if changed != 1 or own.began is None else []
        if changed == 1:
            own.total = own.total + worst
            own.began = rows[0][3] if rows else own.began
            return True
        if not rows or own.began not in (None, rows[0][3]):
            self._why = self._database.why or "it was begun anew"
            return False
        own.began = rows[0][3]
        dollars, tokens, labels = rows[0][:3]
        least = own.total
        if dollars < least.dollars - 1e-6 or tokens < least.tokens or labels < least.labels:
            self._why = "it holds less than was written to it"
        return False

    def _damaged_meanwhile(self) -> bool:
        """Whether others of this command, which ran before this process, lost their ledger."""
        since, aside = began(self._command), self._database.aside()
        return since is not None and any(path.stat().st_ctime > since for path in aside)

    def change(self, by: Spent) -> None:
        if by == Spent():
            return
        with self._own.lock:
            self._own.total = self._own.total + by
            add = _ADD, (*self._values(by), self._command)
            if self._why is None and self._database.write(add) is None:
                self._why = self._database.why

    def _rows(self) -> list[tuple[Any, ...]]:
        return self._database.read(
            "SELECT dollars, tokens, labels, began FROM spent WHERE command = ?", (self._command,)
        )

    def _values(self, spent: Spent) -> tuple[float, int, int]:
        return spent.dollars, spent.tokens, spent.labels
