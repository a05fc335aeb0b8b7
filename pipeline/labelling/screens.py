"""The screens that an expert looks at: those of the shard, or the console's own of its recording.

A processed shard holds small frames. The console's own lie in the raw shard that it descends from:
an episode is found there by its recording, a step by its place in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.experts.protocol import Looks, Screens
from pipeline.shards.catalog.catalogue import Catalogue, entries_of
from pipeline.shards.catalog.facts import Facts, Parent
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import FRAMES_PER_CHUNK
from pipeline.shards.lineage import Family
from pipeline.shards.reader import Shard
from pipeline.shards.run_shards import entries_of_game
from pipeline.system.errors import PipelineError

Rows = NDArray[np.intp]
Gallery = Callable[[Rows], Looks | None]
"""Gives the screens of some steps, rows (n,) ascending; None for an expert that looks at none."""


class StepScreens:
    """Screens of n steps, each read when it is looked at.

    A chunk of frames is decoded once for all steps of it that follow each other. Memory: one chunk.

    Args:
        shards: where the screens lie.
        which: (n,) the shard of each step.
        rows: (n,) its row there.
    """

    def __init__(self, shards: Sequence[Shard], which: Rows, rows: Rows) -> None:
        self._shards, self._which, self._rows = shards, which, rows
        self._held: tuple[tuple[int, int], Frames] = ((-1, -1), np.empty((0, 0, 0, 3), np.uint8))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int, /) -> Frames:
        which, row = int(self._which[i]), int(self._rows[i])
        first = row - row % FRAMES_PER_CHUNK
        key, frames = self._held
        if key != (which, first):
            shard = self._shards[which]
            frames = shard.read_frames(first, min(first + FRAMES_PER_CHUNK, shard.n_frames))
            self._held = (which, first), frames
        screen: Frames = frames[row - first]
        return screen


@contextmanager
def screens_of(shard: Shard, kind: Screens, game: Path | None = None) -> Iterator[Gallery]:
    """The screens of a processed shard's steps, as an expert wants them.

    Args:
        game: the folder of the game, whose runs may have the recording; None looks beside the
            shard.

    Raises:
        PipelineError: the console's own are asked for, and the raw shard is gone, or steps were
            left out of it.
    """
    if kind == "none":
        yield lambda _rows: None
    elif kind == "processed":
        yield lambda rows: StepScreens([shard], np.zeros(len(rows), np.intp), rows)
    else:
        with ExitStack() as stack:
            shards, which, places = _native(shard, stack, game)
            yield lambda rows: StepScreens(shards, which[rows], places[rows])


def _native(shard: Shard, stack: ExitStack, game: Path | None) -> tuple[list[Shard], Rows, Rows]:
    """The raw shards, and for each step (N,) which of them it is in, and where."""
    paths, missing = _recordings(shard.path, game)
    raws = [stack.enter_context(Shard(path)) for path in paths]
    episodes: dict[tuple[str, str], tuple[int, int]] = {}
    for n, raw in enumerate(raws):
        for i, (root, recording) in enumerate(zip(raw.roots, raw.recordings, strict=True)):
            # Under no recording, too: older processed shards do not say which they are of.
            episodes[root, recording] = episodes[root, ""] = n, i
    actions = [raw.column("actions") for raw in raws]
    own = shard.column("actions")
    which, places = np.empty(shard.n_frames, np.intp), np.empty(shard.n_frames, np.intp)
    for index, (root, recording) in enumerate(zip(shard.roots, shard.recordings, strict=True)):
        if (root, recording) not in episodes:
            raise _gone(shard.path, root, missing)
        number, episode = episodes[root, recording]
        raw = raws[number]
        mine = int(shard.starts[index]) + np.arange(shard.lengths[index])
        its = int(raw.starts[episode]) + np.arange(raw.lengths[episode])
        if len(mine) != len(its) or (own[mine] != actions[number][its]).any():
            raise PipelineError(
                f"{shard.path}: episode {index} has {len(mine)} of the {len(its)} steps that "
                f"{raw.path.name} has, so that the console's own screens cannot be told apart; "
                "preprocess it without preprocess.drop_null_actions"
            )
        which[mine], places[mine] = number, its
    return raws, which, places


def _recordings(path: Path, game: Path | None) -> tuple[list[Path], list[str]]:
    """The raw shards that a shard descends from, and the names of ancestors that are not there."""
    here = Catalogue(path.parent).entries()
    family = Family([*here, *(entries_of_game(game) if game else [])])
    waiting, told = deque(_parents(entries_of([path])[0].get())), set[str]()
    found: list[Path] = []
    missing: list[str] = []
    while waiting:
        parent = waiting.popleft()
        if parent.shard_id in told:
            continue
        told.add(parent.shard_id)
        above = family.find(parent, path)
        if above is None:
            missing.append(f"{parent.file} ({parent.shard_id[:12]})")
        elif above.get().kind == "raw":
            found.append(above.path)
        else:
            waiting += _parents(above.get())
    return found, missing


def _parents(facts: Facts) -> list[Parent]:
    """Those of a salvaged shard are the damaged one, which may be gone, and that one's own."""
    salvaged: Any = facts.provenance.get("salvaged")
    before = salvaged.get("parents") if isinstance(salvaged, dict) else None
    named = [one for one in (before if isinstance(before, list) else []) if isinstance(one, dict)]
    more = [Parent(str(one.get("file")), str(one.get("shard_id", ""))) for one in named]
    return [*facts.parents, *more]


def _gone(path: Path, root: str, missing: list[str]) -> PipelineError:
    what = ", ".join(missing) or "a raw shard that it does not name"
    return PipelineError(
        f"{path}: the expert looks at the console's own screens, and those of {root} lie in "
        f"{what}, which is not in {path.parent}; bring it back, or label shards that were made of "
        "recordings that are there"
    )
