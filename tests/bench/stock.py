"""mGBA as it comes, with its own Python package: the emulator is measured against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.core import HEIGHT, WIDTH
from pipeline.emulator.mgba_library import load_mgba
from pipeline.games.platforms import GBA


class StockConsole:
    """One mGBA core with its sound on; only the Python callbacks and the log are silenced.

    Callbacks are cleared because they hang beside torch, and the clock is fixed because a wall
    clock would make two consoles differ.
    """

    def __init__(self, rom: Path, rtc_ms: int) -> None:
        mgba = load_mgba()
        self._ffi, self._lib = mgba.ffi, mgba.lib
        self._wrapper = mgba.load_path(str(rom))
        self._image = mgba.Image(WIDTH, HEIGHT)
        self._wrapper.set_video_buffer(self._image)
        core = self._core = self._wrapper._core
        core.clearCoreCallbacks(core)
        self._wrapper.reset()
        core.rtc.override, core.rtc.value = 1, rtc_ms
        self._board = self._ffi.cast("struct GBA *", core.board)

    def load_state(self, state: bytes) -> None:
        file = self._lib.VFileFromConstMemory(self._ffi.from_buffer(state), len(state))
        assert self._lib.mCoreLoadStateNamed(self._core, file, 3)
        file.close(file)

    def player(self, hold: int, release: int, skip: int) -> Callable[[int], None]:
        """The bare loop of a step: takes keys; ``skip`` frames are not drawn, the next one is."""
        core, video = self._core, self._board.video
        run_frame, set_keys = core.runFrame, core.setKeys

        def step(keys: int) -> None:
            video.frameskip = video.frameskipCounter = skip
            set_keys(core, keys)
            for _ in range(hold):
                run_frame(core)
            set_keys(core, 0)
            for _ in range(release):
                run_frame(core)

        return step

    def screen(self) -> NDArray[np.uint8]:
        pixels = np.frombuffer(self._ffi.buffer(self._image.buffer), np.uint8)
        screen: NDArray[np.uint8] = pixels.reshape(HEIGHT, WIDTH, 4)[..., :3].copy()
        return screen

    def ram(self) -> bytes:
        memory = self._board.memory
        wram = self._ffi.buffer(self._ffi.cast("uint8_t *", memory.wram), GBA.blocks[0].size)
        iwram = self._ffi.buffer(self._ffi.cast("uint8_t *", memory.iwram), GBA.blocks[1].size)
        return bytes(wram) + bytes(iwram)
