"""Finished episodes on their way into a shard: a part each, in a hidden folder beside it.

A part is a shard of one episode and published like one, so it is whole or absent, and what was
finished before a kill, a full disk or a power cut is found again. The folder is named after the
shard's stem and fingerprint: parts of other settings never mix with these.
"""

from __future__ import annotations

import fcntl
import glob
import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.shards.catalog.names import publish_name
from pipeline.shards.catalog.publish import cannot_write, make_folder
from pipeline.shards.format.schema import ShardHeader
from pipeline.shards.reader import Shard
from pipeline.shards.repair.verify import verify
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from pipeline.system.files import remove_leftovers

_BLOCK = 256


class Parts:
    """The parts of one raw shard, in a with block that keeps every other process out.

    The lock dies with its process. Left without being sealed, the folder stays as it is.

    Args:
        folder: where the shard will lie.
        stem: its name without the version.
        header: that of the shard and of every part.

    Raises:
        PipelineError: another process fills the folder, or it cannot be made or written.
    """

    def __init__(self, folder: Path, stem: str, header: ShardHeader) -> None:
        self._datasets, self._stem, self._header = folder, stem, header
        self._mark = str(header.provenance["fingerprint"])
        self.folder = folder / f".{stem}-{self._mark[:12]}.parts"
        self._lock = -1

    def __enter__(self) -> Parts:
        try:
            while self._lock < 0:
                make_folder(self.folder, self.folder)
                self._lock = _locked(self.folder / "lock")
            # With the lock held, whoever was writing here is dead.
            remove_leftovers(self.folder, "part-*.h5")
            remove_leftovers(self._datasets, f"{glob.escape(self._stem)}-v*.h5")
        except OSError as error:
            self._release()
            raise cannot_write(self.folder, error) from None
        return self

    def __exit__(self, *exc: object) -> None:
        if not self.count():
            with suppress(OSError):
                (self.folder / "lock").unlink(missing_ok=True)
                self.folder.rmdir()
        self._release()

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def path(self, number: int) -> Path:
        """The part of the episode that is ``number`` in the order of the shard."""
        return self.folder / f"part-{number:06d}.h5"

    def count(self) -> int:
        """How many episodes are finished; none where the folder has gone."""
        return len(list(self.folder.glob("part-*.h5")))

    def missing(self, seeds: Sequence[int]) -> list[int]:
        """The numbers of the episodes still to be played, out of one a seed.

        A part that is damaged, or not of that seed, is removed: its episode is played again. The
        stored bytes of every part are compared with their checksums, by a guarded child.

        Raises:
            PipelineError: a damaged part cannot be removed.
        """
        parts = {self.path(number): seed for number, seed in enumerate(seeds)}
        there = [part for part in parts if part.exists()]
        rows = zip(there, verify(there), strict=True) if there else ()
        sound = {
            part for part, row in rows if row["state"] == "ok" and self._is_of(part, parts[part])
        }
        try:
            for part in set(there) - sound:
                part.unlink()
        except OSError as error:
            raise cannot_write(part, error) from None
        return [number for number, part in enumerate(parts) if part not in sound]

    def _is_of(self, part: Path, seed: int) -> bool:
        with Shard(part) as shard:
            mark = shard.header.provenance.get("fingerprint")
            return (mark, shard.seeds.tolist()) == (self._mark, [seed])

    def seal(self, count: int, start_states: Sequence[bytes] | None = None) -> Path:
        """Publish the first ``count`` parts as one shard, remove them, and return its path.

        The shard gets ``start_states``, among which those of all parts must be; None takes the
        one that all have in common.

        Crash-safe: the parts go only once the shard is durable, so both are on the disk for a
        while. Where another process takes the name meanwhile, the next version's is taken. Memory:
        256 frames and the columns of one episode. Cost: 0.05 s a part, for HDF5 to find its way
        through one, and some 0.2 ms a frame.

        Raises:
            PipelineError: parts have gone or are damaged, or the disk refuses; the parts stay.
        """
        parts = [self.path(number) for number in range(count)]
        gone = sum(not part.exists() for part in parts)
        if gone:
            raise PipelineError(
                f"{self.folder}: {gone} of {count} finished episodes have gone from it meanwhile; "
                "run the same command again"
            )
        target, done = publish_name(self._datasets, self._stem, self._mark)
        while not done:
            try:
                self._join(parts, target, start_states)
                break
            except PipelineError:
                if not target.exists():
                    raise
            target, done = publish_name(self._datasets, self._stem, self._mark)
        self.discard()
        return target

    def _join(
        self, parts: Sequence[Path], target: Path, start_states: Sequence[bytes] | None
    ) -> None:
        """Write the shard, opening each part once; frames are decoded and compressed anew.

        The fingerprint covers where the parts begin.
        """
        with Shard(parts[0]) as first:
            states = list(first.start_states() if start_states is None else start_states)
        threads = min(4, os.cpu_count() or 1)
        with ShardWriter(target, self._header, start_states=states, threads=threads) as writer:
            for part in parts:
                with Shard(part) as shard:
                    episode = shard.episode(0, frames=False)
                    if start_states is not None:
                        own = shard.start_states()[episode.start_state]
                        episode.start_state = states.index(own)
                    writer.append_steps(episode)
                    for low in range(0, len(episode), _BLOCK):
                        high = min(low + _BLOCK, len(episode))
                        writer.append_frames(shard.read_frames(low, high))

    def discard(self) -> None:
        """Remove the parts, once they are in the shard."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished(folder: Path, stem: str, header: ShardHeader) -> list[str]:
    """Folders of parts of this stem with other settings; nobody removes them but their owner."""
    own = Parts(folder, stem, header).folder
    pattern = re.compile(rf"\.{re.escape(stem)}(-v\d+)?-[0-9a-f]{{12}}\.parts")
    found = sorted(path for path in folder.glob(".*.parts") if pattern.fullmatch(path.name))
    return [f"{path} ({len(list(path.glob('part-*.h5')))} parts)" for path in found if path != own]


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Keep every other process out of a folder of parts; False where one is in it."""
    try:
        lock = _locked(folder / "lock")
    except PipelineError:
        yield False
        return
    try:
        yield lock >= 0
    finally:
        if lock >= 0:
            os.close(lock)


def _locked(file: Path) -> int:
    """A handle that holds the lock of ``file``; -1 where it was removed meanwhile: try again.

    Raises:
        PipelineError: another process holds it.
    """
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_ino != file.stat().st_ino:
            raise FileNotFoundError
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
    except FileNotFoundError:
        os.close(handle)
        return -1
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace")
        os.close(handle)
        raise PipelineError(
            f"{file.parent}: process {holder} is collecting into it; let it end, or end it"
        ) from None
    except OSError:
        os.close(handle)
        raise
    return handle
