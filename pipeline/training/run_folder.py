"""The folder of a run: what its checkpoints depend on, and where it is carried on."""

from __future__ import annotations

import filecmp
import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.games.subtask import Subtask
from pipeline.settings.fields import Train
from pipeline.shards.format.provenance import VERSIONS
from pipeline.shards.format.schema import ShardHeader
from pipeline.system.errors import PipelineError
from pipeline.system.files import name_whole, replace_file
from pipeline.training.checkpoint import Checkpoint, Inputs, load_checkpoint
from pipeline.training.progress import Best

_WHERE_SET = ("goal_conditioned", "subtask", "version")
"""Inputs that only trainings with them have: those begun before they existed carry on."""


@dataclass(frozen=True)
class Run:
    """Where the checkpoints of a training lie, and what they tell of it."""

    name: str
    folder: Path
    settings: Mapping[str, object]
    """All of them, as JSON: checkpoints and curves tell them, nothing is decided by them."""
    track: bool
    """Log to Weights & Biases too."""


def inputs_of(
    train: Train, headers: Sequence[ShardHeader], precision: str, subtask: Subtask | None = None
) -> Inputs:
    """All that decides the weights, as JSON; two trainings with the same inputs are one.

    Args:
        headers: of the shards, in the order in which they are read.
        precision: of the arithmetic, ``bfloat16`` or ``float32``.

    Raises:
        PipelineError: no ``train.start_from``, or it cannot be read.
    """
    decisive = (
        "batch_size", "learning_rate", "weight_decay", "optimizer", "schedule", "gradient_clip",
        "hidden", "shift", "brightness", "cutout", "seed", "deterministic", "max_labels",
        "keep_optimizer", "rounds", "balance", "action_weights", "round_weights", "shard_weights",
    )  # fmt: skip
    start = train.start_from
    if start is not None and not start.is_file():
        raise PipelineError(f"{start}: no such checkpoint; fix train.start_from")
    return {
        **{name: getattr(train, name) for name in decisive},
        # A constant rate does not look ahead: more steps carry on where fewer ended.
        "steps": None if train.schedule == "constant" else train.steps,
        "precision": precision,
        "start_from": None if start is None else _start(start, train),
        "game": headers[0].game,
        "actions": list(headers[0].actions),
        "frames": str(headers[0].frame_contract),
        "shards": [header.shard_id for header in headers],
        **({"version": VERSIONS["train"]} if VERSIONS["train"] > 1 else {}),
        **({"goal_conditioned": True} if train.goal_conditioned else {}),
        **({"subtask": subtask.told} if subtask is not None else {}),
    }


def _start(path: Path, train: Train) -> str:
    """What of the checkpoint that a training starts from decides its weights."""
    start = load_checkpoint(path)
    if not train.keep_optimizer:
        return start.sha256
    return hashlib.sha256(f"{start.sha256} {start.optimizer_sha256}".encode()).hexdigest()


def _file_sha256(train: Train) -> str | None:
    start = train.start_from
    return None if start is None else hashlib.sha256(start.read_bytes()).hexdigest()


def carry_on_from(folder: Path, inputs: Inputs, train: Train) -> Checkpoint | None:
    """The run's last checkpoint, if it has one, and this is the same training.

    A ``final.pt`` that a loop copied there from a folder of one of its rounds is no training to
    carry on, and gives way to one: nothing is lost.

    Raises:
        PipelineError: the folder holds another training, or its checkpoint cannot be read.
    """
    path = next((p for p in (folder / "last.pt", folder / "final.pt") if p.exists()), None)
    if path is None:
        return None
    checkpoint = load_checkpoint(path)
    other = _differences(checkpoint, inputs, train)
    if checkpoint.step > train.steps:
        other.append(f"steps {checkpoint.step}, now {train.steps}")
    final = folder / "final.pt"
    copied = copy_of(final)
    if copied is not None and (path == final) == bool(other):
        print(f"train: {final} is a copy of {copied}, which stays; it is replaced", flush=True)
        if path == final:
            return None  # a loop put it there: nobody trained in this folder itself
        if checkpoint.step == train.steps and checkpoint.metrics.get("summary"):
            copy_checkpoint(path, final)  # a finished training's last.pt is its final.pt
        else:
            final.unlink()
    if other:
        raise PipelineError(
            f"{path}: belongs to another training ({'; '.join(other)}); "
            "give another --run, or --train.resume false to start again"
        )
    return checkpoint


def finished(folder: Path, inputs: Inputs, train: Train) -> Checkpoint | None:
    """The run's ``final.pt``, if it is the network of this training after all its updates.

    It may be that of fewer steps (a training that went on and was killed at its end), or somebody
    else's copy: it is known by what it holds, never by being there.

    Raises:
        PipelineError: it cannot be read.
    """
    path = folder / "final.pt"
    if not path.exists():
        return None
    final = load_checkpoint(path)
    return final if final.step == train.steps and not _differences(final, inputs, train) else None


def best_kept(folder: Path, inputs: Inputs, told: Best, train: Train) -> Best:
    """What is known of ``best.pt`` where a training carries on: what chose it, score, step.

    A training that was killed after it had saved a better one, and before it said so in
    ``last.pt``, has a ``best.pt`` of a later step than that. One from beyond the training's steps
    is removed.

    Args:
        told: what ``last.pt`` says of it.

    Raises:
        PipelineError: it cannot be read.
    """
    path = folder / "best.pt"
    if not path.exists():
        return {}
    best = load_checkpoint(path)
    if best.step > train.steps or _differences(best, inputs, train):
        path.unlink()
        return {}
    chosen: Best = best.metrics["best"]
    return told if best.step == told.get("step") else chosen


def _differences(checkpoint: Checkpoint, inputs: Inputs, train: Train) -> list[str]:
    """The inputs that differ from this training's; none: the checkpoint is of this training."""
    unset = {name: None for name in _WHERE_SET if name not in inputs}
    return [
        f"{name} {_short(checkpoint.inputs.get(name))}, now {_short(value)}"
        for name, value in {**inputs, **unset}.items()
        if checkpoint.inputs.get(name) != value
        # Once a checkpoint was known by its file: trainings that began so carry on, as long as it
        # is there, unchanged.
        and not (name == "start_from" and checkpoint.inputs.get(name) == _file_sha256(train))
    ]


def _short(value: object) -> str:
    if isinstance(value, dict):  # a subtask
        return f"{value['from'] or 'start'} to {value['to'] or 'end'}"
    if isinstance(value, list):
        shown = " ".join(str(one)[:8] for one in value[:3])
        return f"{shown} ... ({len(value)})" if len(value) > 3 else shown
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def remove_checkpoints(folder: Path) -> None:
    """Take away the checkpoints of an earlier training that is not carried on."""
    for pattern in ("last.pt", "best.pt", "final.pt", "step-*.pt"):
        for path in folder.glob(pattern):
            path.unlink()


def remove_leftovers(folder: Path) -> None:
    """Take away what a killed training was writing; a run folder has one writer at a time."""
    for path in folder.glob(".*.pt.tmp-*"):
        path.unlink()


def copy_of(path: Path) -> Path | None:
    """The checkpoint in a folder below that has the same bytes; None where there is none."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    return next(
        (
            other
            for other in sorted(path.parent.glob("*/**/*.pt"))
            if other.stat().st_size == size and filecmp.cmp(path, other, shallow=False)
        ),
        None,
    )


def bring_back(source: Path, final: Path) -> None:
    """Let a loop's ``final.pt`` be a copy of its last round's.

    A network that was trained there meanwhile stays: in the folder's ``last.pt``, or, where it is
    in no other file, under a name of its own.
    """
    if final.exists() and copy_of(final) is None:
        kept = final.with_name("last.pt")
        if not _same_network(kept, final):
            free = (final.with_name(f"final-{number}.pt") for number in itertools.count(1))
            kept = next(path for path in free if not path.exists())
            name_whole(final, kept)
        print(f"{final}: is that of {source} again; what was there lies in {kept}", flush=True)
    copy_checkpoint(source, final)


def _same_network(one: Path, other: Path) -> bool:
    try:
        weights, others = load_checkpoint(one).weights, load_checkpoint(other).weights
    except PipelineError:
        return False
    return weights.keys() == others.keys() and all(
        torch.equal(value, others[name]) for name, value in weights.items()
    )


def copy_checkpoint(source: Path, target: Path) -> None:
    """Let ``target`` be a copy of a checkpoint, whole or not at all.

    Raises:
        PipelineError: the disk refuses; what ``target`` was is untouched.
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise PipelineError(
            f"{source}: cannot read the checkpoint ({os.strerror(error.errno or 0)}); fix that, "
            "then the same command carries on"
        ) from None
    replace_file(target, content, "checkpoint")
