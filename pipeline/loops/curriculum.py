"""Milestone after milestone: the expert is measured, then a network learns the subtask by DAgger.

A run of a whole game is too long to be learned in one piece. So each subtask, from one milestone to
the next, is learned from start states at which it begins: where the expert arrived at the end of
the subtask before, and then where the student did. Only subtasks on which the expert is good enough
are learned (the gate), with a limit of steps that follows from the expert's, until the student
reaches the target or its rounds are over. Every stage says "up to date" for what it did before, so
that an interrupted curriculum carries on where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from pipeline import evaluate, train
from pipeline.evaluation.games import of_expert
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.games.subtask import subtask_in
from pipeline.loops.results import (
    CurriculumFigures,
    CurriculumResult,
    CurriculumRow,
    LearnedRow,
)
from pipeline.loops.round import label_round, own_shards
from pipeline.reports.results import EvaluateResult, SubtaskRow, TableFiles, TrainResult
from pipeline.reports.subtask_table import subtask_row, write_table
from pipeline.reports.telling import told
from pipeline.rollouts.start_states import library_of
from pipeline.settings.changing import change
from pipeline.settings.fields import Collect, Curriculum, Evaluate, Settings, Train
from pipeline.system.errors import PipelineError
from pipeline.training.run_folder import bring_back

SLACK = 20
"""Steps that an episode has beyond the medians of the expert's: some subtasks take him only one."""


@dataclass
class _Learned:
    """What there is when a subtask begins, and grows with each."""

    checkpoint: Path | None = None
    """The network that goes on."""
    shards: list[Path] = field(default_factory=list)
    labels: int = 0
    updates: int = 0
    networks: dict[str, Path] = field(default_factory=dict)
    """By milestone, the network that is to reach it."""


@dataclass(frozen=True)
class _Subtask:
    settings: Settings
    """Those of the run, with the subtask."""
    start: str | None
    goal: str
    name: str
    """For the names of files."""
    limit: int
    expert: EvaluateResult
    """The expert's games."""


def run(settings: Settings) -> CurriculumResult:
    """Learn every subtask of the game, or those that the settings name, then judge the network.

    Raises:
        PipelineError: what the stages raise; an expert below the gate; no milestones.
    """
    started = perf_counter()
    settings = own_shards(settings, "curriculum")
    options, learned = settings.curriculum, _Learned()
    subtasks: list[_Subtask] = []
    rows: list[LearnedRow] = []
    library = library_of(settings.game_folder(load_game(settings.game).name))
    for start, goal in _ends(settings):
        if start is not None and library.passes(start, goal):
            print(f"{goal}: is reached with {start} or before it; nothing lies between", flush=True)
            if learned.checkpoint is not None:
                learned.networks[goal] = learned.checkpoint
            continue
        subtask = _measured(settings, start, goal)
        subtasks.append(subtask)
        rows.append(_learn(subtask, learned))
        _write(settings, rows)
    policy = _policy(settings, learned)
    judged = tuple(
        CurriculumRow(judged=_judged(subtask, policy), learned=row)
        for subtask, row in zip(subtasks, rows, strict=True)
    )
    figures = CurriculumFigures(
        network=options.network,
        goal_conditioned=settings.train.goal_conditioned,
        policy=policy,
        labels=learned.labels,
        updates=learned.updates,
        evaluation=_whole(settings, policy),
    )
    files = _write(settings, judged, figures)
    return CurriculumResult(
        **vars(figures), files=files, seconds=perf_counter() - started, subtasks=judged
    )


def _ends(settings: Settings) -> list[tuple[str | None, str]]:
    """Start and goal of each subtask."""
    game = load_game(settings.game)
    names = [milestone.name for milestone in game.milestones]
    if not names:
        raise PipelineError(
            f"{game.name} has no milestones, so there is nothing to learn one after the other; "
            "give its game.yaml some"
        )
    subtask = subtask_in(settings, game)
    first, last = (0, len(names)) if subtask is None else (subtask.first, subtask.last)
    starts = [None, *names[:-1]]
    return list(zip(starts, names, strict=True))[first : last + 1]


def _measured(settings: Settings, start: str | None, goal: str) -> _Subtask:
    """The expert measured on a subtask; where it arrives, the next subtask is judged."""
    options = settings.curriculum
    settings = change(settings, subtask=(start, goal))
    if start is not None:
        _refuse_learned_from(settings, start, goal)
    print(f"{goal}: the expert is measured", flush=True)
    played_by_it = change(settings, evaluate=of_expert(settings.evaluate.name))
    keep = Evaluate(
        episodes=options.expert_episodes, keep_states=True, keep_states_most=options.states
    )
    kept = change(played_by_it, evaluate=keep)
    expert = evaluate.once(kept)
    # Where the rounds of the next subtask are judged: in states of their own, too.
    select = Evaluate(episodes=options.evaluate_episodes, purpose="select", name="select-expert")
    evaluate.once(change(kept, evaluate=select))
    median = expert.median_step(goal)
    if expert.success_rate < options.gate:
        raise PipelineError(
            f"{goal}: the expert reaches it in {expert.success_rate:.2f} of "
            f"{expert.episodes} games, which is below the gate of {options.gate:.2f}; fix the "
            "expert, or lower curriculum.gate"
        )
    if median is None:
        raise PipelineError(
            f"{goal}: the expert reaches it in none of {expert.episodes} games, so that no "
            "limit of steps follows; fix the expert, or raise evaluate.max_steps"
        )
    limit = math.ceil(options.limit * median) + SLACK
    subtask = subtask_in(settings, load_game(settings.game))
    assert subtask is not None
    return _Subtask(settings, start, goal, subtask.name, limit, expert)


def _refuse_learned_from(settings: Settings, start: str, goal: str) -> None:
    """Refuse a subtask that would be judged where trainings begin, too.

    Raises:
        PipelineError: no state of ``start`` was reached in an evaluation.
    """
    game, _ = find_cartridge(
        load_game(settings.game), settings.rom, unverified=settings.unverified_rom
    )
    library = library_of(settings.game_folder(game.name))
    if any(one.purpose != "evaluate" for one in library.states_for(game, start, "evaluate", goal)):
        raise PipelineError(
            f"{library.folder}: no state of '{start}' was reached in an evaluation, so that "
            f"'{goal}' would be judged in states that are learned from; keep some with: evaluate "
            f"--checkpoint expert --milestone {start} --keep-states"
        )


def _learn(subtask: _Subtask, learned: _Learned) -> LearnedRow:
    """Rounds of a subtask until the target is reached; ``learned`` grows."""
    settings, options = subtask.settings, subtask.settings.curriculum
    mine: list[Path] = []
    before, asked, success = learned.updates, 0, 0.0
    student: Path | None = None  # in the first round the expert plays
    for round_ in range(options.rounds):
        mine += label_round(
            settings,
            name=f"{settings.run}-round-{round_:02d}",
            title=f"{subtask.goal}, round {round_ + 1}",
            round_=round_,
            played=Collect(
                episodes=options.episodes,
                first=settings.collect.first + round_ * options.episodes,
                beta=1.0 if student is None else 0.0,
                max_steps=subtask.limit,
                keep_states=True,
                keep_states_most=(1 + round_) * options.states,
            ),
            checkpoint=student,
        )
        shards = mine if options.network == "each" else learned.shards + mine
        trained = _train(settings, f"{subtask.name}/round-{round_:02d}", shards, learned)
        student = trained.checkpoint
        asked = trained.labels + trained.validation_labels
        success = _chosen(subtask, student)
        print(f"{subtask.goal}, round {round_ + 1}: {success:.2f} of the games", flush=True)
        if success >= options.target:
            break
    assert learned.checkpoint is not None
    before_labels = learned.labels
    learned.labels = asked if options.network == "one" else learned.labels + asked
    learned.shards += mine
    learned.networks[subtask.goal] = learned.checkpoint
    return LearnedRow(
        milestone=subtask.goal,
        limit=subtask.limit,
        rounds=round_ + 1,
        labels=learned.labels - before_labels,
        updates=learned.updates - before,
        reached_target=success >= options.target,
    )


def _train(settings: Settings, name: str, shards: list[Path], learned: _Learned) -> TrainResult:
    """Train the network on; ``learned`` notes it."""
    trained = train.run(
        change(
            settings,
            run=f"{settings.run}/{name}",
            subtask=(None, None),
            train=Train(
                shards=[str(one) for one in shards],
                steps=settings.curriculum.steps,
                start_from=learned.checkpoint,
            ),
        )
    )
    learned.checkpoint = trained.checkpoint
    learned.updates += trained.steps
    return trained


def _chosen(subtask: _Subtask, checkpoint: Path) -> float:
    """The success rate that says whether the target is reached."""
    judged = evaluate.once(
        change(
            subtask.settings,
            evaluate=Evaluate(
                checkpoint=str(checkpoint),
                name=f"select-{checkpoint.parent.name}",
                episodes=subtask.settings.curriculum.evaluate_episodes,
                purpose="select",
                max_steps=subtask.limit,
                keep_rollouts=False,
                keep_states=False,
                video=False,
            ),
        )
    )
    return judged.success_rate


def _policy(settings: Settings, learned: _Learned) -> Path:
    """What plays in the end: the switching policy, or one network, trained ``last_steps`` more."""
    options, folder = settings.curriculum, settings.run_folder()
    assert learned.checkpoint is not None
    if options.network == "each":
        from pipeline.agents.switching import write_switching_policy

        switching = folder / "switching-policy.json"
        write_switching_policy(switching, learned.networks)
        return switching
    if options.last_steps:
        more = change(settings, curriculum=Curriculum(steps=options.last_steps))
        _train(more, "last", learned.shards, learned)
    final = folder / "final.pt"
    bring_back(learned.checkpoint, final)
    return final


def _judged(subtask: _Subtask, policy: Path) -> SubtaskRow:
    """The subtask's row: the policy on unseen games, beside the expert."""
    judged = evaluate.once(
        change(
            subtask.settings,
            evaluate=Evaluate(
                checkpoint=str(policy),
                max_steps=subtask.limit,
                keep_rollouts=False,
                keep_states=False,
                video=False,
            ),
        )
    )
    return subtask_row(subtask.goal, subtask.start, judged, subtask.expert)


def _whole(settings: Settings, policy: Path) -> EvaluateResult:
    """The policy on unseen games from the first subtask's start to the last one's end."""
    name = f"{settings.run}-evaluate"
    chosen = Evaluate(checkpoint=str(policy), name=name)
    return evaluate.once(change(settings, evaluate=chosen))


def _write(
    settings: Settings,
    rows: Sequence[LearnedRow | CurriculumRow],
    figures: CurriculumFigures | None = None,
) -> TableFiles:
    """The table as far as it goes: ``curriculum.csv`` and ``curriculum.json``."""
    beside = {} if figures is None else told(figures)
    return write_table(settings.run_folder(), "curriculum", beside, [told(row) for row in rows])
