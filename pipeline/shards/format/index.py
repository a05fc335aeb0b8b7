"""Where everything in a shard lies: every dataset found, its shape, type and chunks checked.

Nothing is allocated for a shape before it is known that its chunks exist, lie inside the file, and
can hold that many bytes; so whatever a file claims, memory is bounded by its size.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from pipeline.shards.format.attributes import attribute
from pipeline.shards.format.codec import Damage
from pipeline.shards.format.episodes import (
    EPISODES,
    FINAL_FRAMES,
    OLD_FINAL_FRAMES,
    columns_of,
    content_digests,
    wrong_type,
)
from pipeline.shards.format.schema import (
    EPISODE_COLUMNS,
    LABEL_COLUMNS,
    RAM_CRC32,
    RECORDING,
    STEP_COLUMNS,
    Array,
    ShardHeader,
    is_content_id,
    layout,
    stored_id,
)
from pipeline.shards.format.sealed import ONE_PLACE, Seal, Seals
from pipeline.shards.format.stored import (
    OpenDataset,
    StoredDataset,
    open_member,
    opened,
    stored_dataset,
)

_BYTE = np.dtype("u1")


class Index:
    """Every dataset of an open file; ``wrong`` lists what is not as the schema says.

    Args:
        handle: file descriptor of the same file.
        size: its bytes.

    Raises:
        DamagedChunk: a row of the table /episodes is damaged.
    """

    def __init__(self, file: h5py.File, header: ShardHeader, handle: int, size: int) -> None:
        self.datasets: dict[str, StoredDataset] = {}
        """By path, without the leading slash."""
        self.start_state_lengths: list[int] = []
        self.table: dict[str, Array] | None = None
        """The columns of /episodes; None up to schema version 4, where they are datasets."""
        self.wrong: list[str] = []
        self._file, self._handle, self._size = file, handle, size
        self._version = int(attribute(file, "schema_version"))
        self._root = h5py.h5g.open(file.id, b"/")
        self._groups: dict[str, object] = {"": self._root}
        self._found: dict[str, h5py.h5d.DatasetID] = {}
        self._seals: dict[str, Seal] = {}
        self._milestones = len(header.milestones)
        contract = header.frame_contract
        screen = (contract.height, contract.width, 3)
        self._steps(screen)
        self._episodes(screen) if self._version >= ONE_PLACE else self._old_episodes(screen)
        if self._root.links.exists(b"start_states"):
            self._start_states()
        if not self.wrong:
            self._checksums()
        if not self.wrong and self._version >= ONE_PLACE:
            table = self.datasets[EPISODES]
            self.table = columns_of(table.read(handle, 0, table.rows), self._milestones)
        if not self.wrong:
            self._identity(header)

    def _item(self, name: str) -> object:
        """What lies at a path; None for nothing, and for a link out of its place."""
        above, _, leaf = name.rpartition("/")
        if above not in self._groups:
            self._groups[above] = self._item(above)
        group = self._groups[above]
        return open_member(group, leaf) if isinstance(group, h5py.h5g.GroupID) else None

    def _dataset(self, name: str) -> OpenDataset | None:
        item = self._item(name)
        return opened(item) if isinstance(item, h5py.h5d.DatasetID) else None

    def _steps(self, screen: tuple[int, ...]) -> None:
        steps = {"frames": self._find("frames", screen, _BYTE)}
        steps |= {name: self._find(name, (), dtype) for name, dtype in STEP_COLUMNS.items()}
        if self._root.links.exists(RAM_CRC32.encode()):
            steps[RAM_CRC32] = self._find(RAM_CRC32, (), np.dtype("<u4"))
        if self._version >= 3 and self._root.links.exists(b"labels"):
            steps |= {
                f"labels/{name}": self._find(f"labels/{name}", (), dtype)
                for name, dtype in LABEL_COLUMNS.items()
            }
        state = self._item("state")
        if isinstance(state, h5py.h5g.GroupID):
            self._groups["state"] = state
            names = [f"state/{name.decode('utf-8', 'surrogateescape')}" for name in state]
            steps |= {name: self._find(name, None, None) for name in names}
        else:
            self.wrong.append("/state is missing")
        self.wrong += [
            f"/{name} has {n} rows, but /frames has {steps['frames']}"
            for name, n in steps.items()
            if n not in (-1, steps["frames"])
        ]

    def _episodes(self, screen: tuple[int, ...]) -> None:
        count = -1
        table = self._dataset(EPISODES)
        if table is None or table.ndim != 1 or table.dtype.names is None:
            self.wrong.append(f"/{EPISODES} is missing or no table")
        elif odd := wrong_type(table.dtype, self._milestones):
            self.wrong.append(f"/{EPISODES} {odd}")
        else:
            count = self._store(EPISODES, table, apart=True)
        found = self._find(FINAL_FRAMES, screen, _BYTE)
        if -1 not in (found, count) and found != count:
            line = f"/{FINAL_FRAMES} has {found} rows, but there are {count} episodes"
            self.wrong.append(line)

    def _old_episodes(self, screen: tuple[int, ...]) -> None:
        """The group of columns that /episodes was up to schema version 4."""
        counts = {"final_frame": self._find(OLD_FINAL_FRAMES, screen, _BYTE)}
        for name, dtype in EPISODE_COLUMNS.items():
            shape = (self._milestones,) if name == "milestones" else ()
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
        lengths = np.asarray(attribute(states.id, "lengths", np.empty(0)))
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
        shape, found = dataset.shape, dataset.dtype
        if row_shape is not None and shape[1:] != row_shape:
            self.wrong.append(f"/{name} has rows {shape[1:]}, not {row_shape}")
        elif dtype is not None and found != dtype:
            self.wrong.append(f"/{name} is {found}, not {dtype}")
        elif dtype is None and found.kind not in "iufb":
            self.wrong.append(f"/{name} is {found}, not numbers")
        else:
            self._store(name, dataset)
        return shape[0]

    def _store(self, name: str, dataset: OpenDataset, *, apart: bool = False) -> int:
        """Note where the rows of a dataset lie; how many there are."""
        try:
            self.datasets[name] = stored_dataset(dataset, name, self._size, apart=apart)
            if self._version < ONE_PLACE:
                self._found[name] = dataset.id
        except Damage as damage:
            self.wrong.append(f"/{name} {damage}")
        return dataset.shape[0]

    def _checksums(self) -> None:
        """Give every dataset the CRC32 of its chunks."""
        seals = Seals(self._file, self._version, self._handle, self._size)
        if seals.problem:
            self.wrong.append(seals.problem)
            return
        for name, found in self.datasets.items():
            seal = self._seals[name] = seals.of(name, self._found.get(name))
            if seal.crc32 is None:
                self.wrong += [seal.problem] if seal.problem else []
                continue
            try:
                self.datasets[name] = found.with_checksums(seal.crc32)
            except Damage as damage:
                self.wrong.append(f"/{name} {damage}")

    def _identity(self, header: ShardHeader) -> None:
        """Whether the header and the checksums are those that were written."""
        digests, layouts = {}, {}
        for name, found in self.datasets.items():
            seal = self._seals[name]
            digests[f"/{name}"] = seal.sha256
            lengths = self.start_state_lengths if name == "start_states" else ()
            shape = (found.rows, *found.row_shape)
            layouts[f"/{name}"] = layout(seal.stored_sha256, found.dtype, shape, lengths)
        digests = content_digests(digests, self.table)
        if not is_content_id(header, digests):
            self.wrong.append("the header, or the sha256 of a dataset, is not as written")
        elif self._version >= 2 and (
            attribute(self._file, "stored_sha256", "") != stored_id(header, layouts, self._version)
        ):
            self.wrong.append(
                "the shape, the type or the stored_sha256 of a dataset is not as written"
            )
