"""Several shards into one, episode after episode."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.schema import ShardHeader
from pipeline.shards.writer import ShardWriter

_BLOCK = 256


def merge_parts(
    parts: Sequence[Path],
    target: Path,
    header: ShardHeader,
    *,
    delete: bool = False,
) -> ShardHeader:
    """Publish ``target`` with the episodes of ``parts``, in their order; the parts are deleted
    after it if asked.

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
    states: dict[bytes, int] = {}
    rows: list[list[int]] = []
    for part in parts:
        with Shard(part) as shard:
            rows.append([states.setdefault(s, len(states)) for s in shard.start_states()])
    threads = min(4, os.cpu_count() or 1)
    with ShardWriter(target, header, start_states=list(states), threads=threads) as writer:
        for part, new_rows in zip(parts, rows, strict=True):
            with Shard(part) as shard:
                _append_all(writer, shard, new_rows)
    if delete:
        for part in parts:
            part.unlink()
    return replace(header, shard_id=writer.shard_id)


def _append_all(writer: ShardWriter, shard: Shard, new_rows: list[int]) -> None:
    for index, start in enumerate(shard.starts):
        episode = shard.episode(index, frames=False)
        if new_rows:
            episode.start_state = new_rows[episode.start_state]
        writer.append_steps(episode)
        stop = int(start) + len(episode)
        for low in range(int(start), stop, _BLOCK):
            writer.append_frames(shard.read_frames(low, min(low + _BLOCK, stop)))
