"""What labels cost, and what was had for it: dollars a milestone and a point of success."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.reports.results import Costs
from pipeline.shards.catalog.facts import Facts
from pipeline.shards.format.labels import experts_of


def spent_on(shards: Iterable[Facts], program: Path) -> float:
    """Dollars for the labels of shards, and for the program once, if it gave any of them.

    A shard that lies there under several names counts once. What a label cost in a shard that
    another replaces is told by that one alone.
    """
    labels: dict[str, float] = {}
    programs: set[Any] = set()
    for facts in shards:
        labels[facts.shard_id] = max(facts.dollars, labels.get(facts.shard_id, 0.0))
        programs |= {who.get("sha256") for who in experts_of(facts.provenance).values()}
    return sum(labels.values()) + program_dollars(program, programs)


def program_dollars(program: Path, among: Iterable[Any] | None = None) -> float:
    """What a model took to write a program, as the file beside it says: ``expert.json``.

    Zero where there is no such file (a person's program costs no dollars), where it is another
    program's, and where the program's sha256 is not ``among`` those asked about.
    """
    with suppress(OSError, ValueError, TypeError, AttributeError):
        sha256 = hashlib.sha256(program.read_bytes()).hexdigest()
        told = json.loads(program.with_suffix(".json").read_text())
        ours = told.get("sha256", sha256) == sha256 and (among is None or sha256 in set(among))
        return max(0.0, float(told["dollars"])) if ours and "dollars" in told else 0.0
    return 0.0


def costs_of(dollars: float, *, milestones_mean: float, success_rate: float) -> Costs | None:
    """Dollars for a milestone and for a percentage point of success; None where nothing was paid.

    Args:
        milestones_mean: milestones that an episode reaches.
        success_rate: in [0, 1].
    """
    if not dollars > 0:
        return None
    return Costs(
        dollars=dollars,
        dollars_per_milestone=_per(dollars, milestones_mean),
        dollars_per_success_point=_per(dollars, 100 * success_rate),
    )


def _per(dollars: float, had: float) -> float | None:
    return dollars / had if had > 0 else None
