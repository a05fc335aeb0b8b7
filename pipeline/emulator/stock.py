"""Does a game play here as in mGBA as it is shipped? Both play the same buttons side by side.

What is left out here for speed: sound is not mixed (unless ``sound: true``), and only the last
frame of a step is drawn. A stock mGBA does both. With most games nobody can tell; a game can be
written so that it can, and so each one is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.boards import open_board
from pipeline.emulator.core import KEY_BITS, Emulator, open_cartridge
from pipeline.emulator.mgba_library import load_mgba
from pipeline.games.description import GameDescription
from pipeline.games.platforms import GBA, PLATFORMS, Platform
from pipeline.system.errors import PipelineError


class StockConsole:
    """One mGBA core as it is shipped: every frame is drawn and sounds.

    Python's callbacks are cleared, because they hang beside torch, and the clock is fixed, because
    a wall clock would make two consoles differ.

    Raises:
        PipelineError: as :class:`pipeline.emulator.core.Emulator`.
    """

    def __init__(self, rom: Path, rtc_ms: int, platform: Platform = GBA) -> None:
        mgba = load_mgba()
        self._mgba, self._platform, self._rtc_ms = mgba, platform, rtc_ms
        self._wrapper = open_cartridge(mgba, rom, platform)
        self._image = mgba.Image(platform.width, platform.height)
        self._wrapper.set_video_buffer(self._image)
        self._core = self._wrapper._core
        self._core.clearCoreCallbacks(self._core)
        self._board = open_board(mgba, self._core, platform, sound=True)
        self._core.reset(self._core)
        self._set_clock()

    def load_state(self, state: bytes) -> None:
        """Take up a save state with its picture and the cartridge's save memory.

        Raises:
            PipelineError: mGBA refuses it.
        """
        lib, ffi = self._mgba.lib, self._mgba.ffi
        file = lib.VFileFromConstMemory(ffi.from_buffer(state), len(state))
        loaded = lib.mCoreLoadStateNamed(self._core, file, 3)
        file.close(file)
        if not loaded:
            raise PipelineError("a stock mGBA refuses the save state; report this")
        self._set_clock()

    def step(self, keys: int, hold: int, release: int) -> None:
        """Hold ``keys`` for some frames, then nothing for some."""
        core = self._core
        for pressed, frames in ((keys, hold), (0, release)):
            core.setKeys(core, pressed)
            for _ in range(frames):
                core.runFrame(core)

    def screen(self) -> NDArray[np.uint8]:
        """(height,width,3) u8."""
        flat: NDArray[np.uint8] = np.frombuffer(self._mgba.ffi.buffer(self._image.buffer), np.uint8)
        shape = self._platform.height, self._platform.width, 4
        return np.ascontiguousarray(flat.reshape(shape)[..., :3])

    def ram(self) -> bytes:
        """All blocks of RAM, one after the other."""
        return b"".join(bytes(block) for block in self._board.ram())

    def _set_clock(self) -> None:
        self._core.rtc.override = 1
        self._core.rtc.value = self._board.clock(self._rtc_ms)


@dataclass(frozen=True)
class Comparison:
    """What two consoles did with the same buttons."""

    steps: int
    """How many were compared."""
    first: int | None = None
    """The first step after which they differ."""
    what: tuple[str, ...] = ()
    """In what: frame, RAM."""

    def __str__(self) -> str:
        if self.first is None:
            return f"identical to a stock mGBA's over {self.steps} steps (frames and RAM)"
        return f"{' and '.join(self.what)} differ from a stock mGBA's at step {self.first}"


def compare_with_stock(
    game: GameDescription, rom: Path, emulator: Emulator, state: bytes, steps: int
) -> Comparison:
    """Play ``steps`` random buttons (always the same ones) from a state on both consoles.

    ``emulator`` is left where it was stopped. Cost: a step on each; a stock one takes up to three
    times as long.
    """
    stock = StockConsole(rom, game.rtc_ms, PLATFORMS[game.platform])
    emulator.load_state(state)
    stock.load_state(state)
    timing = game.timing
    for index, keys in enumerate(_presses(game.buttons, steps)):
        for console in (emulator, stock):
            console.step(keys, timing.hold, timing.release)
        what = []
        if not np.array_equal(emulator.screen(), stock.screen()):
            what.append("frame")
        if b"".join(bytes(block) for block in emulator.ram) != stock.ram():
            what.append("RAM")
        if what:
            return Comparison(index + 1, index, tuple(what))
    return Comparison(steps)


def _presses(buttons: Sequence[str], steps: int) -> list[int]:
    chosen = np.random.default_rng(1).choice([KEY_BITS[name] for name in buttons], steps)
    return [int(keys) for keys in chosen]
