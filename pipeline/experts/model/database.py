"""A small sqlite file that several processes write: no run fails because it is damaged.

The file lies among the shards, hidden. Write-ahead logging on a disk of this machine; on a network
file system, where processes of several hosts cannot share the memory that it needs, a rollback
journal, which is as safe there as the file system's locks. A process that is killed loses nothing
that was committed.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pipeline.system.errors import printable

Row = tuple[Any, ...]
Result = TypeVar("Result")
# Seconds that a writer waits for another process.
PATIENCE = 30.0
_AT_ONCE = 500
# As /proc/self/mountinfo names them.
_NETWORK = ("nfs", "cifs", "smb", "ceph", "9p", "lustre", "gpfs", "glusterfs", "beegfs", "fuse")


class Database:
    """Opened at the first use, by any thread, one at a time.

    A damaged file is renamed to ``NAME.damaged-N``, with a line on stderr, and a new one begun. One
    that cannot be read or written at all (a full disk, a folder without permission) is given up
    with a line: reads then find nothing and writes are lost.

    Args:
        schema: SQL that makes the tables where they are missing.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self.given_up = False
        self.why: str | None = None
        """Why the file was given up, or set aside last."""
        self._there = False
        self._inode: tuple[int, int] | None = None
        self._schema = schema
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()

    @property
    def opened(self) -> bool:
        return self._connection is not None

    def out_of_reach(self) -> bool:
        """Whether there is such a file, or was, that can no longer be used."""
        return self._there and (self.given_up or self.replaced())

    def replaced(self) -> bool:
        """Whether the file that is open is no longer the one of that name."""
        return self._inode is not None and self._inode != _inode(self.path)

    def aside(self) -> list[Path]:
        """Files that were damaged and set aside."""
        return list(self.path.parent.glob(f"{glob.escape(self.path.name)}.damaged-*"))

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The rows found; none where there is no file, which is not made for a question."""
        if not self.opened and not self.path.exists():
            return []
        return self._try(lambda connection: connection.execute(sql, values).fetchall()) or []

    def write(self, *statements: tuple[str, Sequence[Any]], durable: bool = False) -> int | None:
        """Run statements in one transaction; the rows that the last one changed, None if lost.

        Args:
            durable: survive a power cut, too; that takes a write to the disk itself.
        """

        def run(connection: sqlite3.Connection) -> int:
            if durable:
                connection.execute("PRAGMA synchronous = FULL")
            try:
                with _transaction(connection):
                    for sql, values in statements:
                        cursor = connection.execute(sql, values)
                    return cursor.rowcount
            finally:
                if durable:
                    connection.execute("PRAGMA synchronous = NORMAL")

        return self._try(run)

    def write_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> int | None:
        def run(connection: sqlite3.Connection) -> int:
            with _transaction(connection):
                return connection.executemany(sql, rows).rowcount

        return self._try(run)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = self._inode = None

    def _try(self, run: Callable[[sqlite3.Connection], Result]) -> Result | None:
        with self._lock:
            for _ in range(2):
                if self.given_up:
                    return None
                try:
                    return run(self._open())
                except sqlite3.OperationalError as error:
                    if not _damage(error):
                        self._give_up(error)
                        return None
                    self._set_aside(error)
                except sqlite3.DatabaseError as error:
                    self._set_aside(error)
            self.given_up = True
            return None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._there = self._there or self.path.is_file()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._connection = connection
            if _is_on_network(self.path.parent):
                # Not while others have it open; who opens it alone the next time does it.
                with suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA journal_mode = DELETE").fetchall()
            else:
                connection.execute("PRAGMA journal_mode = WAL").fetchall()
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(self._schema)
            self._there, self._inode = True, _inode(self.path)
        return self._connection

    def _set_aside(self, error: sqlite3.Error) -> None:
        self.close()
        self.why = str(error)
        number = 1
        while (aside := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        try:
            self.path.rename(aside)
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        except OSError as why:
            self._give_up(why)
            return
        _say(f"{self.path}: damaged ({error}); set aside as {aside.name}, a new one is started")

    def _give_up(self, error: Exception) -> None:
        self.close()
        self.given_up, self.why = True, str(error)
        _say(f"{self.path}: cannot be used ({error}); the answers of this run are not kept")


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_on_network(folder: Path) -> bool:
    """Whether a folder lies on a file system that several hosts may share; False if unknown."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    place = os.path.realpath(folder)
    nearest, kind = "", ""
    for line in mounts:
        before, _, after = line.partition(" - ")
        # Spaces and the like in names are octal, as in C.
        point = before.split()[4].encode("latin-1", "backslashreplace").decode("unicode_escape")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(nearest):  # of two at one place the later one is seen
            nearest, kind = point, after.split()[0]
    return kind.startswith(_NETWORK)


def in_chunks(values: list[str]) -> Iterator[list[str]]:
    """As many values at a time as a statement takes."""
    return (values[first : first + _AT_ONCE] for first in range(0, len(values), _AT_ONCE))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _damage(error: sqlite3.OperationalError) -> bool:
    """Whether the file is another's or broken, rather than busy, full or out of reach."""
    return any(sign in str(error) for sign in ("no such table", "no such column", "has no column"))


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)
