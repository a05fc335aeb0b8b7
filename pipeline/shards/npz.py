"""Episodes kept as ``.npz`` files (observations, actions, rewards, dones) into a raw shard."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.frames import FrameContract, Frames
from pipeline.shards.names import publish_name
from pipeline.shards.provenance import fingerprint, provenance
from pipeline.shards.reader import Shard
from pipeline.shards.schema import NO_ACTION, Array, Episode, LabelStatus, ShardHeader
from pipeline.shards.writer import ShardWriter

KEYS = ("observations", "actions", "rewards", "dones")
_SCREENS = ((160, 240), (144, 160))
"""Height and width: Game Boy Advance; Game Boy and Game Boy Color."""


def import_episodes(
    files: Sequence[Path | str],
    settings: Settings,
    *,
    name: str = "import",
    game_name: str | None = None,
    expert: bool = False,
) -> dict[str, Any]:
    """Publish the raw shard ``NAME-raw`` of a game from npz files, one episode each.

    Args:
        game_name: the game that was played; none takes ``settings.game``.
        expert: the actions are an expert's, so that they are labels too.

    Raises:
        PipelineError: no such game, a file that cannot be an episode of it, or a full disk.
    """
    from pipeline.games.description import load_game  # the format itself needs no game

    paths = [Path(file) for file in files]
    game = load_game(game_name or settings.game)
    digests = [_sha256(path) for path in paths]
    decisive = {"expert": expert}
    mark = fingerprint("import", decisive, game.name, game.rom_sha1, digests)
    target, up_to_date = publish_name(settings.shard_folder(game.name), f"{name}-raw", mark)
    header = ShardHeader(
        kind="raw",
        game=game.name,
        rom_sha1=game.rom_sha1,
        actions=tuple(game.buttons),
        timing=game.timing.contract,
        frame_contract=FrameContract(0, 0, "none"),
        milestones=tuple(milestone.name for milestone in game.milestones),
        provenance=provenance(
            "import",
            settings=decisive,
            fingerprint=mark,
            actor={"files": [path.name for path in paths], "sha256": digests},
        ),
    )
    if not up_to_date:
        import_npz(paths, target, header, expert=expert)
    with Shard(target) as shard:
        return {
            "shard": str(target),
            "up_to_date": up_to_date,
            "episodes": shard.n_episodes,
            "frames": shard.n_frames,
            "return_mean": float(shard.returns.mean()),
        }


def import_npz(
    paths: Sequence[Path], target: Path, header: ShardHeader, *, expert: bool = False
) -> ShardHeader:
    """Publish ``target`` with one episode a file; the frame contract follows from the first file.

    ``observations`` is (T or T+1,H,W,3) or (T or T+1,3,H,W), u8 or float in 0..1; ``actions``
    (T,) indices into the header's actions; ``rewards`` (T,); ``dones`` (T,), true at the last
    step only, or nowhere (the episode then counts as broken). Without observation T+1 the last
    screen is repeated as the final frame. The files tell no state, seed, success or milestone:
    they become none, 0, false and -1. Memory: one file.

    Raises:
        PipelineError: a file that is missing, damaged, or not as above; ``target`` exists.
    """
    if not paths:
        raise PipelineError("data import: no files; name some, such as episode_*.npz")
    first = read_npz(paths[0], header, expert=expert)
    height, width = first.final_frame.shape[:2]
    # A console's own screen, or else what the plan's tools made of it with torchvision's Resize.
    resampling = "none" if (height, width) in _SCREENS else "bilinear"
    header = replace(header, frame_contract=FrameContract(height, width, resampling))
    with ShardWriter(target, header) as writer:
        writer.append(first)
        for path in paths[1:]:
            episode = read_npz(path, header, expert=expert)
            if episode.final_frame.shape != first.final_frame.shape:
                raise PipelineError(
                    f"{path}: frames of {'x'.join(map(str, episode.final_frame.shape[:2]))}, but "
                    f"{paths[0]} has {height}x{width}; import them into shards of their own"
                )
            writer.append(episode)
    return replace(header, shard_id=writer.shard_id)


def read_npz(path: Path, header: ShardHeader, *, expert: bool = False) -> Episode:
    """One file as an episode; see :func:`import_npz`."""
    arrays = _load(path)
    steps = len(arrays["actions"])
    frames = _frames(path, arrays["observations"])
    if len(frames) not in (steps, steps + 1):
        raise _bad(path, f"{len(frames)} observations for {steps} actions; expected T or T+1")
    actions = _actions(path, arrays["actions"], header.actions)
    rewards = arrays["rewards"]
    if rewards.dtype.kind not in "iufb" or not np.isfinite(rewards).all():
        raise _bad(path, "rewards are not finite numbers")
    dones = _dones(path, arrays["dones"])
    return Episode(
        frames=frames[:steps],
        actions=actions,
        expert_actions=actions if expert else np.full(steps, NO_ACTION, np.uint8),
        label_status=np.full(
            steps, LabelStatus.LABELLED if expert else LabelStatus.UNLABELLED, np.uint8
        ),
        rewards=rewards.astype(np.float32),
        terminated=dones,
        truncated=np.zeros(steps, np.bool_),
        state={},
        final_frame=frames[-1],
        seed=0,
        success=False,
        root=f"npz-{_sha256(path)[:16]}",
        milestones=np.full(len(header.milestones), -1, np.int32),
    )


def _load(path: Path) -> dict[str, Array]:
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise _bad(path, "one bare array, not an npz archive")
        with opened as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                there = ", ".join(file.files) or "nothing"
                raise _bad(path, f"no {', '.join(missing)}; the file has {there}")
            arrays = {key: np.asarray(file[key]) for key in KEYS}
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; name existing ones") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error):
        raise _bad(path, "cannot be read, it is damaged or no npz archive") from None
    except ValueError:
        raise _bad(path, "holds Python objects or damaged arrays, not plain numbers") from None
    flat = {
        key: arrays[key].reshape(len(arrays[key])) if _is_flat(arrays[key]) else arrays[key]
        for key in KEYS[1:]
    }
    lengths = {key: values.shape for key, values in flat.items()}
    if any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) != 1:
        shapes = ", ".join(f"{key} {shape}" for key, shape in lengths.items())
        raise _bad(path, f"expected (T,) each, found {shapes}")
    if not len(flat["actions"]):
        raise _bad(path, "no steps")
    return {"observations": arrays["observations"], **flat}


def _is_flat(values: Array) -> bool:
    """(T,1), as some recorders write, is (T,)."""
    return values.ndim == 2 and values.shape[1] == 1


def _frames(path: Path, values: Array) -> Frames:
    if values.ndim != 4 or 3 not in (values.shape[3], values.shape[1]):
        raise _bad(path, f"observations are {values.shape}, not (T,H,W,3) or (T,3,H,W)")
    if values.shape[3] != 3:
        values = values.transpose(0, 2, 3, 1)
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        raise _bad(path, f"observations are {values.dtype}, not uint8 or float in 0..1")
    if not (values.min() >= 0 and values.max() <= 1):  # written so that NaN fails too
        raise _bad(
            path, f"float observations from {values.min():g} to {values.max():g}, not in 0..1"
        )
    return np.ascontiguousarray((values * 255).round().astype(np.uint8))


def _actions(path: Path, values: Array, names: Sequence[str]) -> NDArray[np.uint8]:
    if values.dtype.kind not in "iu":
        raise _bad(path, f"actions are {values.dtype}, not integers")
    bad = np.flatnonzero((values < 0) | (values >= len(names)))
    if len(bad):
        raise _bad(
            path,
            f"action {values[bad[0]]} at step {bad[0]}, but there are {len(names)}: "
            f"{' '.join(names)}",
        )
    return values.astype(np.uint8)


def _dones(path: Path, values: Array) -> NDArray[np.bool_]:
    if values.dtype.kind not in "biuf":
        raise _bad(path, f"dones are {values.dtype}, not booleans")
    dones = values.astype(np.bool_)
    early = np.flatnonzero(dones[:-1])
    if len(early):
        raise _bad(path, f"done at step {early[0]} of {len(dones)}; give one episode a file")
    return dones


def _bad(path: Path, what: str) -> PipelineError:
    return PipelineError(f"{path}: not an episode to import: {what}")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise PipelineError(f"{path}: no such file; name existing ones") from None
