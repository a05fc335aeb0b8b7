"""The executors of the pipeline, and the smallest that there can be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from pipeline.conformance import ExecutorConformance
from pipeline.system.workers import MOST_THREADS, array_executor, local_executor


class InProcess(Executor):
    """Runs each job at once, where it is asked."""

    _open = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self._open:
            raise RuntimeError("it is closed")
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  whatever it is, it is the job's result
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._open = False


class TestInProcess(ExecutorConformance):
    def make(self, workers: int) -> Executor:
        return InProcess()


class TestThreads(ExecutorConformance):
    def make(self, workers: int) -> Executor:
        return array_executor(workers)


class TestProcesses(ExecutorConformance):
    processes = True

    def make(self, workers: int) -> Executor:
        return local_executor(workers)


def test_many_workers_for_arrays_are_processes() -> None:
    with array_executor(MOST_THREADS + 1) as many, local_executor(1) as one:
        assert type(many) is type(one)


def test_an_executor_that_is_none_is_found_out() -> None:
    class Loses(InProcess):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            error = future.exception()
            if error is not None:  # as one that sends only the text of an error
                future = Future()
                future.set_exception(RuntimeError(str(error)))
            return future

    class Suite(ExecutorConformance):
        def make(self, workers: int) -> Executor:
            return Loses()

    with pytest.raises(AssertionError):
        Suite().test_an_error_of_a_job_keeps_its_type()
    with pytest.raises(RuntimeError, match="job 3: no"):
        Suite().test_a_mistake_of_a_job_is_told_in_its_words_after_what_came_before()
