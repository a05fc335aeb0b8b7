"""What a command works on, resolved from settings once, in its first lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.games.description import GameDescription
from pipeline.games.identity import expected_sha1, find_cartridge
from pipeline.games.loading import load_game
from pipeline.games.subtask import Subtask, subtask_in
from pipeline.settings.expert_fields import ExpertChoice
from pipeline.settings.fields import Settings
from pipeline.settings.run_names import Folders


@dataclass(frozen=True)
class Task:
    """A game, what of it is played or learned, by whom, and whose data that reads and writes."""

    game: GameDescription
    subtask: Subtask | None
    """None: the whole game."""
    folders: Folders
    rom: Path | None
    """The cartridge image that was named; None takes the one that the game brings."""
    unverified_rom: bool
    """A ROM whose title and code are right may be played, whatever its sha1 is."""
    expert: ExpertChoice
    """Who knows the right button; opened where it plays or is asked."""

    def cartridge(self) -> tuple[GameDescription, Path]:
        """The game as it is played, and the image; see `find_cartridge`."""
        return find_cartridge(self.game, self.rom, unverified=self.unverified_rom)

    def rom_sha1(self) -> str | None:
        """The hash that the task's shards must carry; None: any, but all the same."""
        return expected_sha1(self.game, self.rom, unverified=self.unverified_rom)


def task_of(settings: Settings) -> Task:
    """What the settings say that the work is on.

    Raises:
        PipelineError: no such game, or no such subtask of it.
    """
    game = load_game(settings.game)
    return Task(
        game=game,
        subtask=subtask_in(settings, game),
        folders=settings.folders(game.name),
        rom=settings.rom,
        unverified_rom=settings.unverified_rom,
        expert=settings.expert_choice(),
    )
