"""Names for ``gymnasium.make``: ``GBA/NAME-v0`` for every game that comes with the pipeline."""

from __future__ import annotations

from pathlib import Path

import gymnasium


def register_games() -> None:
    """Register every game; the emulator is imported only when an environment is made.

    The environment ends its own episodes and keeps its own count of steps (``max_steps`` of
    ``game.yaml``), so Gymnasium adds no time limit.
    """
    games = Path(__file__).parent.parent / "games"
    for description in sorted(games.glob("*/game.yaml")):
        name = description.parent.name
        environment = f"GBA/{name}-v0"
        if environment not in gymnasium.registry:
            gymnasium.register(environment, "pipeline.emulator.env:GBAEnv", kwargs={"game": name})
