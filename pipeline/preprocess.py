"""Stage 2, preprocess: raw shards to small ones, resized once and for all, split by episode."""

from __future__ import annotations

from contextlib import closing
from time import perf_counter

from tqdm import tqdm

from pipeline.games.task import task_of
from pipeline.preprocessing.making import Maker, state_reader
from pipeline.preprocessing.plan import planned, raw_shards, row_of, small_stem
from pipeline.preprocessing.resize import resize_job
from pipeline.reports.results import PreprocessResult
from pipeline.settings.fields import Settings
from pipeline.shards.reader import check_shards
from pipeline.shards.run_shards import refuse_same_stem, stem_here
from pipeline.system.errors import PipelineError
from pipeline.system.workers import array_executor, cores, in_order

JOBS_AHEAD = 16
"""Jobs under way for each worker: half a second of work, so that none waits for the writer."""


def run(settings: Settings) -> PreprocessResult:
    """Make of each raw shard one with frames of ``preprocess.size``, its episodes split.

    With a subtask of the game (``milestone``, or ``from`` and ``to``), only the steps between its
    two milestones are left of the episodes of other raw shards.

    With ``preprocess.reread_state`` the recordings are played again and the state is read anew,
    with the variables of today's ``game.yaml``; rewards, milestones and success stay as recorded,
    and which steps count as null is decided by the state recorded. A frame, or a checksum of the
    RAM, that is another refuses the shard.

    Every episode goes to the training or the validation split by the hash of its root, so that
    copies of it, whoever makes them, stay on their side. Memory: JOBS_AHEAD small jobs a
    worker. Interrupted, nothing half-written is left, and the same command carries on.

    Raises:
        PipelineError: no raw shard, one that is not valid or of another game, or a full disk;
            with ``reread_state``, one that cannot be played again as it was recorded, or no ROM.
    """
    started = perf_counter()
    task, options = task_of(settings), settings.preprocess
    game, subtask, folder = task.game, task.subtask, task.folders.shards
    sources = raw_shards(task.folders, options.shards)
    check_shards(
        sources,
        kind="raw",
        game=game.name,
        rom_sha1=task.rom_sha1(),
        actions=game.buttons,
        timing=game.timing.contract,
    )
    stems = [(one, stem_here(task.folders, one, small_stem(one))) for one in sources]
    refuse_same_stem("preprocess", stems)
    plans = list(planned(stems, folder, options, game, subtask))
    todo = [plan.source for plan in plans if not plan.done]
    steps = sum(plan.raw.frames for plan in plans if not plan.done)
    workers = options.workers or cores()
    with (
        array_executor(workers) as executor,
        state_reader(options, task, todo) as again,
        tqdm(total=steps, desc="preprocess", unit="step", disable=None) as bar,
    ):
        ahead = JOBS_AHEAD * workers
        makers = [None if p.done else Maker(p, options, executor, ahead, again) for p in plans]
        jobs = (job for maker in makers if maker for job in maker.jobs())
        # While one shard is sealed, the jobs of the next are under way.
        encoded = in_order(executor, resize_job, jobs, title="preprocess", ahead=ahead)
        with closing(encoded):
            paths = [maker.make(encoded, bar.update) if maker else None for maker in makers]
    seconds = perf_counter() - started
    rows = [
        row_of(plan, plan.target if plan.done else path)
        for plan, path in zip(plans, paths, strict=True)
    ]
    made = tuple(row.shard for row in rows if row.shard)
    if not made and subtask is not None:
        raise PipelineError(
            f"{folder}: no raw shard has a step between '{subtask.start or 'the start'}' and "
            f"'{subtask.goal or 'the end'}'; collect some with the same --milestone, or --from "
            "and --to"
        )
    if not made:
        raise PipelineError(
            f"{folder}: every episode is broken, so nothing is left; "
            "set preprocess.drop_broken_episodes to false, or collect anew"
        )
    return PreprocessResult(
        up_to_date=all(row.up_to_date for row in rows),
        shards=made,
        episodes=sum(row.episodes for row in rows),
        frames=sum(row.frames for row in rows),
        validation_episodes=sum(row.validation_episodes for row in rows),
        dropped_episodes=sum(row.dropped_episodes for row in rows),
        dropped_steps=sum(row.dropped_steps for row in rows),
        frames_per_second=round(steps / seconds) if steps else None,
        by_shard=tuple(rows),
    )
