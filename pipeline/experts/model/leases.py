"""Leases of the runs that use the file of the answers: what a run holds, it holds while it lives.

A run claims questions, submits batches and owes the cost of answers to its shard. Each of these
names the run; here stands until when it may be believed that it is still at work. One that was held
up for longer (a laptop that slept) finds its batches taken over and submits none of them; of
questions put one by one, those that were under way then may be paid for twice.
"""

from __future__ import annotations

import threading
from datetime import datetime, timezone

from pipeline.experts.model.database import Database
from pipeline.system.lease import RENEWED, SKEW, Watch, lives, told

LEASES = """
CREATE TABLE IF NOT EXISTS leases (run TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
# Seconds after which the lease of a run that broke off is removed: whoever meets the run's name
# later gives it another one, and waits for its end.
_OLD = 7 * 86_400.0
_RENEW = "INSERT INTO leases VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET until = excluded.until"


class Leases:
    """The lease of one run, renewed by a thread of its own, and its look at those of others.

    Args:
        run: its name, which begins with that of its process.
    """

    def __init__(self, database: Database, run: str, watch: Watch | None = None) -> None:
        self.run = run
        self._database = database
        self._watch = watch or Watch()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self) -> None:
        """Take the lease, where it is not held, and renew it until the end.

        Call it before anything is written in the name of this run.
        """
        if self._thread is None:
            self.renew()
            self._thread = threading.Thread(target=self._renewing, name="lease", daemon=True)
            self._thread.start()

    def renew(self) -> None:
        self._database.write((_RENEW, (self.run, self._watch.end())))

    def _renewing(self) -> None:
        while not self._ended.wait(RENEWED) and not self._database.given_up:
            self.renew()

    def held(self, run: str) -> bool:
        """Whether a run may still be at work.

        It may if its process lives, or if nobody knows and its lease is not over. A run of an older
        version, which has no lease, gets one now.
        """
        if run == self.run:
            return True
        alive = lives(run)
        if alive is not None:
            return alive
        until = self._until(run)
        if until is None:
            sql = "INSERT OR IGNORE INTO leases VALUES (?, ?)"
            self._database.write((sql, (run, self._watch.end())))
            return True
        return not self._watch.over(run, until)

    def holder(self, run: str) -> str:
        """Who a run is and until when it is waited for, as a message names it."""
        if lives(run):
            return f"{told(run)}, which lives"
        until = self._until(run)
        if until is None:
            return told(run)
        end = datetime.fromtimestamp(until + SKEW, timezone.utc)
        return f"{told(run)}, until {end:%H:%M:%S} UTC if it does not renew that"

    def _until(self, run: str) -> float | None:
        rows = self._database.read("SELECT until FROM leases WHERE run = ?", (run,))
        return float(rows[0][0]) if rows else None

    def end(self, *, finished: bool) -> None:
        """Stop renewing; a run that is finished holds nothing any more."""
        self._ended.set()
        if self._thread is None:
            return
        self._thread.join()
        now = self._watch.clock()
        mine = (
            ("DELETE FROM leases WHERE run = ?", (self.run,))
            if finished
            else ("UPDATE leases SET until = ? WHERE run = ?", (now - SKEW, self.run))
        )
        self._database.write(mine, ("DELETE FROM leases WHERE until < ?", (now - _OLD,)))
