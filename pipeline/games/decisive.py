"""What of a game's description decides a result: fields that are read, by value.

A fingerprint takes these, not the text of ``game.yaml``: a comment, a blank or another order of
keys changes nothing, nor does a field that the stage does not read. A field that a description
gets later counts at once, unless it is named here among those that are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pipeline.games.description import GameDescription

NOT_PLAYED = {
    "folder", "title", "rom_file", "rom_title", "rom_code", "rom_size", "rom_relatives", "about",
    "tools", "names", "start_states", "sticky_action_probability", "max_steps",
}  # fmt: skip
"""Fields that no episode depends on: words, which file holds the cartridge (its hash counts), what
experts read (see `pipeline.experts.opening.decisive`), and defaults of settings, which count
themselves. Of start states and names the ones that are read are taken one by one."""


_WORDS = {"about"}
"""Fields of variables, milestones and the like that are for people and models."""


def read_in_play(game: GameDescription, start_state: str | None) -> dict[str, object]:
    """What a recording of the game depends on, its settings and the files it begins in apart.

    Args:
        start_state: where episodes begin, if it is one of ``game.yaml``'s.
    """
    read: dict[str, object] = {
        one.name: plain(getattr(game, one.name))
        for one in fields(game)
        if one.name not in NOT_PLAYED
    }
    if game.reward.new_map and game.names.maps is not None:
        read["maps"] = [plain(game.names.maps.variables), game.names.maps.when]
    if start_state is not None and start_state in game.start_states:
        read["start_state"] = plain(game.start_states[start_state])
    return read


def read_of_ram(game: GameDescription) -> dict[str, object]:
    """What the variables of a state depend on, wherever it comes from."""
    return {"pointers": plain(game.pointers), "variables": plain(game.variables)}


def plain(value: object) -> Any:
    """Dataclasses and mappings as JSON; words are left out, and where files lie."""
    if is_dataclass(value) and not isinstance(value, type):
        told = [one for one in fields(value) if one.compare and one.name not in _WORDS]
        return {one.name: plain(getattr(value, one.name)) for one in told}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: plain(one) for key, one in value.items()}
        return sorted([plain(key), plain(one)] for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value is not None if isinstance(value, Path) else value
