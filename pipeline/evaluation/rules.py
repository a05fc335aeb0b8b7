"""What is told beside the figures of an evaluation: who judges by what rules, and the price."""

from __future__ import annotations

from pathlib import Path

from pipeline.experts.opening import program_path
from pipeline.reports.costs import costs_of, program_dollars, spent_on
from pipeline.reports.results import Costs, PlayedGames, Rules
from pipeline.rollouts.player import EXPERT, Player
from pipeline.shards.run_shards import entries_of_game


def costs(player: Player, home: Path, games: PlayedGames) -> Costs | None:
    """What the player cost, by today's shards and program; None where nothing was paid.

    Args:
        home: where the shards of all runs of the game lie.
    """
    return costs_of(
        _dollars(player, home),
        milestones_mean=games.milestones_mean,
        success_rate=games.success_rate,
    )


def rules(player: Player) -> Rules:
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
    starts = None
    if player.states:
        unseen = all(one.purpose in ("evaluate", "select") for one in player.states)
        starts = f"{len(player.states)} states of the library, " + (
            "in none of which anybody learns" if unseen else "in which trainings may begin, too"
        )
    return Rules(
        sees=_sees(player),
        input=wrote,
        subtask=None
        if subtask is None
        else f"{subtask.start or 'start'} to {subtask.goal or 'end'}",
        starts=starts,
        mode=player.play.mode,
        sticky=player.play.sticky,
    )


def _sees(player: Player) -> str:
    if player.play.policy == EXPERT:
        return "what the expert sees"
    from pipeline.agents.policy import sees

    return sees(Path(player.play.policy), player.play.mode)


def _dollars(player: Player, home: Path) -> float:
    """What the player cost: its labels, and the program that gave them or plays itself.

    Labels count as far as their shards are still there.
    """
    program = program_path(player.play.expert, player.game)
    if player.play.policy == EXPERT:
        return program_dollars(program)
    from pipeline.agents.policy import shard_ids

    trained = shard_ids(Path(player.play.policy))
    entries = entries_of_game(home)
    found = [entry.facts for entry in entries if entry.facts is not None]
    return spent_on([facts for facts in found if facts.shard_id in trained], program)
