"""Labels that a training would learn from twice: the same recorded step in two shards.

Two episodes are one recording where they began alike, with one seed, and all buttons are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import Facts
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard


class Double(NamedTuple):
    """A shard some of whose labels are those of steps that others have labels of, too."""

    number: int
    """Its place in the list that was asked about."""
    path: Path
    twice: int
    labels: int
    """All labels of it."""
    other: Path
    """The first of the others."""

    @property
    def whole(self) -> bool:
        return self.twice == self.labels

    def __str__(self) -> str:
        share = "all" if self.whole else f"{self.twice:,} of the"
        where = "there twice" if self.other == self.path else f"in {self.other} too"
        return f"{self.path} ({share} {self.labels:,} labels are {where})"


def doubles_of(paths: Sequence[Path]) -> list[Double]:
    """The shards that repeat labels of others, those with the fewest labels in each case.

    Cost: nothing where no two have a recording in common; else the labels of those that have are
    read. Memory: a byte a step of these.
    """
    facts = [entry.get() for entry in entries_of(paths)]
    times = Counter(one for each in facts for one in each.recordings)
    order = sorted(range(len(paths)), key=lambda i: (-facts[i].labels, facts[i].round is None, i))
    taken: dict[str, tuple[NDArray[np.bool_], Path]] = {}
    found: list[Double] = []
    for number in order:
        if any(times[one] > 1 for one in facts[number].recordings):
            double = _take(number, paths[number], facts[number], times, taken)
            found += [double] if double.twice else []
    return sorted(found)


def _take(
    number: int,
    path: Path,
    facts: Facts,
    times: Counter[str],
    taken: dict[str, tuple[NDArray[np.bool_], Path]],
) -> Double:
    """Note which steps of a shard are labelled, and how many of them were before."""
    with Shard(path) as shard:
        labelled = shard.column("label_status") == LabelStatus.LABELLED
        starts, lengths = shard.starts.tolist(), shard.lengths.tolist()
    twice, other = 0, path
    for recording, first, steps in zip(facts.recordings, starts, lengths, strict=True):
        if times[recording] < 2:
            continue
        mine = labelled[first : first + steps]
        if recording in taken:
            before, where = taken[recording]
            both = int(np.count_nonzero(mine & before))
            other = where if both and not twice else other
            twice += both
            mine = mine | before
        taken[recording] = mine, taken.get(recording, (mine, path))[1]
    return Double(number, path, twice, facts.labels, other)
