"""Shards of the game quest whose frames say which button is right, made without an emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.frames import FrameContract
from pipeline.games.description import GameDescription, load_game
from pipeline.shards.schema import NO_ACTION, TRAIN, Array, Episode, LabelStatus, ShardHeader
from pipeline.shards.writer import ShardWriter

CONTRACT = FrameContract(84, 84, "bilinear")


def game() -> GameDescription:
    return load_game("quest")


def header(**changes: Any) -> ShardHeader:
    quest = game()
    fields: dict[str, Any] = {
        "kind": "processed",
        "game": quest.name,
        "rom_sha1": quest.rom_sha1,
        "actions": quest.buttons,
        "timing": {"hold": quest.timing.hold, "release": quest.timing.release},
        "frame_contract": CONTRACT,
        "provenance": {"stage": "label", "fingerprint": "0", "parents": []},
    }
    return ShardHeader(**{**fields, **changes})


def frame_of(button: int, number: int, size: int = 84) -> Array:
    """A frame (size,size,3) u8: a bright square at the button's place; `number` is written in its
    first pixels, so that every frame is known again."""
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
    length: int, seed: int, *, first: int = 0, split: int = TRAIN, every: int = 1, size: int = 84
) -> Episode:
    """Steps numbered from ``first``; one in ``every`` is labelled, with (number * 7) % buttons."""
    buttons = len(game().buttons)
    numbers = np.arange(first, first + length)
    right = (numbers * 7 % buttons).astype(np.uint8)
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
    )


def shard(
    path: Path,
    lengths: tuple[int, ...] = (70, 45, 61),
    *,
    validation: tuple[int, ...] = (),
    first: int = 0,
    seed: int = 0,
    every: int = 1,
    **changes: Any,
) -> Path:
    """Write a shard; the episodes ``validation`` have that split."""
    contract: FrameContract = changes.get("frame_contract", CONTRACT)
    with ShardWriter(path, header(**changes)) as writer:
        for i, length in enumerate(lengths):
            split = int(i in validation)
            made = episode(
                length, seed + i, first=first, split=split, every=every, size=contract.height
            )
            writer.append(made)
            first += length
    return path
