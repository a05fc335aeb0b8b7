"""Which shards there are and what they hold: rows for ``data ls`` and ``data show``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import PipelineError
from pipeline.shards.checks import open_file, read_header
from pipeline.shards.names import newest_versions
from pipeline.shards.reader import Shard
from pipeline.shards.schema import VALIDATION, Kind, LabelStatus, ShardHeader


def header_of(path: Path) -> ShardHeader:
    """A shard's header alone: cheap, and the content is not checked."""
    with open_file(path) as file:
        return read_header(file, path)


def newest_shards(folder: Path, *, kind: Kind | None = None) -> list[Path]:
    """The newest version of every shard in ``folder``, of one kind if asked, sorted by name.

    A file that is no shard is passed over: ``data ls`` says what is wrong with it.
    """
    found: list[Path] = []
    for path in newest_versions(folder.glob("*.h5")):
        try:
            header = header_of(path)
        except PipelineError:
            continue
        if kind in (None, header.kind):
            found.append(path)
    return found


def list_shards(datasets: Path) -> list[dict[str, Any]]:
    """One row for each file ``DATASETS/GAME/*.h5``; a file that is no valid shard has ``error``."""
    rows: list[dict[str, Any]] = []
    for path in sorted(datasets.glob("*/*.h5")):
        row: dict[str, Any] = {"shard": str(path)}
        try:
            rows.append(row | _figures(path))
        except PipelineError as error:
            rows.append(row | {"error": str(error).removeprefix(f"{path}: ")})
    return rows


def describe(path: Path) -> dict[str, Any]:
    """Everything about one shard but its frames; ``by_episode`` has a row an episode.

    Raises:
        PipelineError: no valid shard.
    """
    with Shard(path) as shard:
        header = shard.header
        status = shard.column("label_status")
        expert = shard.column("expert_actions")[status == LabelStatus.LABELLED]
        made = header.provenance
        parents = [f"{p.get('file', p.get('path'))} ({p['shard_id']})" for p in made["parents"]]
        return {
            "shard": str(path),
            **_figures(path),
            "shard_id": header.shard_id,
            "rom_sha1": header.rom_sha1,
            "frame_contract": str(header.frame_contract),
            "timing": ", ".join(f"{name} {n} frames" for name, n in header.timing.items()),
            "stage": made.get("stage"),
            "code_version": made.get("code_version"),
            "emulator": made.get("emulator") or None,
            "parents": parents,
            "start_states": len(shard.start_states()),
            "state": list(shard.state_names),
            "label_status": {s.name.lower(): int((status == s).sum()) for s in LabelStatus},
            "by_action": _by_action(header.actions, shard.column("actions"), expert),
            "by_milestone": _by_milestone(header.milestones, shard.milestones),
            "by_episode": _by_episode(shard),
        }


def _figures(path: Path) -> dict[str, Any]:
    with Shard(path) as shard:
        status = shard.column("label_status")
        return {
            "kind": shard.header.kind,
            "game": shard.header.game,
            "episodes": shard.n_episodes,
            "frames": shard.n_frames,
            "labels": int(np.count_nonzero(status == LabelStatus.LABELLED)),
            "validation": int(np.count_nonzero(shard.splits == VALIDATION)),
            "success_rate": float(shard.success.mean()),
            "return_mean": float(shard.returns.mean()),
            "mb": round(path.stat().st_size / 1e6, 2),
        }


def _by_action(actions: tuple[str, ...], played: Any, expert: Any) -> list[dict[str, Any]]:
    return [
        {
            "action": name,
            "played": int(np.count_nonzero(played == i)),
            "labelled": int(np.count_nonzero(expert == i)),
        }
        for i, name in enumerate(actions)
    ]


def _by_milestone(names: tuple[str, ...], steps: Any) -> list[dict[str, Any]]:
    return [
        {
            "milestone": name,
            "reached": int(np.count_nonzero(steps[:, i] >= 0)),
            "step_median": float(np.median(steps[:, i][steps[:, i] >= 0]))
            if (steps[:, i] >= 0).any()
            else None,
        }
        for i, name in enumerate(names)
    ]


def _by_episode(shard: Shard) -> list[dict[str, Any]]:
    return [
        {
            "episode": i,
            "root": shard.roots[i],
            "seed": int(shard.seeds[i]),
            "steps": int(shard.lengths[i]),
            "return": float(shard.returns[i]),
            "success": bool(shard.success[i]),
            "split": "validation" if shard.splits[i] == VALIDATION else "train",
            "milestones": int(np.count_nonzero(shard.milestones[i] >= 0)),
        }
        for i in range(shard.n_episodes)
    ]
