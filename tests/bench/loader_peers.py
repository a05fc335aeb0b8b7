"""What the loader is compared with, each as its makers use it: endless batches of 64.

A peer's function prepares (that is not counted) and returns an endless iterator of (observations,
actions). Wherever there is a choice, a peer gets the cheaper one: actions from RAM, no next
observation, no reward. Frames stay uint8 as each peer's own loader leaves them (robomimic makes
them float on the device, after its loader); only the replay buffer holds float32.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from tests.bench.loader_data import BenchData, blocks, count_frames

BATCH = 64

Batch = Any
"""(observations, actions), or a library's own dictionary with both."""


@dataclass(frozen=True)
class Peer:
    """A design: ``start(data, workers)`` prepares and returns its batches."""

    title: str
    start: Callable[[BenchData, int], Iterator[Batch]]
    workers: tuple[int, ...] = (0,)
    disk: bool = False
    """Whether it counts as a peer that reads from disk."""
    compressed: bool = False
    """Whether what it reads from disk is compressed, as our shards are."""
    needs: str | None = None
    """Module that may not be installed."""
    files: Callable[[BenchData], list[Path]] = lambda data: data.shards
    """What it reads."""

    def there(self) -> bool:
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


def replay_buffer(data: BenchData, workers: int) -> Iterator[Batch]:
    """The baseline: all frames as float32 (N,3,84,84) in RAM, a random batch by fancy index."""
    buffer = np.empty((count_frames(data), 3, 84, 84), np.float32)
    actions = np.empty(len(buffer), np.int64)
    at = 0
    for frames, buttons in blocks(data):
        stop = at + len(frames)
        np.divide(frames.transpose(0, 3, 1, 2), np.float32(255), out=buffer[at:stop])
        actions[at:stop] = buttons
        at = stop
    np.random.seed(0)
    while True:
        chosen = np.random.choice(len(buffer), BATCH)
        yield torch.as_tensor(buffer[chosen]), torch.as_tensor(actions[chosen])


def row_gather(data: BenchData, workers: int) -> Iterator[Batch]:
    """The limit of any random access: uint8 rows in RAM, gathered into one buffer over and over."""
    rows, actions = _rows(data)
    batch = np.empty((BATCH, rows.shape[1]), np.uint8)
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(rows))
        for low in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[low : low + BATCH]
            np.take(rows, chosen, axis=0, out=batch, mode="clip")
            yield torch.from_numpy(batch), torch.from_numpy(actions[chosen])


def memcpy(data: BenchData, workers: int) -> Iterator[Batch]:
    """The limit of memory: the same rows in their order, copied into one buffer."""
    rows, actions = _rows(data)
    batch = np.empty((BATCH, rows.shape[1]), np.uint8)
    while True:
        for low in range(0, len(rows) - BATCH + 1, BATCH):
            np.copyto(batch, rows[low : low + BATCH])
            yield torch.from_numpy(batch), torch.from_numpy(actions[low : low + BATCH])


def _rows(data: BenchData) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    rows = np.empty((count_frames(data), 84 * 84 * 3), np.uint8)
    actions = np.empty(len(rows), np.int64)
    at = 0
    for frames, buttons in blocks(data):
        stop = at + len(frames)
        rows[at:stop] = frames.reshape(len(frames), -1)
        actions[at:stop] = buttons
        at = stop
    return rows, actions


class FrameByFrame(Dataset[tuple[NDArray[np.uint8], int]]):
    """One frame an item, read with h5py when asked for: how robomimic and Minari read a step."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        actions = []
        for path in paths:
            with h5py.File(path) as file:
                actions.append(file["expert_actions"][:].astype(np.int64))
        self.ends = np.cumsum([len(part) for part in actions])
        self.actions = np.concatenate(actions)
        self.frames: list[h5py.Dataset] = []

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        if not self.frames:  # in the process that reads
            self.frames = [h5py.File(path)["frames"] for path in self.paths]
        number = int(np.searchsorted(self.ends, index, side="right"))
        row = index - (int(self.ends[number - 1]) if number else 0)
        return self.frames[number][row], int(self.actions[index])


def h5py_gzip(data: BenchData, workers: int) -> Iterator[Batch]:
    return _shuffled(FrameByFrame(data.shards), workers)


def h5py_contiguous(data: BenchData, workers: int) -> Iterator[Batch]:
    return _shuffled(FrameByFrame([data.contiguous]), workers)


def _robomimic(data: BenchData, workers: int, *, cache: str | None, gzip: bool) -> Iterator[Batch]:
    """SequenceDataset with the settings of its template for cloning, actions the only column."""
    with redirect_stdout(StringIO()):  # what it says while it fills its cache
        import robomimic.utils.obs_utils as observations
        from robomimic.utils.dataset import SequenceDataset

        observations.initialize_obs_utils_with_obs_specs({"obs": {"rgb": ["image"]}})
        dataset = SequenceDataset(
            hdf5_path=str(*_robomimic_file(data, gzip=gzip)),
            obs_keys=("image",),
            dataset_keys=("actions",),
            load_next_obs=False,
            hdf5_cache_mode=cache,
            hdf5_use_swmr=True,
        )
    return _shuffled(dataset, workers)


def _robomimic_file(data: BenchData, *, gzip: bool) -> list[Path]:
    return [data.robomimic_gzip if gzip else data.robomimic]


def _webdataset(data: BenchData, workers: int, *, kind: str) -> Iterator[Batch]:
    import webdataset

    urls = [str(path) for path in data.tars(kind)]
    pipeline = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000)
    pipeline = pipeline.decode("rgb8") if kind == "png" else pipeline.decode()
    pipeline = pipeline.to_tuple(kind, "cls").batched(BATCH, partial=False)
    return _endless(webdataset.WebLoader(pipeline, batch_size=None, num_workers=workers))


def _shuffled(dataset: Dataset[Any], workers: int) -> Iterator[Batch]:
    return _endless(
        DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers)
    )


def _endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        yield from loader


def _peers_of_robomimic() -> dict[str, Peer]:
    """Sequences of robomimic by what it keeps in RAM and how its file is stored."""
    found = {}
    for cache, gzip in (("all", False), ("low_dim", False), (None, False), (None, True)):
        name = f"robomimic_{cache or 'none'}{'_gzip' if gzip else ''}"
        stored = "gzip chunks" if gzip else "contiguous"
        found[name] = Peer(
            f"robomimic 0.3.0, cache {cache or 'none'}, {stored}",
            partial(_robomimic, cache=cache, gzip=gzip),
            workers=(0,) if cache else (0, 2),
            disk=cache is None,
            compressed=gzip,
            needs="robomimic",
            files=partial(_robomimic_file, gzip=gzip),
        )
    return found


PEERS: dict[str, Peer] = {
    "replay_buffer": Peer("replay buffer in RAM, float32 NCHW", replay_buffer),
    "memcpy": Peer("limit: memcpy of batches in RAM", memcpy),
    "row_gather": Peer("limit: random rows gathered in RAM", row_gather),
    "h5py_gzip": Peer(
        "h5py, one frame an item, gzip shards",
        h5py_gzip,
        workers=(0, 2),
        disk=True,
        compressed=True,
    ),
    "h5py_contiguous": Peer("h5py, one frame an item, contiguous", h5py_contiguous, workers=(0, 2)),
    **_peers_of_robomimic(),
    "webdataset_npy": Peer(
        "webdataset, tar of npy",
        partial(_webdataset, kind="npy"),
        workers=(0, 2),
        disk=True,
        needs="webdataset",
        files=lambda data: data.tars("npy"),
    ),
    "webdataset_png": Peer(
        "webdataset, tar of png",
        partial(_webdataset, kind="png"),
        workers=(0, 2),
        disk=True,
        compressed=True,
        needs="webdataset",
        files=lambda data: data.tars("png"),
    ),
}
