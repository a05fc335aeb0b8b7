"""The work on frames in the preprocess stage, cut into jobs for whatever executor runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.checks import damaged, open_handle
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.columns import EncodedChunk, encode_chunk
from pipeline.shards.format.frames import FrameContract, resize
from pipeline.shards.format.schema import FRAMES_PER_CHUNK
from pipeline.shards.format.stored import DamagedChunk, StoredDataset
from pipeline.shards.reader import Shard

LEVEL = 1
"""Of compression; tests/bench/bench_preprocess.py shows what others would cost and bring."""
STEPS_PER_JOB = 8 * FRAMES_PER_CHUNK
STEPS_PER_NULL_JOB = 256

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class ResizeJob:
    """Steps of a raw shard, in order, and what their frames become."""

    source: Path
    frames: StoredDataset
    """Only the chunks from ``first`` on in which the steps lie: jobs travel to processes."""
    first: int
    rows: Rows
    contract: FrameContract


@dataclass(frozen=True)
class NullJob:
    """Steps of a raw shard that are compared with the one after each."""

    raw: Shard
    low: int
    high: int


def resize_jobs(raw: Shard, rows: Rows, contract: FrameContract) -> Iterator[ResizeJob]:
    """Jobs for the frames of ``rows`` (ascending); a chunk belongs to one job, or to two."""
    frames = raw.stored("frames")
    for at in range(0, len(rows), STEPS_PER_JOB):
        part = rows[at : at + STEPS_PER_JOB]
        low, high = int(part[0]) // frames.chunk_rows, int(part[-1]) // frames.chunk_rows + 1
        chunks = replace(
            frames,
            offsets=frames.offsets[low:high],
            sizes=frames.sizes[low:high],
            crc32=None if frames.crc32 is None else frames.crc32[low:high],
        )
        yield ResizeJob(raw.path, chunks, low, part, contract)


def resize_job(job: ResizeJob) -> list[EncodedChunk]:
    """Read, resize and compress the job's frames, each chunk once; runs in a worker."""
    frames, rows = job.frames, job.rows
    raw = np.empty((frames.chunk_rows, *frames.row_shape), np.uint8)
    small = np.empty((len(rows), job.contract.height, job.contract.width, 3), np.uint8)
    handle = open_handle(job.source)
    try:
        at = 0
        while at < len(rows):
            chunk = int(rows[at]) // frames.chunk_rows
            till = int(np.searchsorted(rows, (chunk + 1) * frames.chunk_rows))
            try:
                frames.read_chunk(handle, chunk - job.first, raw.reshape(-1))
            except Damage as damage:
                raise damaged(job.source, DamagedChunk(frames, chunk, str(damage))) from None
            wanted = rows[at:till] - chunk * frames.chunk_rows
            whole = len(wanted) == frames.chunk_rows
            small[at:till] = resize(raw if whole else raw[wanted], job.contract)
            at = till
    finally:
        os.close(handle)
    return [
        encode_chunk(small[low : low + FRAMES_PER_CHUNK], FRAMES_PER_CHUNK, LEVEL)
        for low in range(0, len(small), FRAMES_PER_CHUNK)
    ]


def null_jobs(raw: Shard) -> Iterator[NullJob]:
    """A shard in pieces of :data:`STEPS_PER_NULL_JOB` steps."""
    for low in range(0, raw.n_frames, STEPS_PER_NULL_JOB):
        yield NullJob(raw, low, min(low + STEPS_PER_NULL_JOB, raw.n_frames))


def null_job(job: NullJob) -> NDArray[np.bool_]:
    """For each step of the job: whether its button changed neither screen nor state.

    The last step of an episode never counts as one: it carries how the episode ended.
    """
    raw, low, high = job.raw, job.low, job.high
    null = ~np.isin(np.arange(low, high) + 1, raw.starts + raw.lengths)
    stop = min(high + 1, raw.n_frames)
    for values in (
        raw.read_frames(low, stop),
        *(raw.state(name, low, stop) for name in raw.state_names),
    ):
        same = np.ones(high - low, np.bool_)
        pairs = len(values) - 1
        same[:pairs] = (values[1:] == values[:-1]).reshape(pairs, -1).all(axis=1)
        null &= same
    return null
