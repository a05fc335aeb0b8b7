"""The law of the order: a permutation each epoch, a pure function of (seed, epoch), resumable."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loading.sampling import ChunkShuffle

counts_of_chunks = st.lists(st.integers(0, 16), min_size=1, max_size=30).filter(any)


def shuffle(counts: list[int], **keys: int) -> ChunkShuffle:
    return ChunkShuffle(
        np.array(counts), **{"batch_size": 7, "seed": 3, "window": 4, "last": 0, **keys}
    )


@given(counts_of_chunks, st.integers(1, 40), st.integers(0, 3))
def test_each_epoch_has_every_step_once(counts: list[int], window: int, epoch: int) -> None:
    order = shuffle(counts, window=window).order(epoch)
    assert sorted(order.tolist()) == list(range(sum(counts)))


@given(counts_of_chunks, st.integers(1, 40), st.integers(1, 20), st.integers(0, 30))
def test_batches_resume_to_the_sample_at_any_batch(
    counts: list[int], window: int, batch_size: int, first: int
) -> None:
    keys = {"window": window, "batch_size": batch_size, "last": 40}
    whole = list(shuffle(counts, **keys))
    assert list(shuffle(counts, first=first, **keys)) == whole[first:]


@given(counts_of_chunks)
def test_batches_run_through_the_epochs_without_a_gap(counts: list[int]) -> None:
    last = 3 * sum(counts) // 7 + 1
    sampler = shuffle(counts, last=last)
    stream = list(chain.from_iterable(sampler))
    epochs = np.concatenate([sampler.order(epoch) for epoch in range(11)])
    assert len(stream) == last * 7
    assert stream == epochs[: len(stream)].tolist()


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    counts = [16] * 20
    order = shuffle(counts).order(1)
    assert (shuffle(counts, batch_size=5, last=9).order(1) == order).all()
    assert (shuffle(counts, seed=4).order(1) != order).any()
    assert (shuffle(counts).order(2) != order).any()


def test_steps_of_a_window_are_of_its_chunks_only() -> None:
    order = shuffle([16] * 12, window=3).order(0)
    for low in range(0, len(order), 48):
        assert len(set(order[low : low + 48] // 16)) == 3


def test_a_window_of_all_chunks_is_uniformly_random() -> None:
    sampler = shuffle([4, 4], window=2)
    first = [int(sampler.order(epoch)[0]) for epoch in range(4000)]
    seen = np.bincount(first, minlength=8)
    # 8 cells of 500 expected: chi-square below the 99.9 % point of 7 degrees of freedom.
    assert ((seen - 500) ** 2 / 500).sum() < 24.3


def test_its_length_is_the_batches_to_come() -> None:
    assert len(shuffle([5], first=3, last=10)) == 7
    assert len(shuffle([5], first=10, last=10)) == 0
