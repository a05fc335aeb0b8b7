"""What holds for where jobs run: `concurrent.futures.Executor`, and what the stages ask beside."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.system.errors import PipelineError
from pipeline.system.workers import in_order, run_jobs


class ExecutorConformance:
    """The tests of an executor. Say `make`.

    Jobs are functions of modules and picklable values, as for processes and other machines.
    """

    processes = False
    """Whether jobs run in processes that may be killed alone."""

    def make(self, workers: int) -> Executor:
        """A new executor that runs at most so many jobs at a time."""
        raise NotImplementedError

    def test_results_come_in_the_order_of_the_jobs(self) -> None:
        for workers in (1, 3):
            with self.make(workers) as executor:
                jobs = [0.02, 0.0, 0.01, 0.0]
                found = list(in_order(executor, _waited, jobs, title="wait", ahead=3))
                assert found == jobs

    def test_all_jobs_are_run_in_whatever_order(self) -> None:
        with self.make(2) as executor:
            found = run_jobs(executor, _square, range(20), title="count", unit="job")
            assert sorted(found) == [n * n for n in range(20)]

    def test_no_jobs_are_no_mistake(self) -> None:
        with self.make(1) as executor:
            assert list(in_order(executor, _square, [], title="count", ahead=2)) == []
            assert list(run_jobs(executor, _square, [], title="count", unit="job")) == []

    def test_arrays_come_whole(self) -> None:
        with self.make(2) as executor:
            jobs = [np.full((256, 256, 3), n, np.uint8) for n in range(6)]
            found = list(in_order(executor, _next, jobs, title="arrays", ahead=2))
        for n, array in enumerate(found):
            assert array.dtype == np.uint8
            assert array.shape == (256, 256, 3)
            assert (array == n + 1).all()

    def test_a_mistake_of_a_job_is_told_in_its_words_after_what_came_before(self) -> None:
        with self.make(2) as executor:
            results = in_order(executor, _refuses_three, range(6), title="count", ahead=2)
            assert [next(results) for _ in range(3)] == [0, 1, 2]
            assert _mistake(lambda: next(results)) == "job 3: no"

    def test_an_error_of_a_job_keeps_its_type(self) -> None:
        with self.make(1) as executor:
            future = executor.submit(_breaks, 7)
            assert isinstance(future.exception(), ZeroDivisionError)
            assert executor.submit(_square, 3).result() == 9, "one job's error spoils the next"

    def test_jobs_are_asked_for_when_there_is_room(self) -> None:
        asked: list[int] = []

        def jobs() -> Iterator[int]:
            for n in range(12):
                asked.append(n)
                yield n

        with self.make(2) as executor:
            for n, result in enumerate(in_order(executor, _square, jobs(), title="n", ahead=3)):
                assert result == n * n
                assert len(asked) <= n + 3

    def test_jobs_that_nobody_waits_for_are_not_begun(self) -> None:
        with TemporaryDirectory() as folder:
            places = [str(Path(folder, f"{n}")) for n in range(50)]
            with self.make(1) as executor:
                results = in_order(executor, _marked, places, title="mark", ahead=4)
                next(results)
                results.close()
            # One is under way, and a pool may have fetched another.
            assert len([*Path(folder).iterdir()]) <= 4

    def test_closed_it_takes_no_jobs(self) -> None:
        with self.make(1) as executor:
            assert executor.submit(_square, 2).result() == 4
        try:
            executor.submit(_square, 2)
        except RuntimeError:
            return
        raise AssertionError("it takes a job after its end")

    def test_a_process_that_was_killed_is_told_in_one_line(self) -> None:
        if not self.processes:
            return
        with self.make(1) as executor:
            told = _mistake(lambda: list(in_order(executor, _killed, [1], title="count", ahead=2)))
            assert told.startswith("count: a worker process was killed")
            assert "\n" not in told


def _mistake(call: Callable[[], object]) -> str:
    """What a call says is wrong."""
    try:
        call()
    except PipelineError as error:
        return str(error)
    raise AssertionError("it goes on as if nothing were wrong")


def _waited(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def _square(n: int) -> int:
    return n * n


def _next(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    more: NDArray[np.uint8] = array + np.uint8(1)
    return more


def _refuses_three(n: int) -> int:
    if n == 3:
        raise PipelineError(f"job {n}: no")
    return n


def _breaks(n: int) -> float:
    return n / 0


def _marked(place: str) -> str:
    Path(place).touch()
    return place


def _killed(status: int) -> NoReturn:
    os._exit(status)
