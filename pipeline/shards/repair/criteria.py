"""Which episodes a filter keeps."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.catalog.facts import rounds_of
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError


@dataclass(frozen=True)
class Criteria:
    """Which episodes a filter keeps: those that meet all that is asked; None asks nothing."""

    episodes: tuple[int, ...] | None = None
    """Their numbers in the shard."""
    seeds: tuple[int, ...] | None = None
    success: bool | None = None
    milestone: str | None = None
    """Reached at some step."""
    status: str | None = None
    """Name of a LabelStatus that at least one step has."""
    complete_labels: bool | None = None
    """Every step is labelled."""
    round: int | None = None
    """Of the shard: all of its episodes, or none."""

    def asked(self) -> dict[str, bool | int | str | list[int]]:
        """What is asked, for the provenance."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value is not None
        }


def meets(shard: Shard, criteria: Criteria) -> NDArray[np.bool_]:
    """(E,) which episodes meet all that is asked."""
    count, starts = shard.n_episodes, shard.starts
    meets = np.ones(count, np.bool_)
    if criteria.episodes is not None:
        if max(criteria.episodes) >= count:
            raise PipelineError(
                f"{shard.path}: there is no episode {max(criteria.episodes)}, the last one is "
                f"{count - 1}"
            )
        meets &= np.isin(np.arange(count), criteria.episodes)
    if criteria.seeds is not None:
        meets &= np.isin(shard.seeds, criteria.seeds)
    if criteria.success is not None:
        meets &= shard.success == criteria.success
    if criteria.milestone is not None:
        names = shard.header.milestones
        if criteria.milestone not in names:
            raise PipelineError(
                f"{shard.path}: there is no milestone '{criteria.milestone}'; there are: "
                f"{', '.join(names) or 'none'}"
            )
        meets &= shard.milestones[:, names.index(criteria.milestone)] >= 0
    status = shard.column("label_status")
    if criteria.status is not None:
        asked = status == LabelStatus[criteria.status.upper()]
        meets &= np.logical_or.reduceat(asked, starts)
    if criteria.complete_labels:
        meets &= np.logical_and.reduceat(status == LabelStatus.LABELLED, starts)
    if criteria.round is not None:
        meets &= rounds_of(shard.header.provenance, shard.path) == [criteria.round]
    return meets
