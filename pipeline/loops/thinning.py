"""Labels taken away again, spread evenly: a shard as it would be, had fewer been asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.shards.catalog.names import publish_name
from pipeline.shards.format.provenance import fingerprint, provenance
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.repair.relabel import relabel
from pipeline.system.errors import PipelineError


def thin(source: Path, folder: Path, stem: str, labels: int) -> Path:
    """Publish a copy of a labelled shard that keeps ``labels`` of its labels.

    Kept are those at evenly spaced places among the labelled steps, as ``label.limit`` asks for
    them; the other steps are unlabelled. Of ``/labels`` nothing is written: who labelled what
    stays with the source.

    Returns:
        The shard in ``folder``, new or there before.

    Raises:
        PipelineError: the source has fewer labels, or cannot be read, or the disk refuses.
    """
    with Shard(source) as shard:
        header, status = shard.header, shard.column("label_status")
        buttons = shard.column("expert_actions")
    there = np.flatnonzero(status == LabelStatus.LABELLED)
    if len(there) < labels:
        raise PipelineError(
            f"{source}: has {len(there)} labels, fewer than the {labels} that are to be kept; let "
            "the expert play more episodes (compare.rollouts), or lower compare.labels"
        )
    kept = there[np.linspace(0, len(there) - 1, labels).round().astype(int)]
    new_status = np.full_like(status, LabelStatus.UNLABELLED)
    new_buttons = np.full_like(buttons, NO_ACTION)
    new_status[kept], new_buttons[kept] = LabelStatus.LABELLED, buttons[kept]
    mark = fingerprint("thin", labels, header.shard_id)
    target, done = publish_name(folder, stem, mark)
    if not done:
        told = provenance(
            "thin",
            settings={"labels": labels},
            fingerprint=mark,
            actor=header.provenance.get("actor", {}),
            parents=[{"file": source.name, "shard_id": header.shard_id}],
        )
        relabel(source, target, new_buttons, new_status, told)
    return target
