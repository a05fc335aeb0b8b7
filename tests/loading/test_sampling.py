"""The law of the orders: each step once an epoch, pure functions of (seed, epoch), resumable."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.loading.sampling import Permutation, Span, UniformOrder, Window, WindowOrder
from pipeline.system.errors import PipelineError

counts_of_chunks = st.lists(st.integers(0, 16), min_size=1, max_size=30).filter(any)


def window_order(counts: list[int], **keys: int) -> WindowOrder:
    numbers = np.array(counts)
    fields = {"batch_size": 3, "seed": 3, "window": 4, **keys}
    return WindowOrder(numbers, np.flatnonzero(numbers), **fields)


@given(st.integers(1, 3000), st.integers(0, 9))
def test_a_permutation_has_every_number_once(size: int, key: int) -> None:
    assert sorted(Permutation(size, [key])(np.arange(size)).tolist()) == list(range(size))


def test_a_permutation_of_a_thousand_million_million_is_read_at_any_place() -> None:
    size = 10**15
    shuffle = Permutation(size, [1])
    places = np.array([0, 1, 2, size - 1])
    values = shuffle(places)
    assert len(set(values.tolist())) == 4
    assert ((values >= 0) & (values < size)).all()
    assert (shuffle(places[2:]) == values[2:]).all()


def test_a_permutation_is_the_same_on_every_machine() -> None:
    assert Permutation(10, [7, 1])(np.arange(10)).tolist() == [1, 6, 9, 5, 4, 2, 7, 8, 0, 3]


@pytest.mark.parametrize("size", [8, 50])
def test_each_number_is_as_likely_at_each_place(size: int) -> None:
    seen = np.zeros((size, size))
    for key in range(4000):
        seen[np.arange(size), Permutation(size, [key])(np.arange(size))] += 1
    expected = 4000 / size
    cells = (size - 1) ** 2
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert abs(chi_square - cells) < 5 * np.sqrt(2 * cells)


def test_neighbours_are_not_neighbours_after_it() -> None:
    order = Permutation(5000, [3])(np.arange(5000))
    steps = np.abs(np.diff(order))
    assert (steps == 1).mean() < 0.003
    assert 1500 < steps.mean() < 1850  # a third of the size for independent draws
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_readers_of_a_uniform_order_share_an_epoch_without_overlap(
    steps: int, batch_size: int, world: int, epoch: int
) -> None:
    seen: list[int] = []
    for rank in range(world):
        order = UniformOrder(steps, batch_size=batch_size, seed=1, rank=rank, world=world)
        many = order.length(1)
        own = order.steps_of(Span(0, many, epoch, 1))
        assert -(-len(own) // batch_size) == many
        seen += own.tolist()
    assert sorted(seen) == list(range(steps))


@given(st.integers(1, 60), st.integers(1, 9), st.integers(0, 30))
def test_a_uniform_order_resumes_at_any_batch(steps: int, batch_size: int, first: int) -> None:
    order = UniformOrder(steps, batch_size=batch_size, seed=1)
    whole = order.steps_of(Span(0, first + 3))
    again = UniformOrder(steps, batch_size=batch_size, seed=1).steps_of(Span(first, 3))
    assert (again == whole[first * batch_size :]).all()


def test_a_uniform_order_is_that_of_its_seed_and_epoch_across_the_edges_of_its_blocks() -> None:
    order = UniformOrder(20_000, batch_size=1000, seed=5)
    stream = order.steps_of(Span(0, 60))
    for epoch in range(3):
        expected = Permutation(20_000, [5, epoch])(np.arange(20_000))
        assert (stream[epoch * 20_000 : (epoch + 1) * 20_000] == expected).all()


@given(counts_of_chunks, st.integers(1, 40), st.integers(1, 4), st.integers(0, 3))
def test_readers_of_windows_share_the_chunks_of_an_epoch(
    counts: list[int], window: int, world: int, epoch: int
) -> None:
    assume(np.count_nonzero(counts) >= world)
    seen: list[int] = []
    for rank in range(world):
        order = window_order(counts, window=window, rank=rank, world=world)
        for found, skip in order.from_batch(0, epoch, 1):
            assert skip == 0
            seen += order.lay(found).chunks.tolist()
    assert sorted(seen) == np.flatnonzero(counts).tolist()


@given(counts_of_chunks, st.integers(1, 40), st.integers(1, 9))
def test_what_is_left_over_makes_the_rest_whole_batches(
    counts: list[int], window: int, batch_size: int
) -> None:
    order = window_order(counts, window=window, batch_size=batch_size)
    for found, _ in order.from_batch(0, 0, 1):
        laid = order.lay(found)
        assert laid.counts.sum() == len(laid.rest)
        assert laid.rest.sum() == len(laid.rest) % batch_size
        assert sorted(laid.groups.tolist()) == list(range(len(laid.rest) // batch_size))


@given(counts_of_chunks, st.integers(1, 9), st.integers(1, 40), st.integers(1, 3))
def test_windows_resume_at_any_batch(
    counts: list[int], batch_size: int, first: int, world: int
) -> None:
    assume(np.count_nonzero(counts) >= world)
    order = window_order(counts, batch_size=batch_size, world=world)
    seen = 0
    for found, _ in order.from_batch(0):
        size = int(order.lay(found).counts.sum())
        if (seen + size) // batch_size > first:
            break
        seen += size
    resumed = window_order(counts, batch_size=batch_size, world=world)
    again, skip = next(resumed.from_batch(first))
    assert again == found
    assert skip == first - seen // batch_size
    assert order.waiting_at(found, 0) == seen % batch_size
    assert next(resumed.from_batch(0)) == (Window(0, resumed.rank), 0)


def test_left_over_steps_are_of_different_chunks() -> None:
    order = window_order([15] * 40, window=20, batch_size=16)
    laid = order.lay(Window(0, 0))
    left = np.add.reduceat(laid.rest.astype(int), np.cumsum(laid.counts) - laid.counts)
    assert left.sum() == 300 % 16
    assert left.max() == 1


def test_few_windows_become_smaller_ones_for_many_readers() -> None:
    own = [len(list(window_order([16] * 8, window=100, rank=r, world=4).from_batch(0, 0, 1)))
           for r in range(4)]  # fmt: skip
    assert own == [1, 1, 1, 1]


def test_more_readers_than_chunks_are_refused() -> None:
    with pytest.raises(PipelineError) as refused:
        window_order([16, 0, 3], world=3)
    assert str(refused.value) == "2 chunks of frames for 3 readers; read with 2 at most"


def test_windows_go_on_through_the_epochs() -> None:
    order = window_order([16] * 8)
    epochs = [window.epoch for window, _ in islice(order.from_batch(0), 6)]
    assert epochs == [0, 0, 1, 1, 2, 2]
