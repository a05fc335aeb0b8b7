"""A thousand million frames in 10,000 shards on network storage, on paper.

``python -m tests.bench.simulate_scale [--json]``: measures what things cost on this machine, on
frames of quest played by the expert, and multiplies. Measured, in CPU seconds, so that a busy
machine does not show: a line of the catalogue, opening a shard, decoding a chunk, computing the
shuffle, finding the place to go on from. Counted: bytes, and the calls by which a process reads.
Assumed: what a request to the storage takes, how many are under way, how fast it sends.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from pipeline import collect, preprocess
from pipeline.loading.dataset import Steps
from pipeline.loading.resources import POOL_BYTES
from pipeline.loading.sampling import Permutation, WindowOrder
from pipeline.loading.shared_memory import SharedArray
from pipeline.settings.reading import Settings
from pipeline.shards.catalog import catalogue
from pipeline.shards.catalog.facts import facts_of
from pipeline.shards.reader import Shard
from pipeline.shards.repair.merge import merge_parts
from pipeline.shards.table import header_of
from tests.bench.machine import machine

BATCH = 64


@dataclass(frozen=True)
class Units:
    """What was measured."""

    frames: int
    """Of the shard that was measured."""
    bytes_a_frame: float
    catalogue_bytes_a_shard: float
    catalogue_s_a_shard: float
    """A stat, and the line read and parsed."""
    examine_s_a_shard: float
    """Facts of a file that is new."""
    open_s_a_shard: float
    open_requests_a_shard: int
    """Calls that read, were nothing cached."""
    open_bytes_a_shard: int
    index_bytes_a_chunk: float
    """In memory, with a byte a step and 16 an episode."""
    decode_s_a_chunk: float
    shuffle_s_a_chunk: float
    numpy_shuffle_s_a_chunk: float
    numpy_shuffle_bytes_a_chunk: int
    resume_s_a_chunk: float
    chunk_rows: int


def cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of this process for a call; the least of three."""
    times = []
    for _ in range(3):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def large_shard(folder: Path, episodes: int, frames: int) -> Path:
    """A labelled shard of about so many frames: games played by the expert, over and over."""
    settings = Settings.model_validate(
        {"paths": {"datasets": folder}, "collect": {"episodes": episodes}}
    )
    collect.run(settings)
    small = Path(preprocess.run(settings).shards[0])
    with Shard(small) as shard:
        copies = max(1, round(frames / shard.n_frames))
    target = small.with_name("large-84-v001.h5")
    merge_parts([small] * copies, target, header_of(small))
    return target


def measure(path: Path, chunks: int) -> Units:
    with Shard(path) as shard:
        frames = shard.stored("frames")
        before = _reads()
        Shard(path).n_frames  # noqa: B018 - opens it
        after = _reads()
        rows = np.empty(frames.chunk_bytes, np.uint8)
        handle = shard.handle()
        some = range(0, len(frames.offsets) - 1, max(1, len(frames.offsets) // 500))

        def decode_some() -> None:
            for chunk in some:
                frames.read_chunk(handle, chunk, rows)

        decode = cpu(decode_some) / len(some)
        total = shard.n_frames
    steps = Steps([path])
    shared = [*vars(steps).values(), *vars(steps.source).values()]
    index = sum(one.array.nbytes for one in shared if isinstance(one, SharedArray))
    kept, seconds = _catalogue(path)
    places = np.arange(1 << 20)
    order = WindowOrder(
        np.full(chunks, frames.chunk_rows),
        None,
        batch_size=BATCH,
        seed=0,
        window=POOL_BYTES // frames.chunk_bytes,
    )
    middle = chunks * frames.chunk_rows // BATCH // 2
    return Units(
        frames=total,
        bytes_a_frame=path.stat().st_size / total,
        catalogue_bytes_a_shard=kept,
        catalogue_s_a_shard=seconds,
        examine_s_a_shard=cpu(lambda: facts_of(path)),
        open_s_a_shard=cpu(lambda: Shard(path).n_frames),
        open_requests_a_shard=after[0] - before[0],
        open_bytes_a_shard=after[1] - before[1],
        index_bytes_a_chunk=index / steps.source.chunks,
        decode_s_a_chunk=decode,
        shuffle_s_a_chunk=cpu(lambda: Permutation(62_500_000, [0, 0])(places)) / len(places),
        numpy_shuffle_s_a_chunk=cpu(lambda: np.random.default_rng(0).permutation(chunks)) / chunks,
        numpy_shuffle_bytes_a_chunk=8,
        resume_s_a_chunk=cpu(lambda: next(islice(order.from_batch(middle), 1))) / (chunks // 2),
        chunk_rows=frames.chunk_rows,
    )


def _reads() -> tuple[int, int]:
    """Calls by which this process has read, and the bytes."""
    told = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(told["syscr"]), int(told["rchar"])


def _catalogue(path: Path) -> tuple[float, float]:
    """Bytes and seconds of a kept line, in a process that knows none: of 2,000 names of a file.

    The games that were played over and over would have had a seed each: 16/3 bytes.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        for number in range(2000):
            (folder / f"run-{number:05d}-84-v001.h5").hardlink_to(path)
        facts = facts_of(path)
        known = catalogue._identity(path)
        assert known is not None
        kept = catalogue._folder(folder)
        kept.rows = {p.name: catalogue._row(known, facts) for p in folder.iterdir()}
        kept.rewrite()

        def look() -> None:
            catalogue._folders.clear()
            assert len(catalogue.Catalogue(folder).entries()) == 2000

        seeds = (facts.episodes - len(facts.seeds)) * 16 / 3
        return (folder / catalogue.KEPT).stat().st_size / 2000 + seeds, cpu(look) / 2000


@dataclass(frozen=True)
class Storage:
    """What is assumed of the network storage and of the machines that read."""

    request_s: float
    under_way: int
    """Requests at a time: today one a worker."""
    bytes_a_second: float
    cores: int


def extrapolate(units: Units, storage: Storage, frames: int, shards: int) -> list[list[str]]:
    """Rows of what, memory, seconds, and whether today's code holds."""
    chunks = frames // units.chunk_rows
    wait = storage.request_s
    stat, opening = shards * wait, shards * units.open_requests_a_shard * wait
    index = chunks * units.index_bytes_a_chunk
    opened = shards * units.open_s_a_shard
    sent = frames * units.bytes_a_frame / storage.bytes_a_second
    # Nearly every chunk of a window lies in another file, and 256 files are kept open.
    random = chunks * 2 * wait / storage.under_way
    decoded = chunks * units.decode_s_a_chunk / storage.cores
    large = frames * units.bytes_a_frame / (4 << 20) * wait / storage.under_way
    group = 256
    return [
        ["all shards, stored", _size(frames * units.bytes_a_frame), "", "holds"],
        [
            "catalogue: read what is kept",
            _size(shards * units.catalogue_bytes_a_shard),
            _time(shards * units.catalogue_s_a_shard),
            "holds",
        ],
        ["catalogue: ask for each file's size and time", "", _time(stat), "holds"],
        [
            "catalogue: from nothing, every file examined",
            "",
            _time(shards * units.examine_s_a_shard / storage.cores + opening / storage.cores),
            "holds: once",
        ],
        [
            "start: open every shard for its index",
            _size(index),
            _time(opened + opening),
            "does not hold",
        ],
        [
            "shuffle: computed where it is needed",
            "0",
            _time(chunks * units.shuffle_s_a_chunk),
            "holds",
        ],
        [
            "shuffle: numpy's permutation instead",
            _size(chunks * units.numpy_shuffle_bytes_a_chunk),
            _time(chunks * units.numpy_shuffle_s_a_chunk),
            "not used",
        ],
        ["epoch: bytes through the network", "", _time(sent), "holds"],
        ["epoch: decoding", "", _time(decoded), "holds"],
        [
            "epoch: a request a chunk, another to open its file",
            "",
            _time(random),
            "does not hold",
        ],
        [
            "restart in mid-epoch: find the place",
            "",
            _time(chunks / 2 * units.resume_s_a_chunk),
            "holds, after that start",
        ],
        [
            f"two levels, groups of {group} shards: index of a group",
            _size(index * group / shards),
            _time((opened + opening) * group / shards / storage.under_way),
            "to do",
        ],
        ["two levels: an epoch in requests of 4 MiB", "", _time(large), "to do"],
    ]


def excess(group: int, shards: int, share: float, seed: int = 0) -> float:
    """Variance of batch means against i.i.d., batches drawn within groups of shards.

    Args:
        share: of a step's variance, what all steps of its shard have in common.
    """
    rng = np.random.default_rng(seed)
    of_shards = rng.normal(0, share**0.5, shards)
    means = []
    for _ in range(20_000):
        members = rng.choice(shards, group, replace=False)
        batch = of_shards[rng.choice(members, BATCH)] + rng.normal(0, (1 - share) ** 0.5, BATCH)
        means.append(batch.mean())
    return float(np.var(means) * BATCH)


def _size(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g} B"


def _time(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 300 else f"{seconds:.2g} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--episodes", type=int, default=40, help="games played for the frames")
    parser.add_argument(
        "--measured", type=int, default=100_000, help="frames of the shard measured"
    )
    parser.add_argument("--frames", type=int, default=1_000_000_000)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--request-ms", type=float, default=1.0)
    parser.add_argument("--gigabytes-a-second", type=float, default=1.0)
    parser.add_argument("--under-way", type=int, default=8, help="requests at a time")
    parser.add_argument("--cores", type=int, default=8)
    chosen = parser.parse_args()
    storage = Storage(
        chosen.request_ms / 1e3, chosen.under_way, chosen.gigabytes_a_second * 1e9, chosen.cores
    )
    with tempfile.TemporaryDirectory() as name:
        path = large_shard(Path(name), chosen.episodes, chosen.measured)
        units = measure(path, chosen.frames // 160)
    rows = extrapolate(units, storage, chosen.frames, chosen.shards)
    print(f"python -m tests.bench.simulate_scale on {machine()}")
    print(tabulate(asdict(units).items(), ["measured", ""], floatfmt=".3g"))
    print(
        f"assumed: {chosen.request_ms:g} ms a request, {storage.under_way} at a time, "
        f"{chosen.gigabytes_a_second:g} GB/s, {storage.cores} cores"
    )
    print(
        tabulate(
            rows,
            [f"{chosen.frames:,} frames in {chosen.shards:,} shards", "bytes", "time", "today"],
        )
    )
    groups = {group: excess(group, chosen.shards, 0.3) for group in (16, 64, 256, 1024)}
    print("variance of batch means, i.i.d. = 1, where 30 % of it lies between shards:")
    print(tabulate(groups.items(), ["shards in a group", ""], floatfmt=".2f"))
    if chosen.json:
        print(json.dumps({**asdict(units), "excess": groups}))


if __name__ == "__main__":
    main()
