"""The steps of shards as a map-style torch dataset that never holds their frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.loading.shared_memory import SharedArray
from pipeline.loading.source import Frames, FrameSource, Indices
from pipeline.loading.weights import Weights
from pipeline.shards.catalog.facts import rounds_of
from pipeline.shards.format.checks import open_file, read_header
from pipeline.shards.format.milestones import inside, next_goals
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError

MOST_GOALS = 255
"""Milestones whose numbers, and one more, fit into a byte."""


class Batch(NamedTuple):
    """B steps.

    With ``window`` k, frames and buttons have a second axis of k steps; with ``stack`` k, only
    frames have one, the newest frame last.
    """

    frames: Tensor
    """(B,H,W,3) or (B,k,H,W,3) u8. Rows may lie apart in memory (``contiguous()`` is a copy)."""
    buttons: Tensor
    """(B,) or (B,k) i64: the right button, or the executed one if the dataset says so."""
    weights: Tensor | None = None
    """(B,) or (B,k) f32."""
    previous: Tensor | None = None
    """(B,) or (B,k) i64: the button executed in the step before; at the start of an episode
    the number of buttons."""
    mask: Tensor | None = None
    """(B,k) bool, with ``window``: which steps are there and chosen. The others repeat the
    episode's last frame, with button 0."""
    goals: Tensor | None = None
    """(B,) or (B,k) i64: the number of the milestone that is next; that of milestones where all
    are reached."""


Labels = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""The fields of a `Batch` but its frames."""


def some_of(labels: Labels, which: slice) -> Labels:
    """Those of some samples."""
    buttons, *others = labels
    weights, previous, mask, goals = (None if one is None else one[which] for one in others)
    return buttons[which], weights, previous, mask, goals


def _rounds_in(path: Path) -> list[int | None]:
    with open_file(path) as file:
        return rounds_of(read_header(file, path).provenance, path)


class Steps(Dataset[tuple[Tensor, int]]):
    """The chosen steps of shards, numbered shard by shard; step i is (frame (H,W,3) u8, button).

    A map-style dataset for any DataLoader, with 0, 1, 2 ... workers, forked or spawned; files are
    opened by the process that reads. An order that stays within a few chunks of 16 frames for a
    while is cheap, any other decodes a chunk for each step: `pipeline.loading.loader.load_batches`
    knows such orders, and caches.

    Memory: 1 byte a step (and 1 for ``previous``, 1 for ``goals``), 24 a chunk of 16, 16 an
    episode, shared by all processes.

    Args:
        paths: shards with frames of one size, checked by `check_shards`.
        split: TRAIN or VALIDATION; None takes both.
        labelled: only steps with the expert's button, which is then ``buttons``; False takes
            every step, with the button executed.
        rounds: only shards all of whose episodes are of these DAgger rounds; None takes all.
        max_labels: take only the first so many steps of the first shard; 0 takes all.
        stack: frames of a sample: the step's and those before it in its episode; at its start
            the first is repeated.
        window: steps of a sample, from the chosen one on; ``mask`` tells where the episode ends.
        previous: give the button executed in the step before, too.
        weights: of the samples, by class, round and shard.
        subtask: only steps between two milestones: (first, last) as `inside` of
            `pipeline.shards.format.milestones` takes them.
        goals: give the milestone that is next, too.
        reached: for each path, how many milestones count as reached when its episodes begin;
            None is 0 throughout.

    Raises:
        PipelineError: no shard of these rounds, chunks that do not fit together, or, where a
            subtask
            or goals are asked for, shards with different milestones.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        split: int | None = None,
        labelled: bool = True,
        rounds: Collection[int] | None = None,
        max_labels: int = 0,
        stack: int = 1,
        window: int = 1,
        previous: bool = False,
        weights: Weights | None = None,
        subtask: tuple[int, int] | None = None,
        goals: bool = False,
        reached: Sequence[int] | None = None,
    ) -> None:
        if min(stack, window) < 1 or (stack > 1 and window > 1):
            raise ValueError("stack and window are at least 1, and one of them is 1")
        self.stack, self.window, self.context = stack, window, max(stack, window)
        self.rounds = [_rounds_in(Path(path)) for path in paths]
        kept = [i for i, n in enumerate(self.rounds) if rounds is None or set(n) <= set(rounds)]
        if not kept:
            found = {n for several in self.rounds for n in several}
            there = ", ".join(sorted("none" if n is None else str(n) for n in found))
            raise PipelineError(
                f"no shard of the rounds {', '.join(map(str, sorted(rounds or ())))}; "
                f"the rounds there are: {there}"
            )
        self.paths = [Path(paths[i]) for i in kept]
        self.rounds = [self.rounds[i] for i in kept]
        choice = _Choice(split, labelled, previous, subtask, goals)
        begun = [0 if reached is None else reached[i] for i in kept]
        frames = [
            choice.add(path, 0 if i else max_labels, begun[i]) for i, path in enumerate(self.paths)
        ]
        self.source = FrameSource(self.paths, frames)
        self.actions = choice.actions
        """Names of the buttons."""
        self.shard_ids = tuple(choice.shard_ids)
        rows = self.source.chunk_rows
        self._buttons = SharedArray.of(np.concatenate(choice.buttons))
        self._executed = SharedArray.of(np.concatenate(choice.executed)) if previous else None
        self._goals = SharedArray.of(np.concatenate(choice.goals)) if goals else None
        self._starts = SharedArray.of(np.concatenate(choice.starts))
        self._stops = SharedArray.of(np.concatenate(choice.stops))
        chosen = (self._buttons.array != NO_ACTION).reshape(-1, rows)
        counts = chosen.sum(axis=1, dtype=np.int64)
        self._counts = SharedArray.of(counts)
        self._ends = SharedArray.of(np.cumsum(counts))
        # Whether the k-th step of a chunk simply is its k-th row.
        self._plain = bool((np.arange(rows) < counts[:, None]).__eq__(chosen).all())
        used = np.flatnonzero(counts)
        self._used = None if len(used) == len(counts) else SharedArray.of(used)
        self._weights = None
        if weights is not None:
            shards = np.repeat(np.arange(len(self.paths)), np.diff(self.source.first_chunks))
            self._weights = weights.resolve(
                self.actions, self.paths, self.rounds, self._buttons.array.reshape(-1, rows), shards
            )
        self._held = (-1, np.empty((rows, *self.source.frame_shape), np.uint8))

    def __len__(self) -> int:
        return int(self._ends.array[-1])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"step {index} of {len(self)}")
        rows = self.rows_of(np.array([index % len(self)]))
        if self.context > 1:
            frames = self.source.read_rows(self.context_of(rows)[0].reshape(-1))
            return torch.from_numpy(frames), int(self._buttons.array[rows[0]])
        chunk, row = divmod(int(rows[0]), self.source.chunk_rows)
        if self._held[0] != chunk:
            self._held = (-1, self._held[1])
            self.source.read_chunk(chunk, self._held[1])
            self._held = (chunk, self._held[1])
        return torch.from_numpy(self._held[1][row].copy()), int(self._buttons.array[rows[0]])

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": (-1, np.empty_like(self._held[1]))}

    @property
    def chunk_counts(self) -> Indices:
        """(C,) chosen steps in each chunk, over all shards."""
        return self._counts.array

    @property
    def used_chunks(self) -> Indices | None:
        """The chunks with a chosen step; None says all."""
        return None if self._used is None else self._used.array

    def rows_of(self, steps: Indices) -> Indices:
        """(n,) the rows of steps: ``chunk * chunk_rows + row in the chunk``."""
        ends, size = self._ends.array, self.source.chunk_rows
        chunks = np.searchsorted(ends, steps, side="right")
        places = steps - (ends[chunks] - self._counts.array[chunks])
        if not self._plain:
            chosen = self._buttons.array.reshape(-1, size)[chunks] != NO_ACTION
            places = (np.cumsum(chosen, axis=1) == (places + 1)[:, None]).argmax(axis=1)
        out: Indices = chunks * size + places
        return out

    def rows_in(self, chunks: Indices) -> Indices:
        """(n,) the chosen rows of chunks, chunk after chunk."""
        size = self.source.chunk_rows
        buttons = self._buttons.array.reshape(-1, size)[chunks]
        places, rows = np.nonzero(buttons != NO_ACTION)
        out: Indices = chunks[places] * size + rows
        return out

    def context_of(self, rows: Indices) -> tuple[Indices, NDArray[np.bool_] | None]:
        """(n,k) rows of the frames of each sample, and the mask of a window."""
        episodes = np.searchsorted(self._starts.array, rows, side="right") - 1
        if self.window == 1:
            first = self._starts.array[episodes]
            back = np.arange(self.stack - 1, -1, -1)
            return np.maximum(rows[:, None] - back, first[:, None]), None
        last = self._stops.array[episodes] - 1
        ahead = rows[:, None] + np.arange(self.window)
        there = ahead <= last[:, None]
        ahead = np.minimum(ahead, last[:, None])
        return ahead, there & (self._buttons.array[ahead] != NO_ACTION)

    def batch(self, steps: Indices) -> Batch:
        """The batch of these steps, in this order; each chunk is decoded once."""
        rows = self.rows_of(np.asarray(steps, np.int64))
        context = self.context_of(rows)[0] if self.context > 1 else rows
        frames = self.source.read_rows(context.reshape(-1))
        return self.answers(rows, frames.reshape(*context.shape, *self.source.frame_shape))

    def answers(self, rows: Indices, frames: Frames) -> Batch:
        """The batch of these rows, whose frames were read already."""
        return Batch(torch.from_numpy(frames), *self.labels(rows))

    def labels(self, rows: Indices) -> Labels:
        """What a batch of these rows has beside its frames."""
        mask = None
        if self.window > 1:
            rows, there = self.context_of(rows)
            mask = torch.from_numpy(there)
        buttons = self._buttons.array[rows].astype(np.int64)
        if self.window > 1:
            buttons[buttons == NO_ACTION] = 0
        weights = None if self._weights is None else self._weights(buttons, self._shard(rows))
        return (
            torch.from_numpy(buttons),
            None if weights is None else torch.from_numpy(weights),
            None if self._executed is None else torch.from_numpy(self._previous(rows)),
            mask,
            None if self._goals is None else torch.from_numpy(self._goals.array[rows]).long(),
        )

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        self.source.close()

    def _shard(self, rows: Indices) -> Indices:
        chunks = rows // self.source.chunk_rows
        return np.asarray(np.searchsorted(self.source.first_chunks, chunks, side="right") - 1)

    def _previous(self, rows: Indices) -> Indices:
        assert self._executed is not None
        episodes = np.searchsorted(self._starts.array, rows, side="right") - 1
        begins = rows == self._starts.array[episodes]
        before = self._executed.array[np.maximum(rows - 1, 0)].astype(np.int64)
        before[begins] = len(self.actions)
        return before


class _Choice:
    """Reads the columns of one shard after the other, and chooses."""

    def __init__(
        self,
        split: int | None,
        labelled: bool,
        previous: bool,
        subtask: tuple[int, int] | None,
        goals: bool,
    ) -> None:
        self._split, self._labelled, self._previous = split, labelled, previous
        self._subtask, self._told = subtask, goals
        self._milestones: tuple[str, ...] | None = None
        self.actions: tuple[str, ...] = ()
        self.shard_ids: list[str] = []
        self.buttons: list[NDArray[np.uint8]] = []
        self.executed: list[NDArray[np.uint8]] = []
        self.goals: list[NDArray[np.uint8]] = []
        self.starts: list[Indices] = []
        self.stops: list[Indices] = []
        self._rows = 0

    def add(self, path: Path, limit: int, reached: int) -> Any:
        """Returns where the frames lie."""
        with Shard(path) as shard:
            self.actions = shard.header.actions
            self.shard_ids.append(shard.header.shard_id)
            frames = shard.stored("frames")
            buttons, milestones = self._chosen(shard), self._reached(shard, reached)
            if self._subtask is not None:
                buttons[~inside(milestones, shard.lengths, *self._subtask)] = NO_ACTION
            if 0 < limit < np.count_nonzero(buttons != NO_ACTION):
                buttons[np.flatnonzero(buttons != NO_ACTION)[limit - 1] + 1 :] = NO_ACTION
            padded = len(frames.offsets) * frames.chunk_rows
            self.buttons.append(_padded(buttons, padded))
            if self._previous:
                self.executed.append(_padded(shard.column("actions"), padded))
            if self._told:
                goals = next_goals(milestones, shard.lengths, reached)
                self.goals.append(_padded(goals, padded))
            self.starts.append(self._rows + shard.starts)
            self.stops.append(self._rows + shard.starts + shard.lengths)
            self._rows += padded
        return frames

    def _reached(self, shard: Shard, reached: int) -> NDArray[np.int32]:
        """(E,M) the step at which each milestone was reached, 0 for those that count as such."""
        names = shard.header.milestones
        if self._subtask is not None or self._told:
            check_milestones(shard.path, names, self._milestones or names)
            self._milestones = names
        steps: NDArray[np.int32] = shard.milestones.copy()
        steps[:, :reached] = 0
        return steps

    def _chosen(self, shard: Shard) -> NDArray[np.uint8]:
        buttons: NDArray[np.uint8]
        if self._labelled:
            buttons = shard.column("expert_actions").copy()
            buttons[shard.column("label_status") != LabelStatus.LABELLED] = NO_ACTION
        else:
            buttons = shard.column("actions").copy()
        if self._split is not None:
            buttons[np.repeat(shard.splits != self._split, shard.lengths)] = NO_ACTION
        return buttons


def check_milestones(path: Path, names: Sequence[str], due: Sequence[str]) -> None:
    """Check that a shard's milestones are those that subtasks and goals are counted in.

    Raises:
        PipelineError: they are others, or more than fit into a byte.
    """
    if tuple(names) != tuple(due):
        raise PipelineError(
            f"{path}: its milestones are {' '.join(names) or 'none'}, not "
            f"{' '.join(due) or 'none'}; a subtask, or a network that is told its goal, takes "
            "shards "
            "of the same milestones only: name them with --train.shards"
        )
    if len(names) > MOST_GOALS:
        raise PipelineError(
            f"{path}: it has {len(names)} milestones; subtasks, and networks that are told their "
            f"goal, take up to {MOST_GOALS}"
        )


def _padded(values: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    out = np.full(length, NO_ACTION, np.uint8)
    out[: len(values)] = values
    return out
