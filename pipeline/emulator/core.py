"""One console of the Game Boy family: a cartridge, buttons, a screen and blocks of RAM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.boards import open_board
from pipeline.emulator.mgba_library import Mgba, load_mgba
from pipeline.games.cartridge import filled_up, read_cartridge
from pipeline.games.platforms import GBA, Platform
from pipeline.games.states import PNG, identity_of, png_chunks, unlike
from pipeline.system.errors import PipelineError

HEIGHT, WIDTH = GBA.height, GBA.width
KEY_BITS = {
    name: 1 << bit
    for bit, name in enumerate(
        ("A", "B", "SELECT", "START", "RIGHT", "LEFT", "UP", "DOWN", "R", "L")
    )
}

_RTC_FIXED = 1
_FRAMES_BETWEEN_SOUNDS = 1000
_SCREENSHOT, _SAVEDATA = 1, 2
_STATE_PARTS = _SCREENSHOT | _SAVEDATA
_MODELS = {"gb": b"DMG", "gbc": b"CGB"}
_MODEL_KEYS = (b"gb.model", b"sgb.model", b"cgb.model", b"cgb.hybridModel", b"cgb.sgbModel")
_NO_STATE = (
    "the save state cannot be loaded: it is damaged or belongs to another cartridge; "
    "record it again with this ROM"
)


class Emulator:
    """One mGBA core that plays one cartridge image.

    Deterministic: the screen and the RAM are a function of the last state loaded (or the reset)
    and the buttons since. The real-time clock stands still at ``rtc_ms``, in UTC whatever the
    host's time zone. No file beside the ROM is read or written. A small image that mGBA would take
    for one that is sent by cable (multiboot) is played as the cartridge that it is. Sound is not
    synthesised without ``sound``, for nobody would hear it; the console's sound registers work as
    ever, and screen and RAM are with most games those of a stock mGBA (``game check`` compares).
    mGBA keeps about the ROM's size in memory when a core is deleted, so keep one emulator a process
    and go back by ``load_state``.

    Args:
        rom: the cartridge image.
        rtc_ms: the clock's time, milliseconds since 1970.
        platform: the console that plays it.
        sound: mix the sound as a stock mGBA does; a Game Boy's is mixed in any case.

    Raises:
        PipelineError: mGBA is not installed, the console cannot play the file, or the cartridge
            has a clock and the host's time zone skips the time of day that it is to show.
    """

    def __init__(
        self, rom: Path, rtc_ms: int = 0, platform: Platform = GBA, *, sound: bool = False
    ) -> None:
        self._mgba = load_mgba()
        self._ffi: Any = self._mgba.ffi
        self._lib: Any = self._mgba.lib
        self.platform = platform
        self._wrapper = open_cartridge(self._mgba, rom, platform)
        self._core: Any = self._wrapper._core
        self._image = self._mgba.Image(platform.width, platform.height)
        self._wrapper.set_video_buffer(self._image)  # after a reset it would stay black
        self._core.clearCoreCallbacks(self._core)
        self._rtc_ms = rtc_ms
        self._board = open_board(self._mgba, self._core, platform, sound=sound)
        self._pixels: NDArray[np.uint32] = np.frombuffer(
            self._ffi.buffer(self._image.buffer), np.uint32
        )
        self.reset()
        self.ram: tuple[Any, ...] = self._board.ram()
        """A writable buffer for each of ``platform.blocks``; it shows the RAM as it is now."""
        raw = self._ffi.new("uint8_t[]", self._core.stateSize(self._core))
        self._core.saveState(self._core, raw)
        self._identity = identity_of(bytes(self._ffi.buffer(raw, 64)))

    @property
    def ewram(self) -> Any:
        """The larger block of a Game Boy Advance's RAM."""
        return self.ram[0]

    @property
    def iwram(self) -> Any:
        """The smaller block of a Game Boy Advance's RAM."""
        return self.ram[1]

    def reset(self, save: bytes | None = None) -> None:
        """Switch a console on: RAM zero, and ``save`` in the cartridge's save memory, or nothing.

        The screen is stale until a frame ran.

        Args:
            save: as many bytes as the cartridge has (:func:`pipeline.games.states.check_save`).
        """
        self._erase_cartridge()
        self._board.reset()
        self._board.start_clock(self._rtc_ms)
        if save is not None:
            self._board.make_room(len(save))
            self._core.savedataRestore(self._core, save, len(save), True)
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

    def skip(self, frames: int) -> None:
        """Run ``frames`` frames with nothing pressed and draw none; the screen stays as it was."""
        video = self._board.video
        video.frameskip = video.frameskipCounter = frames
        self._run_frames(frames)

    def screen(self) -> NDArray[np.uint8]:
        """Copy of the screen as last drawn, (height,width,3) u8, RGB."""
        # mGBA's pixels are R,G,B,X in 4 bytes. Each is written whole, 3 bytes after the one before,
        # which then loses its X: 12 us, where numpy's copy of [..., :3] takes 170.
        size = len(self._pixels) * 3
        out = np.empty(size + 4, np.uint8)
        np.ndarray((len(self._pixels),), np.uint32, out, strides=(3,))[:] = self._pixels
        return out[:size].reshape(self.platform.height, self.platform.width, 3)

    def save_state(self) -> bytes:
        """The whole console in mGBA's own format: a PNG of the screen that carries the machine.

        Holds CPU, RAM, video and cartridge save memory; not the clock. The same machine gives the
        same bytes. About 2.5 ms; a few to some tens of kilobytes.
        """
        ffi = self._ffi
        self._board.ready_to_save()
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
        picture: the screen is then the stale one until a frame ran. A state that is refused
        changes nothing: machine, screen, save memory and clock stay as they were.

        Raises:
            PipelineError: not a save state, or one of another cartridge.
        """
        lib = self._lib
        if not _is_whole(state, self._core.stateSize(self._core), self.platform):
            raise PipelineError(_NO_STATE)
        self._check_identity(state)
        before, undo = (self._pixels.copy(), self._saved()), self._board.forget()
        self._erase_cartridge()
        file = lib.VFileFromConstMemory(self._ffi.from_buffer(state), len(state))
        try:
            loaded = lib.mCoreLoadStateNamed(self._core, file, _STATE_PARTS)
        finally:
            file.close(file)
        if not loaded:
            # mGBA looks at the machine first and leaves it, but the rest it has replaced by now.
            undo()
            self._pixels[:] = before[0]
            if before[1]:
                self._core.savedataRestore(self._core, before[1], len(before[1]), True)
            raise PipelineError(_NO_STATE)
        self._begin()

    def write(self, address: int, value: int, size: int) -> None:
        """Write the low ``size`` (1, 2 or 4) bytes of ``value`` to a RAM address.

        Raises:
            ValueError: the address is not in the console's RAM.
        """
        for block, data in zip(self.platform.blocks, self.ram, strict=True):
            at = address - block.start
            if 0 <= at <= block.size - size:
                data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
                return
        raise ValueError(f"{self.platform.written(address)} is outside the console's RAM")

    @property
    def has_clock(self) -> bool:
        """Whether the cartridge has a clock that follows dates (a Game Boy Advance's)."""
        return self._board.has_clock()

    def program_counter(self) -> int:
        """The address of the instruction that the processor is at."""
        return self._board.program_counter()

    def _check_identity(self, state: bytes) -> None:
        found, own = identity_of(state), self._identity
        if found is None or own is None or found.name != own.name:
            raise PipelineError(_NO_STATE)
        if own.blank and found.crc32 != own.crc32:  # mGBA would take it, and say nothing
            raise PipelineError(unlike(found.crc32, own.crc32))

    def _saved(self) -> bytes:
        """The cartridge's save memory as it is; nothing while the game has shown none."""
        place = self._ffi.new("void **")
        size = self._core.savedataClone(self._core, place)
        if not size or place[0] == self._ffi.NULL:
            return b""
        try:
            return bytes(self._ffi.buffer(place[0], size))
        finally:
            self._lib.free(place[0])

    def _erase_cartridge(self) -> None:
        # The save memory outlives a reset, and a state recorded before the game first touched it
        # holds none: without this an episode could see what the one before it had saved.
        size = self._board.save_size()
        if size:
            self._core.savedataRestore(self._core, b"\xff" * size, size, True)

    def _begin(self) -> None:
        """What a reset or a loaded state has undone."""
        self._core.setKeys(self._core, 0)
        self._core.rtc.override = _RTC_FIXED
        self._core.rtc.value = self._board.clock(self._rtc_ms)
        self._board.quiet()

    def _run_frames(self, frames: int) -> None:
        core = self._core
        run_frame = core.runFrame
        while frames > 0:
            self._board.postpone_sound()
            part = min(frames, _FRAMES_BETWEEN_SOUNDS)
            for _ in range(part):
                run_frame(core)
            frames -= part


def open_cartridge(mgba: Mgba, rom: Path, platform: Platform) -> Any:
    """The object of mGBA for a cartridge, as ``platform`` plays it.

    Raises:
        PipelineError: it is no cartridge of this console.
    """
    wrapper = mgba.load_path(str(rom)) if rom.is_file() else None
    consoles = () if wrapper is None else read_cartridge(rom).platforms
    if wrapper is None or platform not in consoles:
        other = f", or write 'platform: {consoles[0].name}' in game.yaml" if consoles else ""
        raise PipelineError(
            f"{rom}: not a {platform.title} cartridge image; give a {platform.suffix} file with "
            f"--rom{other}"
        )
    if platform is GBA:
        board = mgba.ffi.cast("struct GBA *", wrapper._core.board)
        if board.memory.rom == mgba.ffi.NULL:  # taken for a multiboot image, which runs in RAM
            wrapper = mgba.load_image(filled_up(rom.read_bytes()))
    else:  # a cartridge that has colours too would choose by itself
        config = mgba.ffi.addressof(wrapper._core.config)
        for key in _MODEL_KEYS:
            mgba.lib.mCoreConfigSetValue(config, key, _MODELS[platform.name])
    return wrapper


def _is_whole(state: bytes, raw_size: int, console: Platform) -> bool:
    """Whether a state can be looked into by C: a PNG of the console's screen, or raw and long.

    mGBA crashes on an empty file, and libpng complains on the terminal of a picture that is short
    or has another size.
    """
    if not state.startswith(PNG):
        return len(state) >= raw_size
    size = console.width.to_bytes(4, "big") + console.height.to_bytes(4, "big")
    try:
        return all(data[:8] == size for kind, data in png_chunks(state) if kind == b"IHDR")
    except PipelineError:
        return False
