"""The loop of rounds: collect, preprocess, label, train, evaluate, and again.

Dataset Aggregation (Ross, Gordon and Bagnell 2011): the student plays, the expert labels what the
student saw, training goes on with the sum of all rounds. Nothing here that a person could not do
with five make commands a round; every stage says "up to date" for what it did before, so that an
interrupted loop carries on where it stood.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from pipeline import evaluate, train
from pipeline.experts.opening import program_path
from pipeline.games.loading import load_game
from pipeline.loops.results import DaggerResult, DaggerRow
from pipeline.loops.round import label_round, own_shards
from pipeline.reports.costs import costs_of, spent_on
from pipeline.reports.telling import Interval
from pipeline.settings.changing import change
from pipeline.settings.fields import Collect, Dagger, Evaluate, Settings, Train
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.training.run_folder import bring_back
from pipeline.training.tracking import Tracker


def beta(dagger: Dagger, round_: int) -> float:
    """The expert's share of the steps in a round, in [0, 1].

    ``first`` is the paper's parameter-free schedule: 1 in round 0, then 0.
    """
    if round_ == 0:
        return 1.0
    if dagger.beta == "first":
        return 0.0
    if dagger.beta == "constant":
        return dagger.beta_decay
    if dagger.beta == "linear":
        return max(0.0, 1.0 - round_ * dagger.beta_decay)
    return float(dagger.beta_decay**round_)


def run(settings: Settings) -> DaggerResult:
    """Run all rounds, then evaluate the last network on unseen games.

    Raises:
        PipelineError: what the stages raise; and an expert that stopped before all was labelled.
    """
    started = perf_counter()
    settings = own_shards(settings, "dagger")
    labelled: list[Path] = []
    rows: list[DaggerRow] = []
    checkpoint: Path | None = None
    for round_ in range(settings.dagger.rounds):
        row, checkpoint = _round(settings, round_, checkpoint, labelled)
        rows.append(row)
    assert checkpoint is not None
    _track(settings, rows)
    final = settings.run_folder() / "final.pt"
    bring_back(checkpoint, final)
    judged = evaluate.once(
        change(settings, evaluate=Evaluate(checkpoint=str(final), name=f"{settings.run}-evaluate"))
    )
    return DaggerResult(
        checkpoint=final,
        labels=rows[-1].labels,
        evaluation=judged,
        costs=costs_of(
            rows[-1].dollars or 0.0,
            milestones_mean=judged.milestones_mean,
            success_rate=judged.success_rate,
        ),
        seconds=perf_counter() - started,
        rounds=tuple(rows),
    )


def _round(
    settings: Settings, round_: int, checkpoint: Path | None, labelled: list[Path]
) -> tuple[DaggerRow, Path]:
    """One round; ``labelled`` grows by its shard."""
    started = perf_counter()
    dagger = settings.dagger
    share = beta(dagger, round_)
    name = f"{settings.run}-round-{round_:02d}"
    print(
        f"round {round_ + 1} of {dagger.rounds}: {'the expert' if share == 1 else 'the student'}"
        f" plays {dagger.episodes} episodes (beta {share:g})",
        flush=True,
    )
    labelled += label_round(
        settings,
        name=name,
        title=f"round {round_ + 1}",
        round_=round_,
        played=Collect(
            episodes=dagger.episodes,
            first=settings.collect.first + round_ * dagger.episodes,
            beta=share,
        ),
        checkpoint=checkpoint,
    )
    # The steps of all rounds so far: a network that goes on from the last round's has had them.
    trained = train.run(
        change(
            settings,
            run=f"{settings.run}/round-{round_:02d}",
            train=Train(
                shards=[str(one) for one in labelled],
                steps=dagger.steps,
                start_from=checkpoint,
            ),
        )
    )
    checkpoint = trained.checkpoint
    judged = evaluate.once(
        change(
            settings,
            run=f"{settings.run}/round-{round_:02d}",
            evaluate=Evaluate(
                checkpoint=str(checkpoint),
                name="evaluate",
                episodes=dagger.evaluate_episodes,
                purpose="select",
                keep_rollouts=False,
                video=False,
            ),
        )
    )
    row = DaggerRow(
        round=round_,
        beta=share,
        labels=trained.labels + trained.validation_labels,
        agreement=trained.validation_agreement,
        success_rate=judged.success_rate,
        interval=Interval(judged.success_low, judged.success_high),
        milestones_mean=judged.milestones_mean,
        seconds=round(perf_counter() - started, 1),
        dollars=_dollars(settings, labelled) or None,
    )
    return row, checkpoint


def _dollars(settings: Settings, labelled: list[Path]) -> float:
    """What the labels of all rounds so far cost, and the program that gave them."""
    program = program_path(settings, load_game(settings.game))
    return spent_on([entry.get() for entry in entries_of(labelled)], program)


def _track(settings: Settings, rows: list[DaggerRow]) -> None:
    """The rounds as curves over labels, beside those of each round's training; written anew."""
    tracker = Tracker(
        settings.run_folder(),
        settings.run,
        settings.model_dump(mode="json"),
        track=settings.track,
        step=0,
    )
    for row in rows:
        curves = {
            "success_rate": row.success_rate,
            "milestones_mean": row.milestones_mean,
            "agreement": row.agreement,
        }
        for name, value in curves.items():
            if value is not None:
                tracker.scalars({f"rounds/{name}": float(value)}, row.labels)
    tracker.close()
