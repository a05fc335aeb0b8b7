"""Small shards of every kind, and ways to damage them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.shards.format.frames import FrameContract
from pipeline.shards.reader import Shard
from tests.shards.factory import make_episode, make_header, write

LENGTHS = (20, 3, 41)
SIZE = (16, 16)
ROOTS = [f"power_on-{seed:08x}" for seed in range(len(LENGTHS))]


def small_shard(path: Path, kind: str = "raw") -> Path:
    """A shard of three episodes: raw, processed, or labelled (with who gave the labels).

    A raw one has start states, one an episode.
    """
    contract = FrameContract(*SIZE, "none" if kind == "raw" else "bilinear")
    header = make_header(
        kind="raw" if kind == "raw" else "processed", frame_contract=contract, stage=kind
    )
    episodes = [
        replace(
            make_episode(
                steps, seed, size=SIZE, labelled=kind == "labelled", labels=kind == "labelled"
            ),
            start_state=seed,
            ram_crc32=np.arange(steps, dtype=np.uint32) * 77 if kind == "raw" else None,
        )
        for seed, steps in enumerate(LENGTHS)
    ]
    states = [bytes([65 + seed]) * (300 + seed) for seed in range(len(LENGTHS))]
    return write(path, header, episodes, states if kind == "raw" else [])


def place(path: Path, dataset: str, chunk: int = 0) -> tuple[int, int]:
    """Offset and size of a stored chunk in the file."""
    with Shard(path) as shard:
        stored = shard.stored(dataset)
        return int(stored.offsets[chunk]), int(stored.sizes[chunk])


def flip(path: Path, offset: int, bits: int = 1) -> None:
    """Flip bits of one byte of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ bits]))


def damage(path: Path, dataset: str, chunk: int = 0) -> None:
    """Flip a bit in the middle of a stored chunk."""
    offset, size = place(path, dataset, chunk)
    flip(path, offset + size // 2)
