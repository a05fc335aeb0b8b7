"""Frames for the loading benchmark: made by playing quest, and copied into the layouts of others.

Made once in a cache folder and used again: the stages collect and preprocess with the expert as
player, whose buttons are the labels, and no validation split, so that every loader sees the very
same frames. 80,000 of them take about a minute and a half, the copies another one; together they
fill about 7 GB.
"""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import collect, preprocess
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import FRAMES_PER_CHUNK, SCHEMA_VERSION
from pipeline.shards.reader import Shard
from pipeline.shards.table import newest_shards
from tests.changed import change

FRAMES = 80_000
STEPS_OF_A_GAME = 300
"""A little less than the expert needs on average."""

BLOCK = 1024
PER_TAR = 2000
"""Samples in a tar file of webdataset: about 45 MB of npy."""

Block = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Frames (n,84,84,3) and the expert's buttons (n,)."""


@dataclass(frozen=True)
class BenchData:
    """The shards, and where the copies of them lie once `make_copies` made them."""

    folder: Path

    @property
    def shards(self) -> list[Path]:
        """The processed, labelled shards."""
        return newest_shards(self.folder / "datasets" / "quest", kind="processed")

    @property
    def contiguous(self) -> Path:
        """HDF5, ``/frames`` and ``/expert_actions`` as in a shard, in one piece each."""
        return self.folder / "contiguous.h5"

    @property
    def robomimic(self) -> Path:
        """The layout of robomimic, images in one piece an episode."""
        return self.folder / "robomimic.hdf5"

    @property
    def robomimic_gzip(self) -> Path:
        """The same, images in chunks and compressed as in a shard."""
        return self.folder / "robomimic-gzip.hdf5"

    def tars(self, kind: str) -> list[Path]:
        """The tar files of webdataset: ``npy`` or ``png``."""
        return sorted((self.folder / f"webdataset-{kind}").glob("*.tar"))


def make_data(folder: Path | None, frames: int = FRAMES) -> BenchData:
    """At least so many frames, in a folder below ``folder`` (none: the system's temporary one).

    The folder's name holds schema version and frame count: what was made before is used again.
    """
    root = folder or Path(tempfile.gettempdir()) / f"pokemon-il-loader-{os.getuid()}"
    data = BenchData(root / f"schema{SCHEMA_VERSION}-{frames}-frames")
    if count_frames(data) >= frames:
        return data
    settings = Settings.model_validate(
        {"paths": {"datasets": data.folder / "datasets", "checkpoints": data.folder / "none"}}
    )
    made = games = collections = 0
    while made < frames:
        episodes = -(-(frames - made) // STEPS_OF_A_GAME)
        result = collect.run(
            change(
                settings,
                collect={"name": f"play{collections}", "first": games, "episodes": episodes},
            )
        )
        made += result.frames
        games += result.episodes
        collections += 1
    preprocess.run(change(settings, preprocess={"validation": 0.0}))
    return data


def count_frames(data: BenchData) -> int:
    """Frames of all the shards."""
    total = 0
    for path in data.shards:
        with Shard(path) as shard:
            total += shard.n_frames
    return total


def warm(paths: list[Path]) -> None:
    """Read files through, so that they lie in the page cache."""
    buffer = bytearray(1 << 22)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def count_buttons(data: BenchData) -> NDArray[np.int64]:
    """(256,) how often the expert gave each button."""
    counts = np.zeros(256, np.int64)
    for path in data.shards:
        with Shard(path) as shard:
            counts += np.bincount(shard.column("expert_actions"), minlength=256)
    return counts


def blocks(data: BenchData) -> Iterator[Block]:
    """All frames with the expert's buttons, in the order of the files."""
    for path in data.shards:
        with Shard(path) as shard:
            for start in range(0, shard.n_frames, BLOCK):
                stop = min(start + BLOCK, shard.n_frames)
                buttons = shard.column("expert_actions", start, stop).astype(np.int64)
                yield shard.read_frames(start, stop), buttons


def make_copies(data: BenchData) -> None:
    """Make every copy that is not there yet."""
    _once(data.contiguous, partial(_write_contiguous, data=data))
    _once(data.robomimic, partial(_write_robomimic, data=data, gzip=False))
    _once(data.robomimic_gzip, partial(_write_robomimic, data=data, gzip=True))
    if importlib.util.find_spec("webdataset"):
        for kind in ("npy", "png"):
            _once(data.folder / f"webdataset-{kind}", partial(_write_tars, data=data, kind=kind))


def _once(target: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make the file or folder under another name; a whole one gets its own."""
    if target.exists():
        return
    unfinished = target.with_name(f"{target.name}.partial")
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    unfinished.unlink(missing_ok=True)
    write(unfinished)
    unfinished.rename(target)


def _write_contiguous(path: Path, data: BenchData) -> None:
    count, at = count_frames(data), 0
    with h5py.File(path, "w") as file:
        frames = file.create_dataset("frames", (count, 84, 84, 3), "u1")
        buttons = file.create_dataset("expert_actions", (count,), "u1")
        for block, right in blocks(data):
            frames[at : at + len(block)], buttons[at : at + len(block)] = block, right
            at += len(block)


def _write_robomimic(path: Path, data: BenchData, *, gzip: bool) -> None:
    """``/data/demo_I/obs/image`` and ``actions`` (T,1), with the attributes its loader reads."""
    number = 0
    with h5py.File(path, "w") as file:
        for source in data.shards:
            with Shard(source) as shard:
                for start, length in zip(shard.starts, shard.lengths, strict=True):
                    stop = int(start + length)
                    demo = file.create_group(f"data/demo_{number}")
                    demo.attrs["num_samples"] = int(length)
                    right = shard.column("expert_actions", int(start), stop)
                    demo["actions"] = right[:, None].astype(np.float32)
                    image = shard.read_frames(int(start), stop)
                    stored = {
                        "chunks": (min(FRAMES_PER_CHUNK, len(image)), *image.shape[1:]),
                        "compression": "gzip",
                        "compression_opts": 1,
                    }
                    demo.create_dataset("obs/image", data=image, **(stored if gzip else {}))
                    number += 1
        file["data"].attrs["total"] = count_frames(data)


def _write_tars(folder: Path, data: BenchData, kind: str) -> None:
    import webdataset

    folder.mkdir()
    number = 0
    name = f"{folder}/frames-%06d.tar"
    # A whole number as time of change, or every member gets a second header that costs as much.
    with webdataset.ShardWriter(name, maxcount=PER_TAR, verbose=0, mtime=1) as writer:
        for frames, buttons in blocks(data):
            for frame, button in zip(frames, buttons.tolist(), strict=True):
                content = _png(frame) if kind == "png" else frame
                writer.write({"__key__": f"{number:08d}", kind: content, "cls": button})
                number += 1


def _png(frame: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
