"""Episodes played in several processes, sealed into one raw shard: what collect and evaluate share.

A job is a picklable function of (settings, seeds) that publishes each episode, when it ends, as a
part of its own; running it twice gives the same bytes. Parts of an interrupted run are found again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Mode, Settings
from pipeline.emulator.env import GBAEnv
from pipeline.emulator.library import MILESTONE, KeptState, chosen_state, library_of
from pipeline.emulator.rollout import Actor, Start, play_episodes
from pipeline.errors import PipelineError
from pipeline.executor import local_executor, run_jobs
from pipeline.experts.acting import ExpertActor, MixedActor
from pipeline.experts.opening import open_expert
from pipeline.frames import FrameContract
from pipeline.games.description import GameDescription, load_game
from pipeline.games.identity import find_cartridge
from pipeline.games.platforms import PLATFORMS
from pipeline.games.states import check_start
from pipeline.keeping import Keep, harvest
from pipeline.shards.labels import expert_id
from pipeline.shards.names import publish_name
from pipeline.shards.parts import Parts
from pipeline.shards.provenance import fingerprint, provenance
from pipeline.shards.reader import Shard
from pipeline.shards.schema import Episode, ShardHeader
from pipeline.shards.writer import ShardWriter

EXPERT = "expert"
# Episodes a job plays, and how many of them side by side: a network answers several frames at once
# faster than one by one. More would hold more native frames in memory.
EPISODES_PER_JOB = 8
LOCKSTEP = 8


@dataclass(frozen=True)
class Play:
    """Everything that decides how an episode goes, its seed apart."""

    game: GameDescription
    rom: Path
    policy: str
    beta: float
    mode: Mode
    settings: Settings
    """Those of the expert."""
    start_state: str
    max_steps: int
    patience: int
    sticky: float


@dataclass(frozen=True)
class Job:
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


@dataclass(frozen=True)
class Player:
    """A game, its cartridge and its player, resolved from settings and checked."""

    game: GameDescription
    play: Play
    actor: dict[str, Any]
    isolation: str | None = None
    """Where the expert's program runs: told, but no part of what decides the episodes."""
    states: tuple[KeptState, ...] = ()
    """The library's, of the milestone in which episodes begin; none: in a start state by name."""

    def starts(self, seeds: Sequence[int]) -> dict[int, Start] | None:
        """Where each episode begins: a function of its seed and the library's states."""
        if not self.states:
            return None
        chosen = {int(seed): self.states[chosen_state(seed, len(self.states))] for seed in seeds}
        return {seed: Start(one.label, one.state) for seed, one in chosen.items()}

    def _paid(self) -> dict[str, Any] | None:
        """The expert whose buttons cost something: each tells what, in the shard."""
        expert = self.actor.get("expert")
        if self.play.settings.expert.kind != "model" or expert is None:
            return None
        return {expert_id(expert): expert}

    def header(self, stage: str, settings: dict[str, Any]) -> ShardHeader:
        """The header of the raw shard that this player fills.

        ``settings`` are those that decide the result; with the game and the player they make the
        fingerprint.
        """
        console = PLATFORMS[self.game.platform]
        text = (self.game.folder / "game.yaml").read_bytes()
        decisive = [settings, _sha256(text), self.game.rom_sha1, self.actor]
        decisive += self._begins()
        told = provenance(
            stage,
            settings=settings,
            fingerprint=fingerprint(stage, *decisive),
            actor=self.actor,
            emulator=f"mgba {metadata.version('mgba')}",
            game_yaml=text.decode(),
            experts=self._paid(),
        )
        if self.isolation is not None:
            told["isolation"] = self.isolation
        if self.states:
            told["start_states"] = [one.file.stem for one in self.states]
        return ShardHeader(
            kind="raw",
            game=self.game.name,
            rom_sha1=self.game.rom_sha1,
            actions=self.game.buttons,
            timing=self.game.timing.contract,
            frame_contract=FrameContract(console.height, console.width, "none"),
            milestones=tuple(m.name for m in self.game.milestones),
            provenance=told,
        )

    def _begins(self) -> list[Any]:
        """Files that decide where episodes begin."""
        if self.states:
            return [[one.file.stem, _sha256(one.state)] for one in self.states]
        kept = self.game.start_states[self.play.start_state].source
        return [] if kept is None else [_sha256(kept.read_bytes())]


def make_player(
    settings: Settings,
    *,
    policy: str,
    beta: float,
    mode: Mode,
    start_state: str | None,
    max_steps: int,
    patience: int,
    sticky: float | None,
) -> Player:
    """Resolve and check who plays what, before any process starts.

    Raises:
        PipelineError: no game, ROM, start state, expert program or checkpoint, or a checkpoint
            that was made for another game, ROM, timing or set of buttons.
    """
    game, rom = find_cartridge(
        load_game(settings.game), settings.rom, unverified=settings.unverified_rom
    )
    start = start_state or next(iter(game.start_states))
    states = _start_states(settings, game, start)
    if not states:
        check_start(game.start_states[start], rom, PLATFORMS[game.platform])
    actor: dict[str, Any] = {}
    isolation: str | None = None
    if policy == EXPERT or beta > 0:
        with open_expert(settings, game) as expert:
            actor["expert"] = expert.identity
            isolation = getattr(expert, "isolation", None)
    if policy != EXPERT:
        # Imported late: the expert alone plays without torch.
        from pipeline.policies.checkpoint import check_fits, load_checkpoint

        check_fits(load_checkpoint(Path(policy)), game)
        sha256 = _sha256(Path(policy).read_bytes())
        actor["checkpoint"] = {"path": Path(policy).name, "sha256": sha256, "mode": mode}
    actor["beta"] = 1.0 if policy == EXPERT else beta
    sticky = game.sticky_action_probability if sticky is None else sticky
    play = Play(game, rom, policy, beta, mode, settings, start, max_steps, patience, sticky)
    return Player(game, play, actor, isolation, states)


def _start_states(settings: Settings, game: GameDescription, start: str) -> tuple[KeptState, ...]:
    """The library's states that ``milestone:NAME`` stands for; none where a state is named."""
    if start.startswith(MILESTONE):
        library = library_of(settings.shard_folder(game.name))
        return library.states(game, start[len(MILESTONE) :])
    if start not in game.start_states:
        raise PipelineError(
            f"{game.name} has no start state '{start}'; it has: {', '.join(game.start_states)}"
        )
    return ()


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
    played: set[int] = set()
    path, done = publish_name(folder, stem, mark_of(header))
    if not done or Parts(folder, stem, header).folder.exists():
        with Parts(folder, stem, header) as parts:
            path, done = publish_name(folder, stem, mark_of(header))  # another may have done it
            if done:
                parts.discard()
            else:
                path = _play_missing(player, seeds, header, parts, workers, keep, played)
    if keep is not None:
        before = [number for number in range(len(seeds)) if number not in played]
        harvest(path, player.game, player.play.rom, keep, before, workers=workers)
    return path, done


def _play_missing(
    player: Player,
    seeds: Sequence[int],
    header: ShardHeader,
    parts: Parts,
    workers: int,
    keep: Keep | None,
    played: set[int],
) -> Path:
    """Play the episodes whose parts are not there, note their numbers, and publish the shard."""
    try:
        missing = parts.missing(seeds)
        played.update(missing)
        jobs = _jobs(player, seeds, missing, header, parts, keep)
        title = str(header.provenance["stage"])
        with local_executor(workers) as executor:
            for _ in run_jobs(
                executor, play_job, jobs, title=title, unit="episode", weight=len,
                total=len(missing),
            ):  # fmt: skip
                pass
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
    with local_executor(workers) as executor:
        for done in run_jobs(
            executor, play_job, jobs, title=title, unit="episode", weight=len, total=len(seeds)
        ):
            outcomes.update((outcome.seed, outcome) for outcome in done)
    return [outcomes[int(seed)] for seed in seeds]


def _jobs(
    player: Player,
    seeds: Sequence[int],
    numbers: Sequence[int],
    header: ShardHeader,
    parts: Parts | None,
    keep: Keep | None,
) -> list[Job]:
    jobs = []
    for first in range(0, len(numbers), EPISODES_PER_JOB):
        some = {int(seeds[number]): number for number in numbers[first : first + EPISODES_PER_JOB]}
        files = {seed: parts.path(number) if parts else None for seed, number in some.items()}
        jobs.append(Job(player.play, files, header, player.starts(list(some)), keep))
    return jobs


def mark_of(header: ShardHeader) -> str:
    """The fingerprint in a header's provenance."""
    return str(header.provenance["fingerprint"])


def play_job(job: Job) -> list[Outcome]:
    """Play the job's episodes; each is published as a part of its own when it ends."""
    with ExitStack() as stack:
        play = job.play
        lockstep = min(LOCKSTEP, len(job.parts)) if play.policy != EXPERT else 1
        envs = [
            GBAEnv(
                play.game,
                play.rom,
                sticky_action_probability=play.sticky,
                max_steps=play.max_steps,
            )
            for _ in range(lockstep)
        ]
        actor = _actor(play, envs[0].game, stack)
        start = b"" if job.starts else envs[0].start_state(play.start_state)
        outcomes = []
        for episode in play_episodes(
            envs,
            actor,
            list(job.parts),
            start_state=play.start_state,
            patience=play.patience,
            keep_frames=any(job.parts.values()),
            starts=job.starts,
            keep_state=None if job.keep is None else job.keep.state,
            tell=job.header.provenance.get("experts") is not None,
        ):
            outcomes.append(_outcome(episode))
            part = job.parts[episode.seed]
            if part is not None:
                begun = job.starts[episode.seed].state if job.starts else start
                with ShardWriter(part, job.header, start_states=[begun]) as writer:
                    writer.append(replace(episode, start_state=0))
        return outcomes


def _actor(play: Play, game: GameDescription, stack: ExitStack) -> Actor:
    network: Actor | None = None
    if play.policy != EXPERT:
        from pipeline.policies.acting import NetworkActor

        network = NetworkActor(Path(play.policy), game, mode=play.mode)
        if play.beta == 0:
            return network
    expert = ExpertActor(stack.enter_context(open_expert(play.settings, game)))
    return expert if network is None else MixedActor(expert, network, play.beta)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _outcome(episode: Episode) -> Outcome:
    return Outcome(
        int(episode.seed),
        float(episode.return_),
        len(episode.actions),
        bool(episode.success),
        tuple(int(step) for step in episode.milestones),
    )


def outcomes_of(part: Path) -> list[Outcome]:
    """The outcomes of a raw shard's episodes, in its order."""
    with Shard(part) as shard:
        columns = (shard.seeds, shard.returns, shard.lengths, shard.success, shard.milestones)
        return [
            Outcome(int(s), float(r), int(n), bool(ok), tuple(np.asarray(m).tolist()))
            for s, r, n, ok, m in zip(*columns, strict=True)
        ]
