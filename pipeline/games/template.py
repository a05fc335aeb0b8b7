"""A first ``game.yaml`` for any cartridge: it runs as it is, and says what to add next."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml

from pipeline.games.cartridge import Cartridge, read_cartridge
from pipeline.games.description import FORMAT
from pipeline.games.loading import GAMES
from pipeline.games.parsing import parse_text
from pipeline.games.platforms import Platform
from pipeline.system.errors import PipelineError, printable
from pipeline.system.files import replace_file, write_new

_YAML = """\
# {title}: what the pipeline knows about this game. It runs as it stands; add what you find.
format: {format}
name: {name}                    # names its folder of shards
title: {title}
about: >
  What the game is and how it is played, in your own words: experts read it.
platform: {platform}
rom: {{file: {file}, sha1: "{sha1}", title: {rom_title}{code}}}   # without file: give --rom FILE
buttons: [{buttons}]   # those that a player may press
timing: {{hold: 4, release: 6}}        # frames a button is held, and frames after it: one step
sticky_action_probability: 0.0       # how often the button before is pressed again instead
max_steps: 1000                      # an episode is cut off here
# rtc: 2024-01-01T00:00:00Z          # what a cartridge's clock shows, for ever
# sound: true                        # mix the sound; where game check says so
reset:
  idle_frames: [0, 60]               # frames before the first step, drawn from the episode's seed
start_states:
  power_on: {{frames: 60}}             # so many frames after the console is switched on
  # later: {{file: later.png}}         # or a save state, a file in this folder
  # mine: {{save: my.sav, frames: 600, press: "A*3 WAIT*60 A"}}  # or an in-game save

# Pointers, for what moves about in RAM: where the game keeps an address.
pointers:
  # save: {pointer}

# What is read from RAM before every step. RAM: {ranges}.
# Find one and put it here:  python -m pipeline game find x.npz --game {folder} --help
variables:
  # x: {{address: {address}, type: u8, about: "the player's place, from the left"}}
  # hp: {{address: {address}, type: u16, count: 6, stride: 100}}         # an array
  # badge: {{address: {address}, type: u8, bit: 7}}                      # 0 or 1

# Waypoints, in order; each gives a reward the first time its condition holds.
milestones:
  # - {{name: first_badge, when: "badge == 1", about: "how to get there"}}
success: "False"                     # the condition that ends an episode as won, such as badge == 1
# failure: "hp[0] == 0"              # and the one that ends it as lost
reward: {{milestone: 1.0, success: 0.0, failure: 0.0, step: 0.0}}
"""
_EXPERT = '''\
"""Who shows how {title} is played: ``act`` gets the variables of game.yaml and names a button.

This one presses A for ever, so that everything runs from the first day; write a better one. Its
answer must be a function of the state alone: ``label`` asks out of order and in several processes,
so nothing may be remembered from one call to the next (but for a cache) or drawn at random.
"""


def act(state):
    return "A"
'''


def write_game(name: str, rom: Path, folder: Path) -> tuple[Cartridge, list[Path]]:
    """Write ``game.yaml`` and ``expert.py`` for a cartridge into ``folder``.

    Returns:
        What the cartridge says of itself, and the files.

    Raises:
        PipelineError: an impossible name, one of the games that come with the pipeline, no
            cartridge, or one of the files is there already. Nothing is written then.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise PipelineError(
            f"game new {name}: the name cannot name files; use small letters, digits, - and _"
        )
    if (GAMES / name / "game.yaml").is_file():
        raise PipelineError(
            f"game new {name}: a game of this name comes with the pipeline; choose another name"
        )
    cartridge = read_cartridge(rom)
    title = cartridge.title or name.upper()
    texts = {
        folder / "game.yaml": _description(name, cartridge, rom, folder),
        folder / "expert.py": _EXPERT.format(title=_in_docstring(title)),
    }
    for file in texts:
        if file.exists():
            raise PipelineError(
                f"{file}: exists already and is not changed; choose another folder with --folder"
            )
    try:
        for file, text in reversed(texts.items()):  # game.yaml, which makes it a game, at last
            write_new(file, text.encode())
    except OSError as error:
        raise PipelineError(
            f"{folder}: cannot write the game's files ({os.strerror(error.errno or 0)})"
        ) from None
    return cartridge, list(texts)


def _description(name: str, cartridge: Cartridge, rom: Path, folder: Path) -> str:
    console = cartridge.platforms[0]
    return _YAML.format(
        format=FORMAT,
        name=_quoted(name),
        title=_quoted(cartridge.title or name.upper()),
        platform=console.name,
        file=_quoted(_seen_from(folder, rom)),
        sha1=cartridge.sha1,
        rom_title=_quoted(cartridge.title),
        code=f", code: {_quoted(cartridge.code)}" if cartridge.code else "",
        buttons=", ".join(console.buttons),
        pointer=console.written(_example(console, -1)),
        address=console.written(_example(console, 0)),
        ranges=console.ranges(),
        folder=printable(str(folder)),
    )


def _seen_from(folder: Path, rom: Path) -> str:
    """The ROM's path as game.yaml gives it: relative where both lie where the user works."""
    here, rom, folder = Path.cwd().resolve(), rom.resolve(), folder.resolve()
    near = rom.is_relative_to(here) and folder.is_relative_to(here)
    return os.path.relpath(rom, folder) if near else str(rom)


def _example(console: Platform, block: int) -> int:
    return console.blocks[block].start + 0x10


def _quoted(text: str) -> str:
    """A text as YAML that stays a text, on one line."""
    return yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=True).strip()


def _in_docstring(text: str) -> str:
    return printable(text).replace('"', "").replace("\\", "")


def add_variable(file: Path, line: str, pointer: str | None = None) -> None:
    """Put a variable's line into ``game.yaml``, and its pointer's, first in their sections.

    Raises:
        PipelineError: the file has no such section of several lines, or would not be a game's
            description any more (a name is listed twice); nothing is written then.
    """
    text = file.read_text(encoding="utf-8")
    for section, added in (("variables", line), ("pointers", pointer)):
        if added is None:
            continue
        head = re.search(rf"^{section}:[ ]*(?:\{{\}})?[ ]*(#.*)?$", text, re.MULTILINE)
        if head is None:
            raise PipelineError(
                f"{file}: there is no line '{section}:' to put '{added}' under; add it by hand"
            )
        comment = f"   {head[1]}" if head[1] else ""
        text = f"{text[: head.start()]}{section}:{comment}\n  {added}{text[head.end() :]}"
    parse_text(text, file)
    replace_file(file, text.encode(), "game's description", "fix that")
