"""Attempts on disk: what was asked, what came back, and how the program fared.

``AUTHOR/MILESTONE/attempt-NN/`` holds ``prompt.json`` (what the model was sent, but for the key),
``answer.json`` (all it said, and what that cost), ``program.py``, ``result.json``,
``evidence.json`` (what the next prompt shows of it) and ``failure.gif``. Each is written whole or
not at all, the answer before it is looked at and the result last: a kill at any moment loses at
most the attempt under way, and never an answer that has arrived.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipeline.experts.authoring.written import Answer, Evidence, Result
from pipeline.system.errors import PipelineError
from pipeline.system.files import write_whole
from pipeline.system.strict_json import json_text


@dataclass(frozen=True)
class Attempt:
    """One program that was asked for: the ``candidate``-th of round ``number``, both from 1."""

    folder: Path
    number: int
    candidate: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def program(self) -> Path:
        return self.folder / "program.py"

    @property
    def film(self) -> Path:
        return self.folder / "failure.gif"

    def answer(self) -> Answer | None:
        """What the model said; None where it has not answered."""
        return cast("Answer | None", read_json(self.folder / "answer.json"))

    def result(self) -> Result | None:
        """How the program did; None where it was not tried."""
        return cast("Result | None", read_json(self.folder / "result.json"))

    def evidence(self) -> Evidence | None:
        """What the next prompt shows of it; None where it was not tried."""
        return cast("Evidence | None", read_json(self.folder / "evidence.json"))

    def write(self, what: str, told: Mapping[str, object]) -> None:
        """Write ``WHAT.json``: prompt, answer, result or evidence."""
        write_json(self.folder / f"{what}.json", told)


class Attempts:
    """All attempts at one milestone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, number: int, candidate: int = 1) -> Attempt:
        suffix = "" if candidate == 1 else f"-{candidate}"
        return Attempt(self.folder / f"attempt-{number:02d}{suffix}", number, candidate)

    def all(self) -> list[Attempt]:
        """Those that were begun, in the order in which they were asked for."""
        found = []
        for path in self.folder.glob("attempt-*"):
            match = re.fullmatch(r"attempt-(\d+)(?:-(\d+))?", path.name)
            if match and path.is_dir():
                found.append(Attempt(path, int(match[1]), int(match[2] or 1)))
        return sorted(found, key=lambda one: (one.number, one.candidate))

    def answered(self) -> list[Attempt]:
        return [one for one in self.all() if (one.folder / "answer.json").exists()]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the author's folder while attempts are made in it.

    If nothing was written there in the meantime, the folders that this made are removed again.

    Raises:
        PipelineError: another process holds it.
    """
    path = folder / ".lock"
    new = [one for one in (folder, folder.parent) if not one.exists()]
    handle = _locked(path)
    try:
        yield
    finally:
        with suppress(OSError):  # a folder that holds more stays, and so does its lock
            if new and [one.name for one in folder.iterdir()] == [path.name]:
                path.unlink()
                for one in new:
                    one.rmdir()
        os.close(handle)


def _locked(path: Path) -> int:
    """A handle that holds the lock; it ends when that is closed."""
    for _ in range(100):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # another process has just removed the folder
        except OSError as error:
            raise _cannot_write(path, error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                return handle
        except FileNotFoundError:
            pass
        except BlockingIOError:
            os.close(handle)
            break
        os.close(handle)  # another process has just removed the file: take the new one
    raise PipelineError(
        f"{path.parent}: another process writes programs there; wait for it, or give another --run"
    )


def milestone_folder(author: Path, milestone: str, milestones: Sequence[str]) -> Path:
    """``AUTHOR/MILESTONE``; the name is made fit for a file where it is not.

    Two milestones that would share a folder get their place in the game's order as well.
    """
    names = [re.sub(r"[^\w-]", "-", name, flags=re.ASCII) for name in milestones]
    place = list(milestones).index(milestone)
    alone = [name.lower() for name in names].count(names[place].lower()) == 1
    return author / (names[place] if alone else f"{names[place]}-{place + 1:02d}")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None where nothing is.

    Raises:
        PipelineError: it is damaged.
    """
    try:
        told = json.loads(path.read_bytes())
        if not isinstance(told, dict):
            raise ValueError
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{path}: cannot be read ({_why(error)}); remove the folder that it lies in"
        ) from None
    return told


def write_json(path: Path, told: Mapping[str, object]) -> None:
    """Write strict JSON, whole and durably, in place of an older file.

    Raises:
        PipelineError: the disk refuses.
    """
    write_file(path, (json_text(told, indent=2) + "\n").encode())


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole and durably, in place of an older one.

    Raises:
        PipelineError: the disk refuses.
    """
    try:
        write_whole(path, data)
    except OSError as error:
        raise _cannot_write(path, error) from None


def sha256(data: bytes | str) -> str:
    """Hex digits of the SHA-256 of bytes, or of a text in UTF-8."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def _cannot_write(path: Path, error: OSError) -> PipelineError:
    return PipelineError(
        f"{path}: cannot be written ({_why(error)}); make room, or fix paths.checkpoints, and run "
        "the same command again"
    )


def _why(error: OSError | ValueError) -> str:
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else "damaged"
