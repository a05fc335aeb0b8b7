"""What the shards of a folder hold, without opening them.

The files are the truth. What was found in them is kept in a hidden file beside them, a line a
shard, and holds as long as a file has the size, the time and the inode that it had then. Whatever
is new or changed is examined in a guarded child, so that a hostile file can neither hang nor crash
the stage that looks; only what this very process has just written is examined by itself.

The kept file is a log: lines are appended, the last one of a name counts, each has a CRC32. So it
may be written by several processes, cut short, damaged, lost or unwritable on a disk without locks:
that costs another look at some shards, and nothing else.
"""

from __future__ import annotations

import json
import os
import queue
import stat
import threading
import time
import zlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pipeline.shards.catalog.facts import FACTS_VERSION, Facts, facts_of
from pipeline.shards.catalog.guard import Answer, guarded
from pipeline.shards.format.checks import open_file
from pipeline.shards.format.schema import FORMAT, SCHEMA_VERSION
from pipeline.system.errors import PipelineError
from pipeline.system.files import write_whole

KEPT = ".catalogue"
"""Name of the kept file in a folder of shards."""

_HEAD = f"{FORMAT} catalogue 1, schema {SCHEMA_VERSION}, facts {FACTS_VERSION}\n".encode()
_FACTS_OF = "pipeline.shards.catalog.facts:told_facts"
_BLOCK = 256
"""Shards after which what was found is kept: an interrupted look goes on from there."""
_MANY = 100
"""New shards from which on several children look."""
_FORGOTTEN = 3600
"""Seconds after which the half-written file of a process that died is removed."""


class Identity(NamedTuple):
    """By which a file is known to be the one that was examined."""

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class Entry:
    """One file: its facts, or why there are none; both where only its content is not valid."""

    path: Path
    facts: Facts | None = None
    error: str | None = None
    """Without the path."""

    def get(self) -> Facts:
        """The facts.

        Raises:
            PipelineError: the file is no valid shard.
        """
        if self.facts is None or self.error is not None:
            raise PipelineError(f"{self.path}: {self.error}")
        return self.facts


class _Row(NamedTuple):
    identity: Identity
    text: bytes
    """The facts as JSON; empty where the file is no shard."""
    error: str | None = None

    def entry(self, path: Path) -> Entry | None:
        """None where the text is not facts."""
        if not self.text:
            return Entry(path, None, self.error)
        try:
            return Entry(path, Facts(**json.loads(self.text)), self.error)
        except (TypeError, ValueError, RecursionError):
            return None


@dataclass
class _Folder:
    """What this process knows of a folder. Memory: the kept lines.

    A line is 2 KB, and 22 bytes an episode; of a raw shard ``game.yaml`` is in it, too.
    """

    path: Path
    rows: dict[str, _Row] = field(default_factory=dict)
    kept_inode: int = -1
    kept_bytes: int = 0
    """How much of the kept file has been read."""
    kept_lines: int = 0

    def read(self) -> bool:
        """Take in what was appended to the kept file since; False where there is none to trust."""
        with suppress(OSError), open(self.path / KEPT, "rb", opener=_no_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                return False
            if found.st_ino != self.kept_inode or found.st_size < self.kept_bytes:
                if file.read(len(_HEAD)) != _HEAD:
                    return False
                self.kept_inode, self.kept_bytes, self.kept_lines = found.st_ino, len(_HEAD), 0
            if found.st_size > self.kept_bytes:
                file.seek(self.kept_bytes)
                data = file.read()
                data = data[: data.rfind(b"\n") + 1]  # the rest may be under way
                self.kept_bytes += len(data)
                self._take(data)
            return True
        return False

    def _take(self, data: bytes) -> None:
        for line in data.split(b"\n"):
            checksum, _, rest = line.partition(b"\t")
            self.kept_lines += bool(line)
            try:
                if int(checksum, 16) == zlib.crc32(rest):
                    name, size, mtime, inode, text = rest.split(b"\t", 4)
                    known = Identity(int(size), int(mtime), int(inode))
                    self.rows[json.loads(name)] = _Row(known, text)
            except ValueError:
                continue

    def append(self, names: Iterable[str]) -> None:
        """Keep these rows; a disk that refuses is done without."""
        lines = self._lines(names)
        if not lines:
            return
        if not self.read():
            self.rewrite()
            return
        with suppress(OSError):
            handle = os.open(self.path / KEPT, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK)
            try:
                # In one call, and apart from whatever was cut short before it.
                os.write(handle, b"\n" + b"".join(lines))
            finally:
                os.close(handle)

    def rewrite(self) -> None:
        """Write the kept file anew: as it was, or whole."""
        data = _HEAD + b"".join(self._lines(self.rows))
        with suppress(OSError):
            for old in self.path.glob(f"{KEPT}.tmp-*"):
                if time.time() - old.stat().st_mtime > _FORGOTTEN:
                    old.unlink()
            write_whole(self.path / KEPT, data)
            self.kept_inode = (self.path / KEPT).stat().st_ino
            self.kept_bytes, self.kept_lines = len(data), len(self.rows)

    def _lines(self, names: Iterable[str]) -> list[bytes]:
        """What is wrong with a file is not kept: it may lie in the machine or the rights."""
        lines = []
        for name in names:
            row = self.rows[name]
            if row.text and row.error is None:
                numbers = b"\t".join(b"%d" % number for number in row.identity)
                rest = b"\t".join((json.dumps(name).encode(), numbers, row.text))
                lines.append(b"%08x\t%s\n" % (zlib.crc32(rest), rest))
        return lines

    def forget(self, present: set[str]) -> None:
        """Drop the rows of files that are gone, and lines that no longer count if they are many."""
        for name in self.rows.keys() - present:
            del self.rows[name]
        if self.kept_lines > 2 * len(self.rows) + 100:
            self.rewrite()


def _no_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a named pipe would hang


_folders: dict[str, _Folder] = {}
_written: dict[str, Identity] = {}
"""Files that this process published."""


class Catalogue:
    """The shards of one folder, as ``DATASETS/GAME/RUN/``; what is found is kept there.

    Cost: one stat a file that is asked for, and reading what was kept (once a process); 0.3 s for
    a child where a file is new or changed, and then that of checking each such file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def files(self, prefix: str = "") -> list[Path]:
        """Every ``PREFIX*.h5`` that is not hidden, sorted; none where there is no folder."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError:
            return []
        names = [n for n in names if n.startswith(prefix) and n.endswith(".h5") and n[0] != "."]
        return [self.folder / name for name in sorted(names)]

    def entries(self) -> list[Entry]:
        """What each of :meth:`files` holds."""
        files = self.files()
        entries = _look(files, keep=True)
        if files:
            _folder(self.folder).forget({path.name for path in files})
        return entries

    def of(self, paths: Sequence[Path]) -> list[Entry]:
        """What these files of the folder hold, in their order."""
        return _look(paths, keep=True)


def entries_of(paths: Sequence[Path]) -> list[Entry]:
    """What these files hold, wherever they lie; kept only where a catalogue is kept already."""
    return _look(paths, keep=False)


def enter(path: Path) -> None:
    """Note that this process has just published ``path``, so that no child need look at it."""
    known = _identity(path)
    if known is not None:
        _written[os.path.abspath(path)] = known
        if (path.parent / KEPT).exists():
            entries_of([path])


def _look(paths: Sequence[Path], *, keep: bool) -> list[Entry]:
    folders = {path.parent: _folder(path.parent) for path in paths}
    kept = {parent for parent, folder in folders.items() if folder.read()}
    entries: dict[Path, Entry] = {}
    unknown: dict[Path, Identity] = {}
    for path in paths:
        known = _identity(path)
        row = folders[path.parent].rows.get(path.name)
        entry = row.entry(path) if row is not None and row.identity == known else None
        if entry is not None:
            entries[path] = entry
        elif known is None:
            entries[path] = Entry(path, None, _why_not(path))
        else:
            unknown[path] = known
    fresh: dict[Path, list[str]] = {p: [] for p in folders if keep or p in kept}
    with closing(_examined(unknown)) as found:
        try:
            for number, (path, row) in enumerate(found, 1):
                folders[path.parent].rows[path.name] = row
                entries[path] = row.entry(path) or Entry(path, None, "cannot be examined")
                if path.parent in fresh:
                    fresh[path.parent].append(path.name)
                if number % _BLOCK == 0:
                    _keep(fresh)
        finally:
            _keep(fresh)
    return [entries[path] for path in paths]


def _keep(fresh: dict[Path, list[str]]) -> None:
    for parent, names in fresh.items():
        _folder(parent).append(names)
        names.clear()


def _examined(unknown: dict[Path, Identity]) -> Generator[tuple[Path, _Row], None, None]:
    own = [path for path, known in unknown.items() if _written.get(os.path.abspath(path)) == known]
    for path in own:
        try:
            yield path, _row(unknown[path], facts_of(path))
        except PipelineError as error:
            yield path, _Row(unknown[path], b"", str(error).removeprefix(f"{path}: "))
    others = sorted(unknown.keys() - set(own))
    for answer in _in_children(others):
        known = unknown[answer.path]
        if answer.error is None:
            yield answer.path, _row(known, Facts(**answer.value))
        else:
            yield answer.path, _Row(known, b"", answer.reason)


def _in_children(paths: Sequence[Path]) -> Iterator[Answer]:
    """The facts of each, as they come; a child a core where there are many."""
    if len(paths) < _MANY:
        yield from guarded(_FACTS_OF, paths)
        return
    children = min(os.cpu_count() or 1, len(paths) // (_MANY // 2))
    answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def ask(share: Sequence[Path]) -> None:
        try:
            for answer in guarded(_FACTS_OF, share):
                answers.put(answer)
                if stopped.is_set():
                    break
        finally:
            answers.put(None)

    with (
        ThreadPoolExecutor(children) as pool,
        tqdm(total=len(paths), desc="new shards", unit="shard", disable=None) as bar,
    ):
        asked = [pool.submit(ask, paths[first::children]) for first in range(children)]
        try:
            going = children
            while going:
                answer = answers.get()
                if answer is None:
                    going -= 1
                else:
                    yield answer
                    bar.update()
        finally:
            stopped.set()
        for one in asked:
            one.result()


def _row(known: Identity, facts: Facts) -> _Row:
    return _Row(known, json.dumps(vars(facts), separators=(",", ":")).encode(), facts.error)


def _folder(path: Path) -> _Folder:
    return _folders.setdefault(os.path.abspath(path), _Folder(path))


def _identity(path: Path) -> Identity | None:
    """None where there is no regular file."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Identity(found.st_size, found.st_mtime_ns, found.st_ino)


def _why_not(path: Path) -> str:
    """What a reader says of a path that is no file."""
    try:
        open_file(path).close()
    except PipelineError as error:
        return str(error).removeprefix(f"{path}: ")
    return "changed while it was looked at; run the same command again"
