"""Cloning against DAgger, at equal expert labels, equal updates and equal noise.

Curves over budgets of labels, for several training seeds:

- ``dagger``: the first budget is demonstrations, each later one labels of what the student saw,
  spread evenly over its steps;
- ``cloning``: demonstrations of the expert under the same noise - the control without which a
  gain could be the noise's and not the on-policy labels';
- ``cloning_clean``: demonstrations without noise, what a naive recording would give;
- ``cloning_cycles``: as ``cloning``, but continued from budget to budget in as many trainings as
  ``dagger``, with its updates, warm restarts of the schedule and a fresh optimizer - the control
  for the shape of the schedule;
- ``cloning_thinned``: as ``cloning``, but each later budget is of new demonstrations, as many
  episodes as the student plays a round and of the same seeds, labelled evenly - the control for
  how many labels an episode has;
- ``cloning_thinned_cycles``: both, so that nothing but who played differs from ``dagger``;
- ``uncertain``, ``disagree``, ``novel`` (``compare.select``): ``dagger``, but each later budget
  goes to the steps that ``label.select`` of this name chooses. The game's own free program
  stands in for an expert that is paid by the label. Up to the first choice all are the same: one
  network, whose rollouts of the first round are played once and chosen from by each. After it
  each student plays for itself.

Every query to the expert is counted, one label a query. All are judged on the same unseen games.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline import collect, evaluate, preprocess, train
from pipeline.games.loading import load_game
from pipeline.loops.results import CompareCell, CompareResult, CompareRow
from pipeline.loops.round import labelled, own_shards
from pipeline.loops.thinning import thin
from pipeline.reports.plots import plot_comparison
from pipeline.reports.statistics import wilson_interval
from pipeline.reports.telling import told
from pipeline.settings.changing import change
from pipeline.settings.fields import Collect, Evaluate, Label, Preprocess, Settings, Train
from pipeline.system.errors import PipelineError
from pipeline.system.files import replace_file
from pipeline.system.strict_json import json_text


def run(settings: Settings) -> CompareResult:
    """Train and judge every method at every budget for every seed; resumes where it stood.

    Raises:
        PipelineError: budgets that do not rise or do not match the updates.
    """
    compare = settings.compare
    if sorted(set(compare.labels)) != compare.labels or len(compare.labels) != len(compare.updates):
        raise PipelineError("compare.labels must rise, and compare.updates have as many entries")
    # Thinned to budgets and of one run for each method and seed: no stage takes them by itself.
    settings = own_shards(settings, "compare", "compare")
    # Without a validation split, so that every label asked for is one learned from.
    settings = change(
        settings, preprocess=Preprocess(validation=0.0), train=Train(validate_every=0)
    )
    cells: list[CompareCell] = []
    for seed in compare.seeds:
        for method in ("dagger", *compare.select):
            cells += _rounds(settings, seed, method)
        for method in compare.controls:
            if method.startswith("cloning_thinned"):
                cells += _rounds(settings, seed, method)
            else:
                cells += _cloning(settings, seed, method)
    rows = tuple(_pooled(cells, settings))
    folder = settings.run_folder()
    table = folder / "compare.json"
    shown = [told(row) for row in rows]
    text = json_text({"rows": shown, "cells": [told(cell) for cell in cells]}, indent=2) + "\n"
    replace_file(table, text.encode(), "table")
    plot = plot_comparison(shown, folder / "compare.png")
    return CompareResult(table=table, plot=plot, rows=rows)


def _pooled(cells: list[CompareCell], settings: Settings) -> Iterator[CompareRow]:
    for method in dict.fromkeys(cell.method for cell in cells):
        for labels in settings.compare.labels:
            same = [c for c in cells if c.method == method and c.labels == labels]
            yield _pooled_row(method, labels, same)


def _pooled_row(method: str, labels: int, cells: list[CompareCell]) -> CompareRow:
    """The cells of one method and budget, a training seed each, as one row.

    The interval is that of the pooled episodes; how much the training seeds differ, which it does
    not know, stands beside it in ``by_seed``.
    """
    n = sum(cell.episodes for cell in cells)
    successes = sum(round(cell.success_rate * cell.episodes) for cell in cells)
    low, high = wilson_interval(successes, n)
    return CompareRow(
        method=method,
        labels=labels,
        updates=cells[0].updates,
        episodes=n,
        success_rate=successes / n,
        success_low=low,
        success_high=high,
        by_seed=tuple(cell.success_rate for cell in cells),
        milestones_mean=float(np.mean([cell.milestones_mean for cell in cells])),
    )


def _demonstrations(settings: Settings, seed: int, method: str) -> list[Path]:
    """Labelled shards of the expert's own play."""
    return _labelled(
        settings,
        Collect(
            name=f"{settings.run}-{method}-{seed}",
            episodes=settings.compare.demonstrations,
            seed=seed,
            policy="expert",
            sticky=0.0 if method == "cloning_clean" else None,
        ),
        Label(repeats=True),  # a budget is so many steps, whatever they show
    )


def _labelled(settings: Settings, played: Collect, asked: Label) -> list[Path]:
    """Collect, preprocess and label with these settings of ``collect`` and ``label``."""
    raw = collect.run(change(settings, collect=played))
    small = preprocess.run(change(settings, preprocess=Preprocess(shards=[str(raw.shard)])))
    owner = settings.shards_run
    if asked.limit:  # several labellings of one shard: a folder for each, or they were its versions
        owner = f"{owner}/{'even' if asked.select == 'all' else asked.select}-{asked.limit}"
    shards = Label(shards=[str(one) for one in small.shards])
    answers = labelled(change(change(settings, owner=owner, label=asked), label=shards))
    if answers.stopped is not None:
        raise PipelineError(
            f"the expert stopped ({answers.stopped}); run the same command again to carry on"
        )
    return list(answers.shards)


def _thinned(settings: Settings, played: Collect, asked: Label) -> list[Path]:
    """The expert's own play, with as many of its labels as ``asked.limit`` says."""
    raw = collect.run(change(settings, collect=played))
    small = preprocess.run(change(settings, preprocess=Preprocess(shards=[str(raw.shard)])))
    (source,) = small.shards
    home = change(settings, owner=f"{settings.shards_run}/even-{asked.limit}")
    folder = home.shard_folder(load_game(settings.game).name)
    return [thin(source, folder, f"{played.name}-labelled", asked.limit)]


def _cloning(settings: Settings, seed: int, method: str) -> Iterator[CompareCell]:
    cycles = method == "cloning_cycles"
    shards = _demonstrations(settings, seed, "cloning" if cycles else method)
    checkpoint: str | None = None
    done = 0
    for labels, updates in zip(settings.compare.labels, settings.compare.updates, strict=True):
        # With nothing but demonstrations, DAgger is cloning: the same network, trained once.
        first = method != "cloning_clean" and labels == settings.compare.labels[0]
        run_name = f"{settings.run}/{'dagger' if first else method}-{seed}-{labels}"
        start, before = (checkpoint, done) if cycles else (None, 0)
        checkpoint = _train(settings, run_name, seed, shards, updates - before, labels, start)
        done = updates
        yield _judged(settings, run_name, checkpoint, method, seed, labels, updates)


def _rounds(settings: Settings, seed: int, method: str) -> Iterator[CompareCell]:
    """Labels of a few episodes a round: spread evenly, or chosen by ``method``.

    Evenly over the student's episodes (``dagger``) or over the expert's (``cloning_thinned``,
    ``cloning_thinned_cycles``).
    """
    compare = settings.compare
    thinned = method.startswith("cloning_thinned")
    shards = _demonstrations(settings, seed, "cloning")
    demonstrated = compare.labels[0]
    checkpoint: str | None = None
    before = (0, 0)
    for round_, (labels, updates) in enumerate(zip(compare.labels, compare.updates, strict=True)):
        run_name = f"{settings.run}/{method if round_ else 'dagger'}-{seed}-{labels}"
        if checkpoint is not None:
            # In the first round the same network plays whatever the method: its games are shared.
            # The expert's are for both thinned methods.
            player = "thinned" if thinned else "dagger" if round_ == 1 else method
            played = Collect(
                name=f"{settings.run}-{player}-{seed}-round-{round_}",
                episodes=compare.rollouts,
                seed=seed,
                first=compare.demonstrations + round_ * compare.rollouts,
                round=round_,
                policy="expert" if thinned else checkpoint,
                beta=1.0 if thinned else 0.0,
            )
            asked = Label(limit=labels - before[0], repeats=True)
            for select in compare.select:
                if select == method:
                    asked = Label(
                        limit=asked.limit, repeats=True, select=select, student=checkpoint
                    )
            more = _thinned if thinned else _labelled
            shards = shards + more(settings, played, asked)
        restarted = method != "cloning_thinned"
        start, done = (checkpoint, before[1]) if restarted else (None, 0)
        checkpoint = _train(settings, run_name, seed, shards, updates - done, demonstrated, start)
        before = (labels, updates)
        yield _judged(settings, run_name, checkpoint, method, seed, labels, updates)


def _train(
    settings: Settings,
    run_name: str,
    seed: int,
    shards: list[Path],
    steps: int,
    first_labels: int,
    start_from: str | None,
) -> str:
    """Train on the first ``first_labels`` of the first shard and on all of the others."""
    result = train.run(
        change(
            settings,
            run=run_name,
            train=Train(
                shards=[str(one) for one in shards],
                steps=steps,
                seed=seed,
                max_labels=first_labels,
                start_from=None if start_from is None else Path(start_from),
            ),
        )
    )
    return str(result.checkpoint)


def _judged(
    settings: Settings,
    run_name: str,
    checkpoint: str,
    method: str,
    seed: int,
    labels: int,
    updates: int,
) -> CompareCell:
    judged = evaluate.once(
        change(
            settings,
            run=run_name,
            evaluate=Evaluate(
                checkpoint=checkpoint,
                name="evaluate",
                episodes=settings.compare.episodes,
                keep_rollouts=False,
                video=False,
            ),
        )
    )
    cell = CompareCell(
        method=method,
        seed=seed,
        labels=labels,
        updates=updates,
        episodes=judged.episodes,
        success_rate=judged.success_rate,
        milestones_mean=judged.milestones_mean,
        length_mean=judged.length_mean,
        report=judged.report,
    )
    print({name: value for name, value in told(cell).items() if name != "report"}, flush=True)
    return cell
