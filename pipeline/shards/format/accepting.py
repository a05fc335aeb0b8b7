"""Whether an episode may be written: what a reader would refuse is refused before it is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shards.format.checks import CORRECT, wrong_values
from pipeline.shards.format.labels import wrong_labels
from pipeline.shards.format.schema import (
    EPISODE_COLUMNS,
    LABEL_COLUMNS,
    STEP_COLUMNS,
    Array,
    Episode,
    ShardHeader,
)
from pipeline.system.errors import PipelineError


def accepted_row(
    target: Path,
    header: ShardHeader,
    states: int | None,
    episode: Episode,
    start: int,
    number: int,
) -> dict[str, object]:
    """The row of /episodes for an episode that a reader of ``target`` will take.

    The law is the reader's own (:func:`pipeline.shards.format.checks.wrong_values`); beyond
    it, the sum of the rewards must be a number of float32.

    Args:
        states: how many start states the shard has; None where it has none.
        start: steps of the shard before the episode.
        number: of the episode in the shard.

    Raises:
        PipelineError: a value that a reader would refuse.
        ValueError: a value that is not of its column's type, or beyond it.
    """
    row: dict[str, object] = {
        "start": start,
        "length": len(episode),
        "seed": int(episode.seed),
        "return": episode.return_,
        "success": bool(episode.success),
        "split": int(episode.split),
        "milestones": np.asarray(episode.milestones, np.int32),
        "start_state": int(episode.start_state),
    }
    columns: dict[str, Array] = {"episodes/root": np.array([episode.root.encode()])}
    with np.errstate(over="ignore"):  # of the return, which is refused below
        for name, kind in EPISODE_COLUMNS.items():
            try:
                columns[f"episodes/{name}"] = np.array([row[name]], kind)
            except OverflowError:
                raise ValueError(f"{name} of an episode is {row[name]}, beyond {kind}") from None
    for name, kind in STEP_COLUMNS.items():
        columns[name] = _cast(name, getattr(episode, name), kind)
    wrong = wrong_values(header, columns, states)
    if episode.labels is not None:
        labels = {n: _cast(f"labels/{n}", episode.labels[n], k) for n, k in LABEL_COLUMNS.items()}
        wrong += wrong_labels(labels)
    if not wrong and not np.isfinite(columns["episodes/return"]).all():
        wrong.append("its rewards add up to more than float32 can hold")
    if wrong:
        raise PipelineError(
            f"{target}: not published, nobody could read its episode {number} "
            f"({'; '.join(wrong)}); {CORRECT}"
        )
    return row


def _cast(name: str, values: Array, kind: np.dtype[Any]) -> Array:
    values = np.asarray(values)
    if values.ndim != 1 or not np.can_cast(values.dtype, kind):
        raise ValueError(f"/{name} takes rows () {kind}, not {values.shape[1:]} {values.dtype}")
    return values.astype(kind, copy=False)
