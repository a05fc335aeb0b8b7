"""From settings to an expert."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Expert
from pipeline.experts.tools import tools_data
from pipeline.games.description import GameDescription


def program_path(settings: Settings, game: GameDescription) -> Path:
    """The expert program's file: the one that is set, or the game's own."""
    return settings.expert.path or game.folder / "expert.py"


def open_expert(settings: Settings, game: GameDescription) -> Expert:
    """The expert that ``settings.expert`` describes, ready to be asked; close it.

    Raises:
        PipelineError: no such program or checkpoint, no isolation for it, no key or no model.
    """
    expert = settings.expert
    if expert.memory == "episode" and expert.kind != "program":
        raise PipelineError(
            f"expert.memory: only a program may keep one, and expert.kind is '{expert.kind}'; "
            "leave it out"
        )
    if expert.kind == "program":
        return ProgramExpert(
            program_path(settings, game),
            game.buttons,
            expert.timeout,
            isolation=expert.isolation,
            memory_mb=expert.memory_mb,
            tools=tools_data(game),
            remembers=expert.memory == "episode",
        )
    if expert.kind == "policy":
        # Imported late: the other kinds do without torch.
        from pipeline.experts.policy import PolicyExpert

        return PolicyExpert(expert.path, game, expert.mode)
    if expert.kind == "model":
        # Imported late: the SDK takes a second.
        from pipeline.experts.model.labeller import ModelExpert

        return ModelExpert(settings, game)
    raise PipelineError(f"expert.kind {expert.kind} cannot be asked yet; use program")
