"""Where jobs run: the interface of ``concurrent.futures.Executor``, locally a pool of processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from tqdm import tqdm

from pipeline.errors import PipelineError

Job = TypeVar("Job")
Result = TypeVar("Result")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(workers: int) -> ProcessPoolExecutor:
    """A pool of fresh processes (never forked: h5py, torch and the emulator do not survive it).

    Args:
        workers: number of processes; 0 takes one a core.
    """
    return ProcessPoolExecutor(
        workers or cores(), multiprocessing.get_context("spawn"), initializer=_begin_worker
    )


def run_jobs(
    executor: Executor,
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    title: str,
    unit: str,
    weight: Callable[[Result], int] = lambda _: 1,
    total: int | None = None,
) -> Iterator[Result]:
    """Run ``function`` over picklable jobs and yield results as they are done, under a bar.

    Raises:
        PipelineError: a job raised one, or a process was killed.
    """
    futures = [executor.submit(function, job) for job in jobs]
    try:
        with tqdm(total=total or len(jobs), desc=title, unit=unit, disable=None) as bar:
            for future in as_completed(futures):
                result = future.result()
                bar.update(weight(result))
                yield result
    except BrokenProcessPool:
        raise PipelineError(
            f"{title}: a worker process was killed (out of memory?); "
            "what was finished is kept, run the same command again"
        ) from None
    finally:
        for future in futures:
            future.cancel()


def _begin_worker() -> None:
    # The pool's own processes would wait for ever for one that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    # One thread a process: on shared cores, OpenMP threads that spin cost ten times more.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
