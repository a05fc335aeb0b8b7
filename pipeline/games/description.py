"""A game is data: what ``game.yaml`` says, read into typed, validated fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FORMAT = 1
TYPES = {"u8": "u1", "s8": "i1", "u16": "<u2", "s16": "<i2", "u32": "<u4", "s32": "<i4"}


@dataclass(frozen=True)
class Location:
    """Where a number lies: at ``address``, or ``offset`` bytes behind a pointer's target.

    That of a variable that is computed (``when``) has neither.
    """

    type: str
    """One of TYPES; little-endian."""
    address: int | None = None
    pointer: str | None = None
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self.type[1:]) // 8


@dataclass(frozen=True)
class MapWindow:
    """The part of a live grid of cells that the screen shows, with the player in it.

    The addresses hold the grid's width and height (s32) and a pointer to its u16 cells. The player
    stands on the cell (x + border, y + border), with ``columns // 2`` cells to the left and
    ``above`` cells above inside the window.
    """

    width: int
    height: int
    cells: int
    x: str
    y: str
    border: int
    columns: int
    rows: int
    above: int


@dataclass(frozen=True)
class Index:
    """An element chosen by RAM: its place is ``stride`` times the number at ``location``."""

    location: Location
    stride: int


@dataclass(frozen=True)
class Variable:
    """A number, an array or a map window that is read from RAM before every step.

    What lies in RAM is decrypted (``xor``), masked (``mask`` or ``bit``), shifted down by ``shift``
    bits, and with ``ones`` its bits are counted, in that order.
    """

    name: str
    location: Location
    bit: int | None = None
    mask: int | None = None
    shift: int = 0
    ones: bool = False
    xor: Location | None = None
    index: Index | None = None
    count: int | None = None
    stride: int = 0
    length: str | None = None
    """A variable that says how many elements of an array are in use; the others read as 0."""
    when: str | None = None
    """Not in RAM: 1 while this condition over the variables declared above holds, else 0."""
    window: MapWindow | None = None
    outside: int = 0
    """What a window holds beyond the grid's edge."""
    about: str = ""
    """What it means and what its values stand for, in words for who writes an expert."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return np.dtype(TYPES[self.location.type])

    @property
    def shape(self) -> tuple[int, ...]:
        if self.window is not None:
            return (self.window.rows, self.window.columns)
        return () if self.count is None else (self.count,)


@dataclass(frozen=True)
class Until:
    """A step goes on, for ``frames`` frames at most, until the condition ``when`` holds.

    The condition is asked after every ``every`` frames.
    """

    when: str
    frames: int
    every: int


@dataclass(frozen=True)
class Timing:
    """A step: frames with the button held, then frames without.

    To these come between ``release_random[0]`` and ``release_random[1]`` frames, drawn from the
    episode's seed, and then those of ``until``.
    """

    hold: int
    release: int
    release_random: tuple[int, int] = (0, 0)
    until: Until | None = None

    @property
    def contract(self) -> dict[str, int]:
        """What a shard says of it and a checkpoint must agree with: frames by name."""
        frames = {"hold": self.hold, "release": self.release}
        if self.release_random != (0, 0):
            low, high = self.release_random
            frames |= {"release_random_low": low, "release_random_high": high}
        if self.until is not None:
            frames |= {"until": self.until.frames, "until_every": self.until.every}
        return frames


@dataclass(frozen=True)
class Reset:
    """What makes every episode another game, all of it drawn from the episode's seed."""

    idle_frames: tuple[int, int] = (0, 0)
    seed: Location | None = None


@dataclass(frozen=True)
class StartState:
    """Where an episode begins: a save state, or the console some time after it is switched on.

    Switched on with the in-game save ``save`` in its cartridge, if there is one, it runs ``frames``
    frames, and then a step of the game for each button of ``press``.
    """

    name: str
    frames: int = 0
    file: Path | None = None
    """A save state of mGBA, raw or PNG."""
    save: Path | None = None
    press: tuple[str, ...] = ()
    where: str = field(default="", compare=False)
    """File, line and key of ``game.yaml``."""

    @property
    def source(self) -> Path | None:
        """The file that it needs."""
        return self.save if self.file is None else self.file


@dataclass(frozen=True)
class Milestone:
    """A point of the game: reached once the condition ``when`` holds."""

    name: str
    when: str
    about: str = ""
    """What to do to reach it."""


@dataclass(frozen=True)
class Reward:
    """What a step is worth: the sum of what happened in it."""

    milestone: float = 1.0
    success: float = 0.0
    failure: float = 0.0
    step: float = 0.0
    new_map: float = 0.0
    """For each map of ``names.maps`` on which the player is for the first time in an episode."""


@dataclass(frozen=True)
class Maps:
    """Which ``variables`` tell the map the player is on, and what the maps are called.

    They tell it only while the condition ``when`` holds.
    """

    variables: tuple[str, ...]
    names: Mapping[tuple[int, ...], str]
    when: str | None = None


@dataclass(frozen=True)
class Badges:
    """Bit i of ``variable`` is set once the player has the badge ``names[i]``."""

    variable: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Party:
    """The player's beasts: a number, and arrays with an element each."""

    count: str
    level: str
    hp: str
    max_hp: str


@dataclass(frozen=True)
class Names:
    """What the numbers of a state are called, for who reads them."""

    maps: Maps | None = None
    badges: Badges | None = None
    party: Party | None = None


@dataclass(frozen=True)
class People:
    """Who and what stands on the map: arrays of equal length, an element each.

    Those whose ``active`` is 0 do not count, nor those whose ``kind`` is in ``ignore`` (the
    player). ``offset`` is taken from their x and y to count as the player's own do.
    """

    active: str
    x: str
    y: str
    kind: str | None = None
    ignore: tuple[int, ...] = ()
    offset: int = 0


@dataclass(frozen=True)
class Warps:
    """Tiles (x, y) that lead to another map, on the map where the variables ``at`` read so."""

    at: Mapping[str, int]
    tiles: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Terrain:
    """What the cells of a map window mean to who walks: each number is what ``cell & mask`` reads.

    A cell with a bit of ``walls`` cannot be entered. ``tile`` masks the bits that tell the kind of
    tile, by which ``ledges`` (jumped over, in one direction only) and ``costly`` (tall grass; a
    step onto it counts ``cost``) name theirs. With ``levels`` a step is refused between cells
    whose bits of it differ, unless one of the two is in ``any_level``.
    """

    map: str
    walls: int
    tile: int = 0xFFFF
    ledges: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    costly: tuple[int, ...] = ()
    cost: int = 1
    levels: int = 0
    any_level: tuple[int, ...] = ()
    warps: tuple[Warps, ...] = ()


@dataclass(frozen=True)
class Tools:
    """Which variables the tools of expert programs read; what a game lacks is None or empty.

    ``facing`` maps the value of its variable to UP, DOWN, LEFT or RIGHT. ``in_dialog`` and
    ``in_battle`` map variables to values: it is so when any of them reads one of its values.
    """

    terrain: Terrain | None = None
    people: People | None = None
    facing: tuple[str, Mapping[int, str]] | None = None
    in_dialog: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    in_battle: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class GameDescription:
    """All that the pipeline knows about a game; the fields follow the keys of ``game.yaml``."""

    name: str
    folder: Path
    title: str
    platform: str
    rom_file: Path | None
    rom_sha1: str
    rom_title: str | None
    rom_code: str | None
    buttons: tuple[str, ...]
    timing: Timing
    sticky_action_probability: float
    max_steps: int
    rtc_ms: int
    reset: Reset
    start_states: Mapping[str, StartState]
    """The first is the default."""
    pointers: Mapping[str, int]
    variables: Mapping[str, Variable]
    milestones: tuple[Milestone, ...]
    success: str
    failure: str | None
    reward: Reward
    about: str = ""
    """What the game is and how it is played, in words for who writes an expert."""
    tools: Tools = Tools()
    names: Names = Names()
    rom_size: int | None = None
    """Bytes of the whole cartridge."""
    rom_relatives: Mapping[str, str] = field(default_factory=dict)
    """Cartridges that are easily taken for this one: the first three letters of their codes."""
    sound: bool = False
    """Whether the sound is mixed while it plays, as a stock mGBA does."""
