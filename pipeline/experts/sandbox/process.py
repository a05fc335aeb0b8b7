"""A child process that is not believed: lines in and out, bounded in length, number and time."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from time import monotonic

MAX_LINE = 1 << 16
"""Bytes of a line; the longest true answer has about 27,000."""
MAX_ERRORS = 1 << 20
"""Bytes that may be written to stderr between two questions."""
_CHUNK = 1 << 16
_TAIL = 2000


class Ended(Exception):
    """The process closed its end; ``str`` says how it died."""


class Late(Exception):
    """Nothing came in time."""


class Flood(Exception):
    """It wrote more to stderr than it may."""


class Endless(Exception):
    """It wrote a line that is longer than a line may be."""


class Process:
    """Started at once, in a session of its own: an interrupt at the terminal is not for it.

    One thread at a time may use it. What it writes to stderr is read on the way and all but its
    end is thrown away.
    """

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        self._process = subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd="/",
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._in, self._out, self._err = (s.fileno() for s in streams if s is not None)
        for fd in (self._in, self._out, self._err):
            os.set_blocking(fd, False)
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._err, select.POLLIN)
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._over = False
        self._complained = 0
        self._tail = b""

    @property
    def complaints(self) -> str:
        """The end of what it wrote to stderr."""
        return self._tail.decode("utf-8", "replace").strip()

    def fresh(self) -> bool:
        """Whether it lives and none of its output waits to be read.

        Then what it writes next answers what is sent to it next.
        """
        with contextlib.suppress(Flood, Endless):
            self._wait(0)
        alive = self._process.poll() is None and not self._over
        self._complained = 0
        return alive and not self._lines and not self._rest

    def send(self, data: bytes, deadline: float) -> None:
        """Write all of ``data``; ``deadline`` is a time of ``monotonic``.

        Raises:
            Ended, Late, Flood, Endless
        """
        left = memoryview(data)
        self._poll.register(self._in, select.POLLOUT)
        try:
            while left:
                try:
                    left = left[os.write(self._in, left) :]
                except BlockingIOError:
                    if self._over:
                        raise Ended(self._death()) from None
                    self._wait(self._seconds(deadline))
                except BrokenPipeError:
                    raise Ended(self._death()) from None
        finally:
            self._poll.unregister(self._in)

    def line(self, deadline: float) -> bytes:
        """The next line, without its end.

        Raises:
            Ended, Late, Flood, Endless
        """
        while not self._lines:
            if self._over:
                raise Ended(self._death())
            self._wait(self._seconds(deadline))
        return self._lines.popleft()

    def close(self) -> None:
        """Kill it and all it started, as far as it has no sandbox of its own to see to that."""
        if self._process.poll() is None:  # else the number may be another's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    @staticmethod
    def _seconds(deadline: float) -> float:
        left = deadline - monotonic()
        if left <= 0:
            raise Late
        return left

    def _wait(self, seconds: float) -> None:
        """Read what is there, or comes within ``seconds``."""
        for fd, _ in self._poll.poll(seconds * 1000):
            if fd == self._out:
                self._read_lines()
            elif fd == self._err:
                self._read_complaints()

    def _read_lines(self) -> None:
        chunk = os.read(self._out, _CHUNK)
        if not chunk:
            self._over = True
            self._poll.unregister(self._out)
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self._lines.extend(lines)
        if len(self._rest) > MAX_LINE or any(len(line) > MAX_LINE for line in lines):
            raise Endless

    def _read_complaints(self) -> None:
        chunk = os.read(self._err, _CHUNK)
        if not chunk:
            self._poll.unregister(self._err)
        self._tail = (self._tail + chunk)[-_TAIL:]
        self._complained += len(chunk)
        if self._complained > MAX_ERRORS:
            raise Flood

    def _death(self) -> str:
        try:
            code = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "it closed its answers"
        if code > 128:  # a sandbox tells its child's death by a signal so
            code = 128 - code
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"
