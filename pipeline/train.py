"""Stage 4, train: behavioural cloning of the expert on labelled shards."""

from __future__ import annotations

from pipeline.games.task import task_of
from pipeline.loading.selection import select_shards
from pipeline.reports.results import TrainResult
from pipeline.settings.reading import Settings
from pipeline.training.cloning import Evaluator, Training
from pipeline.training.machine import (
    choose_device,
    choose_precision,
    deterministic,
    keep_freed_memory,
    threads,
)
from pipeline.training.progress import result_of
from pipeline.training.run_folder import (
    Run,
    carry_on_from,
    finished,
    inputs_of,
    remove_leftovers,
)


def run(settings: Settings, *, evaluator: Evaluator | None = None) -> TrainResult:
    """Train a network on labelled shards; write ``CHECKPOINTS/RUN/``.

    ``final.pt`` is the network after the last step, ``best.pt`` the one that played best
    (``evaluator``, every ``train.evaluate_every`` steps) or else agreed most with the expert on
    the validation split, ``step-NNNNNN.pt`` periodic ones, ``last.pt`` where to carry on:
    training that was stopped and carried on gives the same bits on a CPU.

    Raises:
        PipelineError: no labelled shards, shards that do not fit one another or the game, a
            device that is not there, or a run folder that holds another training; a training that
            breaks down (`pipeline.training.breakdown`), whose checkpoints stay as they were.
    """
    train, task = settings.train, task_of(settings)
    run = Run(settings.run, task.folders.networks, settings.model_dump(mode="json"), settings.track)
    selection = select_shards(task, train)
    device = choose_device(train.device)
    dtype = choose_precision(train.precision, device)
    precision = str(dtype).removeprefix("torch.")
    inputs = inputs_of(train, selection.headers, precision, selection.subtask)
    folder = run.folder
    before = carry_on_from(folder, inputs, train) if train.resume else None
    if before is not None:
        selection.plan(train, device.type, before.inputs.get("order"))  # refuses another order
    done = None if before is None else finished(folder, inputs, train)
    if done is not None:
        return result_of(done.metrics)
    remove_leftovers(folder)
    keep_freed_memory()
    with threads(train.threads), deterministic(train.deterministic):
        training = Training(run, train, selection, inputs, device, dtype, before)
        try:
            training.updates(evaluator if train.evaluate_every else None)
            return training.finish()
        finally:
            training.close()
