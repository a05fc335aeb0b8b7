"""What must hold in a file before anything in it is believed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from pipeline.errors import PipelineError
from pipeline.frames import FrameContract
from pipeline.shards.schema import (
    EPISODE_COLUMNS,
    FORMAT,
    NO_ACTION,
    SCHEMA_VERSION,
    STEP_COLUMNS,
    VALIDATION,
    Array,
    Kind,
    LabelStatus,
    ShardHeader,
)

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises for damaged files (text that is no UTF-8 is a ValueError)."""
_ANEW = "make the shard anew, or leave it out"


def open_file(path: Path) -> h5py.File:
    """Open for reading.

    Raises:
        PipelineError: no such file, not HDF5, or truncated.
    """
    try:
        if not path.is_file():
            raise PipelineError(f"{path}: no such shard; see which there are with: data ls")
        with path.open("rb"):  # HDF5 would only say that it is no HDF5 file
            pass
        if not h5py.is_hdf5(path):
            raise PipelineError(f"{path}: not an HDF5 file, so no shard; {_ANEW}")
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "truncated file" in str(error):
            size = path.stat().st_size
            raise PipelineError(
                f"{path}: truncated, only {size} bytes are left of it; {_ANEW}"
            ) from None
        reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
        raise PipelineError(f"{path}: cannot be opened ({reason}); {_ANEW}") from None


def read_header(file: h5py.File, path: Path) -> ShardHeader:
    """The root attributes.

    Raises:
        PipelineError: foreign HDF5, a newer schema, incomplete, or an attribute missing.
    """
    try:
        attributes = dict(file.attrs)
    except DAMAGE:
        raise PipelineError(f"{path}: the header is damaged; {_ANEW}") from None
    if attributes.get("format") != FORMAT:
        raise PipelineError(
            f"{path}: an HDF5 file, but no shard of {FORMAT} (attribute 'format' is missing or "
            "another); leave it out"
        )
    version = attributes.get("schema_version")
    if not isinstance(version, (int, np.integer)) or version < 1:
        raise PipelineError(f"{path}: schema version {version!r} does not exist; {_ANEW}")
    if version > SCHEMA_VERSION:
        raise PipelineError(
            f"{path}: schema version {version}, but this pipeline reads up to version "
            f"{SCHEMA_VERSION}; update the pipeline"
        )
    if not attributes.get("complete", False):
        raise PipelineError(f"{path}: incomplete, its writer never finished; {_ANEW}")
    try:
        return _header(attributes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"attribute {error}" if isinstance(error, KeyError) else str(error)
        raise PipelineError(f"{path}: the header is not valid ({what}); {_ANEW}") from None


def _header(attributes: dict[str, Any]) -> ShardHeader:
    kind = attributes["kind"]
    if kind not in ("raw", "processed"):
        raise ValueError(f"kind {kind!r}")
    fields = _json_object(attributes, "frame_contract")
    if set(fields) != {"height", "width", "resampling", "colour"}:
        raise ValueError(f"frame_contract has {', '.join(fields) or 'nothing'}")
    contract = FrameContract(**fields)
    if not all(isinstance(n, int) and 0 < n < 1 << 16 for n in (contract.height, contract.width)):
        raise ValueError(f"frame_contract {contract}")
    header = ShardHeader(
        kind=cast(Kind, kind),
        game=attributes["game"],
        rom_sha1=attributes["rom_sha1"],
        actions=tuple(attributes["actions"].tolist()),
        timing=_json_object(attributes, "timing"),
        frame_contract=contract,
        milestones=tuple(attributes["milestones"].tolist()),
        provenance=_json_object(attributes, "provenance"),
        shard_id=attributes["shard_id"],
    )
    texts = (header.game, header.rom_sha1, header.shard_id, *header.actions, *header.milestones)
    if not all(isinstance(text, str) for text in texts) or not header.actions:
        raise ValueError("game, rom_sha1, shard_id, actions and milestones must be text")
    return header


def _json_object(attributes: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        value = json.loads(attributes[name])
    except (TypeError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object")
    return value


def check_content(file: h5py.File, header: ShardHeader, path: Path) -> dict[str, Array]:
    """Check every dataset; return the columns of /episodes, ``root`` with them.

    Cost: the small columns are read once (about ten bytes a step); no frame is.

    Raises:
        PipelineError: one line that lists everything wrong.
    """
    try:
        wrong = _shapes(file, header)
        episodes: dict[str, Array] = {}
        if not wrong:
            names = [*EPISODE_COLUMNS, "root"]
            episodes = {name: file["episodes"][name][:] for name in names}
            for root in episodes["root"].tolist():
                root.decode()
            wrong = _boundaries(file, episodes) or _ranges(file, header, episodes)
    except DAMAGE:
        wrong = ["a dataset cannot be read"]
    if wrong:
        raise PipelineError(f"{path}: not a valid shard ({'; '.join(wrong)}); {_ANEW}")
    return episodes


def _shapes(file: h5py.File, header: ShardHeader) -> list[str]:
    """Names, types and shapes; and that every row is stored in this file."""
    contract = header.frame_contract
    screen = (contract.height, contract.width, 3)
    byte = np.dtype("u1")
    wrong: list[str] = []

    def rows(name: str, row_shape: tuple[int, ...] | None, dtype: np.dtype[Any] | None) -> int:
        dataset = _dataset(file, name)
        if dataset is None:
            wrong.append(f"/{name} is missing")
            return -1
        if dataset.ndim == 0:
            wrong.append(f"/{name} is no column")
        elif row_shape is not None and dataset.shape[1:] != row_shape:
            wrong.append(f"/{name} has rows {dataset.shape[1:]}, not {row_shape}")
        elif dtype is not None and dataset.dtype != dtype:
            wrong.append(f"/{name} is {dataset.dtype}, not {dtype}")
        elif dtype is None and dataset.dtype.kind not in "iufb":
            wrong.append(f"/{name} is {dataset.dtype}, not numbers")
        elif not _stored(dataset):
            wrong.append(f"/{name} has rows that are not stored in the file")
        return int(dataset.shape[0]) if dataset.ndim else -1

    steps = {"frames": rows("frames", screen, byte)}
    steps |= {name: rows(name, (), dtype) for name, dtype in STEP_COLUMNS.items()}
    state = _item(file, "state")
    if isinstance(state, h5py.Group):
        steps |= {f"state/{n}": rows(f"state/{n}", None, None) for n in state}
    else:
        wrong.append("/state is missing")
    wrong += [
        f"/{name} has {n} rows, but /frames has {steps['frames']}"
        for name, n in steps.items()
        if n not in (-1, steps["frames"])
    ]
    counts = {"final_frame": rows("episodes/final_frame", screen, byte)}
    for name, dtype in EPISODE_COLUMNS.items():
        shape = (len(header.milestones),) if name == "milestones" else ()
        counts[name] = rows(f"episodes/{name}", shape, dtype)
    root = _dataset(file, "episodes/root")
    if root is None or root.dtype.kind != "S" or root.ndim != 1 or not _stored(root):
        wrong.append("/episodes/root is missing or no column of text")
    else:
        counts["root"] = len(root)
    wrong += [
        f"/episodes/{name} has {n} rows, but there are {counts['length']} episodes"
        for name, n in counts.items()
        if n not in (-1, counts["length"])
    ]
    return wrong


def _item(file: h5py.File, name: str) -> object:
    """What lies at a path; None for nothing, and for a link out of its place."""
    item: Any = file
    for part in name.split("/"):
        if not isinstance(item, h5py.Group) or not isinstance(
            item.get(part, getlink=True), h5py.HardLink
        ):
            return None
        item = item[part]
    return cast(object, item)


def _dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    item = _item(file, name)
    return item if isinstance(item, h5py.Dataset) else None


def _stored(dataset: h5py.Dataset) -> bool:
    """Whether every row lies in this file; HDF5 would give zeros for those that do not."""
    if dataset.is_virtual or dataset.external:
        return False
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() == dataset.nbytes)
    chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    return bool(dataset.id.get_num_chunks() == chunks)


def _boundaries(file: h5py.File, episodes: dict[str, Array]) -> list[str]:
    """Episodes must cover the steps, in order, without gap or overlap."""
    frames = len(file["frames"])
    lengths = episodes["length"].astype(np.int64)
    starts = episodes["start"]
    if not len(lengths):
        return ["it has no episodes"]
    if (lengths < 1).any():
        return [f"episode {int(np.argmin(lengths))} has no steps"]
    ends = np.cumsum(lengths)
    expected = np.concatenate([[0], ends[:-1]]).astype(np.uint64)
    if (starts != expected).any():
        at = int(np.argmax(starts != expected))
        return [f"episode {at} starts at step {starts[at]}, not {expected[at]}"]
    if ends[-1] != frames:
        return [f"the episodes have {ends[-1]} steps, but there are {frames} frames"]
    return []


def _ranges(file: h5py.File, header: ShardHeader, episodes: dict[str, Array]) -> list[str]:
    wrong: list[str] = []

    def none(bad: Array, message: str) -> None:
        if bad.any():
            wrong.append(f"{message} at {int(np.argmax(bad))}")

    lengths = episodes["length"].astype(np.int64)
    buttons = len(header.actions)
    actions, expert = file["actions"][:], file["expert_actions"][:]
    status = file["label_status"][:]
    none(actions >= buttons, f"/actions is not below {buttons}")
    none((expert >= buttons) & (expert != NO_ACTION), f"/expert_actions is not below {buttons}")
    none(status > max(LabelStatus), f"/label_status is above {max(LabelStatus)}")
    none(
        (status == LabelStatus.LABELLED) != (expert != NO_ACTION),
        "/label_status contradicts /expert_actions",
    )
    last = np.zeros(len(actions), np.bool_)
    last[np.cumsum(lengths) - 1] = True
    for name in ("terminated", "truncated"):
        none(file[name][:] & ~last, f"/{name} is set before the end of an episode")
    none(~np.isfinite(file["rewards"][:]), "/rewards is not finite")
    none(episodes["split"] > VALIDATION, "/episodes/split is neither 0 nor 1")
    reached = episodes["milestones"]
    off = np.any((reached < -1) | (reached > lengths[:, None]), axis=1)
    none(np.asarray(off), "/episodes/milestones is outside its episode")
    return wrong + _start_states(file, episodes)


def _start_states(file: h5py.File, episodes: dict[str, Array]) -> list[str]:
    if "start_states" not in file:
        return []
    states = _dataset(file, "start_states")
    if states is None or states.ndim != 2 or states.dtype != np.dtype("u1") or not _stored(states):
        return ["/start_states is not a table of bytes"]
    lengths = np.asarray(states.attrs.get("lengths", np.empty(0)))
    if lengths.shape != states.shape[:1] or (lengths > states.shape[1]).any():
        return ["/start_states has no valid lengths"]
    if (episodes["start_state"] >= len(states)).any():
        return [f"/episodes/start_state is not below {len(states)}"]
    return []
