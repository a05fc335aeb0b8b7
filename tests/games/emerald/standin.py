"""A stand-in for Pokemon Emerald: a cartridge that is only a header and an endless loop.

Nothing in it writes to RAM, so what a test puts there stays. ``Memory`` puts values where the facts
of the game say that they are, by its own arithmetic: not by ``game.yaml``, which it is to prove.
"""

from __future__ import annotations

import struct
from pathlib import Path

from pipeline.emulator.core import Emulator

OVERWORLD, BATTLE, MAIN_MENU = 0x08085E5D, 0x08038421, 0x0802F6B1
BOY, GIRL = 0, 1
TRUCK, GYM = (25, 40), (11, 3)


def cartridge(
    path: Path,
    title: bytes = b"POKEMON EMER",
    code: bytes = b"BPEE",
    revision: int = 0,
    size: int = 4096,
) -> Path:
    """Write an image of ``size`` bytes whose header is valid."""
    image = bytearray(size)
    image[0:4] = (0xEA00002E).to_bytes(4, "little")  # b 0xC0
    image[0xA0 : 0xA0 + len(title)] = title
    image[0xAC:0xB0] = code
    image[0xB0:0xB2] = b"01"
    image[0xB2] = 0x96
    image[0xBC] = revision
    image[0xBD] = -(0x19 + sum(image[0xA0:0xBD])) & 0xFF
    image[0xC0:0xC4] = (0xEAFFFFFE).to_bytes(4, "little")  # b .
    path.write_bytes(image)
    return path


class Memory:
    """The RAM of a running console, written by the names of the game's facts."""

    def __init__(
        self,
        emulator: Emulator,
        save1: int = 0x02025A00,
        save2: int = 0x02024A54,
        key: int = 0x5A17C0DE,
    ) -> None:
        self.emulator = emulator
        self.save1, self.save2, self.key = save1, save2, key

    def put(self, address: int, form: str, *values: int) -> None:
        raw = struct.pack(f"<{len(values)}{form}", *values)
        for i, byte in enumerate(raw):
            self.emulator.write(address + i, byte, 1)

    def get(self, address: int, form: str) -> int:
        """A number; 0 where there is no RAM."""
        size = struct.calcsize(form)
        for start, block in ((0x02000000, self.emulator.ewram), (0x03000000, self.emulator.iwram)):
            if start <= address <= start + len(block) - size:
                return int(struct.unpack_from(f"<{form}", block, address - start)[0])
        return 0

    def clear(self) -> None:
        for block in (self.emulator.ewram, self.emulator.iwram):
            block[:] = bytes(len(block))

    def switch_on(self) -> None:
        """The save blocks have their places and their key."""
        self.put(0x03005D8C, "I", self.save1, self.save2)
        self.put(self.save2 + 0xAC, "I", self.key)

    def callback(self, value: int) -> None:
        self.put(0x030022C4, "I", value)

    def enter_game(self, gender: int = BOY) -> None:
        """A new game: the name is set, the player stands in the truck."""
        self.switch_on()
        self.callback(OVERWORLD)
        self.name(0xBB, 0xBC, 0xFF)
        self.put(self.save2 + 8, "B", gender)
        self.place(*TRUCK)

    def name(self, *letters: int) -> None:
        self.put(self.save2, "B", *letters)

    def place(self, group: int, number: int, x: int = 5, y: int = 5) -> None:
        self.put(self.save1, "h", x, y)
        self.put(self.save1 + 4, "b", group, number)

    def flag(self, number: int, on: bool = True) -> None:
        address, bit = self.save1 + 0x1270 + (number >> 3), 1 << (number & 7)
        byte = self.get(address, "B")
        self.put(address, "B", byte | bit if on else byte & ~bit)

    def var(self, number: int, value: int) -> None:
        self.put(self.save1 + 0x139C + 2 * (number - 0x4000), "H", value)

    def party(self, *members: tuple[int, int, int], count: int | None = None) -> None:
        """Levels, hit points and most hit points; ``count`` is their number, or a lie."""
        self.put(0x020244E9, "B", len(members) if count is None else count)
        for i, (level, hp, most) in enumerate(members):
            at = 0x020244EC + 100 * i
            self.put(at + 0x54, "B", level)
            self.put(at + 0x56, "H", hp, most)

    def lay_map(self, width: int, height: int, cells: int = 0x02032318) -> None:
        """A live map, or what says falsely that there is one; its cells vary."""
        self.put(0x03005DC0, "i", width, height)
        self.put(0x03005DC8, "I", cells)
        if width > 0 and height > 0 and 0x02000000 <= cells <= 0x02040000 - 2 * width * height:
            self.put(cells, "H", *(cell(i) for i in range(width * height)))


def cell(i: int) -> int:
    """A number for the i-th cell in which metatile, collision and elevation all vary."""
    return (i * 40503 + 7) & 0xFFFF
