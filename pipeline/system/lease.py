"""Who holds something, and whether it is still there: names of processes, and leases in time.

A process is asked whether it lives only where it can be: on the same host, since the same boot, in
the same PID namespace; there a dead one is told at once. Of any other nobody knows, as a container
that takes another's place has another host name. What such a one holds is therefore held for a
time only: a lease, which it renews while it works and which ends by itself when it does not.

Clocks. The holder writes down when its lease ends, by its own clock; who reads it allows for
``SKEW`` more. A lease is renewed every ``RENEWED`` seconds, so that a living holder keeps it while
the reader's clock is less than five minutes fast; a clock that is slow, or a holder's that is fast,
makes the reader wait longer, but never longer than it sees the lease unchanged for a whole term.

Files have no renewal: what a process of elsewhere was writing counts as left behind when it was not
written to for ``FORGOTTEN`` seconds.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

TERM = 300.0
"""Seconds that a lease lasts when it is not renewed."""
RENEWED = 60.0
"""Seconds between renewals."""
SKEW = 60.0
"""Seconds for which a lease that is over still counts, as clocks differ."""
FORGOTTEN = 24 * 3600.0
"""Seconds without a change after which a file of an unknown process is a leftover."""

_FILE_MARK = re.compile(r"(.*)-([0-9a-f]{8})-(\d*)-(\d+)(?:-schema\d+)?")


def process_name(pid: int | None = None) -> str:
    """``host:pid:start:place`` of a process on this host, by default this one.

    ``start`` tells a number that is used again apart, ``place`` a boot and a PID namespace.
    """
    pid = os.getpid() if pid is None else pid
    return f"{_host()}:{pid}:{_start(pid) or ''}:{_place()}"


def lives(name: str) -> bool | None:
    """Whether the process of that name lives; None where that cannot be known from here.

    Args:
        name: as of ``process_name``; more after another colon does not matter. One without a place,
            as they were written formerly, lives or is unknown.
    """
    host, pid, start, place = [*name.split(":"), "", "", ""][:4]
    if host != _host() or not pid.isdigit():
        return None
    return _lives(int(pid), start, place)


def began(name: str) -> float | None:
    """Unix seconds since which the process of that name runs, if it is one of this place."""
    if not lives(name):
        return None
    try:
        up = float(Path("/proc/uptime").read_text().split()[0])
        return time.time() - up + int(name.split(":")[2]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def told(name: str) -> str:
    """The process of that name as a message names it."""
    host, _, rest = name.partition(":")
    return f"process {rest.partition(':')[0]} on {host}"


class Watch:
    """Judges leases: whether one that ends at a time is over.

    Args:
        clock: Unix seconds.
        steady: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.clock = clock
        self._steady = steady
        self._seen: dict[str, tuple[float, float]] = {}

    def end(self) -> float:
        """When a lease that is given or renewed now ends."""
        return self.clock() + TERM

    def over(self, name: str, until: float) -> bool:
        """Whether the lease of ``name``, which ends at ``until``, is over."""
        now = self._steady()
        before, since = self._seen.get(name, (None, now))
        if before != until:
            since = now
        self._seen[name] = until, since
        return self.clock() > until + SKEW or now - since > TERM + SKEW


def file_mark(pid: int | None = None) -> str:
    """What a temporary file's name ends in, so that others see whose it is."""
    pid = os.getpid() if pid is None else pid
    return f"{_host()}-{_place()}-{_start(pid) or ''}-{pid}"


def is_left_behind(path: Path, mark: str, now: float | None = None) -> bool:
    """Whether nobody writes the temporary file ``path`` any more.

    Args:
        mark: the part of its name that ``file_mark`` gave, or another program, or a former version.
        now: Unix seconds.
    """
    found = _FILE_MARK.fullmatch(mark)
    if found is not None and found[1] == _host():
        alive = _lives(int(found[4]), found[3], found[2])
        if alive is not None:
            return not alive
    try:
        written = path.stat().st_mtime
    except OSError:
        return False  # gone, or out of reach
    return (time.time() if now is None else now) - written > FORGOTTEN


def _lives(pid: int, start: str, place: str) -> bool | None:
    if place not in ("", _place()):
        return None
    dead = False if place else None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return dead
    except PermissionError:
        pass  # another user's
    began = _start(pid)
    return True if began is None or not start or began == start else dead


def _host() -> str:
    return re.sub(r"[/:\s]", "_", socket.gethostname())


@cache
def _place() -> str:
    """Eight digits of this boot and this PID namespace; none where the system tells neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        boot = space = ""
    return sha256(f"{boot.strip()} {space}".encode()).hexdigest()[:8]


def _start(pid: int) -> str | None:
    """When a process began, in ticks since the boot; empty if it has ended, None if unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # One that has ended but was not waited for is there for ever where nobody waits.
    return "" if fields[0] in "ZX" else fields[19]
