"""Games as data: one folder a game, read by :func:`load_game`."""

from pipeline.games.description import GameDescription
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game

__all__ = ["GameDescription", "find_rom", "load_game"]
