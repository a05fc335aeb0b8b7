"""Who gave each label, why there is none, and what it cost: the columns of ``/labels``.

They lie beside the label itself, one row a step, so that whatever keeps a step keeps them too. A
recording has none, for its actor says who labelled all of it; what can be known of older shards
is read off their provenance.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.schema import (
    LABEL_COLUMNS,
    Array,
    Json,
    LabelStatus,
    canonical_json,
    unplaced,
)

Labels = dict[str, Array]
"""Each of LABEL_COLUMNS, (n,)."""
Identities = dict[str, Json]
"""What decides an expert's answers, by its id."""

_ID = re.compile(rb"[0-9a-f]{16}|")
_SHA256 = re.compile(r"(?:(?P<name>.+?) )?(?:sha256 )?(?P<sha256>[0-9a-f]{64})")
_MOST_REASONS = 12


def expert_id(identity: Mapping[str, Any]) -> str:
    """The name of an expert in ``/labels/expert``: 16 hex digits of its identity's sha256.

    The name of a checkpoint's file does not matter.
    """
    known_by = unplaced(identity) if identity.get("kind") == "policy" else dict(identity)
    return hashlib.sha256(canonical_json(known_by).encode()).hexdigest()[:16]


def no_labels(count: int) -> Labels:
    """The columns of steps that nobody was asked about."""
    columns = {name: np.zeros(count, dtype) for name, dtype in LABEL_COLUMNS.items()}
    columns["time"][:] = columns["score"][:] = np.nan
    return columns


def reason_text(reason: str) -> bytes:
    """A reason as it is stored: UTF-8, cut at a character."""
    cut = reason.encode("utf-8", "replace")[: LABEL_COLUMNS["reason"].itemsize]
    return cut.decode("utf-8", "ignore").rstrip("\0").encode()


def rows_of(columns: Labels, rows: Any) -> Labels:
    """The columns of some steps: indices, a mask or a slice."""
    return {name: values[rows] for name, values in columns.items()}


def wrong_labels(columns: Labels) -> list[str]:
    """What cannot be in columns that were read, a line each."""
    bad = {
        "expert": (_of_texts(columns["expert"], _no_id), "no id"),
        "reason": (_of_texts(columns["reason"], _no_text), "no text"),
        "time": (~(np.isnan(columns["time"]) | np.isfinite(columns["time"])), "infinite"),
        "dollars": (~(np.isfinite(columns["dollars"]) & (columns["dollars"] >= 0)), "no price"),
        "score": (np.isinf(columns["score"]), "infinite"),
    }
    return [
        f"/labels/{name} is {what} at {int(np.argmax(rows))}"
        for name, (rows, what) in bad.items()
        if rows.any()
    ]


def _of_texts(values: Array, wrong: Any) -> NDArray[np.bool_]:
    """Which rows are wrong, each text being looked at once."""
    texts, index = np.unique(values, return_inverse=True)
    return np.array([wrong(text) for text in texts.tolist()], np.bool_)[index.reshape(-1)]


def _no_id(text: bytes) -> bool:
    return _ID.fullmatch(text) is None


def _no_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return True
    return False


def experts_of(provenance: Mapping[str, Any]) -> Identities:
    """The experts that a provenance names, by id; what is no identity in a foreign one is left out.

    Where there are no /labels: whoever was asked last, or else the actor's expert, and those whose
    labels were kept.
    """
    told = provenance.get("experts")
    if isinstance(told, Mapping):
        return {str(key): dict(who) for key, who in told.items() if isinstance(who, Mapping)}
    asked, gave = _told_experts(provenance)
    return {expert_id(who): who for who in [*asked, *gave] if who}


def _told_experts(
    provenance: Mapping[str, Any],
) -> tuple[list[Json], list[Json]]:
    """Who was asked, and which of them gave labels, as schema versions before 3 recorded it.

    An empty identity is an unknown expert.
    """
    shares = provenance.get("labels")
    told = [one for one in shares if isinstance(one, Mapping)] if isinstance(shares, list) else []
    if told:
        gave = [_identity(one.get("expert")) for one in told if one.get("labels")]
        return [_identity(one.get("expert")) for one in told], gave
    actor = provenance.get("actor")
    played = actor.get("expert") if isinstance(actor, Mapping) else None
    only = [_identity(provenance.get("expert", played))]
    return only, only


def _identity(who: Any) -> Json:
    """Of a mapping, a bare sha256, or ``expert.py sha256 1234...``; else nothing."""
    if isinstance(who, Mapping):
        return dict(who)
    found = _SHA256.fullmatch(who) if isinstance(who, str) else None
    if found is None:
        return {}
    return {"kind": "program", "path": found["name"] or "expert", "sha256": found["sha256"]}


def told_labels(provenance: Mapping[str, Any], status: NDArray[np.uint8]) -> Labels:
    """What the provenance alone tells of labels with this ``status`` (n,): whose they are.

    It tells where only one expert can have given them, or failed to.
    """
    columns = no_labels(len(status))
    labelled = status == LabelStatus.LABELLED
    failed = ~labelled & (status != LabelStatus.UNLABELLED)
    for rows, experts in zip((failed, labelled), _told_experts(provenance), strict=True):
        ids = {expert_id(who) if who else "" for who in experts}
        if len(ids) == 1:
            columns["expert"][rows] = ids.pop().encode()
    return columns


def name_of(identity: Mapping[str, Any]) -> str:
    """Of a program or a checkpoint its file, of a model its id."""
    named = (identity.get(key) for key in ("path", "model", "name", "kind"))
    return next((str(name) for name in named if name), "unknown")


class _Isolated(TypedDict, total=False):
    isolation: str
    """Of a program: how it was kept apart."""


class ByExpert(_Isolated):
    """What one expert labelled, failed at and cost."""

    expert: str | None
    """Its id; None where nobody knows who it was."""
    kind: str | None
    name: str
    labels: int
    failures: int
    input_tokens: int
    output_tokens: int
    dollars: float
    dollars_per_label: float | None
    last: str | None
    """When it answered last, UTC."""


class ByFailure(TypedDict):
    """At how many steps an expert gave no label, for one reason."""

    expert: str | None
    status: str
    """A LabelStatus, in lower case."""
    reason: str | None
    steps: int


def by_expert(
    columns: Labels, status: NDArray[np.uint8], experts: Mapping[str, Mapping[str, Any]]
) -> list[ByExpert]:
    """A row an expert, those with most labels first."""
    rows: list[ByExpert] = []
    asked = status != LabelStatus.UNLABELLED
    for who in np.unique(columns["expert"][asked]).tolist():
        mine = asked & (columns["expert"] == who)
        identity = experts.get(who.decode(), {})
        labels = int(np.count_nonzero(status[mine] == LabelStatus.LABELLED))
        dollars = float(columns["dollars"][mine].sum(dtype=np.float64))
        isolated: _Isolated = {}
        if "isolation" in identity:
            isolated["isolation"] = identity["isolation"]
        rows.append(
            {
                "expert": who.decode() or None,
                "kind": identity.get("kind"),
                **isolated,
                "name": name_of(identity),
                "labels": labels,
                "failures": int(np.count_nonzero(mine)) - labels,
                "input_tokens": int(columns["input_tokens"][mine].sum(dtype=np.int64)),
                "output_tokens": int(columns["output_tokens"][mine].sum(dtype=np.int64)),
                "dollars": dollars,
                "dollars_per_label": dollars / labels if labels else None,
                "last": _last(columns["time"][mine]),
            }
        )
    return sorted(rows, key=lambda row: -row["labels"])


def _last(times: NDArray[np.float64]) -> str | None:
    known = times[np.isfinite(times)]
    if not len(known):
        return None
    try:
        return f"{np.datetime64(int(known.max()), 's')}Z"
    except (ValueError, OverflowError):  # a foreign file's idea of a time
        return None


def by_failure(columns: Labels, status: NDArray[np.uint8]) -> list[ByFailure]:
    """The commonest reasons for which there is no label."""
    failed = (status != LabelStatus.UNLABELLED) & (status != LabelStatus.LABELLED)
    failed |= (status == LabelStatus.UNLABELLED) & (columns["reason"] != b"")
    keys = zip(
        columns["expert"][failed].tolist(),
        status[failed].tolist(),
        columns["reason"][failed].tolist(),
        strict=True,
    )
    return [
        {
            "expert": who.decode() or None,
            "status": LabelStatus(kind).name.lower(),
            "reason": why.decode() or None,
            "steps": steps,
        }
        for (who, kind, why), steps in Counter(keys).most_common(_MOST_REASONS)
    ]
