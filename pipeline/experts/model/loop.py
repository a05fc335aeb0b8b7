"""An event loop in a thread of its own, for code that is not asynchronous to wait on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

# How often, and for how many seconds each time, an interrupt waits for what it canceled.
TRIES, PATIENCE = 20, 0.5


class Loop:
    """Runs coroutines, one call at a time; close it.

    The thread makes it work from any other one, also where a loop runs already (a notebook), and
    lets an interrupt cancel what is under way at once.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="asking a model", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Wait for ``coroutine``; when interrupted, cancel it and wait until it has cleaned up."""
        done = threading.Event()

        async def watched() -> Result:
            try:
                return await coroutine
            finally:
                done.set()

        future = asyncio.run_coroutine_threadsafe(watched(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            # Again and again: a task may swallow it when it ends in the same moment.
            for _ in range(TRIES):
                if done.wait(PATIENCE):
                    break
                self._loop.call_soon_threadsafe(self._cancel_all)
            raise

    def close(self) -> None:
        async def rest() -> None:
            self._cancel_all()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(rest(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            if task is not asyncio.current_task(self._loop):
                task.cancel()
