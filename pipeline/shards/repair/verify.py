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
from typing import TypedDict

from pipeline.shards.catalog.guard import guarded
from pipeline.shards.format.checks import open_file, read_header
from pipeline.shards.reader import Shard
from pipeline.shards.repair.examine import Examined, examine_datasets, identity_problems
from pipeline.shards.repair.hit import episodes_of, hit_by, root_of
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


Named = list[list[int | str | None]]
"""Index and game id of episodes, None where that is lost; lists, as JSON has them."""


class Hit(TypedDict):
    """A damaged chunk, and what is hit by it."""

    dataset: str
    chunk: int
    first: int
    """The first of its rows."""
    last: int
    why: str
    episodes: Named | None
    """None where the damage hides which."""


class _Examination(TypedDict, total=False):
    schema_version: int
    by: str
    """checksums or decoding"""
    frames: int | None
    episodes: int | None
    hits: list[Hit]


class Report(_Examination):
    """What the examination of a shard found."""

    problems: list[str]
    """Lines about the whole; an unreadable shard has nothing else."""


class Verified(Report):
    """A shard that was verified."""

    shard: str
    state: str
    """ok, damaged or unreadable"""
    seconds: float


class DamageRow(TypedDict, total=False):
    """A damaged chunk or a problem, for people."""

    shard: str
    what: str
    episodes: str


def verify(paths: Sequence[Path], *, deep: bool = False) -> Iterator[Verified]:
    """Check shards, each in a guarded child process; one row a shard, in order.

    Args:
        deep: decode the rows too, and compare them with the identity of the content.

    Cost: 0.2 s to start, then 2.5 ms a megabyte; five times that with ``deep``.
    """
    from tqdm import tqdm  # here, for the child is slower to start with it

    answers = guarded(
        "pipeline.shards.repair.verify:examine", paths, seconds=time_limit, arguments={"deep": deep}
    )
    for answer in tqdm(answers, "verify", len(paths), unit="shard", disable=None, leave=False):
        state = "unreadable"
        report: Report = {"problems": [str(answer.reason)]}
        if answer.error is None:
            report = answer.value
            state = "damaged" if report["problems"] or report["hits"] else "ok"
        yield {"shard": str(answer.path), "state": state, **report, "seconds": answer.seconds}


def damage_rows(rows: Sequence[Verified]) -> list[DamageRow]:
    """What is wrong in all shards, for people: a row a damaged chunk or problem."""
    table: list[DamageRow] = []
    for row in rows:
        shard = printable(row["shard"])
        table += [{"shard": shard, "what": printable(problem)} for problem in row["problems"]]
        for hit in row.get("hits", [])[:_MOST_ROWS]:
            where = f"chunk {hit['chunk']}, rows {hit['first']} to {hit['last']}"
            what = printable(f"{hit['dataset']} {where}: {hit['why']}")
            episodes = printable(_episodes(hit["episodes"]))
            table.append({"shard": shard, "what": what, "episodes": episodes})
        if len(row.get("hits", [])) > _MOST_ROWS:
            more = f"and {len(row['hits']) - _MOST_ROWS} chunks more; --json lists all"
            table.append({"shard": shard, "what": more})
    return table


def _episodes(hit: Named | None) -> str:
    if hit is None:
        return "not known"
    named = [f"{index} ({root})" if root else str(index) for index, root in hit[:3]]
    return ", ".join(named) + (f" and {len(hit) - 3} more" if len(hit) > 3 else "")


def examine(path: Path, *, deep: bool = False) -> Report:
    """Check one shard in this process.

    Raises:
        PipelineError: HDF5 cannot open the file, or its header says nothing.
    """
    with open_file(path) as file, descriptor(path) as handle:
        header = read_header(file, path)
        version = int(file.attrs["schema_version"])
        found = examine_datasets(file, path, header, handle, decode=deep or version == 1)
        problems = [f"{one.name} {one.problem}" for one in found.values() if one.problem]
        problems += identity_problems(file, header, found, handle).values()
        hits = list(_hits(found, handle))
        frames = found.get("/frames")
        length = found.get("/episodes") or found.get("/episodes/length")
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


def _hits(found: Mapping[str, Examined], handle: int) -> Iterator[Hit]:
    hit = [one for one in found.values() if one.bad]
    if not hit:
        return
    episodes = episodes_of(found, handle)
    for one in hit:
        assert one.stored is not None
        for chunk, why in one.bad.items():
            first = chunk * one.stored.chunk_rows
            last = min(first + one.stored.chunk_rows, one.stored.rows) - 1
            lost = hit_by(episodes, one.name, first, last)
            yield {
                "dataset": one.name,
                "chunk": chunk,
                "first": first,
                "last": last,
                "why": why,
                "episodes": None if lost is None else [[i, root_of(episodes, i)] for i in lost],
            }
