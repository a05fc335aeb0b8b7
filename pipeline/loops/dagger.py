"""The loop of rounds: collect, preprocess, label, train, evaluate, and again.

Dataset Aggregation (Ross, Gordon and Bagnell 2011): the student plays, the expert labels what the
student saw, training goes on with the sum of all rounds. Nothing here that a person could not do
with five make commands a round; every stage says "up to date" for what it did before, so that an
interrupted loop carries on where it stood.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline import evaluate, train
from pipeline.experts.opening import program_path
from pipeline.games.loading import load_game
from pipeline.loops.round import label_round, own_shards
from pipeline.reports.costs import cost_figures, spent_on
from pipeline.settings.reading import Dagger, Settings, change
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


def run(settings: Settings) -> dict[str, Any]:
    """Run all rounds, then evaluate the last network on unseen games.

    Returns:
        The final evaluation's figures and a row a round: beta, labels in all, agreement,
        success rate with interval, seconds; where something was paid for, the dollars so far, the
        price of the expert program with them.

    Raises:
        PipelineError: what the stages raise; and an expert that stopped before all was labelled.
    """
    started = perf_counter()
    settings = own_shards(settings, "dagger")
    labelled: list[str] = []
    rows: list[dict[str, Any]] = []
    checkpoint: Path | None = None
    for round_ in range(settings.dagger.rounds):
        row, checkpoint = _round(settings, round_, checkpoint, labelled)
        rows.append(row)
    assert checkpoint is not None
    _track(settings, rows)
    final = settings.run_folder() / "final.pt"
    bring_back(checkpoint, final)
    result = evaluate.run(
        change(settings, evaluate={"checkpoint": str(final), "name": f"{settings.run}-evaluate"})
    )
    keep = {k: v for k, v in result.items() if k not in ("up_to_date", "report")}
    return {
        "checkpoint": str(final),
        "labels": rows[-1]["labels"],
        **keep,
        **cost_figures(rows[-1].get("dollars", 0.0), result),
        "seconds": perf_counter() - started,
        "rounds": rows,
    }


def _round(
    settings: Settings, round_: int, checkpoint: Path | None, labelled: list[str]
) -> tuple[dict[str, Any], Path]:
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
        played={
            "episodes": dagger.episodes,
            "first": settings.collect.first + round_ * dagger.episodes,
            "beta": share,
        },
        checkpoint=checkpoint,
    )
    # The steps of all rounds so far: a network that goes on from the last round's has had them.
    trained = train.run(
        change(
            settings,
            run=f"{settings.run}/round-{round_:02d}",
            train={
                "shards": list(labelled),
                "steps": dagger.steps,
                "start_from": None if checkpoint is None else str(checkpoint),
            },
        )
    )
    checkpoint = Path(trained["checkpoint"])
    judged = evaluate.run(
        change(
            settings,
            run=f"{settings.run}/round-{round_:02d}",
            evaluate={
                "checkpoint": str(checkpoint),
                "name": "evaluate",
                "episodes": dagger.evaluate_episodes,
                "purpose": "select",
                "keep_rollouts": False,
                "video": False,
            },
        )
    )
    row = {
        "round": round_,
        "beta": share,
        "labels": trained["labels"] + trained["validation_labels"],
        "agreement": trained["validation_agreement"],
        "success_rate": judged["success_rate"],
        "interval": f"{judged['success_low']:.2f}-{judged['success_high']:.2f}",
        "milestones_mean": judged["milestones_mean"],
        "seconds": round(perf_counter() - started, 1),
    }
    dollars = _dollars(settings, labelled)
    return {**row, **({"dollars": dollars} if dollars else {})}, checkpoint


def _dollars(settings: Settings, labelled: list[str]) -> float:
    """What the labels of all rounds so far cost, and the program that gave them."""
    program = program_path(settings, load_game(settings.game))
    return spent_on([entry.get() for entry in entries_of([Path(s) for s in labelled])], program)


def _track(settings: Settings, rows: list[dict[str, Any]]) -> None:
    """The rounds as curves over labels, beside those of each round's training; written anew."""
    tracker = Tracker(
        settings.run_folder(),
        settings.run,
        settings.model_dump(mode="json"),
        track=settings.track,
        step=0,
    )
    for row in rows:
        for name in ("success_rate", "milestones_mean", "agreement"):
            if row[name] is not None:
                tracker.scalars({f"rounds/{name}": float(row[name])}, row["labels"])
    tracker.close()
