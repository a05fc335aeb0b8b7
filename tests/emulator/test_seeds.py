"""Seeds of episodes: never twice, never shared between learning, choosing and judging."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.rollouts.seeds import episode_seeds


@settings(deadline=None)
@given(st.integers(0, 2**64), st.integers(0, 2**64), st.integers(0, 2**30 - 2000))
def test_purposes_never_share_a_seed_whatever_the_base(one: int, other: int, first: int) -> None:
    collected = episode_seeds("collect", one, 1000, first)
    chosen = episode_seeds("select", other, 1000)
    judged = episode_seeds("evaluate", other, 1000)
    assert len(np.unique(np.concatenate([collected, chosen, judged]))) == 3000


def test_a_base_never_repeats_a_seed() -> None:
    seeds = episode_seeds("collect", 0, 1_000_000)
    assert seeds.dtype == np.uint32
    assert len(np.unique(seeds)) == 1_000_000
    assert seeds.min() > 0


def test_a_range_of_seeds_is_a_slice_of_the_whole() -> None:
    whole = episode_seeds("evaluate", 5, 100)
    assert np.array_equal(whole[30:70], episode_seeds("evaluate", 5, 40, first=30))


def test_another_base_gives_other_seeds() -> None:
    one, other = episode_seeds("collect", 1, 1000), episode_seeds("collect", 2, 1000)
    assert not set(one.tolist()) & set(other.tolist())


def test_the_first_seeds_stay_what_they_are() -> None:
    """Published figures name their seeds: a change here would silently change the games."""
    assert episode_seeds("evaluate", 0, 3).tolist() == FIRST


FIRST = [3907462662, 4045049394, 3786682002]


def test_an_unknown_purpose_and_too_many_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown purpose 'test'; one of collect, select"):
        episode_seeds("test", 0, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beyond the 2\\*\\*30 seeds"):
        episode_seeds("collect", 0, 2, first=2**30 - 1)
