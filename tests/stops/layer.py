"""A layer between the pipeline and the file system that stops the process at a chosen call.

What makes files durable, names them or takes them away is patched where every module must pass:
in ``os`` itself. The process is stopped by ``os._exit``, which like a kill runs no ``finally`` and
no ``atexit``, and loses what is still in buffers.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

PRIMITIVES = ("fsync", "replace", "rename", "link", "unlink", "remove", "rmdir", "ftruncate")
STOPPED = 137
"""Exit code of a process that was stopped."""


def patch_os(name: str, call: Callable[..., Any], put: Callable[..., None] = setattr) -> None:
    """Put ``call`` in the place of a function of ``os``, for pathlib too.

    Args:
        put: what sets an attribute, as ``setattr`` does.
    """
    put(os, name, call)
    accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 keeps what os had
    if hasattr(accessor, name):
        put(accessor, name, staticmethod(call))


class Content(NamedTuple):
    """By which the content of a file is known."""

    size: int
    mtime_ns: int


@dataclass
class Layer:
    """Counts the calls; with ``stop`` ends the process before (even) or after (odd) one of them.

    Point 2k is before the k-th call, 2k + 1 after it.
    """

    stop: int | None = None
    calls: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    """Names that were given to content, or relied upon, before they were durable."""
    different: list[int] = field(default_factory=list)
    """Points before which something has changed on the disk: at all others a process that is
    stopped leaves what it would have left at the point before."""
    _watched: Path | None = None
    _seen: list[tuple[str, int, int, int]] | None = None
    _durable: dict[int, Content] = field(default_factory=dict)
    _pending: dict[int, str] = field(default_factory=dict)

    def install(self, watched: Path | None = None) -> None:
        """Patch ``os``; note at which points the files under ``watched`` have changed."""
        self._watched = watched
        for name in PRIMITIVES:
            patch_os(name, self._patched(name, getattr(os, name)))

    def finish(self) -> None:
        """Note the folders whose new names nobody has made durable."""
        self.breaches += [f"the folder of {name} is not synced" for name in self._pending.values()]

    def _patched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            number = len(self.calls)
            self.calls.append(f"{name} {arguments[0]}")
            self._look(2 * number)
            self._stop_at(2 * number)
            if name in ("replace", "rename", "link"):
                self._named(*arguments[:2])
            result = real(*arguments, **options)
            if name == "fsync":
                self._synced(arguments[0])
            if name in ("replace", "rename", "link"):
                parent = os.stat(os.path.dirname(os.path.abspath(arguments[1])))
                self._pending[parent.st_ino] = str(arguments[1])
            self._look(2 * number + 1)
            self._stop_at(2 * number + 1)
            return result

        return call

    def _stop_at(self, point: int) -> None:
        # Or soon after: there is nothing after a call that raises.
        if self.stop is not None and point >= self.stop:
            os._exit(STOPPED)

    def _look(self, point: int) -> None:
        if self._watched is None:
            return
        seen = []
        for folder, _, files in os.walk(self._watched):
            for name in files:
                if "tfevents" not in name:  # a thread writes these
                    found = os.stat(os.path.join(folder, name))
                    seen.append((name, found.st_ino, found.st_size, found.st_mtime_ns))
            seen.append((folder, 0, 0, 0))
        if seen != self._seen:
            self.different.append(point)
        self._seen = seen

    def _synced(self, handle: int) -> None:
        found = os.fstat(handle)
        self._durable[found.st_ino] = Content(found.st_size, found.st_mtime_ns)
        self._pending.pop(found.st_ino, None)

    def _named(self, source: Any, target: Any) -> None:
        found = os.stat(source)
        second = Path(target).name.startswith(".")  # a hidden second name of a published file
        if not second and self._durable.get(found.st_ino) != (found.st_size, found.st_mtime_ns):
            self.breaches.append(f"{target} is named before its content is durable")
