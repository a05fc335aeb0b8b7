"""Frames a second of the preprocess stage, beside a bare loop of Pillow that only resizes.

``python -m tests.bench.bench_preprocess [--json] [--shard RAW.h5] [--encoders]``. Both run one
after the other, several times, on as many cores: the loop as one process a core, over frames that
lie decoded in its memory; the stage as a user runs it, from the raw shard on the disk to the
published one. The figure is the stage's frames a second for each core, as a share of the loop's.
Without a shard of your own, quest is played for one. CPU seconds are given too: on a machine that
others use they vary less.

``--encoders`` shows why chunks are compressed as they are: what others would cost the stage, and
bring to those who read the shard.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from PIL import Image

from pipeline import collect, preprocess
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import FRAMES_PER_CHUNK
from pipeline.shards.reader import Shard
from pipeline.system.workers import cores
from tests.bench.machine import machine
from tests.changed import change

DISTINCT = 2048
"""Frames of each loop: 236 MB, far more than any cache holds."""


class Speed(NamedTuple):
    """Of one core: frames a wall second, and CPU microseconds a frame."""

    frames_per_second: float
    cpu_us: float


def play(folder: Path, episodes: int) -> Path:
    """A raw shard of so many games of quest."""
    settings = Settings.model_validate({"paths": {"datasets": folder, "checkpoints": folder}})
    made = collect.run(change(settings, collect={"episodes": episodes}))
    return Path(made.shard)


def loop(pipe: Connection, shard: Path, first: int) -> None:
    """Run in a process: the bare loop, each time that it is asked for; answers with a Speed."""
    with Shard(shard) as raw:
        last = min(first + DISTINCT, raw.n_frames)
        frames = raw.read_frames(max(0, last - DISTINCT), last)
    pipe.send("ready")
    while pipe.recv():
        wall, cpu = time.perf_counter(), time.process_time()
        resized = [
            np.asarray(Image.fromarray(f).resize((84, 84), Image.Resampling.BILINEAR))
            for f in frames
        ]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        pipe.send(Speed(len(resized) / wall, cpu / len(resized) * 1e6))


class Loops:
    """One bare loop a core, side by side."""

    def __init__(self, shard: Path, workers: int) -> None:
        self._pipes = []
        self._processes = []
        spawn = multiprocessing.get_context("spawn")
        for i in range(workers):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=loop, args=(theirs, shard, i * DISTINCT), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def run(self) -> Speed:
        for pipe in self._pipes:
            pipe.send(True)
        speeds = [pipe.recv() for pipe in self._pipes]
        return Speed(*(statistics.mean(column) for column in zip(*speeds, strict=True)))

    def close(self) -> None:
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(False)
            process.join()


def stage(shard: Path, folder: Path, workers: int) -> Speed:
    """The whole stage once, in this process; what it publishes is removed."""
    with Shard(shard) as raw:
        game = raw.header.game
    settings = Settings.model_validate(
        {
            "game": game,
            "paths": {"datasets": folder},
            "preprocess": {"shards": [str(shard)], "workers": workers},
        }
    )
    wall, cpu = time.perf_counter(), time.process_time()
    result = preprocess.run(settings)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    Path(result.shards[0]).unlink()
    return Speed(result.frames / wall / workers, cpu / result.frames * 1e6)


def encoders() -> dict[str, Callable[[bytes], bytes]]:
    from zlib_ng import zlib_ng  # of `make bench`: --encoders alone needs it

    def ng(level: int, strategy: int) -> Callable[[bytes], bytes]:
        def encode(data: bytes) -> bytes:
            stream = zlib_ng.compressobj(level, zlib_ng.DEFLATED, 15, 9, strategy)
            return bytes(stream.compress(data) + stream.flush())

        return encode

    codecs: Any = imagecodecs
    found: dict[str, Callable[[bytes], bytes]] = {
        f"zlib-ng {level}": ng(level, zlib_ng.Z_DEFAULT_STRATEGY) for level in (1, 2, 3, 4)
    }
    found["zlib-ng 7, filtered"] = ng(7, zlib_ng.Z_FILTERED)
    for level in (1, 6):
        found[f"libdeflate {level}"] = partial(codecs.deflate_encode, level=level)
    if importlib.util.find_spec("isal"):
        from isal import isal_zlib

        for level in (1, 3):
            found[f"isal {level}"] = partial(isal_zlib.compress, level=level)
    return found


def show_encoders(small: Path, loop_us: float, stage_us: float) -> None:
    """A table: what the stage would reach with each, from CPU times of one core."""
    codecs: Any = imagecodecs
    with Shard(small) as processed:
        count = min(256, processed.n_frames // FRAMES_PER_CHUNK)
        chosen = np.linspace(0, processed.n_frames // FRAMES_PER_CHUNK - 1, count).astype(int)
        chunks = [
            processed.read_frames(i * FRAMES_PER_CHUNK, (i + 1) * FRAMES_PER_CHUNK).tobytes()
            for i in chosen
        ]
    frames = count * FRAMES_PER_CHUNK
    pool = np.empty((64, len(chunks[0])), np.uint8)
    measured = {}
    for name, encode in encoders().items():
        writing, reading = [], []
        for _ in range(3):
            started = time.process_time()
            streams = [encode(chunk) for chunk in chunks]
            writing.append(time.process_time() - started)
            started = time.process_time()
            for i, stream in enumerate(streams):
                codecs.deflate_decode(stream, out=pool[i % len(pool)])
            reading.append(time.process_time() - started)
        measured[name] = (
            min(writing) / frames * 1e6,
            sum(map(len, streams)) / frames,
            frames / min(reading),
        )
    now = measured["libdeflate 1"][0]
    print("encoder              encode us  bytes a frame  decoded frames/s  stage / loop")
    for name, (us, size, rate) in measured.items():
        share = loop_us / (stage_us - now + us)
        print(f"{name:20} {us:9.0f}  {size:13,.0f}  {rate:16,.0f}  {share:12.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--shard", type=Path, help="a raw shard; none: play one")
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--encoders", action="store_true")
    chosen = parser.parse_args()
    workers = cores()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        shard = chosen.shard or play(folder, chosen.episodes)
        loops = Loops(shard, workers)
        stack.callback(loops.close)
        loops.run()  # once to warm up
        pairs = [(loops.run(), stage(shard, folder, workers)) for _ in range(chosen.repeats)]
        pil = [loop.frames_per_second for loop, _ in pairs]
        ours = [stage.frames_per_second for _, stage in pairs]
        ratios = [b / a for a, b in zip(pil, ours, strict=True)]
        loop_us = statistics.median(loop.cpu_us for loop, _ in pairs)
        stage_us = statistics.median(stage.cpu_us for _, stage in pairs)
        ratio = statistics.median(ratios)
        print(f"python -m tests.bench.bench_preprocess on {machine()}")
        print(
            f"preprocess stage: {statistics.median(ours) * workers:,.0f} frames/s on {workers} "
            f"cores; Pillow alone: {statistics.median(pil):,.0f} frames/s a core, side by side\n"
            f"stage / Pillow, each core: {ratio:.2f} (median of {chosen.repeats}, "
            f"{min(ratios):.2f} to {max(ratios):.2f}); by CPU seconds {loop_us / stage_us:.2f} "
            f"({stage_us:.0f} us a frame beside {loop_us:.0f})"
        )
        if chosen.encoders:
            settings = {"shards": [str(shard)]}
            with Shard(shard) as raw:
                game = raw.header.game
            made = preprocess.run(
                Settings.model_validate(
                    {"game": game, "paths": {"datasets": folder}, "preprocess": settings}
                )
            )
            show_encoders(Path(made.shards[0]), loop_us, stage_us)
    if chosen.json:
        figures = {
            "preprocess_frames_per_second": round(statistics.median(ours) * workers),
            "pil_frames_per_second_per_core": round(statistics.median(pil)),
            "preprocess_vs_pil_per_core": round(ratio, 3),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
