"""What a command has spent, over all its stages, rounds and worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.experts.budget import Book, Spent
from pipeline.experts.model.database import Database
from pipeline.settings import Budget

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


class SharedBook(Book):
    """A sum in the file of the answers, one for each command: its processes add to the same.

    So a budget holds for the whole command, however often its stages open an expert. Where the
    file cannot be used the sum is this object's own.
    """

    def __init__(
        self, database: Database, command: str, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__(now)
        self._database = database
        self._command = command
        self._began_here = now()

    def total(self) -> tuple[Spent, float]:
        rows = self._database.read(
            "SELECT dollars, tokens, labels, began FROM spent WHERE command = ?", (self._command,)
        )
        if not rows:
            return super().total()
        dollars, tokens, labels, began = rows[0]
        return Spent(dollars, tokens, labels), began

    def take(self, worst: Spent, limits: Budget) -> bool:
        fits = [
            value
            for limit, more in (
                (limits.dollars, worst.dollars),
                (limits.tokens, worst.tokens),
                (limits.labels, worst.labels),
            )
            for value in (limit, more, limit)
        ]
        changed = self._database.write(
            (
                "INSERT OR IGNORE INTO spent VALUES (?, 0, 0, 0, ?)",
                (self._command, self._began_here),
            ),
            (_ADD + _FITS, (*self._values(worst), self._command, *fits)),
        )
        return super().take(worst, limits) if changed is None else changed == 1

    def change(self, by: Spent) -> None:
        if self._database.write((_ADD, (*self._values(by), self._command))) is None:
            super().change(by)

    def _values(self, spent: Spent) -> tuple[float, int, int]:
        return spent.dollars, spent.tokens, spent.labels
