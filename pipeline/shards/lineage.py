"""Who descends from whom: which shard was made from which, and which are out of date.

A shard names its parents by file and ``shard_id``. The id decides; the file's name only tells
which versions of it are newer. A shard is stale where some ancestor of it has a newer version with
other content: made again, it would be another.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from pipeline.shards.catalog.catalogue import Entry, entries_of
from pipeline.shards.catalog.facts import Facts, Parent
from pipeline.shards.catalog.names import stem_and_version
from pipeline.shards.run_shards import entries_of_game
from pipeline.system.errors import printable

_Key = tuple[str, str]
"""Folder and shard_id."""


def _place(path: Path) -> str:
    return os.path.abspath(path.parent)


def _key(entry: Entry) -> _Key:
    return _place(entry.path), entry.get().shard_id


class Family:
    """The shards of a game, by identity and by name; invalid files have no relatives.

    Only shards of one folder are versions of one another. Cost: linear in the shards.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._by_id: dict[str, list[Entry]] = {}
        self._newest: dict[tuple[str, str], tuple[int, Entry]] = {}
        for entry in entries:
            if entry.facts is None or entry.error is not None:
                continue
            self._by_id.setdefault(entry.facts.shard_id, []).append(entry)
            stem, version = stem_and_version(entry.path)
            name = _place(entry.path), stem
            if name not in self._newest or self._newest[name][0] < version:
                self._newest[name] = version, entry
        self._stale: dict[_Key, str] = self._find_stale()

    def find(self, parent: Parent, child: Path | None = None) -> Entry | None:
        """The file of that identity, if it is there.

        Of several, it is one that lies beside ``child`` and has the recorded name.
        """
        found = self._by_id.get(parent.shard_id, [])
        if child is not None:
            found = [one for one in found if _place(one.path) == _place(child)] or found
        named = [entry for entry in found if entry.path.name == parent.file]
        return next(iter([*named, *found]), None)

    def stale(self, entry: Entry) -> str | None:
        """Why a shard is out of date; None where it is not."""
        return None if entry.facts is None else self._stale.get(_key(entry))

    def newer(self, parent: Parent, child: Entry) -> Entry | None:
        """The newest version of a parent, where it is newer and has other content.

        A shard made from an earlier version of itself (labels that were added) is that version.
        """
        found = self.find(parent, child.path)
        path = found.path if found else child.path.parent / Path(parent.file).name
        stem, version = stem_and_version(path)
        name = _place(path), stem
        own = _place(child.path), stem_and_version(child.path)[0]
        if not version or name == own or name not in self._newest:
            return None
        number, newest = self._newest[name]
        same = newest.get().shard_id == parent.shard_id
        return None if same or number <= version else newest

    def _find_stale(self) -> dict[_Key, str]:
        stale: dict[_Key, str] = {}
        children: dict[_Key, list[Entry]] = {}
        first: dict[_Key, Entry] = {}
        for entry in (entry for same in self._by_id.values() for entry in same):
            first.setdefault(_key(entry), entry)
        for key, child in first.items():
            for parent in child.get().parents:
                found = self.find(parent, child.path)
                if found is not None:
                    children.setdefault(_key(found), []).append(child)
                newest = self.newer(parent, child)
                if newest is not None:
                    why = f"its parent {parent.file} has a newer version, {newest.path.name}"
                    stale[key] = why
        spreading = deque(stale)
        while spreading:
            origin = spreading.popleft()
            for child in children.get(origin, []):
                key = _key(child)
                if key not in stale:
                    stale[key] = f"its parent {first[origin].path.name} is stale"
                    spreading.append(key)
        return stale


class _Known(TypedDict, total=False):
    stage: str | None
    round: int | None
    episodes: int
    frames: int
    labels: int
    experts: dict[str, int]
    """Labels by who gave them."""
    players: list[str]
    rom_sha1: str
    parents: list[str]
    """Their shard_id."""


class Ancestor(_Known):
    """A shard in a lineage; one that is missing has the first five alone."""

    depth: int
    shard: str
    shard_id: str
    state: str
    """ok, stale, missing, or ``above`` where a row before it has told all."""
    why: str | None


@dataclass(frozen=True)
class _Asked:
    parent: Parent
    depth: int
    child: Path | None = None


def lineage(folder: Path, roots: Sequence[Parent], *, first: Entry | None = None) -> list[Ancestor]:
    """Shards with their ancestors, depth first, a row each.

    Args:
        folder: where the ancestors lie, in the folders of its runs too.
        roots: the shards to begin with, by identity; ``file`` may be empty.
        first: a shard that need not lie in the folder, in the place of ``roots``.
    """
    family = Family(entries_of_game(folder))
    rows: list[Ancestor] = []
    told: set[str] = set()
    waiting = [_Asked(parent, 0) for parent in reversed(roots)]
    if first is not None:
        rows.append(_told(first, 0, family))
        told.add(first.get().shard_id)
        waiting += [_Asked(one, 1, first.path) for one in reversed(first.get().parents)]
    while waiting:
        asked = waiting.pop()
        entry = family.find(asked.parent, asked.child)
        if entry is None:
            rows.append(_missing(asked))
        elif asked.parent.shard_id in told:
            row = _told(entry, asked.depth, family)
            rows.append({**row, "state": "above", "why": None})
        else:
            rows.append(_told(entry, asked.depth, family))
            told.add(asked.parent.shard_id)
            parents = entry.get().parents
            waiting += [_Asked(one, asked.depth + 1, entry.path) for one in reversed(parents)]
    return rows


def lineage_of(path: Path, game: Path | None = None) -> list[Ancestor]:
    """The :func:`lineage` of one shard; its ancestors are looked for in all runs of the game.

    Args:
        game: the folder of the game; None looks beside the shard.

    Raises:
        PipelineError: no valid shard.
    """
    entry = entries_of([path])[0]
    entry.get()
    return lineage(game or path.parent, [], first=entry)


def _told(entry: Entry, depth: int, family: Family) -> Ancestor:
    facts: Facts = entry.get()
    why = family.stale(entry)
    return {
        "depth": depth,
        "shard": str(entry.path),
        "shard_id": facts.shard_id,
        "state": "ok" if why is None else "stale",
        "why": why,
        "stage": facts.stage,
        "round": facts.round,
        "episodes": facts.episodes,
        "frames": facts.frames,
        "labels": facts.labels,
        "experts": facts.experts,
        "players": facts.players,
        "rom_sha1": facts.rom_sha1,
        "parents": [parent.shard_id for parent in facts.parents],
    }


def _missing(asked: _Asked) -> Ancestor:
    name = asked.parent.file or "a shard"
    return {
        "depth": asked.depth,
        "shard": name,
        "shard_id": asked.parent.shard_id,
        "state": "missing",
        "why": "there is no such file in any run of the game, and no other of its identity",
    }


def draw(rows: Sequence[Ancestor], title: str = "") -> str:
    """The rows of :func:`lineage` as a tree: a line a shard, and one for each thing it came from.

    Args:
        title: what all of it belongs to, as the root of the tree.
    """
    lines: list[tuple[int, str]] = [(0, title)] if title else []
    below = len(lines)
    for row in rows:
        depth = row["depth"] + below
        lines.append((depth, _line(row)))
        if row["state"] in ("missing", "above"):
            continue
        if row["stage"] == "label":
            lines += [(depth + 1, f"{n:,} labels by {who}") for who, n in row["experts"].items()]
        if not row["parents"]:
            lines.append((depth + 1, f"ROM sha1 {row['rom_sha1']}"))
            lines += [(depth + 1, f"played by {who}") for who in row["players"]]
    branches = _branches([depth for depth, _ in lines])
    texts = [printable(text) for _, text in lines]  # names in foreign files are not ours
    return "\n".join(branch + text for branch, text in zip(branches, texts, strict=True))


def _line(row: Ancestor) -> str:
    name = Path(row["shard"]).name
    if row["state"] == "missing":
        return f"{name} ({row['shard_id'][:12]}): MISSING"
    if row["state"] == "above":
        return f"{name}: see above"
    told = f"{name} ({row['shard_id'][:12]}): {row['stage']}, {row['episodes']:,} episodes"
    told += f", {row['frames']:,} frames, {row['labels']:,} labels"
    return told if row["why"] is None else f"{told}; STALE: {row['why']}"


def _branches(depths: Sequence[int]) -> list[str]:
    """The lines of a tree before each of its texts, given depth first."""
    going: list[bool] = []
    drawn: list[str] = []
    for depth in reversed(depths):
        del going[depth + 1 :]
        going += [False] * (depth + 1 - len(going))
        stem = "".join("│  " if follows else "   " for follows in going[1:depth])
        drawn.append(stem + (("├─ " if going[depth] else "└─ ") if depth else ""))
        going[depth] = True
    return drawn[::-1]
