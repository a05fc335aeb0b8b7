"""One ``.npz`` file of another recorder as an episode: every array is checked."""

from __future__ import annotations

import difflib
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.shards.format.frames import Frames
from pipeline.shards.format.remarks import Remarks
from pipeline.shards.format.schema import NO_ACTION, Array, Episode, LabelStatus, ShardHeader
from pipeline.system.errors import PipelineError

KEYS = ("observations", "actions", "rewards", "dones")
_OTHERS_SAY = {
    "observations": ("obs", "observation", "frames", "images", "screens", "states"),
    "actions": ("acts", "action", "act"),
    "rewards": ("reward", "rews", "rew"),
    "dones": ("done", "terminals", "terminal", "terminated", "terminations"),
}


class Console(NamedTuple):
    """What the frames of a game can look like."""

    title: str
    height: int
    width: int


CONSOLES = (Console("Game Boy Advance", 160, 240), Console("Game Boy", 144, 160))


def read_npz(
    path: Path,
    header: ShardHeader,
    *,
    expert: bool = False,
    console: Console | None = None,
    size: int = 84,
    remarks: Remarks | None = None,
) -> Episode:
    """One file as an episode; see :func:`import_npz`."""
    remarks = Remarks() if remarks is None else remarks
    arrays = _load(path, remarks)
    steps = len(arrays["actions"])
    frames = _frames(path, arrays["observations"], remarks)
    _check_screen(path, frames, console, size, remarks)
    if len(frames) not in (steps, steps + 1):
        raise _bad(path, f"{len(frames)} observations for {steps} actions; expected T or T+1")
    actions = _actions(path, arrays["actions"], header.actions)
    rewards = _rewards(path, arrays["rewards"])
    dones = _dones(path, arrays["dones"])
    if not dones.any():
        remarks.warn(path, "no step is done, so the episode counts as truncated")
    return Episode(
        frames=frames[:steps],
        actions=actions,
        expert_actions=actions if expert else np.full(steps, NO_ACTION, np.uint8),
        label_status=np.full(
            steps, LabelStatus.LABELLED if expert else LabelStatus.UNLABELLED, np.uint8
        ),
        rewards=rewards,
        terminated=dones,
        truncated=np.zeros(steps, np.bool_),
        state={},
        final_frame=frames[-1],
        seed=0,
        success=False,
        root=f"npz-{sha256_of(path)[:16]}",
        milestones=np.full(len(header.milestones), -1, np.int32),
    )


def _load(path: Path, remarks: Remarks) -> dict[str, Array]:
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise _bad(path, "a single array, not an npz archive")
        with opened as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                there = ", ".join(file.files) or "nothing"
                hint = _renaming(missing, set(file.files) - set(KEYS))
                raise _bad(path, f"no {', '.join(missing)}; the file has {there}{hint}")
            extra = sorted(set(file.files) - set(KEYS))
            if extra:
                remarks.warn(path, f"left out, as a shard has no place for it: {', '.join(extra)}")
            _check_memory(path, file.zip.infolist())
            arrays = {key: np.asarray(file[key]) for key in KEYS}
    except FileNotFoundError:
        raise PipelineError(f"{path}: no such file; name existing ones") from None
    except MemoryError:
        raise _bad(path, "needs more memory than there is; cut it into shorter episodes") from None
    # RuntimeError: with a password, or packed in a way that is not known here
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise _bad(path, "cannot be read, it is damaged, or not an npz archive") from None
    except ValueError:
        raise _bad(path, "holds Python objects or damaged arrays, not plain numbers") from None
    flat = {
        key: arrays[key].reshape(len(arrays[key])) if _is_flat(arrays[key]) else arrays[key]
        for key in KEYS[1:]
    }
    lengths = {key: values.shape for key, values in flat.items()}
    if any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) != 1:
        shapes = ", ".join(f"{key} {shape}" for key, shape in lengths.items())
        hint = "; make indices of one-hot actions with .argmax(1)"
        raise _bad(
            path,
            f"expected (T,) each, found {shapes}{hint if _is_one_hot(flat['actions']) else ''}",
        )
    if not len(flat["actions"]):
        raise _bad(path, "no steps")
    return {"observations": arrays["observations"], **flat}


def _renaming(missing: Sequence[str], others: Iterable[str]) -> str:
    """Which of the arrays that are there are most likely those that are not."""
    left, hints = {name.lower(): name for name in sorted(others)}, []
    for key in missing:
        near = [name for name in _OTHERS_SAY[key] if name in left]
        near += difflib.get_close_matches(key, left, n=1, cutoff=0.7)
        if near:
            hints.append(f"{left.pop(near[0])} to {key}")
    return f"; rename {', '.join(hints)}" if hints else ""


def _check_memory(path: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """Refuse a file that would be unpacked into more than the machine has."""
    wanted = {f"{key}.npy" for key in KEYS}
    unpacked = sum(one.file_size for one in members if one.filename in wanted)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if unpacked > memory:
        raise _bad(
            path,
            f"unpacks to {unpacked / 2**30:.1f} GiB, more than this machine's memory; cut it into "
            "shorter episodes",
        )


def _is_one_hot(values: Array) -> bool:
    return (
        values.ndim == 2
        and values.dtype.kind in "biuf"
        and bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())
    )


def _is_flat(values: Array) -> bool:
    """(T,1), as some recorders write, is (T,)."""
    return values.ndim == 2 and values.shape[1] == 1


def _frames(path: Path, values: Array, remarks: Remarks) -> Frames:
    if values.ndim != 4 or 3 not in (values.shape[3], values.shape[1]):
        hint = ""
        if values.ndim == 3 or (values.ndim == 4 and 1 in (values.shape[3], values.shape[1])):
            hint = "; of greyscale, give each pixel three times"
        elif values.ndim == 4 and 4 in (values.shape[3], values.shape[1]):
            hint = "; of RGBA, leave out the fourth channel"
        raise _bad(path, f"observations are {values.shape}, not (T,H,W,3) or (T,3,H,W){hint}")
    if not values.size:
        raise _bad(path, f"observations are {values.shape}, so there are no pixels")
    if values.shape[3] != 3:
        values = values.transpose(0, 2, 3, 1)
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        raise _bad(path, f"observations are {values.dtype}, not uint8 or float in 0..1")
    if not (values.min() >= 0 and values.max() <= 1):  # written so that NaN fails too
        whole = values.min() >= 0 and 1 < values.max() <= 255
        raise _bad(
            path,
            f"float observations from {values.min():g} to {values.max():g}, not in 0..1"
            + ("; store colours of 0..255 as uint8" if whole else ""),
        )
    remarks.note(path, "float frames in 0..1, taken as colours of 0..255 divided by 255")
    return np.ascontiguousarray((values * 255).round().astype(np.uint8))


def _check_screen(
    path: Path, frames: Frames, console: Console | None, size: int, remarks: Remarks
) -> None:
    """Frames (T,H,W,3) that the console cannot have shown are refused, or warned of."""
    height, width = frames.shape[1:3]
    has = f"frames of {height}x{width} (height x width)"
    for one in CONSOLES if console is None else (console, *CONSOLES):
        if height * one.height == width * one.width:  # of any scale
            raise _bad(
                path,
                f"{has}: height and width are exchanged, a {one.title} shows "
                f"{one.height}x{one.width}",
            )
    if console is not None and (height, width) != (console.height, console.width):
        shows = f"a {console.title} shows {console.height}x{console.width}"
        for one in CONSOLES:
            if (height, width) == (one.height, one.width):
                raise _bad(path, f"{has} are those of a {one.title}, but {shows}")
        if (height, width) != (size, size):
            remarks.warn(path, f"{has}, but {shows}; they are taken as resized before")
    brightest = int(frames.max())
    if brightest <= 1:
        remarks.warn(
            path,
            f"the brightest colour of its frames is {brightest} of 255; were they scaled to 0..1 "
            "before they became uint8?",
        )


def _rewards(path: Path, values: Array) -> NDArray[np.float32]:
    if values.dtype.kind not in "iufb":
        raise _bad(path, f"rewards are {values.dtype}, not numbers")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise _bad(path, f"rewards are not finite numbers: {values[bad[0]]} at step {bad[0]}")
    with np.errstate(over="ignore"):
        rewards = values.astype(np.float32)
        total = rewards.sum(dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(rewards))
        if len(bad):
            raise _bad(
                path, f"reward {values[bad[0]]:g} at step {bad[0]} is beyond what float32 can hold"
            )
        if not np.isfinite(np.float32(total)):
            raise _bad(path, f"rewards add up to {total:g}, beyond what float32 can hold")
    return rewards


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
    bad = np.flatnonzero((values != 0) & (values != 1))
    if len(bad):
        raise _bad(path, f"dones hold {values[bad[0]]} at step {bad[0]}, not 0 or 1")
    dones = values.astype(np.bool_)
    early = np.flatnonzero(dones[:-1])
    if len(early):
        raise _bad(path, f"done at step {early[0]} of {len(dones)}; give one episode a file")
    return dones


def _bad(path: Path, what: str) -> PipelineError:
    return PipelineError(f"{path}: not an episode to import: {what}")


def sha256_of(path: Path) -> str:
    """Hex digits of a file's SHA-256.

    Raises:
        PipelineError: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        if not path.exists() and any(sign in str(path) for sign in "*?["):
            raise PipelineError(f"{path}: no file matches; name existing ones") from None
        if isinstance(error, FileNotFoundError):
            raise PipelineError(f"{path}: no such file; name existing ones") from None
        raise _bad(path, f"cannot be read ({os.strerror(error.errno or 0)})") from None
