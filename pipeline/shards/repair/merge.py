"""Episodes of several shards into one, one after another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import h5py

from pipeline.shards.format.labels import told_labels
from pipeline.shards.format.schema import ShardHeader
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.writer import Compression, ShardWriter
from pipeline.system.errors import PipelineError

_BLOCK = 256


class Pick(NamedTuple):
    """Some episodes of a shard, in this order; None takes all."""

    path: Path
    episodes: Sequence[int] | None = None

    def of(self, shard: Shard) -> Sequence[int]:
        return range(shard.n_episodes) if self.episodes is None else self.episodes


def merge_parts(
    parts: Sequence[Path],
    target: Path,
    header: ShardHeader,
    *,
    delete: bool = False,
) -> ShardHeader:
    """Publish ``target`` with the episodes of ``parts``, in their order; delete the parts if asked.

    The result has the bytes that one writer would have given for the same episodes. Start states
    are kept once each. Memory: 256 frames and the columns of one episode.

    Raises:
        PipelineError: a part is no valid shard or does not fit ``header``; ``target`` exists, or
            the disk refuses. The parts are then untouched.
    """
    if not parts:
        raise PipelineError(f"{target}: there are no parts to merge")
    for part_header, part in zip(
        check_shards(
            parts,
            kind=header.kind,
            game=header.game,
            rom_sha1=header.rom_sha1,
            actions=header.actions,
            contract=header.frame_contract,
            timing=dict(header.timing),
        ),
        parts,
        strict=True,
    ):
        if part_header.milestones != header.milestones:
            raise PipelineError(
                f"{part}: the milestones are {' '.join(part_header.milestones)}, "
                f"not {' '.join(header.milestones)}"
            )
    merged = write_episodes(target, header, [Pick(part) for part in parts])
    if delete:
        for part in parts:
            part.unlink()
    return merged


def write_episodes(target: Path, header: ShardHeader, picks: Sequence[Pick]) -> ShardHeader:
    """Publish ``target`` with the episodes picked, in this order.

    The frames are compressed as those of the first shard are. Of the start states, those that the
    episodes began from are kept, once each. The CRC32 of RAM is kept if all shards have it; who
    gave the labels if one has it, and for the others what their provenance tells of it.
    Memory: 256 frames and the columns of one episode.

    Raises:
        PipelineError: a shard is not valid or damaged; ``target`` exists, or the disk refuses.
        ValueError: a shard does not fit ``header`` or the others.
    """
    states: dict[bytes, int] = {}
    rows: list[dict[int, int]] = []
    ram, labels = True, False
    for pick in picks:
        with Shard(pick.path) as shard:
            ram &= shard.ram_crc32(0, 0) is not None
            labels |= shard.labels(0, 0) is not None
            kept = shard.start_states()
            used = sorted({int(shard.start_state_rows[i]) for i in pick.of(shard)}) if kept else []
            rows.append({row: states.setdefault(kept[row], len(states)) for row in used})
    with ShardWriter(
        target,
        header,
        start_states=list(states),
        threads=min(4, os.cpu_count() or 1),
        **_compression(picks[0].path),
    ) as writer:
        for pick, new_rows in zip(picks, rows, strict=True):
            with Shard(pick.path) as shard:
                for index in pick.of(shard):
                    _append(writer, shard, index, new_rows, ram=ram, labels=labels)
    return replace(header, shard_id=writer.shard_id)


class _Compressed(TypedDict, total=False):
    """How a ShardWriter compresses frames: its own arguments."""

    compression: Compression
    level: int


def _compression(path: Path) -> _Compressed:
    with h5py.File(path, "r", locking=False) as file:
        level = file["frames"].compression_opts
    return {"compression": None} if level is None else {"level": int(level)}


def _append(
    writer: ShardWriter,
    shard: Shard,
    index: int,
    new_rows: Mapping[int, int],
    *,
    ram: bool,
    labels: bool,
) -> None:
    episode = shard.episode(index, frames=False)
    if new_rows:  # in a processed shard the rows are those of another file
        episode.start_state = new_rows[episode.start_state]
    if not ram:
        episode.ram_crc32 = None
    if labels and episode.labels is None:
        episode.labels = told_labels(shard.header.provenance, episode.label_status)
    writer.append_steps(episode)
    start = int(shard.starts[index])
    stop = start + len(episode)
    for low in range(start, stop, _BLOCK):
        writer.append_frames(shard.read_frames(low, min(low + _BLOCK, stop)))
