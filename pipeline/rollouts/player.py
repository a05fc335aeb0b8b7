"""Who plays what, from where and until when: resolved and checked before any process starts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from pipeline.emulator.clock import IN_UTC
from pipeline.emulator.version import emulator_version
from pipeline.experts import opening
from pipeline.experts.opening import open_expert
from pipeline.games.decisive import read_in_play
from pipeline.games.description import GameDescription
from pipeline.games.platforms import PLATFORMS
from pipeline.games.states import check_start
from pipeline.games.subtask import Subtask, ending_with
from pipeline.games.task import Task
from pipeline.rollouts.episodes import Start
from pipeline.rollouts.seeds import Purpose
from pipeline.rollouts.start_states import MILESTONE, KeptState, begun_in, library_of
from pipeline.settings.expert_fields import ExpertChoice, PlayMode
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.labels import expert_id
from pipeline.shards.format.provenance import Provenance, fingerprint, provenance, versioned
from pipeline.shards.format.schema import ShardHeader
from pipeline.system.errors import PipelineError

EXPERT = "expert"


@dataclass(frozen=True)
class Play:
    """Everything that decides how an episode goes, its seed apart."""

    game: GameDescription
    """With the subtask's goal as success."""
    rom: Path
    policy: str
    beta: float
    mode: PlayMode
    expert: ExpertChoice
    start_state: str
    max_steps: int
    patience: int
    sticky: float
    subtask: Subtask | None = None


@dataclass(frozen=True)
class Player:
    """A game, its cartridge and its player, resolved from settings and checked."""

    game: GameDescription
    play: Play
    actor: Provenance
    decisive: Provenance
    """All that decides which buttons are pressed, the frames and states apart."""
    isolation: str | None = None
    """Where the expert's program runs: told, but no part of what decides the episodes."""
    states: tuple[KeptState, ...] = ()
    """The library's, of the milestone in which episodes begin; none: in a start state by name."""

    def named(self, name: str) -> str:
        """The name of what is played, with that of the subtask."""
        subtask = self.play.subtask
        return name if subtask is None else f"{name}-{subtask.name}"

    def starts(self, seeds: Sequence[int]) -> dict[int, Start] | None:
        """Where each episode begins: a function of all seeds and the library's states."""
        if not self.states:
            return None
        chosen = [self.states[number] for number in begun_in(seeds, len(self.states))]
        return {
            int(seed): Start(one.label, one.state) for seed, one in zip(seeds, chosen, strict=True)
        }

    def _paid(self) -> Provenance | None:
        """The expert whose buttons cost something: each tells what, in the shard."""
        expert = self.actor.get("expert")
        if self.play.expert.expert.kind != "model" or not isinstance(expert, Mapping):
            return None
        return {expert_id(expert): expert}

    def header(self, stage: str, settings: Provenance) -> ShardHeader:
        """The header of the raw shard that this player fills.

        ``settings`` are those that decide the result; with the game and the player they make the
        fingerprint.
        """
        console = PLATFORMS[self.game.platform]
        subtask = self.play.subtask
        decisive = [
            {**settings, **self._resolved()},
            read_in_play(self.game, self.play.start_state),
            [emulator_version(), *versioned("emulator")],
            self.decisive,
            self._begins(),
            None if subtask is None else [subtask.told, subtask.first, subtask.last],
        ]
        told = provenance(
            stage,
            settings=settings,
            fingerprint=fingerprint(stage, *decisive),
            actor=self.actor,
            emulator=f"{emulator_version()}, {IN_UTC}",
            game_yaml=(self.game.folder / "game.yaml").read_bytes().decode(),
            experts=self._paid(),
        )
        if self.isolation is not None:
            told["isolation"] = self.isolation
        if subtask is not None:
            told["subtask"] = subtask.told
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

    def _resolved(self) -> Provenance:
        """Settings that may be left to the game, or do not apply to who plays."""
        play = self.play
        who = {"mode": None, "beta": None}  # in `decisive`, where they matter
        return {"sticky": play.sticky, "start_state": play.start_state, **who}

    def _begins(self) -> list[Any]:
        """Files that decide where episodes begin."""
        if self.states:
            return [[one.file.stem, _sha256(one.state)] for one in self.states]
        kept = self.game.start_states[self.play.start_state].source
        return [] if kept is None else [_sha256(kept.read_bytes())]


class PlaySettings(Protocol):
    """How episodes go, whoever plays: `Collect` and `Evaluate` say so."""

    @property
    def mode(self) -> PlayMode: ...
    @property
    def start_state(self) -> str | None: ...
    @property
    def max_steps(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def sticky(self) -> float | None: ...


def make_player(
    task: Task,
    options: PlaySettings,
    *,
    policy: str,
    beta: float,
    purpose: Purpose,
) -> Player:
    """Check who plays what, before any process starts.

    Args:
        options: without a start state episodes begin at the start of the task.
        policy: ``expert``, or the path of a checkpoint.
        beta: the expert's share of the steps, in [0, 1].
        purpose: of the episodes; it decides which states of the library they begin in.

    Raises:
        PipelineError: no game, ROM, start state, expert program or checkpoint, or a checkpoint
            that was made for another game, ROM, timing or set of buttons.
    """
    (game, rom), subtask, mode = task.cartridge(), task.subtask, options.mode
    start = options.start_state or next(iter(game.start_states))
    if options.start_state is None and subtask is not None and subtask.start is not None:
        start = MILESTONE + subtask.start
    states = _start_states(replace(task, game=game), start, purpose)
    if not states:
        check_start(game.start_states[start], rom, PLATFORMS[game.platform])
    actor: dict[str, object] = {}
    decisive: dict[str, object] = {}
    isolation: str | None = None
    if policy == EXPERT or beta > 0:
        with open_expert(task.expert, game) as expert:
            actor["expert"] = expert.identity
            decisive["expert"] = opening.decisive(expert, task.expert, game)
            isolation = getattr(expert, "isolation", None)
    if policy != EXPERT:
        # Imported late: the expert alone plays without torch.
        from pipeline.agents.policy import check_policy, policy_sha256

        check_policy(Path(policy), game)
        sha256 = policy_sha256(Path(policy))
        actor["checkpoint"] = {"path": Path(policy).name, "sha256": sha256, "mode": mode}
        decisive["checkpoint"] = [versioned("policy"), sha256, mode]
    actor["beta"] = 1.0 if policy == EXPERT else beta
    decisive["beta"] = actor["beta"]
    game = ending_with(game, subtask)
    play = Play(
        game=game,
        rom=rom,
        policy=policy,
        beta=beta,
        mode=mode,
        expert=task.expert,
        start_state=start,
        max_steps=options.max_steps,
        patience=options.patience,
        sticky=game.sticky_action_probability if options.sticky is None else options.sticky,
        subtask=subtask,
    )
    return Player(game, play, actor, decisive, isolation, states)


def _start_states(task: Task, start: str, purpose: Purpose) -> tuple[KeptState, ...]:
    """The library's states that ``milestone:NAME`` stands for; none where a state is named."""
    game, subtask = task.game, task.subtask
    if start.startswith(MILESTONE):
        goal = None if subtask is None else subtask.goal
        library = library_of(task.folders.game)
        return library.states_for(game, start[len(MILESTONE) :], purpose, goal)
    if start not in game.start_states:
        raise PipelineError(
            f"{game.name} has no start state '{start}'; it has: {', '.join(game.start_states)}"
        )
    return ()


def mark_of(header: ShardHeader) -> str:
    """The fingerprint in a header's provenance."""
    return str(header.provenance["fingerprint"])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
