"""Merge, split and filter: new shards of whole episodes, the old ones left as they are.

Roots, splits and labels go along. What is written is a function of the shards read and of what was
asked, so that the same command again finds it: "up to date".
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np

from pipeline.games.subtask import subtask_ends
from pipeline.shards.catalog.facts import told_rounds
from pipeline.shards.catalog.names import publish_name, stem_and_version
from pipeline.shards.format.labels import experts_of
from pipeline.shards.format.provenance import fingerprint, provenance, recorded_by
from pipeline.shards.format.schema import ShardHeader, same_recording
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.repair.criteria import Criteria, meets
from pipeline.shards.repair.merge import Pick, write_episodes
from pipeline.system.errors import PipelineError

__all__ = ["Criteria", "Edited", "Picked", "filter_shard", "merge", "numbers", "split"]

_MOST_NUMBERS = 1_000_000

Keep = Literal["first", "last"]


class Edited(TypedDict):
    """A shard that was made of others, or that was there already."""

    shard: str
    up_to_date: bool
    episodes: int
    frames: int


class Picked(TypedDict):
    """The same of a shard to which not all episodes came."""

    shard: str | None
    """None where no episode is left, and nothing is published."""
    up_to_date: bool
    episodes: int
    frames: int
    left_out: int
    """Episodes."""


def merge(paths: Sequence[Path], stem: str, *, keep: Keep | None = None) -> Picked:
    """Publish ``STEM-vNNN.h5`` beside the first of ``paths``: the episodes of all, in their order.

    Args:
        keep: which of several episodes of one recording stays; None refuses such a merge.

    Raises:
        PipelineError: fewer than two shards, or shards that do not fit, every mismatch listed; a
            recording twice; a damaged shard, or the disk refuses. Nothing is then published.
    """
    _check_stem(stem)
    if len(paths) < 2:
        raise PipelineError("data merge: name at least two shards")
    headers = _check_fit(paths)
    picks, total = _each_recording_once(paths, keep)
    settings = {"keep": keep}
    mark = fingerprint("merge", settings, [header.shard_id for header in headers])
    made = _header("merge", settings, mark, dict(zip(paths, headers, strict=True)))
    result = _publish(paths[0].parent, stem, mark, made, [p for p in picks if p.episodes])
    return {**result, "left_out": total - result["episodes"]}


def split(
    path: Path, *, episodes: int | None = None, fraction: float | None = None
) -> list[Edited]:
    """Publish ``STEM-part-01-vNNN.h5``, ``STEM-part-02-vNNN.h5`` ... beside ``path``.

    Args:
        episodes: so many to each part, in their order; the last one may have fewer.
        fraction: the first part gets about this share, each episode by the hash of its root, so
            that copies of it, whoever makes them, stay on their side; the second part the others.

    Returns:
        A row a part: ``shard``, ``up_to_date``, ``episodes``, ``frames``.

    Raises:
        PipelineError: not valid or damaged; or not two parts at least; or the disk refuses.
            Nothing is then published.
    """
    with Shard(path) as shard:
        header, count, roots = shard.header, shard.n_episodes, shard.roots
    if (episodes is None) == (fraction is None):
        raise PipelineError("data split: give either --by-episodes N or --by-fraction F")
    if episodes is not None:
        if not 0 < episodes < count:
            raise PipelineError(
                f"{path}: it has {count} episodes, so that parts of {episodes} do not split it; "
                f"--by-episodes takes 1 to {count - 1}"
                if count > 1
                else f"{path}: it has one episode, which cannot be split"
            )
        parts = [range(low, min(low + episodes, count)) for low in range(0, count, episodes)]
        settings: dict[str, int | float | None] = {"episodes": episodes}
    else:
        draws = np.array([_draw(root) for root in roots])
        parts = [
            np.flatnonzero(draws < fraction).tolist(),
            np.flatnonzero(draws >= fraction).tolist(),
        ]
        if not all(map(len, parts)):
            raise PipelineError(
                f"{path}: with --by-fraction {fraction:g} one part would get none of its {count} "
                "episodes; give another fraction, or --by-episodes N"
            )
        settings = {"fraction": fraction}
    stem, digits = stem_and_version(path)[0], max(2, len(str(len(parts))))
    names = [f"{stem}-part-{number:0{digits}d}" for number in range(1, len(parts) + 1)]
    _refuse_other_parts(path, names)
    rows: list[Edited] = []
    try:
        for number, (name, part) in enumerate(zip(names, parts, strict=True), 1):
            mine = settings | {"part": number}
            mark = fingerprint("split", mine, header.shard_id)
            made = _header("split", mine, mark, {path: header})
            rows.append(_publish(path.parent, name, mark, made, [Pick(path, part)]))
    except BaseException:
        for row in rows:
            if not row["up_to_date"]:
                with suppress(OSError):
                    Path(row["shard"]).unlink()
        raise
    return rows


def _refuse_other_parts(path: Path, names: Sequence[str]) -> None:
    """Parts of another split of the same shard would give its episodes to the stages twice."""
    stem = stem_and_version(path)[0]
    for other in sorted(path.parent.glob(f"{glob.escape(stem)}-part-*-v*.h5")):
        name = stem_and_version(other)[0]
        if name not in names and name.removeprefix(f"{stem}-part-").isdigit():
            raise PipelineError(
                f"{other}: a part of another split of {stem}, whose episodes the stages would "
                "read twice; move it away first"
            )


def filter_shard(path: Path, criteria: Criteria, stem: str | None = None) -> Picked:
    """Publish ``STEM-vNNN.h5`` beside ``path``, with the episodes that meet all of ``criteria``.

    Args:
        stem: None takes that of ``path`` with ``-filtered`` after it.

    Raises:
        PipelineError: not valid or damaged, an episode or milestone that it has not, or the disk
            refuses. Nothing is then published.
    """
    stem = stem or f"{stem_and_version(path)[0]}-filtered"
    _check_stem(stem)
    asked = criteria.asked()
    if not asked:
        raise PipelineError("data filter: nothing is asked; see: data filter --help")
    with Shard(path) as shard:
        header, count = shard.header, shard.n_episodes
        chosen = np.flatnonzero(meets(shard, criteria)).tolist()
    if not chosen:
        nothing: Picked = {
            "shard": None,
            "up_to_date": False,
            "episodes": 0,
            "frames": 0,
            "left_out": count,
        }
        return nothing
    mark = fingerprint("filter", asked, header.shard_id)
    made = _header("filter", asked, mark, {path: header})
    result = _publish(path.parent, stem, mark, made, [Pick(path, chosen)])
    return {**result, "left_out": count - len(chosen)}


def numbers(text: str, option: str) -> tuple[int, ...]:
    """``(0, 3, 5, 6, 7)`` of ``0,3,5-7``.

    Raises:
        PipelineError: anything else, or more than a million numbers.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip(), re.ASCII)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 0 <= high - low < _MOST_NUMBERS - len(found):
            raise PipelineError(f"{option} {text}: write numbers and ranges as 0,3,5-9")
        found += range(low, high + 1)
    return tuple(found)


def _check_stem(stem: str) -> None:
    path = Path(stem)
    versioned = path.suffix == ".h5" or stem_and_version(Path(f"{stem}.h5"))[1]
    if not stem or path.name != stem or stem.startswith(".") or versioned:
        raise PipelineError(
            f"--into {stem}: give a name without folder, version and .h5; the shard lies beside "
            "what it is made of"
        )


def _check_fit(paths: Sequence[Path]) -> list[ShardHeader]:
    """Headers of shards that can be one.

    Raises:
        PipelineError: one line with every mismatch.
    """
    with Shard(paths[0]) as first:
        expected = _described(first)
    wrong: list[str] = []
    headers: list[ShardHeader] = []
    try:
        header = first.header
        headers = check_shards(paths, kind=header.kind, contract=header.frame_contract)
    except PipelineError as error:
        wrong.append(str(error))
    for path in paths[1:]:
        with suppress(PipelineError), Shard(path) as shard:  # what is no shard is listed above
            for name, value in _described(shard).items():
                if value != expected[name]:
                    wrong.append(f"{path}: the {name} are {value}, not {expected[name]}")
    if wrong:
        raise PipelineError("; ".join(wrong))
    return headers


def _described(shard: Shard) -> dict[str, str]:
    """What the header does not tell, or no check compares."""
    state = (shard.stored(f"state/{name}") for name in shard.state_names)
    subtask = subtask_ends(shard.header.provenance) if shard.header.kind == "raw" else None
    ends = subtask if isinstance(subtask, Mapping) else {}
    kinds = (f"{s.name.removeprefix('state/')} {s.dtype}{list(s.row_shape) or ''}" for s in state)
    return {
        "milestones": " ".join(shard.header.milestones) or "none",
        "state variables": ", ".join(kinds) or "none",
        "start states": "kept" if "start_states" in shard.stored_names() else "left out",
        # How raw episodes are played again depends on it.
        "subtask": f"{ends.get('from') or 'start'} to {ends.get('to') or 'end'}",
    }


class _Seen(NamedTuple):
    shard: int
    episode: int
    recording: str


def _each_recording_once(paths: Sequence[Path], keep: Keep | None) -> tuple[list[Pick], int]:
    """The episodes to take, one of each recording, and how many there are in all.

    Two recordings of one game, such as the expert's and the student's, both stay.

    Raises:
        PipelineError: a recording twice, and nothing to ``keep``.
    """
    counts: list[int] = []
    seen: dict[str, list[_Seen]] = {}
    for number, path in enumerate(paths):
        with Shard(path) as shard:
            counts.append(shard.n_episodes)
            for index, (root, recording) in enumerate(
                zip(shard.roots, shard.recordings, strict=True)
            ):
                of_game = seen.setdefault(root, [])
                twins = [one for one in of_game if same_recording(one.recording, recording)]
                if twins and keep is None:
                    raise PipelineError(
                        f"{path}: episode {index} is of the recording {root} that episode "
                        f"{twins[0].episode} of {paths[twins[0].shard]} is of; say which to keep: "
                        "--keep first or last"
                    )
                if keep == "last":
                    of_game[:] = [one for one in of_game if one not in twins]
                if keep == "last" or not twins:
                    of_game.append(_Seen(number, index, recording))
    chosen = {(one.shard, one.episode) for of_game in seen.values() for one in of_game}
    picks = [
        Pick(path, [i for i in range(count) if (number, i) in chosen])
        for number, (path, count) in enumerate(zip(paths, counts, strict=True))
    ]
    return picks, sum(counts)


def _draw(root: str) -> float:
    """A number in [0, 1) for an episode; not the one that decides its training split."""
    return int.from_bytes(hashlib.sha256(b"part " + root.encode()).digest()[:8], "big") / 2**64


def _header(
    stage: str, settings: Mapping[str, Any], mark: str, parents: Mapping[Path, ShardHeader]
) -> ShardHeader:
    """The header of the first parent with a provenance that names them all.

    Who played and who labelled is said only if it is the same in all; where it is known of each
    label, all experts are named.
    """
    told = [header.provenance for header in parents.values()]

    def shared(key: str) -> Any:
        values = [one.get(key) for one in told]
        return values[0] if all(value == values[0] for value in values) else None

    experts = {who: identity for one in told for who, identity in experts_of(one).items()}
    made = provenance(
        stage,
        settings=settings,
        fingerprint=mark,
        actor=shared("actor"),
        emulator=shared("emulator") or "",
        expert=shared("expert"),
        parents=[{"file": p.name, "shard_id": h.shard_id} for p, h in parents.items()],
        recorded_by=sorted(set().union(*map(recorded_by, told))),
        game_yaml=shared("game_yaml"),
        experts=experts if any("experts" in one for one in told) else None,
    )
    ends = [subtask_ends(one) for one in told]
    if ends[0] is not None and all(one == ends[0] for one in ends):
        made["subtask"] = ends[0]
    made |= told_rounds((header.provenance, path) for path, header in parents.items())
    return replace(next(iter(parents.values())), provenance=made, shard_id="")


def _publish(
    folder: Path, stem: str, mark: str, header: ShardHeader, picks: Sequence[Pick]
) -> Edited:
    target, done = publish_name(folder, stem, mark)
    if not done:
        write_episodes(target, header, picks)
    with Shard(target) as shard:
        return {
            "shard": str(target),
            "up_to_date": done,
            "episodes": shard.n_episodes,
            "frames": shard.n_frames,
        }
