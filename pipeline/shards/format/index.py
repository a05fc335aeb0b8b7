"""Where everything in a shard lies: every dataset found, its shape, type and chunks checked.

Nothing is allocated for a shape before it is known that its chunks exist, lie inside the file, and
can hold that many bytes; so whatever a file claims, memory is bounded by its size.
"""

from __future__ import annotations

import math
from typing import Any, cast

import h5py
import numpy as np

from pipeline.shards.format.codec import Damage
from pipeline.shards.format.schema import (
    EPISODE_COLUMNS,
    LABEL_COLUMNS,
    RAM_CRC32,
    RECORDING,
    STEP_COLUMNS,
    ShardHeader,
    is_content_id,
    layout,
    stored_id,
)
from pipeline.shards.format.stored import StoredDataset, stored_dataset

_LARGEST_ATTRIBUTE = 1 << 16
_BYTE = np.dtype("u1")


class Index:
    """Every dataset of an open file; ``wrong`` lists what is not as the schema says.

    Args:
        handle: file descriptor of the same file.
        size: its bytes.

    Raises:
        Damage: the stored bytes of a checksum are damaged.
    """

    def __init__(self, file: h5py.File, header: ShardHeader, handle: int, size: int) -> None:
        self.datasets: dict[str, StoredDataset] = {}
        """By path, without the leading slash."""
        self.start_state_lengths: list[int] = []
        self.wrong: list[str] = []
        self._file, self._handle, self._size = file, handle, size
        self._version = int(file.attrs["schema_version"])
        self._groups: dict[str, object] = {"": file}
        self._found: dict[str, h5py.Dataset] = {}
        contract = header.frame_contract
        screen = (contract.height, contract.width, 3)
        self._steps(screen)
        self._episodes(screen, len(header.milestones))
        if "start_states" in file:
            self._start_states()
        if not self.wrong and self._version >= 2:
            self._checksums()
        if not self.wrong:
            self._identity(header)

    def _item(self, name: str) -> object:
        """What lies at a path; None for nothing, and for a link out of its place."""
        above, _, leaf = name.rpartition("/")
        if above not in self._groups:
            self._groups[above] = self._item(above)
        group = self._groups[above]
        if not isinstance(group, h5py.Group) or leaf not in group:
            return None
        if group.id.links.get_info(leaf.encode()).type != h5py.h5l.TYPE_HARD:
            return None
        return cast(object, group[leaf])

    def _dataset(self, name: str) -> h5py.Dataset | None:
        item = self._item(name)
        return item if isinstance(item, h5py.Dataset) else None

    def _steps(self, screen: tuple[int, ...]) -> None:
        steps = {"frames": self._find("frames", screen, _BYTE)}
        steps |= {name: self._find(name, (), dtype) for name, dtype in STEP_COLUMNS.items()}
        if RAM_CRC32 in self._file:
            steps[RAM_CRC32] = self._find(RAM_CRC32, (), np.dtype("<u4"))
        if self._version >= 3 and "labels" in self._file:
            steps |= {
                f"labels/{name}": self._find(f"labels/{name}", (), dtype)
                for name, dtype in LABEL_COLUMNS.items()
            }
        state = self._item("state")
        if isinstance(state, h5py.Group):
            steps |= {f"state/{n}": self._find(f"state/{n}", None, None) for n in state}
        else:
            self.wrong.append("/state is missing")
        self.wrong += [
            f"/{name} has {n} rows, but /frames has {steps['frames']}"
            for name, n in steps.items()
            if n not in (-1, steps["frames"])
        ]

    def _episodes(self, screen: tuple[int, ...], milestones: int) -> None:
        counts = {"final_frame": self._find("episodes/final_frame", screen, _BYTE)}
        for name, dtype in EPISODE_COLUMNS.items():
            shape = (milestones,) if name == "milestones" else ()
            counts[name] = self._find(f"episodes/{name}", shape, dtype)
        root = self._dataset("episodes/root")
        if root is None or root.dtype.kind != "S" or root.ndim != 1:
            self.wrong.append("/episodes/root is missing or no column of text")
        else:
            counts["root"] = self._find("episodes/root", (), root.dtype)
        if self._version >= 4 and self._item("episodes/recording") is not None:
            counts["recording"] = self._find("episodes/recording", (), RECORDING)
        self.wrong += [
            f"/episodes/{name} has {n} rows, but there are {counts['length']} episodes"
            for name, n in counts.items()
            if n not in (-1, counts["length"])
        ]

    def _start_states(self) -> None:
        states = self._dataset("start_states")
        if states is None or states.ndim != 2 or states.dtype != _BYTE:
            self.wrong.append("/start_states is not a table of bytes")
            return
        if self._find("start_states", states.shape[1:], _BYTE) < 0:
            return
        lengths = np.asarray(attribute(states, "lengths", np.empty(0)))
        if (
            lengths.shape != states.shape[:1]
            or lengths.dtype != np.dtype("<u4")
            or (lengths > states.shape[1]).any()
        ):
            self.wrong.append("/start_states has no valid lengths")
        else:
            self.start_state_lengths = lengths.tolist()

    def _find(
        self, name: str, row_shape: tuple[int, ...] | None, dtype: np.dtype[Any] | None
    ) -> int:
        """Rows of a dataset; -1 if what is there cannot be it."""
        dataset = self._dataset(name)
        if dataset is None:
            self.wrong.append(f"/{name} is missing")
            return -1
        if dataset.ndim == 0:
            self.wrong.append(f"/{name} is no column")
            return -1
        if row_shape is not None and dataset.shape[1:] != row_shape:
            self.wrong.append(f"/{name} has rows {dataset.shape[1:]}, not {row_shape}")
        elif dtype is not None and dataset.dtype != dtype:
            self.wrong.append(f"/{name} is {dataset.dtype}, not {dtype}")
        elif dtype is None and dataset.dtype.kind not in "iufb":
            self.wrong.append(f"/{name} is {dataset.dtype}, not numbers")
        else:
            try:
                self.datasets[name] = stored_dataset(dataset, None, self._size)
                self._found[name] = dataset
            except Damage as damage:
                self.wrong.append(f"/{name} {damage}")
        return int(dataset.shape[0])

    def _checksums(self) -> None:
        """Give every dataset the CRC32 of its chunks."""
        for name, found in list(self.datasets.items()):
            path = f"checksums/{name}"
            item = self._dataset(path)
            if item is None:
                self.wrong.append(f"/{path} is missing")
            elif item.shape != (len(found.sizes),) or item.dtype != np.dtype("<u4"):
                self.wrong.append(
                    f"/{path} is {item.dtype} {item.shape}, not uint32 {(len(found.sizes),)}"
                )
            else:
                try:
                    stored = stored_dataset(item, None, self._size)
                    checksums = stored.read(self._handle, 0, stored.rows)
                except Damage as damage:
                    self.wrong.append(f"/{path} {damage}")
                    continue
                self.datasets[name] = found.with_checksums(checksums)

    def _identity(self, header: ShardHeader) -> None:
        """Whether the header and the attributes are those that were written."""
        digests, layouts = {}, {}
        for name, found in self.datasets.items():
            dataset = self._found[name]
            digests[f"/{name}"] = str(attribute(dataset, "sha256", ""))
            stored = str(attribute(dataset, "stored_sha256", ""))
            lengths = self.start_state_lengths if name == "start_states" else ()
            shape = (found.rows, *found.row_shape)
            layouts[f"/{name}"] = layout(stored, found.dtype, shape, lengths)
        if not is_content_id(header, digests):
            self.wrong.append("the header, or the sha256 of a dataset, is not as written")
        elif self._version >= 2 and (
            attribute(self._file, "stored_sha256", "") != stored_id(header, layouts, self._version)
        ):
            self.wrong.append(
                "the shape, the type or the stored_sha256 of a dataset is not as written"
            )


def attribute(item: h5py.Group | h5py.Dataset, name: str, default: Any = None) -> Any:
    """The value of an attribute, read only if it is small enough to be one of a shard's.

    Text comes as ``str``, whether its length is fixed in the file or not.

    Raises:
        ValueError: it is not.
    """
    if name not in item.attrs:
        return default
    opened = h5py.h5a.open(item.id, name.encode())
    if math.prod(opened.shape or ()) * opened.get_type().get_size() > _LARGEST_ATTRIBUTE:
        raise ValueError(f"attribute '{name}' is too large")
    value = item.attrs[name]
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, np.ndarray) and value.dtype.kind == "S":
        return np.char.decode(value, "utf-8", "surrogateescape").astype(object)
    return value
