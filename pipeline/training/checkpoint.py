"""Checkpoints: everything that a trained network needs to be played, trusted and trained on."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import struct
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.games.description import GameDescription
from pipeline.shards.format.frames import FrameContract
from pipeline.system.errors import PipelineError
from pipeline.system.files import replace_file
from pipeline.training.breakdown import not_finite
from pipeline.training.impala import ImpalaCNN

FORMAT = "pokemon-il checkpoint"
VERSION = 2
"""Version 1 has no goals."""

SWITCHING_SUFFIX = ".json"
"""Of the name of a switching policy, which is no checkpoint (`pipeline.agents.switching`)."""

Inputs = MutableMapping[str, Any]
"""All that decides the weights, as JSON; which names there are depends on the pipeline that wrote
the checkpoint, as two trainings are compared name by name."""
Metrics = Mapping[str, Any]
OptimizerState = dict[str, Any]
"""As torch gives and takes it."""

_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    struct.error,
)


@dataclass
class Checkpoint:
    """A network with what it was made from. ``path`` is where it was read, if it was."""

    weights: dict[str, Tensor]
    hidden: int
    """Width of the hidden layer."""
    frame_contract: FrameContract
    """How the frames must be made that the network is asked about."""
    actions: tuple[str, ...]
    """Button of each logit."""
    game: str
    rom_sha1: str
    timing: Mapping[str, int]
    goals: tuple[str, ...] = ()
    """The milestones whose number the network is told, in order, while they are next; one more
    number says that all are reached. (): it is told none."""
    step: int = 0
    """Updates done."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Those of the run, as JSON."""
    inputs: Inputs = field(default_factory=dict)
    """All that the weights after ``step`` updates depend on, as JSON."""
    shard_ids: tuple[str, ...] = ()
    """Shards trained on."""
    trained_seeds: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    """Seed of every episode of those shards, and of those that ``start_from`` was trained on."""
    optimizer: OptimizerState = field(default_factory=dict)
    random_state: dict[str, Tensor] = field(default_factory=dict)
    """Of torch: ``cpu`` and, where there is one, ``cuda``."""
    metrics: Metrics = field(default_factory=dict)
    """What was measured on the way: the fields of `progress.Progress`, and older ones."""
    path: Path | None = None

    @property
    def sha256(self) -> str:
        """The identity of the policy: sha256 of weights and contract.

        Whoever trained these weights, wherever the file lies and however long it took, it plays
        the same. (A checkpoint's file holds seconds, settings and paths.)
        """
        contract = {
            "hidden": self.hidden,
            "frames": self.frame_contract.as_dict(),
            "actions": list(self.actions),
            "game": self.game,
            "rom_sha1": self.rom_sha1,
            "timing": dict(self.timing),
            "goals": list(self.goals),
        }
        return content_sha256([contract, self.weights])

    @property
    def optimizer_sha256(self) -> str:
        """sha256 of the optimizer's state, as far as a training with ``keep_optimizer`` takes it.

        Learning rate and weight decay are those of the training's own settings.
        """
        groups = [
            {name: value for name, value in group.items() if name not in ("lr", "weight_decay")}
            for group in self.optimizer.get("param_groups", [])
        ]
        return content_sha256([self.optimizer.get("state", {}), groups])

    def network(self) -> ImpalaCNN:
        """The network with these weights, in evaluation mode.

        Raises:
            PipelineError: the weights are not those of this architecture.
        """
        contract = self.frame_contract
        network = ImpalaCNN(
            len(self.actions),
            height=contract.height,
            width=contract.width,
            hidden=self.hidden,
            goals=number_of_goals(self.goals),
        )
        try:
            network.load_state_dict(self.weights)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise PipelineError(
                f"{self.path}: the weights do not fit the network ({reason}); train anew"
            ) from None
        return network.eval()


def number_of_goals(names: Sequence[str]) -> int:
    """Goals of a network of these milestones: each, and that all are reached; 0 without any."""
    return len(names) + 1 if names else 0


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a temporary file, sync, rename: ``path`` is the old checkpoint or the new one, whole.

    The same content gives the same bytes, also in a training that was carried on.

    Raises:
        PipelineError: weights that are not finite, or the disk refuses; the old one is untouched.
    """
    _refuse_not_finite(checkpoint.weights, path, "is not written")
    content = {
        "format": FORMAT,
        "version": VERSION,
        **{name: getattr(checkpoint, name) for name in _FIELDS},
        "frame_contract": checkpoint.frame_contract.as_dict(),
        "actions": list(checkpoint.actions),
        "timing": dict(checkpoint.timing),
        "goals": list(checkpoint.goals),
        "shard_ids": list(checkpoint.shard_ids),
        "trained_seeds": torch.from_numpy(checkpoint.trained_seeds.astype(np.uint32)),
    }
    content["digest"] = _digest(content)
    buffer = io.BytesIO()
    torch.save(_alike(content), buffer)
    replace_file(path, buffer.getvalue(), "checkpoint")


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file is executed.

    Raises:
        PipelineError: no such file, damaged, foreign, written by a newer pipeline, or with weights
            that are not finite.
    """
    path = Path(path)
    if path.suffix == SWITCHING_SUFFIX:
        raise PipelineError(
            f"{path}: no single network, but a switching policy of several; give one of its "
            "checkpoints"
        )
    if not path.is_file():
        raise PipelineError(f"{path}: no such checkpoint; run the train stage first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign files, which are refused anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PipelineError(
            f"{path}: cannot read the checkpoint ({os.strerror(error.errno or 0)}); fix that"
        ) from None
    except _UNREADABLE:
        raise PipelineError(
            f"{path}: damaged, or no checkpoint at all; remove it and train again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PipelineError(
            f"{path}: a torch file, but no checkpoint of this pipeline; give one that train wrote"
        )
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise PipelineError(
            f"{path}: checkpoint version {version}, but this pipeline reads up to version "
            f"{VERSION}; update the pipeline"
        )
    try:
        if content.pop("digest") != _digest(content):
            raise ValueError
        checkpoint = _from_content(content, path)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PipelineError(f"{path}: damaged; remove it and train again") from None
    _refuse_not_finite(checkpoint.weights, path, "is of no use")
    return checkpoint


def _refuse_not_finite(weights: Mapping[str, Tensor], path: Path, fate: str) -> None:
    broken = not_finite(weights)
    if broken:
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise PipelineError(
            f"{path}: {fate}, as its weights are not finite ({broken[0]}{more}): the training "
            "broke down; train again with a lower train.learning_rate, or with train.gradient_clip"
        )


def check_fits(checkpoint: Checkpoint, game: GameDescription) -> None:
    """Check that a checkpoint may play a game.

    Raises:
        PipelineError: one line with every mismatch of game, ROM, buttons, timing or frames.
    """
    pairs: list[tuple[str, Any, Any]] = [
        ("game", checkpoint.game, game.name),
        ("ROM sha1", checkpoint.rom_sha1, game.rom_sha1),
        ("actions", " ".join(checkpoint.actions), " ".join(game.buttons)),
        ("timing", _words(checkpoint.timing), _words(game.timing.contract)),
    ]
    if checkpoint.goals:
        milestones = " ".join(one.name for one in game.milestones)
        pairs.append(("goals", " ".join(checkpoint.goals), milestones or "none"))
    wrong = [f"its {what} {is_} is not the game's {due}" for what, is_, due in pairs if is_ != due]
    contract = checkpoint.frame_contract
    if contract.colour != "RGB" or contract.resampling not in ("none", "bilinear"):
        wrong.append(f"its frames ({contract}) cannot be made here")
    if wrong:
        raise PipelineError(
            f"{checkpoint.path}: does not fit {game.name}: {'; '.join(wrong)}; "
            "give a checkpoint that was trained for it"
        )


_FIELDS = (
    "weights", "hidden", "game", "rom_sha1", "step", "settings", "inputs", "optimizer",
    "random_state", "metrics",
)  # fmt: skip


_OLD_INPUTS = {"leg": "subtask", "told_goal": "goal_conditioned"}
"""Names of a training's inputs in checkpoints that were written earlier, and those of today."""


def _from_content(content: Mapping[str, Any], path: Path) -> Checkpoint:
    inputs = {_OLD_INPUTS.get(name, name): one for name, one in content["inputs"].items()}
    content = {**content, "inputs": inputs}
    return Checkpoint(
        **{name: content[name] for name in _FIELDS},
        frame_contract=FrameContract(**content["frame_contract"]),
        actions=tuple(content["actions"]),
        timing=content["timing"],
        goals=tuple(content["goals"]) if content["version"] > 1 else (),
        shard_ids=tuple(content["shard_ids"]),
        trained_seeds=content["trained_seeds"].numpy(),
        path=path,
    )


def content_sha256(content: Any) -> str:
    """sha256 of tensors, numbers and text in lists and mappings, whose order does not matter."""
    digest = hashlib.sha256()
    _feed(digest.update, content)
    return digest.hexdigest()


def _feed(update: Callable[[Any], object], content: Any) -> None:
    """Every part says what it is and how long, so that no two contents look alike."""
    if isinstance(content, Tensor):
        plain = content.detach().cpu().contiguous()
        update(f"tensor {plain.dtype} {tuple(plain.shape)}:".encode())
        update(plain.flatten().view(torch.uint8).numpy().data)
    elif isinstance(content, Mapping):
        update(f"mapping {len(content)}:".encode())
        for name in sorted(content, key=repr):
            _feed(update, name)
            _feed(update, content[name])
    elif isinstance(content, (list, tuple)):
        update(f"list {len(content)}:".encode())
        for one in content:
            _feed(update, one)
    else:
        text = repr(content).encode()
        update(f"{type(content).__name__} {len(text)}:".encode())
        update(text)


def _digest(content: Any) -> str:
    """sha256 over every tensor: torch does not notice a flipped bit in its own files."""
    digest = hashlib.sha256()
    for tensor in _tensors(content):
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _tensors(content: Any) -> Iterator[Tensor]:
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from _tensors(value)


def _alike(value: Any) -> Any:
    """The same content, such that torch writes the same bytes for it.

    torch writes a text, a container or a tensor's memory only once where it is the very same object
    twice.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()  # its strides are kept: sums depend on them
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Mapping):
        return {_alike(key): _alike(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_alike(one) for one in value)
    return value


def _words(values: Mapping[str, int]) -> str:
    return ", ".join(f"{key} {values[key]}" for key in sorted(values))
