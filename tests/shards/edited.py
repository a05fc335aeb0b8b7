"""Shards to merge, split and filter, and what must hold of a folder afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import NO_ACTION, Episode, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.shards.factory import (
    make_episode,
    make_header,
    write,
)

SMALL = make_header(frame_contract=FrameContract(8, 8, "none"))


def shards_in(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.h5")}


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if ".tmp-" in p.name]


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    before = shards_in(folder)
    yield
    assert shards_in(folder) == before
    assert leftovers(folder) == []


def refused(folder: Path, function: Any, *arguments: Any, **options: Any) -> str:
    """The line with which it is refused; everything in the folder stays as it was."""
    with unchanged(folder), pytest.raises(PipelineError) as error:
        function(*arguments, **options)
    return str(error.value)


def episodes_of(path: Path | str) -> list[Episode]:
    with Shard(path) as shard:
        return [shard.episode(i) for i in range(shard.n_episodes)]


def small(seed: int, steps: int = 5, **changes: Any) -> Episode:
    ends = changes.pop("ends", "terminated")
    return replace(make_episode(steps, seed, size=(8, 8), ends=ends), **changes)


def recorded(path: Path, seeds: range, **header: Any) -> Path:
    return write(path, replace(SMALL, **header), [small(seed) for seed in seeds], [b"s" * 9])


def varied(path: Path, **header: Any) -> Path:
    """Six episodes: won and lost, milestones reached and not, labelled in part, whole and not."""

    def labels(*status: int) -> dict[str, Any]:
        buttons = [1 if one == LabelStatus.LABELLED else NO_ACTION for one in status]
        return {
            "label_status": np.array(status, np.uint8),
            "expert_actions": np.array(buttons, np.uint8),
        }

    whole, part = labels(1, 1, 1, 1, 1), labels(1, 3, 1, 2, 0)
    reached = np.array([2, 5], np.int32)
    episodes = [
        small(10),
        small(11, ends="truncated"),
        small(12, milestones=reached, **whole),
        small(13, ends="truncated", **part),
        small(14, milestones=reached, **part),
        small(15, **whole),
    ]
    return write(path, replace(SMALL, **header), episodes)
