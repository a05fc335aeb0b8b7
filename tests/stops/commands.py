"""Tiny commands on the real emulator with the game quest, and what they leave behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SETTINGS: dict[str, Any] = {
    "run": "tiny",
    "paths": {"datasets": "datasets", "checkpoints": "checkpoints"},
    "collect": {"episodes": 2, "max_steps": 24, "workers": 1},
    "preprocess": {"workers": 1, "validation": 0.5},
    "label": {"workers": 1},
    "train": {
        "steps": 5, "batch_size": 4, "threads": 1, "hidden": 8, "log_every": 2, "workers": 0,
        "validate_every": 2, "save_every": 3, "device": "cpu", "precision": "fp32", "cache": "none",
    },
    "evaluate": {"episodes": 2, "max_steps": 12, "workers": 1, "video": True},
    "dagger": {"rounds": 2, "episodes": 2, "steps": 3, "evaluate_episodes": 1},
    "curriculum": {
        "expert_episodes": 2, "rounds": 1, "episodes": 2, "steps": 2, "evaluate_episodes": 1,
        "states": 4, "target": 1.0,
    },
}  # fmt: skip

RELABEL = ["label", "--relabel", "true"]
COMMANDS: dict[str, tuple[str | None, list[str]]] = {
    "collect": (None, ["collect"]),
    "preprocess": ("collect", ["preprocess"]),
    "label": ("preprocess", RELABEL),
    "train": ("label", ["train"]),
    "train that asks the emulator": (
        "label",
        ["train", "--evaluate_every", "3", "--evaluate_episodes", "1", "--save_every", "0"],
    ),
    "train on": ("train", ["train", "--steps", "7"]),
    "train again": ("train", ["train", "--resume", "false", "--seed", "1"]),
    "evaluate": ("train", ["evaluate", "--keep_states", "true"]),
    "collect again": ("collect", ["collect", "--seed", "1", "--keep_states", "true"]),
    "dagger": (None, ["dagger"]),
    "curriculum": (None, ["curriculum", "--to", "left_home", "--evaluate.max_steps", "60"]),
}
"""By name, the command whose files it finds, and its words."""

SHORT = {
    "collect": 2, "train": 2, "evaluate": 3, "train that asks the emulator": 5, "train on": 5,
    "train again": 6, "collect again": 6,
}  # fmt: skip
"""Of the states that a stop leaves, every so many-th in the short form; of the others each."""
CHAINS = {"dagger": 11, "curriculum": 17}
"""Commands that the short form stops again and again in one folder, each time so many points
later: they are the longest, and a run after a stop begins with all that was finished before."""
_OWN = ("seconds", "new_states", "up_to_date")
"""What a report says of the very call that wrote it."""


def left_in(folder: Path) -> dict[str, str]:
    """By name, what each file under a folder holds, as a hash; of TensorBoard its curves."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and path.name != ".catalogue" and "tfevents" not in path.name:
            found[name] = hashlib.sha256(_content(path)).hexdigest()
        elif path.is_dir() and path.name == "tensorboard":
            found[name] = _curves(path)
    return found


def _content(path: Path) -> bytes:
    if path.suffix == ".pt":
        return _plain(torch.load(path, weights_only=True)).encode()
    if path.suffix == ".json":
        told = json.loads(path.read_text())
        return json.dumps({key: told[key] for key in told if key not in _OWN}).encode()
    return path.read_bytes()


def _plain(value: Any) -> str:
    """Checkpoints as text: torch's own files depend on which equal strings are the same object."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return repr(value)


def _curves(folder: Path) -> str:
    board = EventAccumulator(str(folder)).Reload()
    return repr(
        {
            tag: [(point.step, point.value) for point in board.Scalars(tag)]
            for tag in sorted(board.Tags()["scalars"])
        }
    )
