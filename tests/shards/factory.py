"""Episodes and shards to test with: screens of tiles, as the console draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shards.format.frames import FrameContract, Frames
from pipeline.shards.format.labels import Labels, expert_id, no_labels, reason_text
from pipeline.shards.format.schema import NO_ACTION, Episode, LabelStatus, ShardHeader
from pipeline.shards.writer import ShardWriter

BUTTONS = ("A", "B", "UP", "DOWN")
ROM = "0123456789abcdef0123456789abcdef01234567"
MADE = {
    "settings": {"seed": 0},
    "code_version": "1234567",
    "packages": {"numpy": "2.0"},
    "emulator": "mGBA 0.10.2",
    "actor": {"expert": "5" * 64},
    "parents": [],
}
PROGRAM = {"kind": "program", "path": "expert.py", "sha256": "5" * 64}
MODEL = {"kind": "model", "model": "a-model-1", "prompt": "6" * 64}
EXPERTS = {expert_id(who): who for who in (PROGRAM, MODEL)}
MILESTONES = ("left_home", "badge")


def screens(count: int, size: tuple[int, int], rng: np.random.Generator) -> Frames:
    """(count,H,W,3): a map of 8x8 tiles that scrolls, and a few pixels that change every step."""
    tiles = rng.integers(0, 256, (8, 8, 8, 3), np.uint8)
    height, width = size
    grid = rng.integers(0, 8, (height // 8 + 2, width // 8 + 2))
    rows = [np.concatenate(list(tiles[row]), axis=1) for row in grid]
    world = np.concatenate(rows, axis=0)
    frames = np.stack([world[i % 8 : i % 8 + height, :width] for i in range(count)])
    frames[:, :2, :3] = rng.integers(0, 256, (count, 2, 3, 3), np.uint8)
    return frames


def make_episode(
    steps: int,
    seed: int = 0,
    *,
    size: tuple[int, int] = (160, 240),
    labelled: bool = False,
    ends: str = "terminated",
    milestones: Sequence[int] = (2, -1),
    ram: bool = False,
    labels: bool = False,
) -> Episode:
    """An episode whose content is a function of the arguments."""
    rng = np.random.default_rng([seed, steps])
    frames = screens(steps + 1, size, rng)
    last = np.arange(steps) == steps - 1
    actions = rng.integers(0, len(BUTTONS), steps, np.uint8)
    return Episode(
        frames=frames[:-1],
        actions=actions,
        expert_actions=actions.copy() if labelled else np.full(steps, NO_ACTION, np.uint8),
        label_status=np.full(
            steps, LabelStatus.LABELLED if labelled else LabelStatus.UNLABELLED, np.uint8
        ),
        rewards=rng.integers(0, 3, steps).astype(np.float32) / np.float32(2),
        terminated=last & (ends == "terminated"),
        truncated=last & (ends == "truncated"),
        state={
            "x": rng.integers(-9, 9, steps).astype(np.int16),
            "map": rng.integers(0, 1000, (steps, 4, 5)).astype(np.uint16),
        },
        final_frame=frames[-1],
        seed=seed,
        success=ends == "terminated",
        root=f"power_on-{seed:08x}",
        milestones=np.array([min(m, steps) for m in milestones], np.int32),
        ram_crc32=np.arange(steps, dtype=np.uint32) * 0x01000193 + seed if ram else None,
        labels=make_labels(steps, seed) if labels else None,
    )


def make_labels(steps: int, seed: int = 0) -> Labels:
    """Columns of /labels as two experts, one of them paid, would leave them."""
    rng = np.random.default_rng([seed, steps, 1])
    columns, paid = no_labels(steps), np.arange(steps) % 3 > 0
    columns["expert"][:] = np.where(paid, expert_id(MODEL), expert_id(PROGRAM))
    columns["attempt"][:] = np.where(paid, 1 + rng.integers(0, 3, steps), 1)
    columns["time"][:] = 1.7e9 + np.arange(steps) / 4
    columns["input_tokens"][paid] = 900
    columns["output_tokens"][paid] = rng.integers(1, 9, int(paid.sum()))
    columns["dollars"][paid] = 0.0025
    columns["score"][1::2] = rng.random(steps // 2, np.float32)
    columns["reason"][::5] = reason_text("stehengeblieben: übervoll")
    return columns


def make_header(**changes: Any) -> ShardHeader:
    """A raw header; ``changes`` replaces fields, and ``stage`` and ``mark`` its provenance."""
    stage, mark = changes.pop("stage", "collect"), changes.pop("mark", "0" * 64)
    fields: dict[str, Any] = {
        "kind": "raw",
        "game": "tiny",
        "rom_sha1": ROM,
        "actions": BUTTONS,
        "timing": {"hold": 4, "release": 6},
        "frame_contract": FrameContract(160, 240, "none"),
        "milestones": MILESTONES,
        "provenance": {**MADE, "stage": stage, "fingerprint": mark},
    }
    return ShardHeader(**{**fields, **changes})


def processed_header(**changes: Any) -> ShardHeader:
    contract = FrameContract(84, 84, "bilinear")
    return make_header(**{"kind": "processed", "frame_contract": contract, **changes})


def write(
    path: Path, header: ShardHeader, episodes: Sequence[Episode], states: Sequence[bytes] = ()
) -> Path:
    with ShardWriter(path, header, start_states=states) as writer:
        for episode in episodes:
            writer.append(episode)
    return path


def raw_shard(path: Path, lengths: Sequence[int] = (5, 23), **changes: Any) -> Path:
    episodes = [make_episode(steps, seed) for seed, steps in enumerate(lengths)]
    return write(path, make_header(**changes), episodes, [b"state" * 50])


def processed_shard(path: Path, lengths: Sequence[int] = (5, 23), **changes: Any) -> Path:
    labelled = changes.pop("labelled", False)
    episodes = [
        make_episode(steps, seed, size=(84, 84), labelled=labelled)
        for seed, steps in enumerate(lengths)
    ]
    return write(path, processed_header(**changes), episodes)


def same(one: Episode, other: Episode) -> bool:
    """Whether two episodes hold the same, bit for bit and in the same types."""
    return all(_equal(value, getattr(other, name)) for name, value in vars(one).items())


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return set(one) == set(other) and all(_equal(v, other[k]) for k, v in one.items())
    if isinstance(one, np.ndarray):
        unknown = one.dtype.kind == "f"  # NaN is then as good as NaN
        return one.dtype == other.dtype and bool(np.array_equal(one, other, equal_nan=unknown))
    return bool(one == other)


def write_game(folder: Path) -> Path:
    """The folder of a game that these shards are of."""
    folder.mkdir()
    (folder / "game.yaml").write_text(
        "{format: 1, name: tiny, title: TINY, platform: gba, "
        f"rom: {{file: tiny.gba, sha1: '{ROM}'}}, "
        "buttons: [A, B, UP, DOWN], timing: {hold: 4, release: 6}, max_steps: 100, "
        "start_states: {power_on: {frames: 60}}, "
        "variables: {x: {address: 0x02000000, type: s16}}, "
        "milestones: [{name: left_home, when: 'x > 1'}, {name: badge, when: 'x > 2'}], "
        "success: 'x > 2'}\n"
    )
    return folder
