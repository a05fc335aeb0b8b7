"""Episodes played in several processes, sealed into one raw shard: what collect and evaluate share.

A job is a picklable function of (settings, seeds) that publishes each episode, when it ends, as a
part of its own; running it twice gives the same bytes. Parts of an interrupted run are found again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.agents.protocol import Actor
from pipeline.emulator.env import GBAEnv
from pipeline.experts.expert_actor import ExpertActor, MixedActor
from pipeline.experts.opening import open_expert
from pipeline.games.description import GameDescription
from pipeline.rollouts.episodes import Start, play_episodes
from pipeline.rollouts.keeping_states import Gathering, Keep, Moment, harvest
from pipeline.rollouts.parts import Parts
from pipeline.rollouts.player import EXPERT, Play, Player, mark_of
from pipeline.shards.catalog.names import publish_name
from pipeline.shards.format.schema import Episode, ShardHeader
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from pipeline.system.workers import local_executor, run_jobs

# Episodes a job plays, and how many of them side by side: a network answers several frames at once
# faster than one by one. More would hold more native frames in memory.
EPISODES_PER_JOB = 8
LOCKSTEP = 8


@dataclass(frozen=True)
class Job:
    """Some episodes for one process, which plays them side by side."""

    play: Play
    parts: dict[int, Path | None]
    """By seed, where the episode becomes durable; None keeps its outcome alone."""
    header: ShardHeader
    starts: dict[int, Start] | None = None
    """By seed, where it begins, if not in the game's own start state."""
    keep: Keep | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one episode."""

    seed: int
    return_: float
    length: int
    success: bool
    milestones: tuple[int, ...]
    moments: tuple[Moment, ...] = ()
    """The console where the episode reached milestones, if states are kept."""


def record(
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    folder: Path,
    stem: str,
    *,
    workers: int,
    keep: Keep | None = None,
) -> tuple[Path, bool]:
    """Play one episode a seed and publish them, in that order, as one raw shard.

    Every episode is durable the moment it ends; what an earlier, interrupted run finished is not
    played again, and the shard is the same whatever the workers and the interruptions were.

    Args:
        keep: the states at milestones go there, also those of episodes that were finished before.

    Returns:
        The shard's path, and whether it was there before.

    Raises:
        PipelineError: another process collects the same, an actor failed, a worker was killed, or
            the disk refuses; the line says how many finished episodes are kept.
    """
    gathered = None if keep is None else Gathering(keep, seeds)
    path, done = publish_name(folder, stem, mark_of(header))
    if not done or Parts(folder, stem, header).folder.exists():
        with Parts(folder, stem, header) as parts:
            path, done = publish_name(folder, stem, mark_of(header))  # another may have done it
            if done:
                parts.discard()
            else:
                path = _play_missing(player, seeds, header, parts, workers, keep, gathered)
    if keep is not None:
        harvest(path, player.game, player.play.rom, keep, gathered, workers=workers)
    return path, done


def _play_missing(
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    parts: Parts,
    workers: int,
    keep: Keep | None,
    gathered: Gathering | None,
) -> Path:
    """Play the episodes whose parts are not there, gather their moments, and publish the shard."""
    try:
        missing = parts.missing(seeds)
        jobs = _jobs(player, seeds, missing, header, parts, keep)
        title = str(header.provenance["stage"])
        with local_executor(workers) as executor:
            for done in run_jobs(
                executor, play_job, jobs, title=title, unit="episode", weight=len,
                total=len(missing),
            ):  # fmt: skip
                _gather(done, gathered)
        starts = player.starts(seeds)
        used = None if starts is None else [starts[int(seed)].state for seed in seeds]
        states = None if used is None else list(dict.fromkeys(used))  # once each
        return parts.seal(len(seeds), states)
    except PipelineError as error:
        raise PipelineError(
            f"{error} ({parts.count()} of {len(seeds)} episodes are finished and kept)"
        ) from None


def play(
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    *,
    workers: int,
    keep: Keep | None = None,
) -> list[Outcome]:
    """Play one episode a seed and keep nothing but their outcomes, in the order of the seeds."""
    jobs = _jobs(player, seeds, range(len(seeds)), header, None, keep)
    title = str(header.provenance["stage"])
    outcomes: dict[int, Outcome] = {}
    gathered = None if keep is None else Gathering(keep, seeds)
    with local_executor(workers) as executor:
        for done in run_jobs(
            executor, play_job, jobs, title=title, unit="episode", weight=len, total=len(seeds)
        ):
            _gather(done, gathered)
            outcomes.update((one.seed, replace(one, moments=())) for one in done)
    if gathered is not None:
        gathered.settle()
    return [outcomes[int(seed)] for seed in seeds]


def play_one(
    player: Player, seeds: Sequence[int], number: int, header: ShardHeader, folder: Path
) -> Path:
    """Play episode ``number`` of these once more and keep it, with its frames, in ``folder``.

    It goes as it went: an episode depends on its seed, and where it begins on all of them.
    """
    seed, starts = int(seeds[number]), player.starts(seeds)
    part = folder / "episode.h5"
    job = Job(player.play, {seed: part}, header, None if starts is None else {seed: starts[seed]})
    with local_executor(1) as executor:
        for _ in run_jobs(executor, play_job, [job], title="video", unit="episode", weight=len):
            pass
    return part


def _gather(done: Sequence[Outcome], gathered: Gathering | None) -> None:
    if gathered is not None:
        for outcome in done:
            for moment in outcome.moments:
                gathered.take(moment)


def _jobs(
    player: Player,
    seeds: Sequence[int],
    numbers: Sequence[int],
    header: ShardHeader,
    parts: Parts | None,
    keep: Keep | None,
) -> list[Job]:
    jobs, starts = [], player.starts(seeds)
    for first in range(0, len(numbers), EPISODES_PER_JOB):
        some = {int(seeds[number]): number for number in numbers[first : first + EPISODES_PER_JOB]}
        files = {seed: parts.path(number) if parts else None for seed, number in some.items()}
        mine = None if starts is None else {seed: starts[seed] for seed in some}
        jobs.append(Job(player.play, files, header, mine, keep))
    return jobs


def play_job(job: Job) -> list[Outcome]:
    """Play the job's episodes; each is published as a part of its own when it ends."""
    with ExitStack() as stack:
        play = job.play
        # A program that remembers plays one game at a time, so that each game has its own memory.
        alone = play.policy == EXPERT or play.expert.expert.memory == "episode"
        lockstep = 1 if alone else min(LOCKSTEP, len(job.parts))
        envs = [
            GBAEnv(
                play.game,
                play.rom,
                sticky_action_probability=play.sticky,
                max_steps=play.max_steps,
            )
            for _ in range(lockstep)
        ]
        moments: dict[int, list[Moment]] = defaultdict(list)

        def keep_state(env: GBAEnv, milestones: list[str], seed: int, step: int) -> None:
            assert job.keep is not None
            moments[seed].append(job.keep.moment(env, milestones, seed, step))

        expert, actor = _actor(play, envs[0].game, stack)
        start = b"" if job.starts else envs[0].start_state(play.start_state)
        _check_goal(play, envs[0], job)
        outcomes = []
        for episode in play_episodes(
            envs,
            actor,
            list(job.parts),
            start_state=play.start_state,
            patience=play.patience,
            keep_frames=any(job.parts.values()),
            starts=job.starts,
            keep_state=None if job.keep is None else keep_state,
            tell=job.header.provenance.get("experts") is not None,
            first_goal=0 if play.subtask is None else play.subtask.first,
        ):
            if expert is not None:
                expert.end_episode(episode, play.game.buttons)
            outcomes.append(_outcome(episode, moments.pop(episode.seed, [])))
            part = job.parts[episode.seed]
            if part is not None:
                begun = job.starts[episode.seed].state if job.starts else start
                with ShardWriter(part, job.header, start_states=[begun]) as writer:
                    writer.append(replace(episode, start_state=0))
        return outcomes


def _check_goal(play: Play, env: GBAEnv, job: Job) -> None:
    """Refuse episodes that would be over before they begin."""
    goal = None if play.subtask is None else play.subtask.goal
    if goal is None:
        return
    for seed in job.parts:
        begun = None if job.starts is None else job.starts[seed]
        options = {"start_state": play.start_state} if begun is None else {"state": begun.state}
        if env.reset(seed=seed, options=options)[1]["milestones"][goal] == 0:
            where = play.start_state if begun is None else begun.label
            raise PipelineError(
                f"the milestone '{goal}' is reached already in the start state '{where}'; take "
                "that one out, or choose others with --from"
            )


def _actor(play: Play, game: GameDescription, stack: ExitStack) -> tuple[ExpertActor | None, Actor]:
    """The expert that plays, if one does, and who plays in all."""
    network: Actor | None = None
    if play.policy != EXPERT:
        from pipeline.agents.policy import make_actor

        network = make_actor(Path(play.policy), game, play.mode)
        if play.beta == 0:
            return None, network
    expert = ExpertActor(stack.enter_context(open_expert(play.expert, game)))
    return expert, expert if network is None else MixedActor(expert, network, play.beta)


def _outcome(episode: Episode, moments: Sequence[Moment]) -> Outcome:
    return Outcome(
        int(episode.seed),
        float(episode.return_),
        len(episode.actions),
        bool(episode.success),
        tuple(int(step) for step in episode.milestones),
        tuple(moments),
    )


def outcomes_of(part: Path) -> list[Outcome]:
    """The outcomes of a raw shard's episodes, in its order."""
    with Shard(part) as shard:
        columns = (shard.seeds, shard.returns, shard.lengths, shard.success, shard.milestones)
        return [
            Outcome(int(s), float(r), int(n), bool(ok), tuple(np.asarray(m).tolist()))
            for s, r, n, ok, m in zip(*columns, strict=True)
        ]
