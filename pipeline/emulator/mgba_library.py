"""Loads mGBA's shared library: late, silent, and without Python callbacks.

mGBA's Python package installs Python functions that C calls at each frame and for each line of
its log. The first such call spins for ever once ``torch`` has been imported (it waits in cffi's
start-up), which is why no callback and no Python logger ever comes into being here.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.emulator.installing import own_library
from pipeline.emulator.self_check import check_once
from pipeline.system.errors import PipelineError


class Mgba(NamedTuple):
    """The parts of the ``mgba`` package in use; none of them has type stubs."""

    ffi: Any
    lib: Any
    load_path: Any
    Image: Any
    version: str
    load_image: Any
    """From the bytes of a cartridge to what ``load_path`` gives for a file; None for no cartridge.
    """
    silence: tuple[Any, ...]
    """What the silent C logger is made of, kept alive as long as the library is in use."""


@functools.cache
def load_mgba() -> Mgba:
    """Import ``mgba`` and silence its log by a filter in C.

    Raises:
        PipelineError: the package or the system library behind it is not installed, or the two
            do not play a known second of the included game as they should.
    """
    library = own_library()
    if library is not None:
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)  # found by name from now on
        except OSError as error:
            raise PipelineError(
                f"{library}: cannot be loaded ({error}); remove it or POKEMON_IL_LIBMGBA, and run "
                "'pokemon-il setup'"
            ) from None
    try:
        native = importlib.import_module("mgba._pylib")
        core = importlib.import_module("mgba.core")
        image = importlib.import_module("mgba.image")
        vfs = importlib.import_module("mgba.vfs")
        package = importlib.import_module("mgba")
    except ModuleNotFoundError:
        raise PipelineError(
            "mgba: the emulator's Python package is not installed in "
            f"{sys.prefix}; run 'pokemon-il setup'"
        ) from None
    except ImportError as error:
        found = re.search(r"lib[\w.+-]+\.so[\w.]*", str(error))
        missing = found.group(0) if found else "libmgba.so.0.10"
        raise PipelineError(
            f"{missing}: the emulator's system library is missing; run 'sudo apt-get install "
            "libmgba0.10' (on Debian 13, Ubuntu 24.04 and newer: libmgba0.10t64), or without root "
            "'pokemon-il setup'"
        ) from None
    ffi, lib = native.ffi, native.lib
    logger = ffi.new("struct mStandardLogger *")
    log_filter = ffi.new("struct mLogFilter *")
    lib.mStandardLoggerInit(logger)
    lib.mLogFilterInit(log_filter)
    log_filter.defaultLevels = 0
    logger.d.filter = log_filter
    lib.mLogSetDefaultLogger(ffi.addressof(logger, "d"))
    check_once(Path(str(native.__file__)))

    def load_image(cartridge: bytes) -> Any:
        file = vfs.VFile(lib.VFileMemChunk(cartridge, len(cartridge)))
        file._claimed = True  # the core closes it; Python's package would, under the running game
        return core.load_vf(file)

    return Mgba(
        ffi, lib, core.load_path, image.Image, str(package.__version__), load_image,
        (logger, log_filter),
    )  # fmt: skip
