"""Stage 4, label: the expert says what the right button was, offline, from what the shard holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.asking import Panel, sample
from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.experts import opening
from pipeline.experts.protocol import Answers, Expert, Questions
from pipeline.games.description import GameDescription, load_game
from pipeline.games.legs import Leg, leg_in, told_leg
from pipeline.labelling import Labelling
from pipeline.screens import screens_of
from pipeline.shards.catalogue import Catalogue, entries_of
from pipeline.shards.facts import told_rounds
from pipeline.shards.labels import expert_id, experts_of
from pipeline.shards.legs import inside
from pipeline.shards.names import publish_name, stem_and_version
from pipeline.shards.provenance import fingerprint, provenance
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.relabel import relabel
from pipeline.shards.runs import choose, named_shards, refuse_same_stem, stem_here
from pipeline.shards.schema import LabelStatus, unplaced
from pipeline.shards.table import newest_shards


def run(settings: Settings) -> dict[str, Any]:
    """Label processed shards; each gives a new shard with the same frames.

    No emulator takes part: the expert is asked about the RAM state stored with each step, and
    shown the stored screens where it looks at any. A failed answer is stored as unlabelled with
    its status, never as a button. Labels that a shard has already are kept unless
    ``label.relabel``. Each label says who gave it, when and for how much.

    An expert that stops (a budget is spent, a batch is under way) ends the stage early: what it
    answered is published, ``stopped`` says why, and the same command carries on from there.

    With a leg of the game (``milestone``, or ``from`` and ``to``) only the steps between its two
    milestones are asked about; shards without any are left out.

    With ``label.dry_run`` nothing is asked: what a model would cost at most is returned.

    Raises:
        PipelineError: no shard to label, a shard of another game, an expert that cannot be asked,
            a program that answers otherwise when it is asked again (its shard is then not
            published), or screens that are not there.
    """
    game = load_game(settings.game)
    leg = leg_in(settings, game)
    sources = _sources(settings, game)
    check_shards(sources, kind="processed", game=game.name, actions=game.buttons)
    if len({source.parent for source in sources}) > 1:
        refuse_same_stem("label", [(one, _stem(one, settings, game)) for one in sources])
    with Panel(settings, game) as panel:
        if settings.label.dry_run:
            return _forecast(sources, settings, game, panel)
        rows = [_label_shard(source, settings, game, panel) for source in sources]
    result = _result(rows)
    if leg is not None and not result["shards"] and "stopped" not in result:
        raise PipelineError(
            f"{', '.join(map(str, sources))}: no step between '{leg.start or 'the start'}' and "
            f"'{leg.goal or 'the end'}'; collect and preprocess some with the same --milestone, or "
            "--from and --to"
        )
    return result


def _result(rows: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = sum(row.pop("seconds") for row in rows)
    answers = sum(row["asked"] for row in rows)
    dollars = sum(row["dollars"] or 0 for row in rows)
    # Each shard may have a batch of its own; what stopped all of them is said once.
    stopped = list(dict.fromkeys(row["stopped"] for row in rows if row["stopped"]))
    return {
        "up_to_date": all(row["up_to_date"] for row in rows),
        "shards": [row["shard"] for row in rows if row["shard"]],
        "frames": sum(row["frames"] for row in rows),
        "labels": sum(row["labels"] for row in rows),
        "asked": answers,
        "labels_per_second": answers / seconds if answers else None,
        **({"dollars": dollars} if dollars else {}),
        **({"stopped": "; ".join(stopped)} if stopped else {}),
        "by_shard": rows if stopped or dollars else [_free(row) for row in rows],
    }


def _free(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("dollars", "stopped")}


def _sources(settings: Settings, game: GameDescription) -> list[Path]:
    named = named_shards(settings, settings.label.shards)
    if named is not None:
        return named
    missing = "no processed shard to label; run 'collect' and 'preprocess' first"
    chosen = choose(settings, game.name, settings.label.shards, _unlabelled, missing)
    print(chosen.line("label", "processed"), flush=True)
    return chosen.paths


def _unlabelled(folders: Sequence[Path]) -> list[Path]:
    found = newest_shards(*folders, kind="processed")
    return [path for path in found if "-labelled-v" not in path.name]


@dataclass(frozen=True)
class _Plan:
    """A shard, and the labelled one that becomes of it or is there already."""

    source: Path
    decisive: dict[str, Any]
    mark: str
    folder: Path
    """Of the own run."""
    stem: str
    leg: Leg | None = None
    """Only steps of this leg are asked about; None where all of the shard are of it."""
    begun: int = 0
    """Milestones that count as reached where the episodes begin."""

    def asks_about(self, shard: Shard) -> NDArray[np.bool_]:
        """(N,) which steps of the source are of the leg."""
        leg = self.leg
        if leg is None:
            return np.ones(shard.n_frames, np.bool_)
        return inside(shard.milestones, shard.lengths, leg.first, leg.last, self.begun)

    @property
    def left_off(self) -> Path | None:
        """The newest of those that an expert left off, to be carried on."""
        return self._newest("unfinished")

    @property
    def done(self) -> bool:
        """Whether some version has what is asked for."""
        return self._newest("fingerprint") is not None

    def _newest(self, key: str) -> Path | None:
        catalogue = Catalogue(self.folder)
        found = [
            entry.path
            for entry in catalogue.of(catalogue.files(f"{self.stem}-v"))
            if entry.error is None
            and entry.get().provenance.get(key) == self.mark
            and stem_and_version(entry.path)[0] == self.stem
        ]
        return max(found, key=lambda path: stem_and_version(path)[1], default=None)


def _planned(source: Path, settings: Settings, expert: Expert, game: GameDescription) -> _Plan:
    decisive = settings.label.model_dump(include={"relabel", "limit"})
    if settings.label.select != "all":
        from pipeline import selecting  # imported late: it brings torch

        decisive |= selecting.decisive(settings)
    facts = entries_of([source])[0].get()
    source_id, own = facts.shard_id, told_leg(game, facts.provenance)
    leg = leg_in(settings, game)
    leg = None if leg == own else leg
    if leg is not None:
        decisive |= {"leg": leg.told}
    begun = 0 if own is None else own.first
    place = None if leg is None else [leg.first, leg.last, begun]
    asked = opening.decisive(expert, settings, game)
    mark = fingerprint("label", unplaced(decisive), asked, source_id, place)
    stem = _stem(source, settings, game)
    stem = f"{stem}-labelled" if leg is None else f"{stem}-only-{leg.name}-labelled"
    folder = settings.shard_folder(game.name)
    return _Plan(source, decisive, mark, folder, stem, leg, begun)


def _stem(source: Path, settings: Settings, game: GameDescription) -> str:
    stem = stem_and_version(source)[0].removesuffix("-84").removesuffix("-labelled")
    return stem_here(settings, game.name, source, stem)


def _to_ask(
    shard: Shard,
    begun: Path | None,
    labels: Labelling,
    settings: Settings,
    game: GameDescription,
    plan: _Plan,
) -> NDArray[np.intp]:
    """The steps to ask about, ascending, but for those that are answered in ``begun``, which
    ``labels`` takes over; it notes why steps were chosen, too."""
    label = settings.label
    asked = np.full(shard.n_frames, True) if label.relabel else ~labels.labelled
    todo = np.flatnonzero(asked & plan.asks_about(shard))
    scores = np.full(len(todo), np.nan, np.float32)
    if label.select != "all":
        from pipeline.selecting import choose  # imported late: it brings torch

        todo, scores = choose(shard, todo, settings, game)
    elif 0 < label.limit < len(todo):
        todo = todo[np.linspace(0, len(todo) - 1, label.limit).round().astype(int)]
        scores = scores[: len(todo)]
    answered = labels.carry_on(begun) if begun else np.zeros(shard.n_frames, bool)
    labels.score(todo, scores)
    left: NDArray[np.intp] = todo[~answered[todo]]
    return left


def _label_shard(
    source: Path, settings: Settings, game: GameDescription, panel: Panel
) -> dict[str, Any]:
    panel.begin()
    expert = panel.expert
    plan = _planned(source, settings, expert, game)
    target, done = publish_name(plan.folder, plan.stem, plan.mark)
    if done:
        return _row(target, source, up_to_date=True)
    started = perf_counter()
    begun: Path | None = plan.left_off
    home = settings.game_folder(game.name)
    with Shard(source) as shard, screens_of(shard, expert.screens, home) as gallery:
        if not plan.asks_about(shard).any():
            return _row(None, source)
        labels = Labelling.of(shard)
        todo = _to_ask(shard, begun, labels, settings, game, plan)
        who = expert_id(expert.identity)

        def take(rows: NDArray[np.intp], answers: Answers) -> None:
            labels.take(rows, answers, who, time())

        if len(todo):
            _refuse_memory(source, settings, expert)
        breach = panel.ask(shard, todo, gallery, take)
        if breach is not None:
            episode = int(np.searchsorted(shard.starts, breach.row, side="right")) - 1
            step = breach.row - int(shard.starts[episode])
            where = f"step {step} of episode {episode} of {source}"
            raise PipelineError(breach.told(str(opening.program_path(settings, game)), where))
    left = len(todo) - labels.answered
    stopped = panel.stopped if left else None
    if stopped is None or labels.answered:
        begun = _publish(plan, labels, expert, stopped)
    row = _row(begun, source, asked=labels.answered, stopped=stopped)
    row["first_reason"] = next(iter(labels.reasons), None)
    row["seconds"] = perf_counter() - started
    return row


def _refuse_memory(source: Path, settings: Settings, expert: Expert) -> None:
    """Refuse to ask a program about steps that it did not come to by itself.

    Raises:
        PipelineError: its answers depend on what it was asked before.
    """
    if settings.expert.kind == "program" and settings.expert.memory == "episode":
        raise PipelineError(
            f"{source}: expert.memory is 'episode', so that what {expert.identity['path']} answers "
            "depends on what it saw before in the episode, and it cannot label steps offline; the "
            "labels of collect, for the steps that it played, remain; learn from these, or give a "
            "program whose act(state) is a function of the state"
        )


def _publish(plan: _Plan, labels: Labelling, expert: Expert, stopped: str | None) -> Path:
    """Publish the labelled shard; one that the expert left off is marked, so that it does not
    pass for what was asked for, and the next run finds it."""
    mark = plan.mark
    more: dict[str, Any] = {}
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
    leg = header.provenance.get("leg")
    if leg is not None:
        more = {**more, "leg": leg}
    relabel(plan.source, target, labels.buttons, labels.status, {**told, **more}, labels.columns)
    return target


def _experts(before: Any, labels: Labelling, expert: Expert) -> dict[str, Any]:
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
) -> dict[str, Any]:
    facts = entries_of([target or source])[0].get()
    unlabelled = {
        kind: n
        for kind, n in facts.label_status.items()
        if n and kind != LabelStatus.LABELLED.name.lower()
    }
    return {
        "shard": str(target) if target else None,
        "up_to_date": up_to_date,
        "frames": facts.frames,
        "labels": facts.labels if target else 0,
        "asked": asked,
        "unlabelled": ", ".join(f"{n} {kind}" for kind, n in unlabelled.items()) or None,
        "first_reason": None,
        "dollars": facts.dollars if target else 0.0,
        "stopped": stopped,
        "seconds": 0.0,
    }


def _forecast(
    sources: list[Path], settings: Settings, game: GameDescription, panel: Panel
) -> dict[str, Any]:
    """What the labels would cost; nothing is asked or published."""
    questions, few = 0, None
    for source in sources:
        plan = _planned(source, settings, panel.expert, game)
        if plan.done:
            continue
        home = settings.game_folder(game.name)
        with Shard(source) as shard, screens_of(shard, panel.expert.screens, home) as gallery:
            labels = Labelling.of(shard)
            todo = _to_ask(shard, plan.left_off, labels, settings, game, plan)
            questions += len(todo)
            if few is None and len(todo):
                few = _held(sample(shard, todo, gallery))
    if few is None or settings.expert.kind != "model":
        return {"questions": questions, "dollars": 0.0}
    from pipeline.experts.model.forecast import forecast_labels

    return dict(forecast_labels(settings, game, questions, few))


def _held(questions: Questions) -> Questions:
    """The same with its screens read, as its shard is about to be closed."""
    screens = questions.screens
    if screens is None:
        return questions
    return Questions(questions.state, [screens[i] for i in range(len(screens))])
