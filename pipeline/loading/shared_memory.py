"""Memory that processes share, and how much of it there is."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Sequence
from multiprocessing import reduction
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class SharedArray:
    """An array, at first of zeros, in anonymous memory that is freed with the last process.

    It survives a fork, and pickles while a process is being started (spawn, forkserver): parent
    and child then see the same numbers. Unlike ``/dev/shm``, which containers keep at 64 MB, it
    is bounded by the machine's memory alone; a page takes room when it is first written.

    Args:
        shape, dtype: of ``array``.
        huge: ask for pages of 2 MiB, which pays where megabytes are written at once.
    """

    def __init__(self, shape: Sequence[int], dtype: DTypeLike, *, huge: bool = False) -> None:
        self.shape, self.dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        self._huge = huge
        self._file = _nameless_file()
        os.ftruncate(self._file, self._bytes())
        self._map()

    @classmethod
    def of(cls, values: NDArray[Any]) -> SharedArray:
        """A shared copy."""
        shared = cls(values.shape, values.dtype)
        shared.array[...] = values
        return shared

    def _bytes(self) -> int:
        return max(1, int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize)

    def _map(self) -> None:
        memory = mmap.mmap(self._file, self._bytes())
        if self._huge and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without them
                memory.madvise(mmap.MADV_HUGEPAGE)
        count = int(np.prod(self.shape, dtype=np.int64))
        self.array: NDArray[Any] = np.frombuffer(memory, self.dtype, count).reshape(self.shape)

    def write(self, offset: int, data: NDArray[np.uint8]) -> None:
        """Put bytes (n,) at a byte offset, as into a file.

        For memory that was never written that is several times as fast as through ``array``: the
        kernel neither clears the pages first nor is interrupted for each of them.

        Raises:
            OSError: there is no memory left.
        """
        written = 0
        while written < data.size:
            written += os.pwrite(self._file, data[written:].data, offset + written)

    def __getstate__(self) -> dict[str, object]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("array", "_file")}
        return {**state, "handle": reduction.DupFd(self._file)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._file = state.pop("handle").detach()
        self.__dict__.update(state)
        self._map()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):  # the interpreter is going down
            os.close(self._file)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("frames", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # not Linux
        return os.dup(file.fileno())
