"""Is a cartridge image the one that a game was described for, and if not, what is it?"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.games.cartridge import Cartridge, read_cartridge
from pipeline.games.description import GameDescription
from pipeline.system.errors import PipelineError, printable

_REGIONS = {
    "C": "Chinese",
    "D": "German",
    "E": "American",
    "F": "French",
    "I": "Italian",
    "J": "Japanese",
    "K": "Korean",
    "P": "European",
    "S": "Spanish",
}


@dataclass(frozen=True)
class Finding:
    """Why a file is not the cartridge that was asked for."""

    problem: str
    same_game: bool = False
    """Title and code are the right ones, so it may be played at the user's own risk."""


def find_cartridge(
    game: GameDescription, rom: Path | None = None, *, unverified: bool = False
) -> tuple[GameDescription, Path]:
    """The cartridge image to play: ``rom``, or the one that the game brings; its hash is checked.

    Args:
        unverified: go on, with a warning on stderr, where title and code are the right ones but
            the hash is not.

    Returns:
        The game as it is played, whose ``rom_sha1`` is the file's own, and the file.

    Raises:
        PipelineError: there is none, or it is another one than the description was written for;
            the line says what it is.
    """
    path = rom if rom is not None else game.rom_file
    if path is None:
        raise PipelineError(
            f"{game.name}: this game comes without a ROM; give your own with --rom FILE "
            f"(sha1 {game.rom_sha1})"
        )
    if not path.is_file():
        raise PipelineError(
            f"{path}: there is no ROM; give one with --rom FILE (sha1 {game.rom_sha1})"
        )
    sha1 = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    if sha1 == game.rom_sha1:
        return game, path
    cartridge = read_cartridge(path)
    found = compare(game, cartridge)
    if not found.same_game:
        raise PipelineError(f"{path}: {found.problem}")
    if not unverified:
        raise PipelineError(
            f"{path}: {found.problem}; give the ROM with sha1 {game.rom_sha1} by --rom, or go on "
            "with this one by --unverified-rom"
        )
    line = f"warning: {path}: {found.problem}; its addresses may differ from those of {game.name}"
    print(printable(line), file=sys.stderr)
    return replace(game, rom_sha1=cartridge.sha1), path


def find_rom(game: GameDescription, rom: Path | None = None) -> Path:
    """The cartridge image to play: ``rom``, or the one that the game brings; its hash is checked.

    Raises:
        PipelineError: there is none, or it is another one than the description was written for;
            see :func:`find_cartridge`.
    """
    return find_cartridge(game, rom)[1]


def expected_sha1(
    game: GameDescription, rom: Path | None = None, *, unverified: bool = False
) -> str | None:
    """The ROM's hash that shards of the game must carry; None: any, but all the same."""
    if not unverified:
        return game.rom_sha1
    return None if rom is None else find_cartridge(game, rom, unverified=True)[0].rom_sha1


def compare(game: GameDescription, found: Cartridge) -> Finding:
    """What a cartridge, whose hash is not the game's, is instead."""
    right = f"give the right one with --rom FILE (sha1 {game.rom_sha1})"
    if not game.rom_code and not game.rom_title:  # unknown, or blank as those of much homebrew
        return Finding(
            f"this ROM has sha1 {found.sha1}, but {game.name} needs {game.rom_sha1}; "
            "give the right one with --rom FILE"
        )
    other = _other_game(game, found)
    if other is not None:
        return Finding(f"{other}; {right}")
    return Finding(_other_dump(game, found), same_game=True)


def _other_game(game: GameDescription, found: Cartridge) -> str | None:
    """What the header says that it is, if that is not the game; None if it is."""
    code, due = found.code, game.rom_code
    if due is not None and code != due:
        if code[:3] in game.rom_relatives:
            return f"this is {game.rom_relatives[code[:3]]} (code {code}), not {game.title} ({due})"
        if code[:3] == due[:3]:
            return (
                f"code {code} is the {_region(code)} edition of {game.title}, but {game.name} "
                f"describes the {_region(due)} one ({due})"
            )
        return f"this is '{found.title}' (code {code}), not {game.title} ({due})"
    if game.rom_title is not None and found.title != game.rom_title:
        return (
            f"code {code} is that of {game.title}, but the title '{found.title}' is not "
            f"'{game.rom_title}': a changed game"
        )
    return None


def _region(code: str) -> str:
    return _REGIONS.get(code[3:], f"'{code[3:]}'")


def _other_dump(game: GameDescription, found: Cartridge) -> str:
    """How an image of the right title and code differs."""
    whole, size = game.rom_size, found.size
    if found.revision:
        return f"revision {found.revision} of {game.title}, but {game.name} describes revision 0"
    if whole is not None and size < whole:
        return f"{size} bytes, less than the {whole} of the whole {game.title}: trimmed or cut off"
    if whole is not None and size > whole:
        return f"{size} bytes, more than the {whole} of {game.title}: a changed game, or overdumped"
    return (
        f"title and code are those of {game.title}, but the sha1 is {found.sha1}, not "
        f"{game.rom_sha1}: a changed game, or a damaged dump"
    )
