"""A subtask of a game: what lies between two milestones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict
from urllib.parse import quote

from pipeline.games.checked import nearest
from pipeline.games.description import GameDescription, Milestone
from pipeline.settings.fields import Settings
from pipeline.system.errors import PipelineError

SubtaskEnds = TypedDict("SubtaskEnds", {"from": str | None, "to": str | None})
"""What a shard says of its subtask: the milestones between which it lies."""


@dataclass(frozen=True)
class Subtask:
    """Episodes that begin where a milestone was reached and end when another one is."""

    start: str | None
    """The milestone at whose start states episodes begin; None: the game's own start."""
    goal: str | None
    """The milestone that ends an episode, with success; None: the game's own end."""
    name: str
    """For file names: that of the goal where nothing lies between, or ``START-to-GOAL``."""
    first: int
    """Milestones that are reached when it begins, in the game's order."""
    last: int
    """Number of the goal, from 0; the number of milestones where it has none."""

    @property
    def told(self) -> SubtaskEnds:
        """What a shard says of it."""
        return {"from": self.start, "to": self.goal}


def subtask_of(
    game: GameDescription, *, milestone: str | None, start: str | None, goal: str | None
) -> Subtask | None:
    """The subtask that a user asks for; None for the whole game.

    Args:
        milestone: the subtask that ends with it and begins at the one before.
        start, goal: the two ends instead; None is the game's own.

    Raises:
        PipelineError: no such milestone (the nearest is named), both ways at once, or a goal that
            does not come after the start.
    """
    names = [one.name for one in game.milestones]
    if milestone is not None:
        if start is not None or goal is not None:
            raise PipelineError(
                "--milestone says where episodes begin and end; leave out --from and --to"
            )
        place = names.index(known_milestone(game, milestone).name)
        start, goal = names[place - 1] if place else None, milestone
    if start is None and goal is None:
        return None
    first = 0 if start is None else names.index(known_milestone(game, start).name) + 1
    last = len(names) if goal is None else names.index(known_milestone(game, goal).name)
    if last < first:
        if start == goal:
            raise PipelineError(f"--from and --to are both '{goal}'; give two milestones")
        raise PipelineError(
            f"'{goal}' does not come after '{start}' in {game.name}'s milestones; swap --from "
            "and --to"
        )
    ends = "start" if start is None else start, "end" if goal is None else goal
    name = goal if goal is not None and first == last else f"{ends[0]}-to-{ends[1]}"
    # No path, nor a hidden file, whatever a milestone is called.
    return Subtask(start, goal, re.sub(r"^\.", "%2E", quote(name, safe=" ")), first, last)


def subtask_in(settings: Settings, game: GameDescription) -> Subtask | None:
    """The subtask that the settings ask for; see :func:`subtask_of`."""
    return subtask_of(game, milestone=settings.milestone, start=settings.from_, goal=settings.to)


def subtask_ends(provenance: Mapping[str, Any]) -> Any:
    """What a shard's provenance, or a training's inputs, say of the subtask: ``{"from", "to"}``.

    None for the whole game. The key was once called ``leg``.
    """
    return provenance.get("subtask", provenance.get("leg"))


def recorded_subtask(game: GameDescription, provenance: Mapping[str, Any]) -> Subtask | None:
    """The subtask that a shard was recorded on, by its provenance; None for the whole game.

    A subtask whose milestones the game no longer has counts as none.
    """
    told = subtask_ends(provenance)
    if not isinstance(told, Mapping):
        return None
    start, goal = told.get("from"), told.get("to")
    if not all(end is None or isinstance(end, str) for end in (start, goal)):
        return None
    try:
        return subtask_of(game, milestone=None, start=start, goal=goal)
    except PipelineError:
        return None


def ending_with(game: GameDescription, subtask: Subtask | None) -> GameDescription:
    """The game whose success is the subtask's goal."""
    if subtask is None or subtask.goal is None:
        return game
    return replace(game, success=known_milestone(game, subtask.goal).when)


def known_milestone(game: GameDescription, name: str) -> Milestone:
    """A milestone of the game by its name.

    Raises:
        PipelineError: there is none of that name; the nearest is named.
    """
    named = {one.name: one for one in game.milestones}
    if name not in named:
        if not named:
            raise PipelineError(f"{game.name} has no milestone '{name}': it has none at all")
        raise PipelineError(
            f"{game.name} has no milestone '{name}'; the nearest one is '{nearest(name, named)}'"
        )
    return named[name]
