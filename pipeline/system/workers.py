"""Where jobs run: the interface of ``concurrent.futures.Executor``, locally a pool of processes.

Or of threads, where few of them are enough and their jobs hardly need the interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from pipeline.system.errors import PipelineError

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_THREADS = 4
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Of a worker process: on shared cores, OpenMP threads that spin cost ten times more."""
_LOADED_ONCE = ("pipeline.rollouts.recording", "pipeline.agents.policy", "torch")
"""What most jobs need: seconds of a processor to import, and once for all pools of a command."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local_executor(workers: int) -> ProcessPoolExecutor:
    """A pool of processes that are forked from a server which has only imported modules.

    Never from this process: h5py, torch and the emulator do not survive it. The server starts with
    the first pool and ends with this process; a job sees the environment variables of now.

    Args:
        workers: number of processes; 0 takes one a core.
    """
    context = multiprocessing.get_context("forkserver")
    # A server under way keeps what it has loaded.
    needed = [name for name in _LOADED_ONCE if name in sys.modules]
    context.set_forkserver_preload(["pipeline.system.worker_server", *needed])
    return ProcessPoolExecutor(
        workers or cores(), context, initializer=_begin_worker, initargs=(dict(os.environ),)
    )


def array_executor(workers: int) -> Executor:
    """For jobs of numpy, Pillow and compression, which need the interpreter a tenth of their time.

    Threads start at once and hand over their results as they are. More than MOST_THREADS would
    wait for the interpreter, so that those are processes.

    Args:
        workers: number of threads or processes; 0 takes one a core.
    """
    workers = workers or cores()
    if workers > MOST_THREADS:
        return local_executor(workers)
    return ThreadPoolExecutor(workers, initializer=_keep_freed_memory)


def in_order(
    executor: Executor,
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    title: str,
    ahead: int,
) -> Generator[Result, None, None]:
    """``map`` over picklable jobs, which are asked for when at most ``ahead`` are under way.

    Close the generator before the executor, so that no job is begun whose result nobody takes.

    Raises:
        PipelineError: a job, or ``jobs`` itself, raised one, or a process was killed; the results
            of the jobs before it are given first.
    """
    waiting: deque[Future[Result]] = deque()
    source = iter(jobs)
    failure: PipelineError | None = None
    more = True
    try:
        while more or waiting:
            while more and len(waiting) < ahead:
                try:
                    waiting.append(executor.submit(function, next(source)))
                except StopIteration:
                    more = False
                except PipelineError as error:
                    more, failure = False, error
            if waiting:
                yield waiting.popleft().result()
    except BrokenProcessPool:
        raise _killed(title) from None
    finally:
        for future in waiting:
            future.cancel()
    if failure is not None:
        raise failure


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
        raise _killed(title) from None
    finally:
        for future in futures:
            future.cancel()


def _killed(title: str) -> PipelineError:
    return PipelineError(
        f"{title}: a worker process was killed (out of memory?); "
        "what was finished is kept, run the same command again"
    )


def _keep_freed_memory() -> None:
    # glibc gives freed arrays of megabytes back to the kernel, and takes new pages for the next
    # ones: a tenth of a job's time. It keeps blocks up to the largest that it has seen freed, and
    # 32 MB is the largest that it takes for an example.
    np.empty(31 << 20, np.uint8)


def _begin_worker(environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.environ.update(ONE_THREAD)
    _keep_freed_memory()
    # The pool's own processes would wait for ever for one that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
