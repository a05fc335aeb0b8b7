"""The steps of shards as a map-style torch dataset that never holds their frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.loading.shared_memory import SharedArray
from pipeline.loading.source import Frames, FrameSource, Indices
from pipeline.loading.weights import Weights
from pipeline.shards.catalog.facts import rounds_of
from pipeline.shards.format.milestones import inside, next_goals
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.shards.format.stored import StoredDataset
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError

MOST_GOALS = 255
"""So many milestones at most: a byte holds their numbers and one more, which says that all are
reached."""


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
    """(B,) or (B,k) i64: the number of the milestone that is next, from 0; where all M are
    reached, M."""


Labels = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""The fields of a `Batch` but its frames."""


def some_of(labels: Labels, which: slice) -> Labels:
    """The labels of the samples ``which``."""
    buttons, *others = labels
    weights, previous, mask, goals = (None if one is None else one[which] for one in others)
    return buttons[which], weights, previous, mask, goals


class Steps(Dataset[tuple[Tensor, int]]):
    """The chosen steps of shards, numbered shard by shard; step i is (frame (H,W,3) u8, button).

    A map-style dataset for any DataLoader, with 0, 1, 2 ... workers, forked or spawned; files are
    opened by the process that reads. An order that stays within a few chunks of 16 frames for a
    while is cheap, any other decodes a chunk for each step: `pipeline.loading.loader.load_batches`
    knows such orders, and caches.

    Memory: 1 byte a step (and 1 for ``previous``, 1 for ``goals``), 24 a chunk of 16, 17 an
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
            subtask or goals are asked for, shards with different milestones.
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
        columns = _Columns(labelled, previous, subtask, goals)
        there: set[int | None] = set()
        for path, begun in zip(paths, reached or [0] * len(paths), strict=True):
            there.update(columns.add(Path(path), rounds, begun))
        if not columns.paths:
            found = ", ".join(sorted("none" if n is None else str(n) for n in there))
            raise PipelineError(
                f"no shard of the rounds {', '.join(map(str, sorted(rounds or ())))}; "
                f"the rounds there are: {found}"
            )
        self.paths, self.rounds = columns.paths, columns.rounds
        self.actions = columns.actions
        """Names of the buttons."""
        self.shard_ids = tuple(columns.shard_ids)
        self.source = FrameSource(self.paths, columns.frames)
        self._executed = SharedArray.of(np.concatenate(columns.executed)) if previous else None
        self._goals = SharedArray.of(np.concatenate(columns.goals)) if goals else None
        self._starts = SharedArray.of(np.concatenate(columns.starts))
        self._stops = SharedArray.of(np.concatenate(columns.stops))
        self._splits = SharedArray.of(np.concatenate(columns.splits))
        self._held = (-1, np.empty((self.source.chunk_rows, *self.source.frame_shape), np.uint8))
        self._choose(np.concatenate(columns.buttons), split, max_labels, weights)

    def of_split(self, split: int, *, max_labels: int = 0, weights: Weights | None = None) -> Steps:
        """Those of these steps that have a split, without opening a shard again.

        Args:
            split, max_labels, weights: as for the class; the weights are scaled anew.

        Raises:
            PipelineError: the weights name a button, round or shard that is not there.
        """
        part = copy(self)
        part.source = copy(self.source)
        part._choose(self._buttons.array.copy(), split, max_labels, weights)
        return part

    def _choose(
        self,
        buttons: NDArray[np.uint8],
        split: int | None,
        max_labels: int,
        weights: Weights | None,
    ) -> None:
        """Number the steps: rows of ``buttons`` (rows,), which is changed, with a button left."""
        rows = self.source.chunk_rows
        if split is not None:
            lengths = np.diff(self._starts.array, append=len(buttons))
            buttons[np.repeat(self._splits.array != split, lengths)] = NO_ACTION
        if max_labels > 0:
            first = buttons[: self.source.first_chunks[1] * rows]
            first[np.flatnonzero(first != NO_ACTION)[max_labels:]] = NO_ACTION
        self._buttons = SharedArray.of(buttons)
        chosen = (buttons != NO_ACTION).reshape(-1, rows)
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
                self.actions, self.paths, self.rounds, buttons.reshape(-1, rows), shards
            )

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


class _Columns:
    """What is read of one shard after the other, each opened once."""

    def __init__(
        self, labelled: bool, previous: bool, subtask: tuple[int, int] | None, goals: bool
    ) -> None:
        self._labelled, self._previous = labelled, previous
        self._subtask, self._told = subtask, goals
        self._milestones: tuple[str, ...] | None = None
        self.paths: list[Path] = []
        self.rounds: list[list[int | None]] = []
        self.actions: tuple[str, ...] = ()
        self.shard_ids: list[str] = []
        self.frames: list[StoredDataset] = []
        self.buttons: list[NDArray[np.uint8]] = []
        self.executed: list[NDArray[np.uint8]] = []
        self.goals: list[NDArray[np.uint8]] = []
        self.starts: list[Indices] = []
        self.stops: list[Indices] = []
        self.splits: list[NDArray[np.uint8]] = []
        self._rows = 0

    def add(self, path: Path, rounds: Collection[int] | None, reached: int) -> list[int | None]:
        """Read a shard, unless ``rounds`` leaves it out; returns its own."""
        with Shard(path) as shard:
            found = rounds_of(shard.header.provenance, path)
            if rounds is not None and not set(found) <= set(rounds):
                return found
            self.paths.append(path)
            self.rounds.append(found)
            self.actions = shard.header.actions
            self.shard_ids.append(shard.header.shard_id)
            self.frames.append(shard.stored("frames"))
            buttons, milestones = self._chosen(shard), self._reached(shard, reached)
            if self._subtask is not None:
                buttons[~inside(milestones, shard.lengths, *self._subtask)] = NO_ACTION
            padded = len(self.frames[-1].offsets) * self.frames[-1].chunk_rows
            self.buttons.append(_padded(buttons, padded))
            if self._previous:
                self.executed.append(_padded(shard.column("actions"), padded))
            if self._told:
                goals = next_goals(milestones, shard.lengths, reached)
                self.goals.append(_padded(goals, padded))
            self.starts.append(self._rows + shard.starts)
            self.stops.append(self._rows + shard.starts + shard.lengths)
            self.splits.append(shard.splits)
            self._rows += padded
        return found

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
            "shards of the same milestones only: name them with --train.shards"
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
