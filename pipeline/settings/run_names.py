"""Whose data: the name of a run, and the folders of networks and shards that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from pipeline.system.errors import PipelineError
from pipeline.system.written_paths import FilePath

DEFAULT = "default"
"""The run of commands that name none: its shards lie in the game's folder itself."""
STATES = "states"
"""Folder of a game's start states, which all runs share: no run has its name."""


class Section(BaseModel):
    """A group of settings: immutable, without unknown keys and without numbers that are not finite.

    NaN passes every bound, and an infinite budget is none.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
    )


class Paths(Section):
    datasets: FilePath = Path("datasets")
    """Folder of the shards: ``DATASETS/GAME/RUN/*.h5``."""
    checkpoints: FilePath = Path("checkpoints")
    """Folder of the networks: ``CHECKPOINTS/RUN/*.pt``."""


def is_run_name(name: str) -> bool:
    """Whether a folder of shards may have this name: a relative path, hidden nowhere."""
    parts = name.split("/")
    return parts[0] != STATES and all(
        part and part[0] != "." and part.isprintable() and not part.endswith(".h5")
        for part in parts
    )


def folder_of_run(game: Path, run: str) -> Path:
    """Where the shards of a run lie, below the folder of the game."""
    return game if run == DEFAULT else game / run


@dataclass(frozen=True)
class Folders:
    """Whose data, and where they lie: settings with the game known."""

    run: str
    """The run's own name."""
    shards_run: str
    """The run that new shards belong to, and that they are taken from."""
    from_run: str | None
    """The run that shards are read from where none are named; None: the own one."""
    game: Path
    """What all runs of the game share, and a folder of shards for each run."""
    shards: Path
    """The shards of the own run."""
    networks: Path
    """The networks of the own run."""


class Owned(Section):
    """Settings that say whose networks and shards a command works on."""

    run: str = DEFAULT
    """Name of the run: its networks lie in ``CHECKPOINTS/RUN/``, its shards in
    ``DATASETS/GAME/RUN/``, those of the run ``default`` in ``DATASETS/GAME/``."""
    owner: str | None = None
    """The run that shards belong to; none takes ``run``. Loops set it: the networks of their rounds
    have names of their own (``quest/round-00``), the shards are all the loop's."""
    from_run: str | None = None
    """Read the shards of this run where none are named; results still go to ``run``."""
    paths: Paths = Paths()

    @field_validator("run", "owner", "from_run")
    @classmethod
    def _names_a_folder(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and not is_run_name(name):
            raise PipelineError(
                f"{info.field_name} {name!r}: is no name of a run; give one such as 'quest' or "
                f"'quest/second', without '..', a '/' at an end, a '.' before or '.h5' behind a "
                f"name, and not '{STATES}'"
            )
        return name

    @property
    def shards_run(self) -> str:
        """The run that new shards belong to, and that they are taken from."""
        return self.owner or self.run

    def game_folder(self, game_name: str) -> Path:
        """What all runs of a game share lies here, and a folder of shards for each run."""
        return self.paths.datasets / game_name

    def shard_folder(self, game_name: str) -> Path:
        """The shards of the own run."""
        return folder_of_run(self.game_folder(game_name), self.shards_run)

    def run_folder(self) -> Path:
        """The networks of the own run."""
        return self.paths.checkpoints / self.run

    def folders(self, game_name: str) -> Folders:
        """All of them, for a game."""
        return Folders(
            run=self.run,
            shards_run=self.shards_run,
            from_run=self.from_run,
            game=self.game_folder(game_name),
            shards=self.shard_folder(game_name),
            networks=self.run_folder(),
        )
