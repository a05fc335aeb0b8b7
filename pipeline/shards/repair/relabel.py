"""A labelled copy of a shard: the frames move over as they are stored, without recompression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipeline.shards.catalog.catalogue import enter
from pipeline.shards.catalog.publish import cannot_write, publish, temporary_beside
from pipeline.shards.format.checks import refuse_unreadable
from pipeline.shards.format.columns import Column
from pipeline.shards.format.labels import Labels, wrong_labels
from pipeline.shards.format.schema import (
    LABEL_COLUMNS,
    NO_ACTION,
    STEP_COLUMNS,
    Array,
    LabelStatus,
    ShardHeader,
)
from pipeline.shards.format.sealed import Written
from pipeline.shards.reader import Shard
from pipeline.shards.repair.migrate import copy_stored
from pipeline.shards.writer import new_file, write_header

_COLUMNS = {
    **{name: STEP_COLUMNS[name] for name in ("expert_actions", "label_status")},
    **{f"labels/{name}": dtype for name, dtype in LABEL_COLUMNS.items()},
}


def relabel(
    source: Path,
    target: Path,
    expert_actions: NDArray[np.uint8],
    label_status: NDArray[np.uint8],
    provenance: Mapping[str, Any],
    labels: Labels | None = None,
) -> ShardHeader:
    """Publish ``target``: ``source`` with other labels, (N,) u8 each, and its own provenance.

    ``labels`` are the columns of /labels, each (N,); None leaves them out.

    Everything else, the split and the roots among it, stays. Cost: a copy of the stored bytes and
    their checksums; a source of schema version 1, which has none, is decoded once to be checked.
    The ``shard_id`` is the one that the same content would get from a ShardWriter.

    Raises:
        PipelineError: ``source`` is no valid shard or damaged, ``target`` exists, or the disk
            refuses.
        ValueError: labels of another length, out of range, or at odds with their status.
    """
    with Shard(source) as shard:
        header = replace(shard.header, provenance=provenance, shard_id="")
        _check(shard.n_frames, len(header.actions), expert_actions, label_status, labels)
    columns = {"expert_actions": expert_actions, "label_status": label_status}
    columns |= {f"labels/{name}": values for name, values in (labels or {}).items()}
    temporary = temporary_beside(target)
    try:
        with (
            h5py.File(source, "r", locking=False) as old,
            new_file(temporary) as new,
        ):
            written = copy_stored(old, new, source, _COLUMNS)
            written |= _write(new, columns)
            header = replace(header, shard_id=write_header(new, header, written))
        refuse_unreadable(temporary, target)
        publish(temporary, target)
        enter(target)
    except (OSError, RuntimeError) as error:
        raise cannot_write(target, error) from None
    finally:
        temporary.unlink(missing_ok=True)
    return header


def _write(file: h5py.File, columns: Mapping[str, Array]) -> dict[str, Written]:
    written = {}
    for name, values in columns.items():
        group, _, leaf = name.rpartition("/")
        if group and group not in file:
            file.create_group(group, track_order=True)
        column = Column(file[group or "/"], leaf, (), _COLUMNS[name])
        column.append(values)
        written[column.name] = column.finish()
    return written


def _check(
    steps: int,
    buttons: int,
    expert: NDArray[np.uint8],
    status: NDArray[np.uint8],
    labels: Labels | None,
) -> None:
    if expert.shape != (steps,) or status.shape != (steps,):
        raise ValueError(f"{steps} steps, but labels {expert.shape} and status {status.shape}")
    if ((expert >= buttons) & (expert != NO_ACTION)).any():
        raise ValueError(f"a label is not below {buttons}")
    if ((status == LabelStatus.LABELLED) != (expert != NO_ACTION)).any():
        raise ValueError("label_status contradicts expert_actions")
    if labels is None:
        return
    if {name: values.shape for name, values in labels.items()} != dict.fromkeys(
        LABEL_COLUMNS, (steps,)
    ):
        raise ValueError(f"labels are not each of {', '.join(LABEL_COLUMNS)}, ({steps},)")
    if wrong := wrong_labels(labels):
        raise ValueError("; ".join(wrong))
