"""Making a processed shard of a raw one: which steps stay, their frames, their split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.games.subtask import subtask_ends
from pipeline.games.task import Task
from pipeline.preprocessing.plan import Plan, decisive
from pipeline.preprocessing.resize import (
    LEVEL,
    ResizeJob,
    null_job,
    null_jobs,
    resize_jobs,
)
from pipeline.settings.fields import Preprocess
from pipeline.shards.catalog.facts import told_rounds
from pipeline.shards.format.columns import EncodedChunk
from pipeline.shards.format.frames import FrameContract, resize
from pipeline.shards.format.milestones import inside
from pipeline.shards.format.provenance import provenance
from pipeline.shards.format.schema import (
    STEP_COLUMNS,
    TRAIN,
    VALIDATION,
    Array,
    Episode,
    ShardHeader,
)
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.workers import in_order

if TYPE_CHECKING:
    from pipeline.preprocessing.state_reader import StateReader


def split_of(root: str, validation: float) -> int:
    """The split of an episode: a function of its root's sha256 and the fraction alone."""
    draw = int.from_bytes(hashlib.sha256(root.encode()).digest()[:8], "big") / 2**64
    return VALIDATION if draw < validation else TRAIN


class Maker:
    """Makes one processed shard; the executor does the work on frames.

    What is known of the raw shard is found at the first use, and forgotten once it is made:
    there may be thousands.
    """

    def __init__(
        self,
        plan: Plan,
        options: Preprocess,
        executor: Executor,
        ahead: int,
        state_reader: StateReader | None,
    ) -> None:
        self._plan = plan
        self.state_reader = state_reader
        self._options = options
        self._contract = FrameContract(options.size, options.size, "bilinear")
        self._executor = executor
        self._ahead = ahead

    @cached_property
    def _raw(self) -> Shard:
        return Shard(self._plan.source)

    @cached_property
    def _kept(self) -> NDArray[np.bool_]:
        """(N,) which steps stay."""
        raw = self._raw
        kept = np.ones(raw.n_frames, np.bool_)
        cut = self._plan.cut
        if cut is not None:
            begun = self._plan.begun
            kept &= inside(raw.milestones, raw.lengths, cut.first, cut.last, begun)
        if self._options.drop_broken_episodes:
            last = raw.starts + raw.lengths - 1
            ended = (raw.column("terminated") | raw.column("truncated"))[last]
            kept &= np.repeat(ended, raw.lengths)
        if self._options.drop_null_actions:
            jobs = null_jobs(raw)
            found = in_order(self._executor, null_job, jobs, title="preprocess", ahead=self._ahead)
            with closing(found):
                kept &= ~np.concatenate(list(found))
        return kept

    def jobs(self) -> Iterator[ResizeJob]:
        """The work on frames, in the order in which :meth:`make` takes its results."""
        return resize_jobs(self._raw, np.flatnonzero(self._kept), self._contract)

    def make(
        self, encoded: Iterator[list[EncodedChunk]], progress: Callable[[int], object]
    ) -> Path | None:
        """Publish the shard from what its jobs give, unless no step stayed; return its path."""
        left = int(np.count_nonzero(self._kept))
        progress(len(self._kept) - left)
        if left:
            episodes = self._episodes()
            with ShardWriter(self._plan.target, self._header(), level=LEVEL) as writer:
                done = 0
                while done < left:
                    for chunk in next(encoded):
                        done += chunk.rows
                        while writer.n_frames < done:
                            writer.append_steps(next(episodes))
                        writer.append_encoded(chunk)
                        progress(chunk.rows)
        self._raw.close()
        del self._raw, self._kept
        return self._plan.target if left else None

    def _header(self) -> ShardHeader:
        raw = self._raw.header
        told = provenance(
            "preprocess",
            settings=decisive(self._options),
            fingerprint=self._plan.mark,
            actor=raw.provenance.get("actor"),
            emulator=raw.provenance.get("emulator", ""),
            parents=[{"file": self._plan.source.name, "shard_id": raw.shard_id}],
        )
        cut = self._plan.cut
        subtask = subtask_ends(raw.provenance) if cut is None else cut.told
        if subtask is not None:
            told["subtask"] = subtask
        told |= told_rounds([(raw.provenance, self._plan.source)])
        return replace(
            raw,
            kind="processed",
            frame_contract=self._contract,
            shard_id="",
            provenance=told,
        )

    def _episodes(self) -> Iterator[Episode]:
        """The episodes as they will be written, frames left out."""
        raw = self._raw
        stays = [self._kept[s : s + n] for s, n in zip(raw.starts, raw.lengths, strict=True)]
        some = [index for index, stay in enumerate(stays) if stay.any()]
        recordings = raw.recordings
        for index, state in zip(some, self._states(some), strict=True):
            episode = raw.episode(index, frames=False)
            if state is not None:
                episode = replace(episode, state=state)
            episode = _without(episode, stays[index])
            small = resize(episode.final_frame[None], self._contract)[0]
            split = split_of(episode.root, self._options.validation)
            yield replace(
                episode,
                final_frame=small,
                split=split,
                ram_crc32=None,
                recording=recordings[index],
            )

    def _states(self, episodes: list[int]) -> Iterator[dict[str, Array] | None]:
        """Today's variables of each episode; None where the recorded ones stay."""
        if self.state_reader is None:
            return iter([None] * len(episodes))
        return self.state_reader.states(self._plan.source, episodes)


def state_reader(
    options: Preprocess, task: Task, sources: list[Path]
) -> StateReader | nullcontext[None]:
    """What reads the state anew, if it is asked to and there is something to do."""
    if not options.reread_state or not sources:
        return nullcontext()
    from pipeline.preprocessing.state_reader import (
        StateReader,  # imported late: it brings the emulator
    )

    game, rom = task.cartridge()
    return StateReader(sources, game, rom, options.workers)


def _without(episode: Episode, stay: NDArray[np.bool_]) -> Episode:
    """The episode with the steps that ``stay`` (T,) only; it keeps its return.

    The reward of a step left out goes to the one kept before it (or, at the start, after it).
    """
    if stay.all():
        return episode
    owner = np.maximum(np.cumsum(stay) - 1, 0)
    rewards = np.bincount(owner, episode.rewards, minlength=int(stay.sum())).astype(np.float32)
    kept_before = np.concatenate([[0], np.cumsum(stay)])
    steps = episode.milestones
    return replace(
        episode,
        **{name: getattr(episode, name)[stay] for name in STEP_COLUMNS if name != "rewards"},
        rewards=rewards,
        state={name: values[stay] for name, values in episode.state.items()},
        labels=None
        if episode.labels is None
        else {name: values[stay] for name, values in episode.labels.items()},
        milestones=np.where(steps < 0, steps, kept_before[np.maximum(steps, 0)]).astype(np.int32),
    )
