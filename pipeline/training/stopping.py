"""Stopping between two steps, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def leave_interrupts(_worker: int) -> None:
    """Ignore Ctrl-C in a worker of the loader: the step that is being finished needs it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def finish_the_step() -> Iterator[threading.Event]:
    """Inside the block the first Ctrl-C or SIGTERM only sets the event; the second is obeyed."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may handle signals
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(_number: int, _frame: object) -> None:
        asked.set()
        for one, handler in before.items():
            signal.signal(one, handler)  # the second is obeyed at once

    for number in numbers:
        signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
