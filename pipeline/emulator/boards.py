"""What lies inside mGBA's consoles: their RAM, their save memory, their sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pipeline.emulator.clock import host_seconds
from pipeline.emulator.mgba_library import Mgba
from pipeline.games.platforms import GBA, Platform

_SOUND_INTERVAL = 1024
_DAY = 86_400
_CLOCK = 1
"""The bit of a Game Boy Advance cartridge's devices that says that it has a clock."""
_SAVE_KINDS = {
    512: "SAVEDATA_EEPROM512",
    8192: "SAVEDATA_EEPROM",
    32768: "SAVEDATA_SRAM",
    65536: "SAVEDATA_FLASH512",
    131072: "SAVEDATA_FLASH1M",
}
"""A Game Boy Advance cartridge's save memory, by its bytes."""


class Board(Protocol):
    """One console behind an mGBA core.

    The buffers of its RAM show the RAM as it is now and stay where they are over resets and loaded
    states.
    """

    video: Any

    def reset(self) -> None:
        """Switch the console on."""
        ...

    def ram(self) -> tuple[Any, ...]:
        """A writable buffer for each of the platform's blocks; to be asked after a reset."""
        ...

    def forget(self) -> Callable[[], None]:
        """Make what a save state does not hold as it is in a console just switched on.

        Returns:
            What undoes that, where the state is refused after all.
        """
        ...

    def save_size(self) -> int:
        """Bytes of the cartridge's save memory; 0 while the game has shown none."""
        ...

    def make_room(self, size: int) -> None:
        """Have so many bytes of save memory in the cartridge, before it is switched on."""
        ...

    def quiet(self) -> None:
        """Leave out what nobody hears; undone by a reset and by a loaded state."""
        ...

    def has_clock(self) -> bool:
        """Whether the cartridge has a clock that tells date and time of day."""
        ...

    def clock(self, rtc_ms: int) -> int:
        """The fixed time for mGBA at which the cartridge's clock shows ``rtc_ms`` in UTC."""
        ...

    def start_clock(self, rtc_ms: int) -> None:
        """Set a clock that only counts, after the console was switched on."""
        ...

    def program_counter(self) -> int:
        """The address of the instruction that the processor is at."""
        ...

    def postpone_sound(self) -> None:
        """Say that the sound was mixed just now."""
        ...

    def ready_to_save(self) -> None:
        """Make the state one that a stock mGBA takes up with its sound."""
        ...


def open_board(mgba: Mgba, core: Any, platform: Platform, *, sound: bool = False) -> Board:
    """The board of the console that ``platform`` names, in a core with a cartridge."""
    if platform is GBA:
        return GbaBoard(mgba, core, sound=sound)
    return GbBoard(mgba, core, platform)


class _Channels:
    """The state of the sound channels that a save state of mGBA leaves out.

    Loading a save state leaves it as it was when the console last played. A game can read a part of
    it, such as whether a length counter ends a sound. So it is set back before a state is loaded.
    """

    def __init__(self, mgba: Mgba, audio: Any) -> None:
        names = ("ch1", "ch2", "ch3", "ch4")
        self._parts = [mgba.ffi.buffer(mgba.ffi.addressof(audio, name)) for name in names]
        self._fresh: list[bytes] = []

    def switched_on(self) -> None:
        """Take what is there now for that of a console just switched on."""
        self._fresh = self._fresh or [bytes(part) for part in self._parts]

    def set_back(self) -> Callable[[], None]:
        before = [bytes(part) for part in self._parts]
        self._put(self._fresh)
        return lambda: self._put(before)

    def _put(self, values: Sequence[bytes]) -> None:
        for part, value in zip(self._parts, values, strict=True):
            part[:] = value


class GbaBoard:
    """A Game Boy Advance. Without ``sound`` none is mixed, and the registers work as ever."""

    def __init__(self, mgba: Mgba, core: Any, *, sound: bool = False) -> None:
        self._sound = sound
        self._ffi, self._lib = mgba.ffi, mgba.lib
        self._core = core
        self._gba = self._ffi.cast("struct GBA *", core.board)
        self.video = self._gba.video
        self._timing, self._audio = self._gba.timing, self._gba.audio
        self._channels = _Channels(mgba, self._audio.psg)

    def reset(self) -> None:
        self._core.reset(self._core)
        self._channels.switched_on()

    def forget(self) -> Callable[[], None]:
        bus, undo = self._gba.bus, self._channels.set_back()
        self._gba.bus = 0

        def put_back() -> None:
            undo()
            self._gba.bus = bus

        return put_back

    def ram(self) -> tuple[Any, ...]:
        memory, ffi = self._gba.memory, self._ffi
        parts = zip((memory.wram, memory.iwram), GBA.blocks, strict=True)
        return tuple(ffi.buffer(ffi.cast("uint8_t *", at), block.size) for at, block in parts)

    def save_size(self) -> int:
        savedata = self._ffi.addressof(self._gba.memory, "savedata")
        return int(self._lib.GBASavedataSize(savedata))

    def make_room(self, size: int) -> None:
        # mGBA learns the kind of memory from how a game uses it; a save that is there before must
        # say so itself. Of those of a size, it takes the one that games have.
        savedata = self._ffi.addressof(self._gba.memory, "savedata")
        self._lib.GBASavedataForceType(savedata, getattr(self._lib, _SAVE_KINDS[size]))

    def quiet(self) -> None:
        if self._sound:
            return
        # mGBA would mix the sound 274 times a frame, which takes a third of a quiet game's time.
        event = self._ffi.addressof(self._audio, "sampleEvent")
        self._lib.mTimingDeschedule(self._ffi.addressof(self._gba, "timing"), event)
        self.postpone_sound()

    def ready_to_save(self) -> None:
        if not self._sound:
            self._postpone(_SOUND_INTERVAL)

    def postpone_sound(self) -> None:
        if not self._sound:
            self._postpone(0)

    def has_clock(self) -> bool:
        return bool(self._gba.memory.hw.devices & _CLOCK)

    def clock(self, rtc_ms: int) -> int:
        if not self.has_clock():
            return rtc_ms
        # What a state of another player says of how far the clock was set; ours is told by rtc_ms.
        self._gba.memory.hw.rtc.offset = 0
        return host_seconds(rtc_ms) * 1000

    def start_clock(self, rtc_ms: int) -> None:
        pass

    def program_counter(self) -> int:
        # Two instructions ahead, of 2 or 4 bytes.
        size = 2 if self._gba.cpu.executionMode else 4
        return int(self._gba.cpu.gprs[15] & 0xFFFFFFFF) - size

    def _postpone(self, cycles: int) -> None:
        """Say that the sound was mixed just now, and is again in ``cycles``.

        mGBA reckons with the time of the next mixing when a game feeds its sound channels. That
        time must never seem to lie far ahead, as it would 2**31 cycles (128 s) after the last.
        """
        now = self._timing.masterCycles
        self._audio.sampleEvent.when = (now + cycles) & 0xFFFFFFFF
        self._audio.lastSample = (now ^ 1 << 31) - (1 << 31)  # the same bits, signed
        self._audio.sampleIndex = 0


class GbBoard:
    """A Game Boy or a Game Boy Color, with its sound mixed as ever."""

    def __init__(self, mgba: Mgba, core: Any, platform: Platform) -> None:
        self._ffi, self._platform = mgba.ffi, platform
        self._core = core
        self._switched_on: Any = None
        self._gb = self._ffi.cast("struct GB *", core.board)
        self.video = self._gb.video
        self._channels = _Channels(mgba, self._gb.audio)

    def reset(self) -> None:
        # A reset of mGBA's own would put the RAM elsewhere, so there is only one; later ones go
        # back to what it left.
        core = self._core
        if self._switched_on is None:
            core.reset(core)
            self._switched_on = self._ffi.new("uint8_t[]", core.stateSize(core))
            core.saveState(core, self._switched_on)
            self._channels.switched_on()
        else:
            self._channels.set_back()
            core.loadState(core, self._switched_on)

    def forget(self) -> Callable[[], None]:
        return self._channels.set_back()

    def ram(self) -> tuple[Any, ...]:
        memory, ffi = self._gb.memory, self._ffi
        banks = ffi.cast("uint8_t *", memory.wram)
        found = []
        for block in self._platform.blocks:
            if block.start == 0xFF80:
                found.append(ffi.buffer(memory.hram, block.size))
            else:  # 4 KiB a bank, one after the other
                bank = block.start >> 16
                found.append(ffi.buffer(banks + bank * 0x1000, block.size))
        return tuple(found)

    def save_size(self) -> int:
        return int(self._gb.sramSize)

    def make_room(self, size: int) -> None:
        pass  # the header has told it

    def quiet(self) -> None:
        pass

    def postpone_sound(self) -> None:
        pass

    def ready_to_save(self) -> None:
        pass

    def has_clock(self) -> bool:
        return False

    def clock(self, rtc_ms: int) -> int:
        return rtc_ms  # such a clock counts seconds, and knows no time zone

    def start_clock(self, rtc_ms: int) -> None:
        # mGBA lets the clock count from the host's time at which the console was switched on. It
        # counts from midnight instead: day 0, at the time of day of ``rtc``.
        self._gb.memory.rtcLastLatch = rtc_ms // 1000 // _DAY * _DAY

    def program_counter(self) -> int:
        return int(self._gb.cpu.pc)
