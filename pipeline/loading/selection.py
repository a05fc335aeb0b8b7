"""Which shards a training learns from, and what of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.games.description import GameDescription
from pipeline.loading.dataset import Indices, LabelledSteps
from pipeline.loading.sampling import ChunkShuffle
from pipeline.shards.names import stem_and_version
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.schema import TRAIN, VALIDATION, LabelStatus, ShardHeader
from pipeline.shards.table import header_of, newest_shards

_VALIDATION_CACHE = 4 << 20
"""Bytes; validation reads in the order of the file, each chunk once."""


@dataclass
class Selection:
    """Checked shards, and their labelled steps by split."""

    paths: list[Path]
    headers: list[ShardHeader]
    train: LabelledSteps
    validation: LabelledSteps | None
    """None where no labelled step has that split."""
    validation_indices: Indices
    """Steps of `validation` that are looked at, rising."""
    seeds: NDArray[np.uint32]
    """Seed of every episode, whatever its split."""

    def close(self) -> None:
        self.train.close()
        if self.validation is not None:
            self.validation.close()


def select_shards(settings: Settings, game: GameDescription) -> Selection:
    """The shards of ``train.shards``, or every labelled one of the game.

    Of a shard that was labelled, the labelled version counts, not the one it was made from.

    Raises:
        PipelineError: none there, none labelled, or one that does not fit the game or the others.
    """
    train = settings.train
    paths = [Path(shard) for shard in train.shards]
    paths = paths or _labelled_shards(settings.shard_folder(game.name))
    headers = check_shards(
        paths,
        kind="processed",
        game=game.name,
        rom_sha1=game.rom_sha1,
        actions=game.buttons,
        timing={"hold": game.timing.hold, "release": game.timing.release},
        labelled=True,
    )
    steps = LabelledSteps(paths, split=TRAIN, max_labels=train.max_labels)
    if not len(steps):
        names = ", ".join(str(path) for path in paths)
        raise PipelineError(
            f"{names}: every labelled step is in the validation split; "
            "lower preprocess.validation, or collect more episodes"
        )
    unseen = LabelledSteps(paths, split=VALIDATION, cache_bytes=_VALIDATION_CACHE)
    chosen = np.arange(len(unseen))
    if 0 < train.validate_steps < len(unseen):
        order = ChunkShuffle(unseen.chunk_counts, batch_size=1, seed=0, window=1, last=0)
        chosen = np.sort(order.order(0)[: train.validate_steps])
    return Selection(paths, headers, steps, unseen if len(unseen) else None, chosen, _seeds(paths))


def _labelled_shards(folder: Path) -> list[Path]:
    found = {
        path: header_of(path)
        for path in newest_shards(folder, kind="processed")
        if _has_labels(path)
    }
    stems = {path: stem_and_version(path)[0] for path in found}
    origins = {
        stem_and_version(Path(parent["file"]))[0]
        for path, header in found.items()
        for parent in header.provenance.get("parents", ())
        if stem_and_version(Path(parent["file"]))[0] != stems[path]
    }
    paths = [path for path in found if stems[path] not in origins]
    if not paths:
        raise PipelineError(
            f"{folder}: no labelled shard; run the stages collect, preprocess and label first"
        )
    return paths


def _has_labels(path: Path) -> bool:
    with Shard(path) as shard:
        return bool(np.any(shard.column("label_status") == LabelStatus.LABELLED))


def _seeds(paths: list[Path]) -> NDArray[np.uint32]:
    seeds = []
    for path in paths:
        with Shard(path) as shard:
            seeds.append(shard.seeds)
    return np.unique(np.concatenate(seeds))
