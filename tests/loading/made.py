"""Shards of a game of paper whose frames say which button is right, made without an emulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import NO_ACTION, TRAIN, Array, Episode, LabelStatus, ShardHeader
from pipeline.shards.writer import ShardWriter
from tests.shards.factory import screens

CONTRACT = FrameContract(84, 84, "bilinear")


BUTTONS = ("A", "B", "START", "SELECT", "UP", "DOWN", "LEFT", "RIGHT", "L", "R")
ROM = "0123456789abcdef0123456789abcdef01234567"


def game_folder(folder: Path) -> Path:
    """The folder of the game that these shards are of."""
    folder.mkdir(parents=True)
    (folder / "game.yaml").write_text(
        "{format: 1, name: paper, title: PAPER, platform: gba, "
        f"rom: {{file: paper.gba, sha1: '{ROM}'}}, buttons: [{', '.join(BUTTONS)}], "
        "timing: {hold: 4, release: 6}, max_steps: 100, start_states: {power_on: {frames: 60}}, "
        "variables: {x: {address: 0x02000000, type: s16}}, "
        "milestones: [{name: far, when: 'x > 1'}], success: 'x > 2'}\n"
    )
    return folder


def header(**changes: Any) -> ShardHeader:
    fields: dict[str, Any] = {
        "kind": "processed",
        "game": "paper",
        "rom_sha1": ROM,
        "actions": BUTTONS,
        "timing": {"hold": 4, "release": 6},
        "frame_contract": CONTRACT,
        "provenance": {"stage": "label", "fingerprint": "0", "parents": []},
    }
    return ShardHeader(**{**fields, **changes})


def frame_of(button: int, number: int, size: int = 84) -> Array:
    """A frame (size,size,3) u8: a bright square at the button's place.

    ``number`` is written in its first pixels, so that every frame is known again.
    """
    frame = np.full((size, size, 3), 40 + number % 7, np.uint8)
    row, column = divmod(button, 4)
    edge = size // 4
    frame[row * edge : row * edge + edge, column * edge : column * edge + edge] = (200, 160, 60)
    frame[0, :4, 0] = np.frombuffer(np.uint32(number).tobytes(), np.uint8)
    return frame


def number_of(frame: Any) -> int:
    """The number that `frame_of` wrote."""
    return int(np.ascontiguousarray(np.asarray(frame)[0, :4, 0]).view(np.uint32)[0])


def episode(
    length: int,
    seed: int,
    *,
    first: int = 0,
    split: int = TRAIN,
    every: int = 1,
    size: int = 84,
    reached: tuple[int, ...] = (),
) -> Episode:
    """Steps numbered from ``first``; one in ``every`` is labelled, with (number * 7) % 10.

    ``reached`` are the steps at which it came to each milestone.
    """
    numbers = np.arange(first, first + length)
    right = (numbers * 7 % len(BUTTONS)).astype(np.uint8)
    labelled = numbers % every == 0
    ended = np.zeros(length, np.bool_)
    ended[-1] = True
    frames = [frame_of(int(b), int(n), size) for b, n in zip(right, numbers, strict=True)]
    return Episode(
        frames=np.stack(frames),
        actions=right,
        expert_actions=np.where(labelled, right, NO_ACTION).astype(np.uint8),
        label_status=np.where(labelled, LabelStatus.LABELLED, LabelStatus.FAILED).astype(np.uint8),
        rewards=np.zeros(length, np.float32),
        terminated=ended,
        truncated=np.zeros(length, np.bool_),
        state={"x": numbers.astype(np.int16)},
        final_frame=frame_of(0, 0, size),
        seed=seed,
        success=True,
        root=f"made-{seed}",
        split=split,
        milestones=np.array(reached, np.int32),
    )


def shard(
    path: Path,
    lengths: tuple[int, ...] = (70, 45, 61),
    *,
    validation: tuple[int, ...] = (),
    first: int = 0,
    seed: int = 0,
    every: int = 1,
    reached: tuple[tuple[int, ...], ...] = (),
    **changes: Any,
) -> Path:
    """Write a shard; the episodes ``validation`` have that split, and ``reached`` is by episode."""
    contract: FrameContract = changes.get("frame_contract", CONTRACT)
    with ShardWriter(path, header(**changes)) as writer:
        for i, length in enumerate(lengths):
            split = int(i in validation)
            made = episode(
                length,
                seed + i,
                first=first,
                split=split,
                every=every,
                size=contract.height,
                reached=reached[i] if reached else (),
            )
            writer.append(made)
            first += length
    return path


def tiled_shard(path: Path, steps: int, block: int = 512) -> Path:
    """A shard of so many labelled steps whose frames are maps of tiles, like a game's.

    The same ``block`` of frames over and over, so that large shards are made quickly.
    """
    frames = screens(block, (84, 84), np.random.default_rng(0))
    with ShardWriter(path, header()) as writer:
        for seed, start in enumerate(range(0, steps, block)):
            length = min(block, steps - start)
            empty = episode(length, seed, first=start, size=8)
            writer.append(replace(empty, frames=frames[:length], final_frame=frames[0]))
    return path
