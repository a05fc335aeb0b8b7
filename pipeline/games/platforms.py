"""The consoles that mGBA plays: their screens, their buttons, and where their RAM lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

BUTTONS = ("A", "B", "START", "SELECT", "UP", "DOWN", "LEFT", "RIGHT", "L", "R")
"""All that any of them has."""


@dataclass(frozen=True)
class Block:
    """Bytes of RAM that lie one after the other."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Platform:
    """One kind of console."""

    name: str
    """As ``platform:`` in ``game.yaml`` says it."""
    title: str
    height: int
    width: int
    buttons: tuple[str, ...]
    blocks: tuple[Block, ...]
    """Its RAM; snapshots and checksums take the blocks in this order."""
    pointer: str
    """Type of an address that the game itself stores."""
    suffix: str
    """Of the files that hold its cartridges."""

    def holds(self, address: int, span: int) -> bool:
        """Whether ``span`` bytes from ``address`` lie wholly in one block."""
        return any(block.start <= address <= block.end - span for block in self.blocks)

    def written(self, address: int) -> str:
        """An address as people write it on this console."""
        return f"0x{address:08X}" if self.name == "gba" else f"0x{address:04X}"

    def ranges(self) -> str:
        """Where its RAM lies, in words for an error."""
        spans = [f"{self.written(b.start)}-{self.written(b.end - 1)}" for b in self.blocks]
        return f"{', '.join(spans[:-1])} and {spans[-1]}"


_GB_BLOCKS = (Block(0xC000, 0x2000), Block(0xFF80, 0x7F))

GBA = Platform(
    "gba", "Game Boy Advance", 160, 240, BUTTONS,
    (Block(0x02000000, 0x40000), Block(0x03000000, 0x8000)), "u32", ".gba",
)  # fmt: skip
GB = Platform("gb", "Game Boy", 144, 160, BUTTONS[:8], _GB_BLOCKS, "u16", ".gb")
# At 0xD000 a Game Boy Color shows one of seven banks of RAM. Bank 1 is read as 0xD000-0xDFFF and
# the banks 2 to 7 as 0x2D000-0x7DFFF, whichever of them the game has switched to.
GBC = Platform(
    "gbc", "Game Boy Color", 144, 160, BUTTONS[:8],
    (*_GB_BLOCKS, *(Block(bank << 16 | 0xD000, 0x1000) for bank in range(2, 8))), "u16", ".gbc",
)  # fmt: skip

PLATFORMS: Mapping[str, Platform] = {one.name: one for one in (GBA, GB, GBC)}
