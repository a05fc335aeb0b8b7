"""What every sandbox offers to the expert that asks through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import printable

MAX_REASON = 200
MAX_NOTES = 2000

Isolation = Literal["trusted", "bwrap", "monty"]
Columns = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Program:
    """A program as text, so that what is run is what was hashed, and no path is followed twice."""

    name: str
    text: str
    game: Mapping[str, Any] = field(default_factory=dict)
    """What the tools know, as from ``tools_data``."""


@dataclass(frozen=True)
class Limits:
    """What a program may take; the rest (processes, files, network) it may not have at all."""

    answer: float = 60.0
    """Seconds for one state."""
    loading: float = 60.0
    """Seconds until it can be asked, the sandbox's own start included."""
    memory_mb: int = 1024
    """Address space (bwrap) or heap (monty)."""
    life: float = 600.0
    """Seconds of being asked after which a fresh process takes over: with it a process has a hard
    limit of processor time, however many states it is asked about."""


class Reply(NamedTuple):
    """What a program said of one state; all of it is bounded and printable."""

    outcome: Literal["button", "refused", "invalid", "failed"]
    text: str
    notes: str


class Trouble(Exception):
    """A program that cannot go on; its process is ended.

    ``whole`` says that none of the batch's answers can be believed, those given included.
    """

    def __init__(self, status: LabelStatus, reason: str, *, whole: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = bounded(reason)
        self.whole = whole


class Sandbox(Protocol):
    """One program, started when it is first asked, started again after Trouble."""

    isolation: Isolation

    def start(self) -> bool:
        """Make it ready to be asked; whether that took a fresh process.

        Raises:
            Trouble: the program does not load.
            PipelineError: there is no such isolation on this machine.
        """
        ...

    def ask(self, columns: Columns, count: int) -> Iterator[Reply]:
        """Replies for ``count`` states, in order, each as soon as it is there.

        There may be fewer than ``count`` where the process was ended to begin a fresh one.

        Raises:
            Trouble: at the state for which no reply came.
        """
        ...

    def close(self) -> None: ...


def bounded(text: str, length: int = MAX_REASON) -> str:
    """At most ``length`` characters that do nothing to a terminal."""
    shown = printable(text[: length + 1])
    return shown if len(shown) <= length else shown[: length - 3] + "..."


def bounded_lines(text: str, length: int) -> str:
    """As :func:`bounded`, with the line ends kept."""
    return "\n".join(printable(line) for line in text[:length].split("\n"))[:length]
