"""Frames a second from shards to batches of 64, beside what others do.

``python -m tests.bench.bench_loader [--json] [--repeats N] [--frames N]``, or ``make
bench-loader``. At least 80,000 frames of quest are made by playing, once (see
`tests.bench.loader_data`). Then every design is measured in a fresh process, all of them taking
turns, and the figures are medians over the turns. What a design reads is in the page cache.

The replay buffer of the plan is the baseline: all frames as float32 in RAM; filling it is not
counted. Peers are endless streams, measured for some seconds once they run. The product's figures
are of whole epochs, the start of its workers included. The last line is JSON:

gzip_first_epoch_vs_replay_buffer  first epoch from the gzip shards, 2 workers
cached_one_core_vs_replay_buffer   second epoch, decoded frames kept, both held to one core
gzip_vs_best_disk_peer             the first over the fastest peer that reads from disk: h5py on
                                   the shards, robomimic without a cache, webdataset
batch_variance_vs_iid              variance of batch means without kept frames, against i.i.d.
worker_anonymous_mb                the largest worker's, torch included
first_batch_s                      from opening to the first batch, imports done; the slower of
                                   0 and 2 workers

More keys follow, less flattering ones among them: against h5py on an uncompressed, contiguous copy
(which no peer's own loader reaches), and what is left when the batches are made float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from tests.bench.machine import machine

Turns = dict[str, list[dict[str, float]]]
"""The figures of every job, one dictionary a turn."""

TITLES = {
    "ours_first": "ours, gzip shards, first epoch",
    "ours_cached": "ours, decoded frames kept, second epoch",
    "ours_cached_float": "the same, made float32 NCHW",
}


@dataclass(frozen=True)
class Job:
    """One measurement, in a process of its own."""

    name: str
    workers: int = 0
    one_core: bool = False

    @property
    def key(self) -> str:
        return f"{self.name}:{self.workers}" + (":one_core" if self.one_core else "")


BASELINE, BASELINE_ONE_CORE = Job("replay_buffer"), Job("replay_buffer", one_core=True)
FIRST, CACHED = Job("ours_first", 2), Job("ours_cached", one_core=True)
CACHED_FLOAT = Job("ours_cached_float", one_core=True)
LIMIT = Job("row_gather", one_core=True)
RANDOMNESS = Job("ours_randomness", 2)
OPENINGS = (Job("ours_opening", 0), Job("ours_opening", 2))


def table_jobs() -> list[Job]:
    """The rows of the table: the baseline beside what is compared with it, then the others."""
    from tests.bench.loader_peers import PEERS

    jobs = [BASELINE, FIRST, Job("ours_first", 0), BASELINE_ONE_CORE, CACHED]
    jobs += [CACHED_FLOAT, Job("ours_cached", 2), Job("memcpy", one_core=True), LIMIT]
    for name, peer in PEERS.items():
        if not peer.there():
            print(f"{peer.title}: not installed, left out", file=sys.stderr)
        elif name not in {job.name for job in jobs}:
            jobs += [Job(name, workers) for workers in peer.workers]
    return jobs


def measure(job: Job, folder: Path, seconds: float) -> dict[str, float]:
    """The figures of a fresh process."""
    command = [sys.executable, "-m", "tests.bench.bench_loader", "--one", job.name]
    command += ["--workers", str(job.workers), "--folder", str(folder), "--seconds", str(seconds)]
    command += ["--one-core"] if job.one_core else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if job.one_core else None
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def median(turns: Turns, job: Job, figure: str) -> float:
    return statistics.median(turn[figure] for turn in turns[job.key])


def rate(turns: Turns, job: Job) -> float:
    return median(turns, job, "frames_per_second")


def summary(turns: Turns, jobs: list[Job]) -> dict[str, Any]:
    """The JSON line: the six figures that are promised first."""
    from tests.bench.loader_peers import PEERS

    first, baseline = rate(turns, FIRST), rate(turns, BASELINE)
    disk = [job for job in jobs if job.name in PEERS and PEERS[job.name].disk]
    rates = {job.key: rate(turns, job) for job in disk}
    packed = {job.key: rate(turns, job) for job in disk if PEERS[job.name].compressed}
    best, best_packed = (max(found, key=found.__getitem__) for found in (rates, packed))
    openings = {str(job.workers): median(turns, job, "seconds") for job in OPENINGS}
    contiguous = max(rate(turns, job) for job in jobs if job.name == "h5py_contiguous")
    on_processor = "frames_per_processor_second"
    figures: dict[str, Any] = {
        "gzip_first_epoch_vs_replay_buffer": first / baseline,
        "cached_one_core_vs_replay_buffer": rate(turns, CACHED) / rate(turns, BASELINE_ONE_CORE),
        "gzip_vs_best_disk_peer": first / rates[best],
        "batch_variance_vs_iid": median(turns, RANDOMNESS, "variance"),
        "worker_anonymous_mb": max(
            median(turns, job, "worker_anonymous_mb") for job in (FIRST, RANDOMNESS)
        ),
        "first_batch_s": max(openings.values()),
        "best_disk_peer": best,
        "gzip_vs_best_compressed_disk_peer": first / packed[best_packed],
        "best_compressed_disk_peer": best_packed,
        "gzip_vs_h5py_on_a_contiguous_copy": first / contiguous,
        "cached_float_one_core_vs_replay_buffer": (
            rate(turns, CACHED_FLOAT) / rate(turns, BASELINE_ONE_CORE)
        ),
        "gzip_after_first_batch_vs_replay_buffer": (
            median(turns, FIRST, "after_first_batch") / baseline
        ),
        "cached_one_core_vs_replay_buffer_by_processor_time": (
            median(turns, CACHED, on_processor) / median(turns, BASELINE_ONE_CORE, on_processor)
        ),
        "cached_one_core_vs_row_gather": rate(turns, CACHED) / rate(turns, LIMIT),
        "batch_variance_of_a_permutation": median(turns, RANDOMNESS, "control"),
        "pool_mb": median(turns, RANDOMNESS, "pool_mb"),
        "worker_shared_mb": median(turns, FIRST, "worker_shared_mb"),
        "first_batch_s_by_workers": openings,
        "frames": median(turns, FIRST, "frames"),
        "frames_per_second": {job.key: round(rate(turns, job)) for job in jobs},
    }
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}


def table(turns: Turns, jobs: list[Job]) -> str:
    from tests.bench.loader_peers import PEERS

    rows = []
    for job in jobs:
        base = rate(turns, BASELINE_ONE_CORE if job.one_core else BASELINE)
        rates = [turn["frames_per_second"] for turn in turns[job.key]]
        worker = median(turns, job, "worker_anonymous_mb")
        rows.append(
            {
                "design": PEERS[job.name].title if job.name in PEERS else TITLES[job.name],
                "cores": 1 if job.one_core else "all",
                "workers": job.workers,
                "frames/s": f"{rate(turns, job):,.0f}",
                "lowest to highest": f"{min(rates):,.0f} to {max(rates):,.0f}",
                "per cpu-s": f"{median(turns, job, 'frames_per_processor_second'):,.0f}",
                "x buffer": f"{rate(turns, job) / base:.3g}",
                "main MB": f"{median(turns, job, 'main_anonymous_mb'):,.0f}",
                "worker MB": f"{worker:,.0f}" if job.workers else "",
                "set up s": f"{median(turns, job, 'first_batch_s'):.2f}",
            }
        )
    alignment = ["left"] + ["right"] * 9
    return tabulate(rows, headers="keys", disable_numparse=True, colalign=alignment)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the JSON line alone")
    parser.add_argument("--repeats", type=int, default=3, help="turns of every measurement")
    parser.add_argument("--frames", type=int, default=80_000, help="at least so many")
    parser.add_argument("--seconds", type=float, default=3.0, help="that a peer is measured for")
    parser.add_argument("--folder", type=Path, help="where the frames are kept; none: temporary")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one-core", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure_one(chosen: argparse.Namespace) -> None:
    """The child's part: this file imports little, so that it does not weigh on the figures."""
    from tests.bench.loader_figures import measure_here

    figures = measure_here(
        chosen.one,
        chosen.folder,
        workers=chosen.workers,
        one_core=chosen.one_core,
        seconds=chosen.seconds,
    )
    print(json.dumps(figures))


def main() -> None:
    chosen = arguments()
    if chosen.one:
        measure_one(chosen)
        return
    from tests.bench.loader_data import count_frames, make_copies, make_data

    data = make_data(chosen.folder, chosen.frames)
    make_copies(data)
    jobs = table_jobs()
    load = os.getloadavg()[0]
    turns: Turns = {}
    everything = [*jobs, RANDOMNESS, *OPENINGS]
    for job in tqdm(everything * chosen.repeats, desc="measure", disable=None):
        turns.setdefault(job.key, []).append(measure(job, data.folder, chosen.seconds))
    if not chosen.json:
        print(
            f"python -m tests.bench.bench_loader --repeats {chosen.repeats} "
            f"--frames {chosen.frames} on {machine()}, load before {load:.1f}"
        )
        print(
            f"{count_frames(data):,} frames of quest in batches of 64, uint8 unless it says float; "
            "medians; files in the page cache; MB are anonymous; "
            "set up: from opening to the first batch"
        )
        print(table(turns, jobs))
    print(json.dumps(summary(turns, jobs)))


if __name__ == "__main__":
    main()
