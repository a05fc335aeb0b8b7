"""Labelling one shard: the expert is asked, and its answers are published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from time import perf_counter, time

import numpy as np
from numpy.typing import NDArray

from pipeline.experts import opening
from pipeline.experts.protocol import Answers, Expert
from pipeline.games.subtask import subtask_ends
from pipeline.labelling.new_labels import Labelling
from pipeline.labelling.plan import Plan, planned, steps_to_ask
from pipeline.labelling.pool import ExpertPool
from pipeline.labelling.screens import screens_of
from pipeline.labelling.work import LabelWork
from pipeline.reports.results import LabelRow
from pipeline.settings import expert_fields
from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import told_rounds
from pipeline.shards.catalog.names import publish_name
from pipeline.shards.format.labels import expert_id, experts_of
from pipeline.shards.format.provenance import Provenance, fingerprint, provenance
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.shards.repair.relabel import relabel
from pipeline.system.errors import PipelineError


def label_shard(source: Path, work: LabelWork, pool: ExpertPool) -> LabelRow:
    """Label one processed shard, if its result is not there already.

    Raises:
        PipelineError: the shard cannot be read, the disk refuses, or a program's answers depend on
            what it was asked before.
    """
    pool.begin()
    expert = pool.expert
    plan = planned(source, work, expert)
    target, done = publish_name(plan.folder, plan.stem, plan.mark)
    if done:
        return _row(target, source, up_to_date=True)
    started = perf_counter()
    begun: Path | None = plan.left_off
    home = work.task.folders.game
    with Shard(source) as shard, screens_of(shard, expert.screens, home) as gallery:
        if not plan.asks_about(shard).any():
            return _row(None, source)
        labels = Labelling.of(shard)
        todo = steps_to_ask(shard, begun, labels, work, plan)
        who = expert_id(expert.identity)

        def take(rows: NDArray[np.intp], answers: Answers) -> None:
            labels.take(rows, answers, who, time())

        if len(todo):
            _refuse_memory(source, work.task.expert.expert, expert)
        breach = pool.ask(shard, todo, gallery, take)
        if breach is not None:
            episode = int(np.searchsorted(shard.starts, breach.row, side="right")) - 1
            step = breach.row - int(shard.starts[episode])
            where = f"step {step} of episode {episode} of {source}"
            program = opening.program_path(work.task.expert, work.task.game)
            raise PipelineError(breach.told(str(program), where))
    left = len(todo) - labels.answered
    stopped = pool.stopped if left else None
    if stopped is None or labels.answered:
        begun = _publish(plan, labels, expert, stopped)
    return _row(
        begun,
        source,
        asked=labels.answered,
        stopped=stopped,
        first_reason=next(iter(labels.reasons), None),
        seconds=perf_counter() - started,
    )


def _refuse_memory(source: Path, chosen: expert_fields.Expert, expert: Expert) -> None:
    """Refuse to ask a program about steps that it did not come to by itself.

    Raises:
        PipelineError: its answers depend on what it was asked before.
    """
    if chosen.kind == "program" and chosen.memory == "episode":
        raise PipelineError(
            f"{source}: expert.memory is 'episode', so that what {expert.identity['path']} answers "
            "depends on what it saw before in the episode, and it cannot label steps offline; the "
            "labels of collect, for the steps that it played, remain; learn from these, or give a "
            "program whose act(state) is a function of the state"
        )


def _publish(plan: Plan, labels: Labelling, expert: Expert, stopped: str | None) -> Path:
    """Publish the labelled shard; mark it as partial if the expert stopped before its end.

    So it does not pass for what was asked for, and the next run finds it.
    """
    mark = plan.mark
    more: Provenance = {}
    if stopped is not None:
        held = hashlib.sha256(labels.status.tobytes() + labels.buttons.tobytes()).hexdigest()
        mark = fingerprint("label", plan.mark, held)
        more = {"stopped": stopped, "unfinished": plan.mark}
    target, done = publish_name(plan.folder, plan.stem, mark)
    if done:
        return target
    with Shard(plan.source) as shard:
        header = shard.header
    told = provenance(
        "label",
        settings=plan.decisive,
        fingerprint=mark,
        actor=header.provenance.get("actor", {}),
        parents=[{"file": plan.source.name, "shard_id": header.shard_id}],
        expert=expert.identity,
        experts=_experts(header.provenance, labels, expert),
    )
    more = {**more, **told_rounds([(header.provenance, plan.source)])}
    subtask = subtask_ends(header.provenance)
    if subtask is not None:
        more = {**more, "subtask": subtask}
    relabel(plan.source, target, labels.buttons, labels.status, {**told, **more}, labels.columns)
    return target


def _experts(before: Provenance, labels: Labelling, expert: Expert) -> Provenance:
    """Those that gave labels, or failed to, and the one that was asked now."""
    isolation = getattr(expert, "isolation", None)
    own = {**expert.identity, **({"isolation": isolation} if isolation else {})}
    named = {who.decode() for who in np.unique(labels.columns["expert"]).tolist()}
    kept = {who: told for who, told in experts_of(before).items() if who in named}
    return {**kept, expert_id(expert.identity): own}


def _row(
    target: Path | None,
    source: Path,
    *,
    up_to_date: bool = False,
    asked: int = 0,
    stopped: str | None = None,
    first_reason: str | None = None,
    seconds: float = 0.0,
) -> LabelRow:
    facts = entries_of([target or source])[0].get()
    unlabelled = {
        kind: n
        for kind, n in facts.label_status.items()
        if n and kind != LabelStatus.LABELLED.name.lower()
    }
    return LabelRow(
        shard=target,
        up_to_date=up_to_date,
        frames=facts.frames,
        labels=facts.labels if target else 0,
        asked=asked,
        unlabelled=", ".join(f"{n} {kind}" for kind, n in unlabelled.items()) or None,
        first_reason=first_reason,
        dollars=facts.dollars if target else 0.0,
        stopped=stopped,
        seconds=seconds,
    )
