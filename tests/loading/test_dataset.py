"""The dataset: which steps there are, that each is the right one, and that memory is bounded."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.loading.dataset import LabelledSteps, batches_of, whole_batch
from pipeline.loading.sampling import ChunkShuffle
from pipeline.shards.schema import FRAMES_PER_CHUNK, TRAIN, VALIDATION
from tests.loading import made

CHUNK_BYTES = FRAMES_PER_CHUNK * 84 * 84 * 3


def numbers_of(steps: LabelledSteps) -> list[int]:
    return [made.number_of(steps[i][0]) for i in range(len(steps))]


def test_a_step_is_the_frame_and_the_experts_button(tmp_path: Path) -> None:
    steps = LabelledSteps([made.shard(tmp_path / "a.h5", (20,))])
    frame, button = steps[13]
    assert frame.dtype == torch.uint8
    assert frame.shape == (84, 84, 3)
    assert (frame.numpy() == made.frame_of(13 * 7 % 10, 13)).all()
    assert button == 13 * 7 % 10


def test_steps_are_the_labelled_ones_of_the_split_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = [
        made.shard(tmp_path / "a.h5", (30, 25, 9), validation=(1,), every=3),
        made.shard(tmp_path / "b.h5", (40,), first=64, seed=3),
    ]
    train = [n for n in range(64) if n % 3 == 0 and not 30 <= n < 55] + list(range(64, 104))
    assert numbers_of(LabelledSteps(paths, split=TRAIN)) == train
    unseen = [n for n in range(30, 55) if n % 3 == 0]
    assert numbers_of(LabelledSteps(paths, split=VALIDATION)) == unseen


def test_a_budget_takes_the_first_labels_of_the_first_shard_only(tmp_path: Path) -> None:
    paths = [
        made.shard(tmp_path / "a.h5", (30, 25), validation=(0,), every=2),
        made.shard(tmp_path / "b.h5", (7,), first=55, seed=3),
    ]
    steps = LabelledSteps(paths, max_labels=4)
    assert numbers_of(steps) == [30, 32, 34, 36, *range(55, 62)]
    assert len(LabelledSteps(paths, max_labels=999)) == 13 + 7


def test_a_batch_comes_in_the_order_asked_for_whatever_the_cache_holds(tmp_path: Path) -> None:
    path = made.shard(tmp_path / "a.h5", (100, 80))
    wanted = np.random.default_rng(0).integers(0, 180, 64)
    for chunks in (1, 2, 100):
        steps = LabelledSteps([path], cache_bytes=chunks * CHUNK_BYTES)
        assert steps.cached_chunks == min(chunks, 12)
        for _ in range(2):
            frames, buttons = steps.__getitems__(wanted)
            assert [made.number_of(frame) for frame in frames] == wanted.tolist()
            assert buttons.tolist() == (wanted * 7 % 10).tolist()


def test_what_a_batch_holds_is_not_overwritten_by_the_next(tmp_path: Path) -> None:
    steps = LabelledSteps([made.shard(tmp_path / "a.h5", (64,))], cache_bytes=CHUNK_BYTES)
    first, _ = steps.__getitems__([0, 1])
    steps.__getitems__([60, 61])
    assert [made.number_of(frame) for frame in first] == [0, 1]


def test_an_index_outside_is_refused(tmp_path: Path) -> None:
    steps = LabelledSteps([made.shard(tmp_path / "a.h5", (5,))])
    assert made.number_of(steps[-1][0]) == 4
    with pytest.raises(IndexError, match="step 5 of 5"):
        steps[5]


def test_no_labelled_step_of_the_split_is_an_empty_dataset(tmp_path: Path) -> None:
    assert len(LabelledSteps([made.shard(tmp_path / "a.h5", (5,))], split=VALIDATION)) == 0


def test_the_dataset_pickles_without_its_cache_and_opens_for_itself(tmp_path: Path) -> None:
    steps = LabelledSteps([made.shard(tmp_path / "a.h5", (40,))])
    steps.__getitems__([1, 39])
    text = pickle.dumps(steps)
    assert len(text) < 20_000
    assert numbers_of(pickle.loads(text)) == list(range(40))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_every_number_of_workers_gives_the_same_batches(tmp_path: Path, start: str) -> None:
    steps = LabelledSteps([made.shard(tmp_path / "a.h5", (100, 60))])
    order = ChunkShuffle(steps.chunk_counts, batch_size=16, seed=1, window=4, last=12)
    alone = list(DataLoader(steps, batch_sampler=order, collate_fn=whole_batch))
    workers = DataLoader(
        steps,
        batch_sampler=order,
        collate_fn=whole_batch,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(start),
    )
    for (frames, buttons), (same_frames, same_buttons) in zip(alone, workers, strict=True):
        assert torch.equal(frames, same_frames)
        assert torch.equal(buttons, same_buttons)


def test_batches_of_chosen_steps_come_in_order_with_a_smaller_last_one(tmp_path: Path) -> None:
    steps = LabelledSteps([made.shard(tmp_path / "a.h5", (40,))])
    batches = list(batches_of(steps, np.arange(3, 13), 4))
    assert [len(buttons) for _, buttons in batches] == [4, 4, 2]
    assert [made.number_of(f) for frames, _ in batches for f in frames] == list(range(3, 13))
