"""From settings to an expert."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.experts import tools
from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Expert
from pipeline.games.decisive import plain
from pipeline.games.description import GameDescription
from pipeline.settings.expert_fields import ExpertSettings
from pipeline.shards.format.provenance import versioned
from pipeline.shards.format.schema import unplaced
from pipeline.system.errors import PipelineError


def program_path(settings: ExpertSettings, game: GameDescription) -> Path:
    """The expert program's file: the one that is set, or the game's own."""
    return settings.expert.path or game.folder / "expert.py"


def decisive(expert: Expert, settings: ExpertSettings, game: GameDescription) -> dict[str, object]:
    """All that the expert's answers depend on beside the states it is asked about, as JSON.

    Of a program that is its text and the tools: their source, and what ``game.yaml`` tells them;
    and its limits, which decide whether it answers at all. Of a model what it is told: the
    instructions are in its identity, and how a state is put into words follows from the variables'
    shapes, the milestones and the tools. A checkpoint is known by its weights.
    """
    kind = str(expert.identity.get("kind"))
    told: dict[str, object] = {"expert": versioned(kind)}
    told |= unplaced(expert.identity)
    if kind == "program":
        source = hashlib.sha256(tools.SOURCE.encode()).hexdigest()
        told |= {"tools": tools.tools_data(game), "functions": source, "buttons": game.buttons}
        told |= settings.expert.model_dump(include={"timeout", "memory_mb"})
    elif kind == "model":
        shown = {
            name: [one.location.type, list(one.shape), plain(one.window)]
            for name, one in game.variables.items()
        }
        milestones = [[one.name, one.when] for one in game.milestones]
        told |= {"tools": tools.tools_data(game), "variables": shown, "milestones": milestones}
        told |= {"timeout": settings.expert.timeout, "max_tokens": settings.model.max_tokens}
    return told


def open_expert(settings: ExpertSettings, game: GameDescription) -> Expert:
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
            tools=tools.tools_data(game),
            remembers=expert.memory == "episode",
        )
    if expert.kind == "policy":
        # Imported late: the other kinds do without torch.
        from pipeline.experts.checkpoint_expert import PolicyExpert

        return PolicyExpert(expert.path, game, expert.mode)
    if expert.kind == "model":
        # Imported late: the SDK takes a second.
        from pipeline.experts.model.labeller import ModelExpert

        return ModelExpert(settings, game)
    raise PipelineError(f"expert.kind {expert.kind} cannot be asked yet; use program")
