"""Is every byte of a shard the one that was written? And if not: what is hit, down to the episode.

The stored bytes are compared with their checksums; nothing is decoded, so the speed is that of
reading and of SHA-256. Files of schema version 1 carry checksums of the rows alone: they are
decoded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.catalog.guard import guarded
from pipeline.shards.format.checks import open_file, read_header
from pipeline.shards.format.schema import Array
from pipeline.shards.reader import Shard
from pipeline.shards.repair.examine import Examined, examine_datasets, identity_problems
from pipeline.system.errors import PipelineError, printable

_MOST_ROWS = 20
"""Damaged chunks of a shard that a table shows."""
_SLOWEST = 20e6
"""Bytes a second that even a poor disk gives; what takes longer hangs."""


def time_limit(path: Path) -> float:
    """Seconds after which reading a whole shard is given up."""
    try:
        return 20 + path.stat().st_size / _SLOWEST
    except OSError:
        return 20


def verify(paths: Sequence[Path], *, deep: bool = False) -> Iterator[dict[str, Any]]:
    """Check shards, each in a guarded child process; one row a shard, in order.

    Args:
        deep: decode the rows too, and compare them with the identity of the content.

    Yields:
        ``shard``, ``state`` (ok, damaged or unreadable), ``seconds``, and for an unreadable one
        ``problems``; else what :func:`examine` returns.

    Cost: 0.2 s to start, then 2.5 ms a megabyte; five times that with ``deep``.
    """
    from tqdm import tqdm  # here, for the child is slower to start with it

    answers = guarded(
        "pipeline.shards.repair.verify:examine", paths, seconds=time_limit, arguments={"deep": deep}
    )
    for answer in tqdm(answers, "verify", len(paths), unit="shard", disable=None, leave=False):
        row: dict[str, Any] = {"shard": str(answer.path)}
        if answer.error is not None:
            row |= {"state": "unreadable", "problems": [answer.reason]}
        else:
            damaged = answer.value["problems"] or answer.value["hits"]
            row |= {"state": "damaged" if damaged else "ok", **answer.value}
        yield row | {"seconds": answer.seconds}


def damage_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is wrong in all shards, for people: a row a damaged chunk or problem."""
    table: list[dict[str, Any]] = []
    for row in rows:
        shard = row["shard"]
        table += [{"shard": shard, "what": problem} for problem in row["problems"]]
        for hit in row.get("hits", [])[:_MOST_ROWS]:
            where = f"chunk {hit['chunk']}, rows {hit['first']} to {hit['last']}"
            what = f"{hit['dataset']} {where}: {hit['why']}"
            table.append({"shard": shard, "what": what, "episodes": _episodes(hit["episodes"])})
        if len(row.get("hits", [])) > _MOST_ROWS:
            more = f"and {len(row['hits']) - _MOST_ROWS} chunks more; --json lists all"
            table.append({"shard": shard, "what": more})
    return [{k: printable(v) for k, v in row.items()} for row in table]


def _episodes(hit: list[list[Any]] | None) -> str:
    if hit is None:
        return "not known"
    named = [f"{index} ({root})" if root else str(index) for index, root in hit[:3]]
    return ", ".join(named) + (f" and {len(hit) - 3} more" if len(hit) > 3 else "")


def examine(path: Path, *, deep: bool = False) -> dict[str, Any]:
    """Check one shard in this process.

    Returns:
        ``schema_version``; ``by`` (checksums or decoding); ``frames``; ``episodes``;
        ``problems``, lines about the whole; ``hits``, one for each damaged chunk: ``dataset``,
        ``chunk``, ``first`` and ``last`` row, ``why``, and ``episodes``, a list of index and root
        (None where the damage hides which).

    Raises:
        PipelineError: HDF5 cannot open the file, or its header says nothing.
    """
    with open_file(path) as file, descriptor(path) as handle:
        header = read_header(file, path)
        version = int(file.attrs["schema_version"])
        found = examine_datasets(file, path, handle, decode=deep or version == 1)
        problems = [f"{one.name} {one.problem}" for one in found.values() if one.problem]
        problems += identity_problems(file, header, found).values()
        hits = list(_hits(found, handle))
        frames = found.get("/frames")
        length = found.get("/episodes/length")
    if not problems and not hits:
        problems = _structure(path)
    return {
        "schema_version": version,
        "by": "decoding" if deep or version == 1 else "checksums",
        "frames": frames.stored.rows if frames and frames.stored else None,
        "episodes": length.stored.rows if length and length.stored else None,
        "problems": problems,
        "hits": hits,
    }


@contextmanager
def descriptor(path: Path) -> Iterator[int]:
    """A file, open for reading, by its number."""
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _structure(path: Path) -> list[str]:
    try:
        with Shard(path) as shard:
            shard.labels()
            return []
    except PipelineError as error:
        return [str(error).removeprefix(f"{path}: ")]


def _hits(found: Mapping[str, Examined], handle: int) -> Iterator[dict[str, Any]]:
    hit = [one for one in found.values() if one.bad]
    if not hit:
        return
    episodes = Episodes(found, handle)
    for one in hit:
        assert one.stored is not None
        for chunk, why in one.bad.items():
            first = chunk * one.stored.chunk_rows
            last = min(first + one.stored.chunk_rows, one.stored.rows) - 1
            yield {
                "dataset": one.name,
                "chunk": chunk,
                "first": first,
                "last": last,
                "why": why,
                "episodes": episodes.of(one.name, first, last),
            }


class Episodes:
    """Which episodes a row belongs to, as far as the undamaged columns tell."""

    def __init__(self, found: Mapping[str, Examined], handle: int) -> None:
        self._found, self._handle = found, handle
        self.lengths = self._lengths()
        """(E,) steps of each episode; None where that is not known."""
        roots = self.column("root")
        self._roots = None if roots is None else [r.decode(errors="replace") for r in roots]
        self._start_states = self.column("start_state")

    def column(self, name: str) -> Array | None:
        """A column of /episodes; None where any of it is damaged."""
        one = self._found.get(f"/episodes/{name}")
        if one is None or one.stored is None or one.bad or not one.intact:
            return None
        return one.stored.read(self._handle, 0, one.stored.rows)

    def _lengths(self) -> NDArray[np.int64] | None:
        """From the column, or from the starts, which say the same."""
        lengths, starts = self.column("length"), self.column("start")
        if lengths is not None:
            return lengths.astype(np.int64)
        frames = self._found.get("/frames")
        if starts is None or frames is None or frames.stored is None:
            return None
        derived: NDArray[np.int64] = np.diff([*starts.astype(np.int64), frames.stored.rows])
        return derived

    def root(self, index: int) -> str | None:
        """Identity of the recording that an episode descends from; None where it is lost."""
        return self._roots[index] if self._roots else None

    def of(self, dataset: str, first: int, last: int) -> list[list[Any]] | None:
        """Index and root of each episode that needs rows ``first`` to ``last`` of ``dataset``."""
        if dataset.startswith("/episodes/"):
            indices: Sequence[int] = range(first, last + 1)
        elif dataset == "/start_states":
            if self._start_states is None:
                return None
            needed = (self._start_states >= first) & (self._start_states <= last)
            indices = np.flatnonzero(needed).tolist()
        else:
            if self.lengths is None:
                return None
            ends = np.cumsum(self.lengths)
            low, high = np.searchsorted(ends, [first, last], "right")
            indices = range(int(low), min(int(high) + 1, len(ends)))
        return [[i, self.root(i)] for i in indices]
