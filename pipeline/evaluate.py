"""Stage 5, evaluate: a checkpoint plays games that it never saw, and is counted.

With ``milestone all`` it plays every subtask of the game, each from the start states of the
milestone before, and is put beside the expert.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.evaluation.games import film_of, of_expert, play_games, refuse_trained_seeds
from pipeline.evaluation.report import read_report, write_report, write_subtasks
from pipeline.evaluation.rules import costs, rules
from pipeline.games.loading import load_game
from pipeline.reports.results import EvaluateResult, SubtaskRow, SubtasksResult
from pipeline.reports.subtask_table import subtask_row
from pipeline.rollouts.player import EXPERT, make_player, mark_of
from pipeline.rollouts.seeds import episode_seeds
from pipeline.rollouts.start_states import library_of
from pipeline.settings.changing import change
from pipeline.settings.fields import Settings
from pipeline.system.errors import PipelineError

ALL = "all"
NOT_DECISIVE = {
    "name", "workers", "checkpoint", "video", "keep_rollouts", "keep_states", "keep_states_most",
}  # fmt: skip
"""Settings that do not change the rollouts, or are told otherwise."""


def run(settings: Settings) -> EvaluateResult | SubtasksResult:
    """Play ``evaluate.episodes`` unseen games and report how it went.

    With a subtask of the game (``milestone``, or ``from`` and ``to``) each begins in a start state
    that an evaluation kept, as far as the library has such, and success is to reach the subtask's
    end. ``milestone all`` does so for every subtask, and for the expert, if that is a program.

    The seeds come from a set that no other stage plays; were one of them trained on all the same
    (rollouts of an evaluation can be labelled), the evaluation is refused.

    Raises:
        PipelineError: see `make_player`; seeds that were trained on.
    """
    return _each_subtask(settings) if settings.milestone == ALL else once(settings)


def _each_subtask(settings: Settings) -> SubtasksResult:
    """The table of all subtasks, also as ``NAME-subtasks.json`` and ``.csv``."""
    game, evaluate = load_game(settings.game), settings.evaluate
    rows: list[SubtaskRow] = []
    start: str | None = None
    up_to_date = True
    library = library_of(settings.game_folder(game.name))
    if not evaluate.keep_states:  # else each subtask leaves states to the next
        library.refuse_gaps([milestone.name for milestone in game.milestones[:-1]])
    for milestone in game.milestones:
        if start is not None and library.passes(start, milestone.name):
            start = milestone.name  # nothing lies between
            continue
        subtask = change(settings, subtask=(start, milestone.name))
        judged = once(subtask)
        expert = None
        if settings.expert.kind == "program":
            expert = once(change(subtask, evaluate=of_expert(evaluate.name)))
        up_to_date &= judged.up_to_date
        rows.append(subtask_row(milestone.name, start, judged, expert))
        start = milestone.name
    if not rows:
        raise PipelineError(f"{game.name} has no milestones, so there are no subtasks to evaluate")
    folder, name = settings.run_folder(), f"{evaluate.name}-subtasks"
    return write_subtasks(folder, name, judged, rows, up_to_date=up_to_date)


def once(settings: Settings) -> EvaluateResult:
    """One evaluation: of the whole game, or of one subtask."""
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
        refuse_trained_seeds(Path(policy), seeds)
    decisive = evaluate.model_dump(mode="json", exclude=NOT_DECISIVE)
    header = player.header("evaluate", decisive)
    mark = mark_of(header)
    report = settings.run_folder() / f"{player.named(evaluate.name)}.json"
    known = read_report(report, mark)
    fresh = known is None or (evaluate.keep_rollouts and known.rollouts is None)
    if known is None or fresh or (evaluate.keep_states and evaluate.keep_rollouts):
        games = play_games(settings, player, seeds.tolist(), header)
        games = replace(games, video=known.video if known else None)
    else:
        games = known
    if evaluate.video and not (games.video and games.video.exists()):
        fresh = True
        film = settings.run_folder() / f"{player.named(evaluate.name)}.gif"
        games = replace(games, video=film_of(games, player, seeds.tolist(), header, film))
    result = EvaluateResult(
        **vars(games),
        costs=costs(settings, player, games),
        rules=rules(player),
        report=report,
        up_to_date=not fresh,
    )
    write_report(result, mark)
    return result
