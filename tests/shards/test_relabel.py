"""A labelled copy holds the same frames, bit for bit, and only other labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.repair.relabel import relabel
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_episode, processed_header, processed_shard, same, write

MADE = {"stage": "label", "fingerprint": "1" * 64, "parents": []}


def labels(steps: int) -> tuple[np.ndarray, np.ndarray]:
    status = (np.arange(steps) % 6).astype(np.uint8)
    expert = np.where(status == LabelStatus.LABELLED, 2, NO_ACTION).astype(np.uint8)
    return expert, status


def test_only_the_labels_and_the_provenance_change(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a.h5", (5, 40, 17))
    expert, status = labels(62)
    header = relabel(source, tmp_path / "b.h5", expert, status, MADE)
    with Shard(source) as old, Shard(tmp_path / "b.h5") as new:
        assert new.header == header
        assert header == replace(old.header, provenance=MADE, shard_id=header.shard_id)
        assert header.shard_id != old.header.shard_id
        assert (new.column("expert_actions") == expert).all()
        assert (new.column("label_status") == status).all()
        for i in range(3):
            before, after = old.episode(i), new.episode(i)
            assert same(
                replace(
                    after, expert_actions=before.expert_actions, label_status=before.label_status
                ),
                before,
            )


def test_the_frames_are_copied_as_they_are_stored(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a.h5", (40,))
    relabel(source, tmp_path / "b.h5", *labels(40), MADE)
    with h5py.File(source) as old, h5py.File(tmp_path / "b.h5") as new:
        for start in (0, 16, 32):
            chunks = [f["frames"].id.read_direct_chunk((start, 0, 0, 0)) for f in (old, new)]
            assert chunks[0] == chunks[1]


def test_the_identity_is_that_of_the_same_content_written_anew(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a.h5", (40,))
    expert, status = labels(40)
    copied = relabel(source, tmp_path / "b.h5", expert, status, MADE)
    episode = replace(make_episode(40, size=(84, 84)), expert_actions=expert, label_status=status)
    written = write(tmp_path / "c.h5", processed_header(provenance=MADE), [episode])
    with Shard(written) as shard:
        assert shard.header.shard_id == copied.shard_id


def test_the_same_labels_give_the_same_bytes(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a.h5", (40,))
    for name in ("b.h5", "c.h5"):
        relabel(source, tmp_path / name, *labels(40), MADE)
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "c.h5").read_bytes()


@pytest.mark.parametrize(
    ("expert", "status", "message"),
    [
        ([1, 1], [1, 1], "3 steps, but labels"),
        ([1, 1, 4], [1, 1, 1], "a label is not below 4"),
        ([1, 1, 255], [1, 1, 1], "label_status contradicts"),
        ([1, 1, 2], [1, 1, 3], "label_status contradicts"),
    ],
)
def test_labels_that_cannot_be_are_refused(
    tmp_path: Path, expert: list[int], status: list[int], message: str
) -> None:
    source = processed_shard(tmp_path / "a.h5", (3,))
    with pytest.raises(ValueError, match=message):
        relabel(
            source, tmp_path / "b.h5", np.array(expert, np.uint8), np.array(status, np.uint8), MADE
        )
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_an_existing_name_is_left_alone(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a.h5", (3,))
    before = source.read_bytes()
    with pytest.raises(PipelineError, match="exists already"):
        relabel(source, source, *labels(3), MADE)
    assert source.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
