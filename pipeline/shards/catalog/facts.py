"""What one shard holds, in a few kilobytes of JSON: enough to choose shards without opening them.

``facts_of`` reads a file that may be hostile, so it is called in a guarded child unless this very
process wrote the file; see :mod:`pipeline.shards.catalog.catalogue`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.checks import (
    Content,
    check_shard,
    damaged,
    open_file,
    open_handle,
    read_header,
)
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.frames import ContractFields, FrameContract
from pipeline.shards.format.labels import expert_id, experts_of, name_of
from pipeline.shards.format.schema import (
    RAM_CRC32,
    TRAIN,
    Array,
    Json,
    Kind,
    LabelStatus,
    ShardHeader,
)
from pipeline.system.errors import PipelineError

_DEEPEST = 50
_ROUND = re.compile(r".*-round-(\d{1,9})-.*")

FACTS_VERSION = 3
"""Facts of another version are not read: the file is examined again."""


class Parent(NamedTuple):
    """A shard (or another file) that a shard was made from, as its provenance names it."""

    file: str
    shard_id: str


@dataclass(frozen=True)
class Facts:
    """What is known of a shard without opening it.

    Memory: about 10 KB, 22 bytes an episode, and the text of ``game.yaml`` that a raw shard's
    provenance holds.

    Where ``error`` is set, the header is sound but the content is not: the counts are 0.
    """

    schema_version: int
    shard_id: str
    kind: Kind
    game: str
    rom_sha1: str
    actions: list[str]
    timing: dict[str, int]
    frame_contract: ContractFields
    milestones: list[str]
    provenance: Json
    rounds: list[int | None]
    """Of the loop of rounds, see `rounds_of`."""
    bytes: int
    episodes: int = 0
    frames: int = 0
    label_status: dict[str, int] = field(default_factory=dict)
    """Steps by LabelStatus, in lower case."""
    labels_by: dict[str, int] | None = None
    """Labels by the id of who gave them; None where the shard does not tell it of each."""
    dollars: float = 0.0
    """What the labels cost."""
    split: list[int] = field(default_factory=lambda: [0, 0])
    """Episodes for training and for validation."""
    successes: int = 0
    return_mean: float | None = None
    reached: list[int] = field(default_factory=list)
    """Episodes that reached each milestone."""
    start_states: int = 0
    checksums: bool = False
    ram_crc32: bool = False
    packed_seeds: str = ""
    packed_recordings: str = ""
    error: str | None = None

    @property
    def labels(self) -> int:
        """Steps with the expert's button."""
        return self.label_status.get(LabelStatus.LABELLED.name.lower(), 0)

    @property
    def success_rate(self) -> float | None:
        return self.successes / self.episodes if self.episodes else None

    @property
    def stage(self) -> str | None:
        stage = self.provenance.get("stage")
        return stage if isinstance(stage, str) else None

    @property
    def fingerprint(self) -> str | None:
        """What the shard depends on; see :func:`pipeline.shards.format.provenance.fingerprint`."""
        mark = self.provenance.get("fingerprint")
        return mark if isinstance(mark, str) else None

    @property
    def parents(self) -> list[Parent]:
        """The files it was made from; what is no parent in a foreign provenance is left out."""
        named = self.provenance.get("parents")
        return [
            Parent(str(one.get("file", one.get("path"))), str(one.get("shard_id", "")))
            for one in (named if isinstance(named, list) else [])
            if isinstance(one, dict)
        ]

    @property
    def players(self) -> list[str]:
        """Who pressed the buttons: programs and checkpoints, with their sha256."""
        actor = self.provenance.get("actor")
        actor = actor if isinstance(actor, dict) else {}
        return [identity(actor[name], name) for name in ("expert", "checkpoint") if name in actor]

    @property
    def experts(self) -> dict[str, int]:
        """Labels by who gave them, newest first; ``unknown`` where the provenance does not say."""
        if not self.labels:
            return {}
        if self.labels_by is not None:
            return self._named(self.labels_by)
        shares = self.provenance.get("labels")
        if isinstance(shares, list) and all(isinstance(one, dict) for one in shares):
            counts: dict[str, int] = {}
            for one in shares:
                who, labels = one.get("expert"), one.get("labels")
                name = who if isinstance(who, str) else identity(who, "expert")
                counts[name] = counts.get(name, 0) + (labels if isinstance(labels, int) else 0)
            if sum(counts.values()) == self.labels:
                return {name: n for name, n in counts.items() if n}
        asked = self.provenance.get("expert")
        if asked is None:
            actor = self.provenance.get("actor")
            asked = actor.get("expert") if isinstance(actor, dict) else None
        return {identity(asked, "expert"): self.labels}

    def _named(self, labels_by: Mapping[str, int]) -> dict[str, int]:
        """The expert of this very stage first, the others by their labels."""
        asked, experts = self.provenance.get("expert"), experts_of(self.provenance)
        own = expert_id(asked) if isinstance(asked, Mapping) else ""
        counts: dict[str, int] = {}
        for who in sorted(labels_by, key=lambda who: (who != own, -labels_by[who])):
            name = identity(experts.get(who), "expert")
            counts[name] = counts.get(name, 0) + labels_by[who]
        return counts

    @property
    def seeds(self) -> NDArray[np.uint32]:
        """The seeds of its episodes, each once, rising."""
        return np.frombuffer(base64.b64decode(self.packed_seeds), "<u4").astype(np.uint32)

    @property
    def round(self) -> int | None:
        """The one round that all its episodes are of; None where there is no such."""
        return self.rounds[0] if len(self.rounds) == 1 else None

    @property
    def recordings(self) -> list[str]:
        """Of each episode what tells whether another one is the same recording, in their order."""
        return self.packed_recordings.split()

    @property
    def header(self) -> ShardHeader:
        """The header, as the file has it."""
        return ShardHeader(
            kind=self.kind,
            game=self.game,
            rom_sha1=self.rom_sha1,
            actions=tuple(self.actions),
            timing=self.timing,
            frame_contract=FrameContract(**self.frame_contract),
            milestones=tuple(self.milestones),
            provenance=self.provenance,
            shard_id=self.shard_id,
        )


def rounds_of(provenance: Mapping[str, Any], path: Path) -> list[int | None]:
    """The rounds of a loop that a shard's episodes are of, each once; None stands for none.

    The provenance says it; of shards written before it did, the file's name:
    ``RUN-round-03-raw-v001.h5``.
    """
    told = provenance.get("rounds")
    if isinstance(told, list) and told and all(_is_round(one) for one in told):
        return list(dict.fromkeys(told))
    match = _ROUND.fullmatch(path.name)
    return [int(match[1]) if match else None]


def _is_round(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def told_rounds(parents: Iterable[tuple[Mapping[str, Any], Path]]) -> dict[str, list[int | None]]:
    """``rounds`` for the provenance of a shard that is made of others; nothing where none has any.

    Args:
        parents: provenance and file of each.
    """
    found = dict.fromkeys(one for told, path in parents for one in rounds_of(told, path))
    return {} if set(found) <= {None} else {"rounds": list(found)}


def identity(who: Any, role: str) -> str:
    """``expert.py sha256 1234...`` of a provenance's program or checkpoint; the name of a model."""
    if isinstance(who, str) and who:
        return f"{role} sha256 {who}"
    if isinstance(who, Mapping) and "sha256" in who:
        return f"{who.get('path', role)} sha256 {who['sha256']}"
    if isinstance(who, Mapping) and who:
        return name_of(who)
    return "unknown"


def told_facts(path: Path) -> dict[str, object]:
    """The fields of :func:`facts_of`, as a guarded child tells them in JSON."""
    return vars(facts_of(path))


def facts_of(path: Path) -> Facts:
    """What a shard holds, which is checked whole on the way.

    Cost: that of checking (about ten bytes a step are read, twenty more of labels that tell who
    gave them); no frame is read.

    Raises:
        PipelineError: the file is no shard, or its header is not valid. Content that is not valid
            is a fact: ``error``.
    """
    with open_file(path) as file:
        header = read_header(file, path)
        version = int(file.attrs["schema_version"])
    if not _is_flat(header.provenance):
        raise PipelineError(
            f"{path}: the header is not valid (provenance is nested too deep); "
            "make the shard anew, or leave it out"
        )
    facts = Facts(
        schema_version=version,
        shard_id=header.shard_id,
        kind=header.kind,
        game=header.game,
        rom_sha1=header.rom_sha1,
        actions=list(header.actions),
        timing=dict(header.timing),
        frame_contract=header.frame_contract.as_dict(),
        milestones=list(header.milestones),
        provenance=dict(header.provenance),
        rounds=rounds_of(header.provenance, path),
        bytes=path.stat().st_size,
    )
    handle = open_handle(path)
    try:
        return _counted(facts, check_shard(path, handle), handle)
    except (PipelineError, Damage) as error:
        said = damaged(path, error) if isinstance(error, Damage) else error
        return replace(facts, error=str(said).removeprefix(f"{path}: "))
    finally:
        os.close(handle)


def _is_flat(provenance: Mapping[str, Any]) -> bool:
    """Whether JSON can be made of it without recursion into a hostile depth."""
    level: list[Any] = [provenance]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, Mapping) else one)
            if isinstance(inner, (Mapping, list))
        ]
    return not level


def _counted(facts: Facts, content: Content, handle: int) -> Facts:
    episodes, steps = content.episodes, content.datasets["label_status"]
    actions = content.datasets["actions"].read(handle, 0, steps.rows)
    status = steps.read(handle, 0, steps.rows)
    training = int(np.count_nonzero(episodes["split"] == TRAIN))
    mean = float(episodes["return"].mean(dtype=np.float64))
    seeds = np.unique(episodes["seed"]).astype("<u4").tobytes()
    labels_by, dollars = _label_counts(content, handle, status)
    return replace(
        facts,
        episodes=len(episodes["length"]),
        frames=len(status),
        label_status={s.name.lower(): int(np.count_nonzero(status == s)) for s in LabelStatus},
        labels_by=labels_by,
        dollars=dollars,
        split=[training, len(episodes["split"]) - training],
        successes=int(np.count_nonzero(episodes["success"])),
        return_mean=mean if math.isfinite(mean) else None,
        reached=np.count_nonzero(episodes["milestones"] >= 0, axis=0).tolist(),
        start_states=len(content.start_state_lengths),
        checksums=steps.crc32 is not None,
        ram_crc32=RAM_CRC32 in content.datasets,
        packed_seeds=base64.b64encode(seeds).decode(),
        packed_recordings=" ".join(_recordings(episodes, actions)),
    )


def _recordings(episodes: Mapping[str, Array], actions: Array) -> Iterator[str]:
    """Where an episode began, with which seed, and all buttons of it decide what happened."""
    for root, first, steps in zip(
        episodes["root"], episodes["start"].tolist(), episodes["length"].tolist(), strict=True
    ):
        played = bytes(root) + b"\0" + actions[first : first + steps].tobytes()
        yield hashlib.blake2b(played, digest_size=8).hexdigest()


def _label_counts(
    content: Content, handle: int, status: Array
) -> tuple[dict[str, int] | None, float]:
    """Labels by the id of who gave them, None where the shard does not tell; and their dollars."""
    if "labels/expert" not in content.datasets:
        return None, 0.0
    expert, dollars = (
        content.datasets[f"labels/{name}"].read(handle, 0, len(status))
        for name in ("expert", "dollars")
    )
    ids, counts = np.unique(expert[status == LabelStatus.LABELLED], return_counts=True)
    total = float(dollars.sum(dtype=np.float64))
    labels_by = {
        who.decode("utf-8", "replace"): n
        for who, n in zip(ids.tolist(), counts.tolist(), strict=True)
    }
    return labels_by, total if math.isfinite(total) else 0.0
