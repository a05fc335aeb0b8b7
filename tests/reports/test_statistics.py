"""Wilson's interval against published values."""

import pytest

from pipeline.reports.statistics import wilson_interval


def test_the_interval_is_that_of_the_textbook() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_no_episode_says_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
