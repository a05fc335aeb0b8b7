"""A game by its name or its folder."""

from __future__ import annotations

from pathlib import Path

from pipeline.games.description import GameDescription
from pipeline.games.parsing import parse_game
from pipeline.system.errors import PipelineError

GAMES = Path(__file__).parent


def load_game(name_or_folder: str | Path) -> GameDescription:
    """Read the description of a game that comes with the pipeline, or of a folder's ``game.yaml``.

    Raises:
        PipelineError: no such game, or a mistake in its description, with its place.
    """
    given = str(name_or_folder)
    known = sorted(p.parent.name for p in GAMES.glob("*/game.yaml"))
    if given in known:
        return parse_game(GAMES / given / "game.yaml")
    if (Path(given) / "game.yaml").is_file():
        return parse_game(Path(given) / "game.yaml")
    raise PipelineError(
        f"game '{given}' is unknown; give one of: {', '.join(known) or '(none)'}, or a folder that "
        "holds a game.yaml"
    )
