"""Stage 5, evaluate: a checkpoint plays games that it never saw, and is counted.

With ``milestone all`` it plays every leg of the game, each from the start states of the milestone
before, and is put beside the expert.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline.config import Settings, change
from pipeline.emulator.library import library_of
from pipeline.emulator.seeds import episode_seeds
from pipeline.errors import PipelineError
from pipeline.experts.opening import program_path
from pipeline.games.description import GameDescription, load_game
from pipeline.keeping import keep_of
from pipeline.players import EXPERT, Player, make_player, mark_of
from pipeline.replacing import replace_file
from pipeline.reports.costs import cost_figures, program_dollars, spent_on
from pipeline.reports.legs import leg_row, shown, write_table
from pipeline.reports.statistics import wilson_interval
from pipeline.reports.video import write_gif
from pipeline.rollouts import Outcome, outcomes_of, play, play_one, record
from pipeline.shards.reader import Shard
from pipeline.shards.runs import entries_of_game
from pipeline.shards.schema import ShardHeader
from pipeline.strict_json import json_text

ALL = "all"
NOT_DECISIVE = {
    "name", "workers", "checkpoint", "video", "keep_rollouts", "keep_states", "keep_states_most",
}  # fmt: skip
"""Settings that do not change the rollouts, or are told otherwise."""
_TOLD_ANEW = {"report", "mode", "sticky", "new_states", "dollars",
              "dollars_per_milestone", "dollars_per_success_point", "sees", "input", "leg",
              "starts"}  # fmt: skip
"""Of a report, what does not follow from its fingerprint: each run tells what holds now."""


def run(settings: Settings) -> dict[str, Any]:
    """Play ``evaluate.episodes`` unseen games and report how it went.

    With a leg of the game (``milestone``, or ``from`` and ``to``) each begins in a start state that
    an evaluation kept, as far as the library has such, and success is to reach the leg's end.
    ``milestone all`` does so for every leg, and for the expert, if that is a program.

    The seeds come from a set that no other stage plays; were one of them trained on all the same
    (rollouts of an evaluation can be labelled), the evaluation is refused.

    Returns:
        ``episodes, success_rate, success_low, success_high`` (Wilson, 95 %), ``return_mean,
        return_std, length_mean, milestones_mean, milestones``; for who judges ``sees, input,
        starts`` (see `_rules`); where labels or the program were paid for, ``dollars,
        dollars_per_milestone, dollars_per_success_point``; and where report, rollouts (a raw shard)
        and video lie. Of all legs ``legs``, a row each, and where their table lies.

    Raises:
        PipelineError: see `make_player`; seeds that were trained on.
    """
    return _each_leg(settings) if settings.milestone == ALL else _evaluate(settings)


def _each_leg(settings: Settings) -> dict[str, Any]:
    """The table of all legs, also as ``NAME-legs.json`` and ``.csv``."""
    game, evaluate = load_game(settings.game), settings.evaluate
    rows: list[dict[str, Any]] = []
    start: str | None = None
    up_to_date = True
    library = library_of(settings.game_folder(game.name))
    for milestone in game.milestones:
        if start is not None and library.passes(start, milestone.name):
            start = milestone.name  # nothing lies between
            continue
        leg = change(settings, leg=(start, milestone.name))
        judged = _evaluate(leg)
        expert = None
        if settings.expert.kind == "program":
            expert = _evaluate(change(leg, evaluate=of_expert(evaluate.name)))
        up_to_date &= judged["up_to_date"]
        rows.append(leg_row(milestone.name, start, judged, expert))
        start = milestone.name
    if not rows:
        raise PipelineError(f"{game.name} has no milestones, so there are no legs to evaluate")
    same = ("episodes", "mode", "sticky", "sees", "input")
    told = {name: judged[name] for name in same}
    files = write_table(settings.run_folder(), f"{evaluate.name}-legs", told, rows)
    return {"up_to_date": up_to_date, **told, **files, "legs": shown(rows)}


def of_expert(name: str) -> dict[str, Any]:
    """The settings that let the expert be evaluated in place of the network."""
    one = {"checkpoint": EXPERT, "name": f"{name}-expert"}
    return {**one, "keep_rollouts": False, "keep_states": False, "video": False}


def _evaluate(settings: Settings) -> dict[str, Any]:
    evaluate = settings.evaluate
    policy = evaluate.checkpoint or str(settings.run_folder() / "final.pt")
    player = make_player(
        settings,
        policy=policy,
        beta=0.0,
        mode=evaluate.mode,
        start_state=evaluate.start_state,
        max_steps=evaluate.max_steps,
        patience=evaluate.patience,
        sticky=evaluate.sticky,
        purpose=evaluate.purpose,
    )
    seeds = episode_seeds(evaluate.purpose, evaluate.seed, evaluate.episodes)
    if policy != EXPERT:
        _refuse_trained_seeds(Path(policy), seeds)
    decisive = evaluate.model_dump(mode="json", exclude=NOT_DECISIVE)
    header = player.header("evaluate", decisive)
    mark = mark_of(header)
    report = settings.run_folder() / f"{player.named(evaluate.name)}.json"
    known = _read_report(report, mark)
    fresh = known is None or (evaluate.keep_rollouts and not known["rollouts"])
    if known is None or fresh or (evaluate.keep_states and evaluate.keep_rollouts):
        played = _play(settings, player, seeds.tolist(), header)
        result = {**played, "video": known["video"] if known else None}
    else:
        result = known
    result |= _told(settings, player, result)
    if evaluate.video and not (result["video"] and Path(result["video"]).exists()):
        fresh = True
        film = settings.run_folder() / f"{player.named(evaluate.name)}.gif"
        result["video"] = str(_video(result, player, seeds.tolist(), header, film))
    result["report"] = str(report)
    _write_report(report, result, mark)
    del result["filmed"]
    return {**result, "up_to_date": not fresh}


def _play(
    settings: Settings, player: Player, seeds: Sequence[int], header: ShardHeader
) -> dict[str, Any]:
    evaluate = settings.evaluate
    path = None
    folder, stem = settings.shard_folder(player.game.name), f"{player.named(evaluate.name)}-raw"
    most, home = evaluate.keep_states_most, settings.game_folder(player.game.name)
    keep = keep_of(home, header, stem, most) if evaluate.keep_states else None
    before, workers = 0 if keep is None else keep.count(), evaluate.workers
    if evaluate.keep_rollouts:
        path, _ = record(player, seeds, header, folder, stem, workers=workers, keep=keep)
        outcomes = outcomes_of(path)
    else:
        outcomes = play(player, seeds, header, workers=workers, keep=keep)
    result = figures(outcomes, player.game)
    if keep is not None:
        result |= {"states": str(keep.folder), "new_states": keep.count() - before}
    filmed = max(range(len(outcomes)), key=lambda number: outcomes[number].success)
    result["filmed"] = filmed  # the first that succeeded, else the first
    result["rollouts"] = None if path is None else str(path)
    return result


def _told(settings: Settings, player: Player, result: Mapping[str, Any]) -> dict[str, Any]:
    """What is told beside the figures, as it is now: prices, and who judges by what rules."""
    costs = cost_figures(_dollars(settings, player), result)
    same = {"mode": settings.evaluate.mode, "sticky": player.play.sticky}
    return {**costs, **_rules(player), **same}


def _rules(player: Player) -> dict[str, Any]:
    """What judges of a contest ask: what the player sees, what reaches the game, where it begins.

    That this is so is not taken on trust: `data replay` executes the rollouts' buttons again and
    compares every frame and the whole RAM.
    """
    game, leg = player.game, player.play.leg
    place = game.reset.seed
    wrote = "buttons only"
    if place is not None:
        where = "" if place.address is None else f" to 0x{place.address:08X}"
        wrote = f"buttons only, after the episode's seed was written{where} at the reset"
    told: dict[str, Any] = {"sees": _sees(player), "input": wrote}
    if leg is not None:
        told["leg"] = f"{leg.start or 'start'} to {leg.goal or 'end'}"
    if player.states:
        unseen = all(one.purpose in ("evaluate", "select") for one in player.states)
        told["starts"] = f"{len(player.states)} states of the library, " + (
            "in none of which anybody learns" if unseen else "in which trainings may begin, too"
        )
    return told


def _sees(player: Player) -> str:
    if player.play.policy == EXPERT:
        return "what the expert sees"
    from pipeline.policies.playing import sees

    return sees(Path(player.play.policy))


def _dollars(settings: Settings, player: Player) -> float:
    """What the player cost: the labels that it was trained on, as far as their shards are there,
    and the program that gave them, or that plays itself. Checkpoints to choose from are not
    priced."""
    if settings.evaluate.purpose == "select":
        return 0.0
    program = program_path(settings, player.game)
    if player.play.policy == EXPERT:
        return program_dollars(program)
    from pipeline.policies.playing import shard_ids

    trained = shard_ids(Path(player.play.policy))
    entries = entries_of_game(settings.game_folder(player.game.name))
    found = [entry.facts for entry in entries if entry.facts is not None]
    return spent_on([facts for facts in found if facts.shard_id in trained], program)


def evaluator(settings: Settings) -> Callable[[Path], dict[str, Any]]:
    """What training asks to choose its best checkpoint: few episodes, on seeds of their own."""

    def judge(checkpoint: Path) -> dict[str, Any]:
        chosen = {
            "checkpoint": str(checkpoint),
            "name": f"select-{checkpoint.stem}",
            "episodes": settings.train.evaluate_episodes,
            "purpose": "select",
            "keep_rollouts": False,
            "keep_states": False,
            "video": False,
        }
        return run(change(settings, evaluate=chosen))

    return judge


def figures(outcomes: Sequence[Outcome], game: GameDescription) -> dict[str, Any]:
    """What n episodes say: rates with intervals, means, and each milestone's count and step."""
    n = len(outcomes)
    successes = sum(outcome.success for outcome in outcomes)
    low, high = wilson_interval(successes, n)
    returns = np.array([outcome.return_ for outcome in outcomes])
    steps = np.array([outcome.milestones for outcome in outcomes]).reshape(n, -1)
    rows = []
    for i, milestone in enumerate(game.milestones):
        reached = steps[:, i][steps[:, i] >= 0]
        rows.append(
            {
                "milestone": milestone.name,
                "reached": len(reached),
                "rate": len(reached) / n,
                "median_step": float(median(reached.tolist())) if len(reached) else None,
            }
        )
    return {
        "episodes": n,
        "success_rate": successes / n,
        "success_low": low,
        "success_high": high,
        "return_mean": float(returns.mean()),
        "return_std": float(returns.std()),
        "length_mean": float(np.mean([outcome.length for outcome in outcomes])),
        "milestones_mean": float((steps >= 0).sum(axis=1).mean()),
        "milestones": rows,
    }


def _refuse_trained_seeds(checkpoint: Path, seeds: Any) -> None:
    from pipeline.policies.playing import trained_seeds

    common = np.intersect1d(trained_seeds(checkpoint), seeds)
    if len(common):
        raise PipelineError(
            f"{checkpoint}: was trained on {len(common)} of these {len(seeds)} games; "
            "choose another --evaluate.seed"
        )


def _video(
    result: Mapping[str, Any],
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    target: Path,
) -> Path:
    """Film the first episode that succeeded; without rollouts it is played once more."""
    chosen, rollouts = int(result["filmed"]), result["rollouts"]
    if rollouts is not None:
        _film(Path(rollouts), chosen, target)
        return target
    with TemporaryDirectory() as folder:
        _film(play_one(player, seeds, chosen, header, Path(folder)), 0, target)
    return target


def _film(rollouts: Path, episode: int, target: Path) -> None:
    with Shard(rollouts) as shard:
        start = int(shard.starts[episode])
        write_gif(target, shard.read_frames(start, start + int(shard.lengths[episode])))


def _read_report(path: Path, mark: str) -> dict[str, Any] | None:
    try:
        report = json.loads(path.read_text())
        known = report.pop("fingerprint") == mark
    except (OSError, ValueError, KeyError, AttributeError):
        return None  # none yet, or not ours: it is written anew
    rollouts = report.get("rollouts")
    if not known or (rollouts and not Path(rollouts).exists()) or "filmed" not in report:
        return None
    return {name: value for name, value in report.items() if name not in _TOLD_ANEW}


def _write_report(path: Path, result: dict[str, Any], mark: str) -> None:
    # How many states are new is told of this very call alone.
    kept = {name: value for name, value in result.items() if name != "new_states"}
    text = json_text({"fingerprint": mark, **kept}, indent=2) + "\n"
    mend = "make room, or mend paths.checkpoints, and run the same command again"
    with suppress(OSError, UnicodeDecodeError):
        if path.read_text() == text:
            return
    replace_file(path, text.encode(), "report", f"the rollouts are kept; {mend}")
