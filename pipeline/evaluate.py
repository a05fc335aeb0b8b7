"""Stage 5, evaluate: a checkpoint plays games that it never saw, and is counted.

With ``milestone all`` it plays every subtask of the game, each from the start states of the
milestone before, and is put beside the expert.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.evaluation.games import Games, of_expert, refuse_trained_seeds
from pipeline.evaluation.report import read_report, write_report, write_subtasks
from pipeline.evaluation.rules import costs, rules
from pipeline.games.task import task_of
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
    evaluate, task = settings.evaluate, task_of(change(settings, subtask=(None, None)))
    game = task.game
    rows: list[SubtaskRow] = []
    start: str | None = None
    up_to_date = True
    library = library_of(task.folders.game)
    if not evaluate.keep_states:  # else each subtask leaves states to the next
        library.refuse_gaps([milestone.name for milestone in game.milestones[:-1]])
    for milestone in game.milestones:
        if start is not None and library.passes(start, milestone.name):
            start = milestone.name  # nothing lies between
            continue
        subtask = change(settings, subtask=(start, milestone.name))
        judged = once(subtask)
        expert = None
        if task.expert.expert.kind == "program":
            expert = once(change(subtask, evaluate=of_expert(evaluate.name)))
        up_to_date &= judged.up_to_date
        rows.append(subtask_row(milestone.name, start, judged, expert))
        start = milestone.name
    if not rows:
        raise PipelineError(f"{game.name} has no milestones, so there are no subtasks to evaluate")
    name = f"{evaluate.name}-subtasks"
    return write_subtasks(task.folders.networks, name, judged, rows, up_to_date=up_to_date)


def once(settings: Settings) -> EvaluateResult:
    """One evaluation: of the whole game, or of one subtask."""
    evaluate, task = settings.evaluate, task_of(settings)
    policy = evaluate.checkpoint or str(task.folders.networks / "final.pt")
    player = make_player(task, evaluate, policy=policy, beta=0.0, purpose=evaluate.purpose)
    seeds = episode_seeds(evaluate.purpose, evaluate.seed, evaluate.episodes)
    if policy != EXPERT:
        refuse_trained_seeds(Path(policy), seeds)
    header = player.header("evaluate", evaluate.model_dump(mode="json", exclude=NOT_DECISIVE))
    games = Games(player, seeds.tolist(), header, evaluate, task.folders)
    mark = mark_of(header)
    report = task.folders.networks / f"{games.name}.json"
    known = read_report(report, mark)
    fresh = known is None or (evaluate.keep_rollouts and known.rollouts is None)
    if known is None or fresh or (evaluate.keep_states and evaluate.keep_rollouts):
        played = replace(games.play(), video=known.video if known else None)
    else:
        played = known
    if evaluate.video and not (played.video and played.video.exists()):
        fresh = True
        played = replace(played, video=games.film(played))
    result = EvaluateResult(
        **vars(played),
        # Checkpoints to choose from are not priced.
        costs=None if evaluate.purpose == "select" else costs(player, task.folders.game, played),
        rules=rules(player),
        report=report,
        up_to_date=not fresh,
    )
    write_report(result, mark)
    return result
