"""What is told beside the figures of an evaluation: who judges by what rules, and the price."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.experts.opening import program_path
from pipeline.reports.costs import cost_figures, program_dollars, spent_on
from pipeline.rollouts.player import EXPERT, Player
from pipeline.settings.reading import Settings
from pipeline.shards.run_shards import entries_of_game


def told_now(settings: Settings, player: Player, result: Mapping[str, Any]) -> dict[str, Any]:
    """What is told beside the figures, as it is now: prices, and who judges by what rules."""
    costs = cost_figures(_dollars(settings, player), result)
    same = {"mode": settings.evaluate.mode, "sticky": player.play.sticky}
    return {**costs, **rules(player), **same}


def rules(player: Player) -> dict[str, Any]:
    """What judges of a contest ask: what the player sees, what reaches the game, where it begins.

    That this is so is not taken on trust: `data replay` executes the rollouts' buttons again and
    compares every frame and the whole RAM.
    """
    game, subtask = player.game, player.play.subtask
    place = game.reset.seed
    wrote = "buttons only"
    if place is not None:
        where = "" if place.address is None else f" to 0x{place.address:08X}"
        wrote = f"buttons only, after the episode's seed was written{where} at the reset"
    told: dict[str, Any] = {"sees": _sees(player), "input": wrote}
    if subtask is not None:
        told["subtask"] = f"{subtask.start or 'start'} to {subtask.goal or 'end'}"
    if player.states:
        unseen = all(one.purpose in ("evaluate", "select") for one in player.states)
        told["starts"] = f"{len(player.states)} states of the library, " + (
            "in none of which anybody learns" if unseen else "in which trainings may begin, too"
        )
    return told


def _sees(player: Player) -> str:
    if player.play.policy == EXPERT:
        return "what the expert sees"
    from pipeline.agents.policy import sees

    return sees(Path(player.play.policy))


def _dollars(settings: Settings, player: Player) -> float:
    """What the player cost: its labels, and the program that gave them or plays itself.

    Labels count as far as their shards are still there. Checkpoints to choose from are not priced.
    """
    if settings.evaluate.purpose == "select":
        return 0.0
    program = program_path(settings, player.game)
    if player.play.policy == EXPERT:
        return program_dollars(program)
    from pipeline.agents.policy import shard_ids

    trained = shard_ids(Path(player.play.policy))
    entries = entries_of_game(settings.game_folder(player.game.name))
    found = [entry.facts for entry in entries if entry.facts is not None]
    return spent_on([facts for facts in found if facts.shard_id in trained], program)
