"""One Game Boy Advance: a cartridge, ten buttons, a screen and two blocks of RAM."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.mgba_library import load_mgba
from pipeline.errors import PipelineError

HEIGHT, WIDTH = 160, 240
KEY_BITS = {
    name: 1 << bit
    for bit, name in enumerate(
        ("A", "B", "SELECT", "START", "RIGHT", "LEFT", "UP", "DOWN", "R", "L")
    )
}
EWRAM, EWRAM_SIZE = 0x02000000, 0x40000
IWRAM, IWRAM_SIZE = 0x03000000, 0x8000

_RTC_FIXED = 1
_SOUND_INTERVAL = 1024
_FRAMES_BETWEEN_SOUNDS = 1000
_SCREENSHOT, _SAVEDATA = 1, 2
_STATE_PARTS = _SCREENSHOT | _SAVEDATA
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_STATE = (
    "the save state cannot be loaded: it is damaged or belongs to another cartridge; "
    "record it again with this ROM"
)


class Emulator:
    """One mGBA core that plays one cartridge image.

    Deterministic: the screen and the RAM are a function of the last state loaded (or the reset)
    and the buttons since. The real-time clock stands still at ``rtc_ms``. No file beside the ROM
    is read or written. Sound is not synthesised, for nobody would hear it; the console's sound
    registers work as ever, and screen and RAM are those of a stock mGBA. mGBA keeps about the
    ROM's size in memory when a core is deleted, so keep one emulator a process and go back by
    ``load_state``.

    Args:
        rom: the cartridge image.
        rtc_ms: the clock's time, milliseconds since 1970.

    Raises:
        PipelineError: mGBA is not installed, or the file is no Game Boy Advance cartridge.
    """

    def __init__(self, rom: Path, rtc_ms: int = 0) -> None:
        mgba = load_mgba()
        self._ffi: Any = mgba.ffi
        self._lib: Any = mgba.lib
        wrapper = mgba.load_path(str(rom)) if rom.is_file() else None
        if wrapper is None or wrapper.platform != wrapper.PLATFORM_GBA:
            raise PipelineError(
                f"{rom}: not a Game Boy Advance cartridge image; give a .gba file with --rom"
            )
        self._wrapper = wrapper
        self._core: Any = wrapper._core
        self._image = mgba.Image(WIDTH, HEIGHT)
        wrapper.set_video_buffer(self._image)  # after a reset it would stay black
        self._core.clearCoreCallbacks(self._core)
        self._rtc_ms = rtc_ms
        self._board = self._ffi.cast("struct GBA *", self._core.board)
        self._timing, self._audio = self._board.timing, self._board.audio
        self._pixels: NDArray[np.uint32] = np.frombuffer(
            self._ffi.buffer(self._image.buffer), np.uint32
        )
        self.reset()
        memory = self._board.memory
        # The blocks stay where they are over resets and loaded states.
        self.ewram = self._ffi.buffer(self._ffi.cast("uint8_t *", memory.wram), EWRAM_SIZE)
        self.iwram = self._ffi.buffer(self._ffi.cast("uint8_t *", memory.iwram), IWRAM_SIZE)

    def reset(self) -> None:
        """Switch a console with a fresh cartridge on: RAM zero, cartridge save memory erased.

        The screen is stale until a frame ran.
        """
        self._erase_cartridge()
        self._wrapper.reset()
        self._begin()

    def step(self, keys: int, hold: int, release: int) -> None:
        """Hold ``keys`` (bits of KEY_BITS) for ``hold`` frames, then none for ``release`` frames.

        Only the last frame is drawn: the screen and the RAM are the same, bit for bit, as if
        every frame had been.
        """
        core, video = self._core, self._board.video
        video.frameskip = video.frameskipCounter = hold + release - 1
        core.setKeys(core, keys)
        self._run_frames(hold)
        core.setKeys(core, 0)
        self._run_frames(release)

    def run(self, frames: int, keys: int = 0) -> None:
        """Run ``frames`` frames with ``keys`` held; only the last one is drawn."""
        if frames > 0:
            self.step(keys, frames, 0)

    def screen(self) -> NDArray[np.uint8]:
        """Copy of the screen as last drawn, (160,240,3) u8, RGB."""
        # mGBA's pixels are R,G,B,X in 4 bytes. Each is written whole, 3 bytes after the one before,
        # which then loses its X: 12 us, where numpy's copy of [..., :3] takes 170.
        size = HEIGHT * WIDTH * 3
        out = np.empty(size + 4, np.uint8)
        np.ndarray((HEIGHT * WIDTH,), np.uint32, out, strides=(3,))[:] = self._pixels
        return out[:size].reshape(HEIGHT, WIDTH, 3)

    def save_state(self) -> bytes:
        """The whole console in mGBA's own format: a PNG of the screen that carries the machine.

        Holds CPU, RAM, video and cartridge save memory; not the clock. The same machine gives the
        same bytes. About 2.5 ms; a few to some tens of kilobytes.
        """
        ffi = self._ffi
        self._postpone_sound(_SOUND_INTERVAL)  # so that a stock mGBA takes it up with sound
        file = self._lib.VFileMemChunk(ffi.NULL, 0)
        try:
            if not self._lib.mCoreSaveStateNamed(self._core, file, _STATE_PARTS):
                raise PipelineError("the emulator could not save its state; report this")
            data = ffi.new("uint8_t[]", file.size(file))
            file.seek(file, 0, 0)
            file.read(file, data, len(data))
            return bytes(ffi.buffer(data))
        finally:
            file.close(file)

    def load_state(self, state: bytes) -> None:
        """Take up a state of ``save_state``, or a save state of mGBA itself, of the same cartridge.

        Cartridge save memory that the state does not hold is erased. A raw mGBA state holds no
        picture: the screen is then the stale one until a frame ran.

        Raises:
            PipelineError: not a save state, or one of another cartridge.
        """
        lib = self._lib
        if not _is_whole(state, self._core.stateSize(self._core)):
            raise PipelineError(_NO_STATE)
        self._erase_cartridge()
        file = lib.VFileFromConstMemory(self._ffi.from_buffer(state), len(state))
        try:
            loaded = lib.mCoreLoadStateNamed(self._core, file, _STATE_PARTS)
        finally:
            file.close(file)
        if not loaded:
            raise PipelineError(_NO_STATE)
        self._begin()

    def write(self, address: int, value: int, size: int) -> None:
        """Write the low ``size`` (1, 2 or 4) bytes of ``value`` to a RAM address.

        Raises:
            ValueError: the address is not in the console's RAM.
        """
        for start, block in ((EWRAM, self.ewram), (IWRAM, self.iwram)):
            at = address - start
            if 0 <= at <= len(block) - size:
                block[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
                return
        raise ValueError(f"0x{address:08X} is outside the console's RAM")

    def _erase_cartridge(self) -> None:
        # The save memory outlives a reset, and a state recorded before the game first touched it
        # holds none: without this an episode could see what the one before it had saved.
        savedata = self._ffi.addressof(self._board.memory, "savedata")
        size = self._lib.GBASavedataSize(savedata)
        if size:
            self._core.savedataRestore(self._core, b"\xff" * size, size, True)

    def _begin(self) -> None:
        """What a reset or a loaded state has undone."""
        self._core.setKeys(self._core, 0)
        self._core.rtc.override = _RTC_FIXED
        self._core.rtc.value = self._rtc_ms
        # mGBA would mix the sound 274 times a frame, which takes a third of a quiet game's time.
        event = self._ffi.addressof(self._audio, "sampleEvent")
        self._lib.mTimingDeschedule(self._ffi.addressof(self._board, "timing"), event)
        self._postpone_sound()

    def _run_frames(self, frames: int) -> None:
        core = self._core
        run_frame = core.runFrame
        while frames > 0:
            self._postpone_sound()
            part = min(frames, _FRAMES_BETWEEN_SOUNDS)
            for _ in range(part):
                run_frame(core)
            frames -= part

    def _postpone_sound(self, cycles: int = 0) -> None:
        """Say that the sound was mixed just now.

        mGBA reckons with the time of the next mixing when a game feeds its sound channels. That
        time must never seem to lie far ahead, as it would 2**31 cycles (128 s) after the last.
        """
        now = self._timing.masterCycles
        self._audio.sampleEvent.when = (now + cycles) & 0xFFFFFFFF
        self._audio.lastSample = (now ^ 1 << 31) - (1 << 31)  # the same bits, signed
        self._audio.sampleIndex = 0


def _is_whole(state: bytes, raw_size: int) -> bool:
    """Whether a state is long enough to be looked into by C: a PNG with all its chunks, or raw.

    mGBA crashes on an empty file, and libpng complains of a short one on the terminal.
    """
    if not state.startswith(_PNG):
        return len(state) >= raw_size
    at, kind = len(_PNG), b""
    while kind != b"IEND" and at + 12 <= len(state):
        length, kind = int.from_bytes(state[at : at + 4], "big"), state[at + 4 : at + 8]
        check = int.from_bytes(state[at + 8 + length : at + 12 + length], "big")
        if zlib.crc32(state[at + 4 : at + 8 + length]) != check:
            return False
        at += 12 + length
    return kind == b"IEND"
