"""Jobs in order: bounded, and what becomes of them when one fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.system.errors import PipelineError
from pipeline.system.workers import in_order, local_executor


def test_what_came_before_a_failure_is_given_first() -> None:
    def jobs() -> Iterator[int]:
        yield from range(5)
        raise PipelineError("no more")

    with ThreadPoolExecutor(2) as executor:
        results = in_order(executor, abs, jobs(), title="count", ahead=3)
        assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(PipelineError, match="no more"):
            next(results)


def test_no_more_jobs_are_under_way_than_asked_for() -> None:
    asked: list[int] = []

    def jobs() -> Iterator[int]:
        for i in range(20):
            asked.append(i)
            yield i

    with ThreadPoolExecutor(2) as executor:
        results = in_order(executor, abs, jobs(), title="count", ahead=3)
        for i, result in enumerate(results):
            assert result == i
            assert len(asked) <= i + 3


def test_a_killed_worker_is_told_in_one_line() -> None:
    with local_executor(1) as executor, pytest.raises(PipelineError) as error:
        list(in_order(executor, os._exit, [1], title="preprocess", ahead=2))
    assert str(error.value) == (
        "preprocess: a worker process was killed (out of memory?); "
        "what was finished is kept, run the same command again"
    )
