"""Stage 2, preprocess: raw shards to small ones, resized once and for all, split by episode."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.executor import cores, local_executor
from pipeline.frames import FrameContract, resize
from pipeline.games.description import GameDescription, load_game
from pipeline.shards.columns import EncodedChunk, encode_chunk
from pipeline.shards.names import publish_name, stem_and_version
from pipeline.shards.provenance import fingerprint, provenance
from pipeline.shards.reader import Shard, check_shards
from pipeline.shards.schema import (
    FRAMES_PER_CHUNK,
    STEP_COLUMNS,
    TRAIN,
    VALIDATION,
    Episode,
    ShardHeader,
)
from pipeline.shards.table import header_of, newest_shards
from pipeline.shards.writer import ShardWriter

LEVEL = 1
LARGEST_JOB = 512
IN_PROCESS = 2048
"""Steps below which starting processes costs more than it brings."""

Rows = NDArray[np.int64]
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """Steps of a raw shard, in order, and what their frames become."""

    source: Path
    rows: Rows
    contract: FrameContract


def run(settings: Settings) -> dict[str, Any]:
    """Make of each raw shard one with frames of ``preprocess.size``, its episodes split.

    Every episode goes to the training or the validation split by the hash of its root, so that
    copies of it, whoever makes them, stay on their side. Memory: a few jobs of LARGEST_JOB
    frames. Interrupted, nothing half-written is left, and the same command carries on.

    Returns:
        ``shards`` (paths, one a raw shard), ``up_to_date``, episodes, frames, what was left out,
        and ``by_shard`` with a row for each.

    Raises:
        PipelineError: no raw shard, one that is not valid or of another game, or a full disk.
    """
    game = load_game(settings.game)
    sources = _sources(settings, game)
    check_shards(
        sources,
        kind="raw",
        game=game.name,
        rom_sha1=game.rom_sha1,
        actions=game.buttons,
        timing=asdict(game.timing),
    )
    folder = settings.shard_folder(game.name)
    started = perf_counter()
    _refuse_same_stem(sources)
    planned = [(source, *_target(source, folder, settings)) for source in sources]
    steps = sum(_steps(source) for source, _, _, done in planned if not done)
    workers = settings.preprocess.workers or cores()
    pool = local_executor(workers) if steps > IN_PROCESS and workers > 1 else nullcontext()
    rows: list[dict[str, Any]] = []
    with pool as executor, tqdm(total=steps, desc="preprocess", unit="step", disable=None) as bar:
        for source, target, mark, done in planned:
            if not done:
                maker = _Maker(settings, executor, workers, bar.update)
                left = maker.make(source, target, mark)
            rows.append(_row(source, target if done or left else None, done))
    made = [row["shard"] for row in rows if row["shard"]]
    if not made:
        raise PipelineError(
            f"{folder}: every episode is broken, so nothing is left; "
            "set preprocess.drop_broken_episodes to false, or collect anew"
        )
    return {
        "up_to_date": all(row["up_to_date"] for row in rows),
        "shards": made,
        "episodes": sum(row["episodes"] for row in rows),
        "frames": sum(row["frames"] for row in rows),
        "validation_episodes": sum(row["validation_episodes"] for row in rows),
        "dropped_episodes": sum(row["dropped_episodes"] for row in rows),
        "dropped_steps": sum(row["dropped_steps"] for row in rows),
        "frames_per_second": round(steps / (perf_counter() - started)) if steps else None,
        "by_shard": rows,
    }


def split_of(root: str, validation: float) -> int:
    """The split of an episode: a function of its root's sha256 and the fraction alone."""
    draw = int.from_bytes(hashlib.sha256(root.encode()).digest()[:8], "big") / 2**64
    return VALIDATION if draw < validation else TRAIN


def resize_job(job: Job) -> list[EncodedChunk]:
    """Read, resize and compress the job's frames; runs in a worker process."""
    with Shard(job.source) as shard:
        small = [resize(frames, job.contract) for frames in _read_rows(shard, job.rows)]
    frames = np.concatenate(small)
    return [
        encode_chunk(frames[low : low + FRAMES_PER_CHUNK], FRAMES_PER_CHUNK, LEVEL)
        for low in range(0, len(frames), FRAMES_PER_CHUNK)
    ]


def null_job(job: Job) -> NDArray[np.bool_]:
    """For each step of a contiguous job: whether its button changed neither screen nor state.

    The last step of an episode never counts as one: it carries how the episode ended.
    """
    low, high = int(job.rows[0]), int(job.rows[-1]) + 1
    with Shard(job.source) as shard:
        ends = shard.starts + shard.lengths
        null = ~np.isin(np.arange(low, high) + 1, ends)
        stop = min(high + 1, shard.n_frames)
        frames = shard.read_frames(low, stop)
        states = [shard.state(name, low, stop) for name in shard.state_names]
    for values in (frames, *states):
        same = np.ones(high - low, np.bool_)
        pairs = len(values) - 1
        same[:pairs] = (values[1:] == values[:-1]).reshape(pairs, -1).all(axis=1)
        null &= same
    return null


class _Maker:
    """Makes one processed shard; the executor, if there is one, does the work on frames."""

    def __init__(
        self,
        settings: Settings,
        executor: Executor | None,
        workers: int,
        progress: Callable[[int], object],
    ) -> None:
        self._options = settings.preprocess
        self._contract = FrameContract(self._options.size, self._options.size, "bilinear")
        self._executor = executor
        self._workers = workers
        self._progress = progress

    def make(self, source: Path, target: Path, mark: str) -> int:
        """Publish ``target``, unless every episode was left out; return the steps that stayed."""
        with Shard(source) as shard:
            kept = self._kept(shard)
            rows = np.flatnonzero(kept)
            if not len(rows):
                self._progress(shard.n_frames)
                return 0
            header = self._header(shard.header, source, mark)
            episodes = self._episodes(shard, kept)
            with ShardWriter(target, header, level=LEVEL) as writer:
                encoded = 0
                for chunks in self._in_order(resize_job, self._jobs(source, rows)):
                    for chunk in chunks:
                        encoded += chunk.rows
                        while writer.n_frames < encoded:
                            writer.append_steps(next(episodes))
                        writer.append_encoded(chunk)
                    self._progress(sum(chunk.rows for chunk in chunks))
            self._progress(shard.n_frames - len(rows))
        return len(rows)

    def _header(self, raw: ShardHeader, source: Path, mark: str) -> ShardHeader:
        return replace(
            raw,
            kind="processed",
            frame_contract=self._contract,
            shard_id="",
            provenance=provenance(
                "preprocess",
                settings=_decisive(self._options.model_dump(mode="json")),
                fingerprint=mark,
                actor=raw.provenance.get("actor"),
                emulator=raw.provenance.get("emulator", ""),
                parents=[{"file": source.name, "shard_id": raw.shard_id}],
            ),
        )

    def _kept(self, shard: Shard) -> NDArray[np.bool_]:
        """(N,) which steps stay."""
        kept = np.ones(shard.n_frames, np.bool_)
        if self._options.drop_broken_episodes:
            last = shard.starts + shard.lengths - 1
            ended = (shard.column("terminated") | shard.column("truncated"))[last]
            kept &= np.repeat(ended, shard.lengths)
        if self._options.drop_null_actions:
            jobs = self._jobs(shard.path, np.arange(shard.n_frames))
            kept &= ~np.concatenate(list(self._in_order(null_job, jobs)))
        return kept

    def _jobs(self, source: Path, rows: Rows) -> Iterator[Job]:
        """Jobs of whole chunks, small enough that every worker gets some."""
        share = -(-len(rows) // (4 * self._workers))
        size = min(-(-share // FRAMES_PER_CHUNK) * FRAMES_PER_CHUNK, LARGEST_JOB)
        for low in range(0, len(rows), size):
            yield Job(source, rows[low : low + size], self._contract)

    def _in_order(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """``map``, with no more tasks under way than keep the workers busy."""
        if self._executor is None:
            yield from map(function, tasks)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(self._executor.submit(function, task))
                if len(waiting) > 2 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise PipelineError(
                "preprocess: a worker process was killed (out of memory?); nothing half-written "
                "is left, run the same command again"
            ) from None
        finally:
            for future in waiting:
                future.cancel()

    def _episodes(self, shard: Shard, kept: NDArray[np.bool_]) -> Iterator[Episode]:
        for index, (start, length) in enumerate(zip(shard.starts, shard.lengths, strict=True)):
            stay = kept[start : start + length]
            if stay.any():
                episode = _without(shard.episode(index, frames=False), stay)
                small = resize(episode.final_frame[None], self._contract)[0]
                split = split_of(episode.root, self._options.validation)
                yield replace(episode, final_frame=small, split=split)


def _without(episode: Episode, stay: NDArray[np.bool_]) -> Episode:
    """The episode with the steps that ``stay`` (T,) only; it keeps its return.

    The reward of a step left out goes to the one kept before it (or, at the start, after it).
    """
    if stay.all():
        return episode
    owner = np.maximum(np.cumsum(stay) - 1, 0)
    rewards = np.bincount(owner, episode.rewards, minlength=int(stay.sum())).astype(np.float32)
    kept_before = np.concatenate([[0], np.cumsum(stay)])
    steps = episode.milestones
    return replace(
        episode,
        **{name: getattr(episode, name)[stay] for name in STEP_COLUMNS if name != "rewards"},
        rewards=rewards,
        state={name: values[stay] for name, values in episode.state.items()},
        milestones=np.where(steps < 0, steps, kept_before[np.maximum(steps, 0)]).astype(np.int32),
    )


def _read_rows(shard: Shard, rows: Rows, block: int = 256) -> Iterator[NDArray[np.uint8]]:
    """Frames of ``rows`` (ascending), at most ``block`` read at a time."""
    at = 0
    while at < len(rows):
        low = int(rows[at])
        till = int(np.searchsorted(rows, low + block))
        frames = shard.read_frames(low, int(rows[till - 1]) + 1)
        yield frames if len(frames) == till - at else frames[rows[at:till] - low]
        at = till


def _sources(settings: Settings, game: GameDescription) -> list[Path]:
    """The raw shards named, or all of the game but evaluations.

    An evaluation's games must stay unseen, so that its rollouts are learnt from only by request.
    """
    if settings.preprocess.shards:
        return [Path(shard) for shard in settings.preprocess.shards]
    folder = settings.shard_folder(game.name)
    found = newest_shards(folder, kind="raw")
    played = [path for path in found if header_of(path).provenance.get("stage") != "evaluate"]
    if not played:
        raise PipelineError(
            f"{folder}: no raw shard to preprocess; run 'collect' first, or name one in "
            "preprocess.shards"
        )
    return played


def _refuse_same_stem(sources: list[Path]) -> None:
    seen: dict[str, Path] = {}
    for source in sources:
        stem = _small_stem(source)
        if stem in seen:
            raise PipelineError(
                f"preprocess.shards: {seen[stem]} and {source} would both become {stem}-...; "
                "name only one of them, or rename one"
            )
        seen[stem] = source


def _small_stem(source: Path) -> str:
    return stem_and_version(source)[0].removesuffix("-raw")


def _decisive(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in ("shards", "workers")}


def _target(source: Path, folder: Path, settings: Settings) -> tuple[Path, str, bool]:
    """Name, fingerprint, and whether it is there already: ``X-raw-v002`` gives ``X-84-v001``."""
    options = settings.preprocess
    decisive = _decisive(options.model_dump(mode="json"))
    mark = fingerprint("preprocess", decisive, header_of(source).shard_id)
    target, done = publish_name(folder, f"{_small_stem(source)}-{options.size}", mark)
    return target, mark, done


def _steps(source: Path) -> int:
    with Shard(source) as shard:
        return shard.n_frames


def _row(source: Path, target: Path | None, up_to_date: bool) -> dict[str, Any]:
    with Shard(source) as raw:
        episodes, frames = raw.n_episodes, raw.n_frames
    row: dict[str, Any] = {"raw": str(source), "shard": None, "up_to_date": up_to_date}
    row |= {"episodes": 0, "frames": 0, "validation_episodes": 0}
    if target is not None:
        with Shard(target) as small:
            row |= {
                "shard": str(target),
                "episodes": small.n_episodes,
                "frames": small.n_frames,
                "validation_episodes": int(np.count_nonzero(small.splits == VALIDATION)),
            }
    row["dropped_episodes"] = episodes - row["episodes"]
    row["dropped_steps"] = frames - row["frames"]
    return row
