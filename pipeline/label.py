"""Stage 4, label: the expert says what the right button was, offline, from what the shard holds."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.executor import cores
from pipeline.experts.opening import open_expert
from pipeline.experts.protocol import Answers, Expert, Questions
from pipeline.games.description import GameDescription, load_game
from pipeline.shards.catalogue import entries_of
from pipeline.shards.names import publish_name, stem_and_version
from pipeline.shards.provenance import fingerprint, provenance
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.relabel import relabel
from pipeline.shards.schema import NO_ACTION, LabelStatus
from pipeline.shards.table import newest_shards

BATCH = 1024


def run(settings: Settings) -> dict[str, Any]:
    """Label processed shards; each gives a new shard with the same frames.

    No emulator takes part: the expert is asked about the RAM state stored with each step. A
    failed answer is stored as unlabelled with its status, never as a button. Labels that a shard
    has already are kept unless ``label.relabel``.

    Raises:
        PipelineError: no shard to label, a shard of another game, or a program that does not load.
    """
    game = load_game(settings.game)
    sources = _sources(settings, game)
    check_shards(sources, kind="processed", game=game.name, actions=game.buttons)
    rows = [_label_shard(source, settings, game) for source in sources]
    asked = sum(row["asked"] for row in rows)
    seconds = sum(row.pop("seconds") for row in rows)
    return {
        "up_to_date": all(row["up_to_date"] for row in rows),
        "shards": [row["shard"] for row in rows],
        "frames": sum(row["frames"] for row in rows),
        "labels": sum(row["labels"] for row in rows),
        "asked": asked,
        "labels_per_second": asked / seconds if asked else None,
        "by_shard": rows,
    }


def _sources(settings: Settings, game: GameDescription) -> list[Path]:
    if settings.label.shards:
        return [Path(shard) for shard in settings.label.shards]
    folder = settings.shard_folder(game.name)
    sources = [
        path for path in newest_shards(folder, kind="processed") if "-labelled-v" not in path.name
    ]
    if not sources:
        raise PipelineError(
            f"{folder}: no processed shard to label; run 'collect' and 'preprocess' first"
        )
    return sources


def _label_shard(source: Path, settings: Settings, game: GameDescription) -> dict[str, Any]:
    with Shard(source) as shard, open_expert(settings, game) as expert:
        decisive = settings.label.model_dump(include={"relabel", "limit"})
        mark = fingerprint("label", decisive, expert.identity, shard.header.shard_id)
        stem = stem_and_version(source)[0].removesuffix("-84").removesuffix("-labelled")
        target, up_to_date = publish_name(source.parent, f"{stem}-labelled", mark)
        asked, reasons, seconds = 0, Counter[str](), 0.0
        if not up_to_date:
            started = perf_counter()
            buttons = shard.column("expert_actions").copy()
            status = shard.column("label_status").copy()
            todo = np.flatnonzero(
                np.ones(len(status), bool)
                if settings.label.relabel
                else status != LabelStatus.LABELLED
            )
            if 0 < settings.label.limit < len(todo):
                todo = todo[np.linspace(0, len(todo) - 1, settings.label.limit).round().astype(int)]
            asked = len(todo)
            reasons = _ask(shard, todo, buttons, status, settings, game)
            told = provenance(
                "label",
                settings=decisive,
                fingerprint=mark,
                actor=shard.header.provenance.get("actor", {}),
                parents=[{"file": source.name, "shard_id": shard.header.shard_id}],
                expert=expert.identity,
            )
            labelled = status == LabelStatus.LABELLED
            new = int(np.count_nonzero(labelled[todo]))
            kept = int(np.count_nonzero(labelled)) - new
            told["labels"] = _shares(source, expert.identity, new, kept)
            relabel(source, target, buttons, status, told)
            seconds = perf_counter() - started
    return _row(target, up_to_date, asked, reasons, seconds)


def _shares(source: Path, expert: dict[str, Any], new: int, kept: int) -> list[dict[str, Any]]:
    """Labels by who gave them: the new ones, and those that ``source`` had and keeps.

    Where several gave those and some were replaced, whose is no longer known.
    """
    before = entries_of([source])[0].get().experts
    if sum(before.values()) != kept and len(before) > 1:
        before = {"several": kept}
    named = [{"expert": who, "labels": min(n, kept)} for who, n in before.items() if kept]
    return [{"expert": expert, "labels": new}, *named]


def _row(
    target: Path, up_to_date: bool, asked: int, reasons: Counter[str], seconds: float
) -> dict[str, Any]:
    with Shard(target) as shard:
        status = shard.column("label_status")
        unlabelled = {
            kind.name.lower(): int(np.count_nonzero(status == kind))
            for kind in LabelStatus
            if kind != LabelStatus.LABELLED and np.any(status == kind)
        }
    return {
        "shard": str(target),
        "up_to_date": up_to_date,
        "frames": len(status),
        "labels": int(np.count_nonzero(status == LabelStatus.LABELLED)),
        "asked": asked,
        "unlabelled": ", ".join(f"{n} {kind}" for kind, n in unlabelled.items()) or None,
        "first_reason": next(iter(reasons), None),
        "seconds": seconds,
    }


def _ask(
    shard: Shard,
    todo: NDArray[np.intp],
    buttons: NDArray[np.uint8],
    status: NDArray[np.uint8],
    settings: Settings,
    game: GameDescription,
) -> Counter[str]:
    """Fill ``buttons`` and ``status`` (n,) in place for the steps in ``todo``; return the reasons.

    One program process a thread: the threads only wait for their process, so they do not stand
    in each other's way. HDF5 is read by this thread alone, a window of frames at a time.
    """
    reasons: Counter[str] = Counter()
    shares = [todo[first : first + BATCH] for first in range(0, len(todo), BATCH)]
    threads = min(settings.label.workers or cores(), max(1, len(shares)))
    experts = [open_expert(settings, game) for _ in range(threads)]
    try:
        with (
            ThreadPoolExecutor(threads) as pool,
            tqdm(total=len(todo), desc="label", unit="step", disable=None) as bar,
        ):
            for first in range(0, len(shares), threads):
                wave = shares[first : first + threads]
                batches = [Questions(_columns(shard, share)) for share in wave]
                told = pool.map(_answer, experts, batches)
                for share, answers in zip(wave, told, strict=False):
                    buttons[share] = answers.buttons
                    status[share] = answers.status
                    reasons.update(answers.reasons.values())
                    bar.update(len(share))
    finally:
        for expert in experts:
            expert.close()
    buttons[status != LabelStatus.LABELLED] = NO_ACTION
    return reasons


def _answer(expert: Expert, questions: Questions) -> Answers:
    return expert.answer(questions)


def _columns(shard: Shard, share: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    first, last = int(share[0]), int(share[-1]) + 1
    return {name: shard.state(name, first, last)[share - first] for name in shard.state_names}
