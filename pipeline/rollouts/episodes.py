"""Playing episodes: several emulators in step, so that a network is asked in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.agents.protocol import Actor, Asked, Choice, Turn
from pipeline.emulator.env import GBAEnv, Info
from pipeline.emulator.ram import State
from pipeline.games.description import GameDescription
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.labels import Labels, no_labels
from pipeline.shards.format.milestones import next_goal
from pipeline.shards.format.schema import NO_ACTION, Episode, LabelStatus, recording_id


@dataclass(frozen=True)
class Start:
    """Where one episode begins, if not in a start state of ``game.yaml``."""

    label: str
    """Stands for the start state's name in the episode's root."""
    state: bytes


KeepState = Callable[[GBAEnv, list[str], int, int], None]
"""Takes the env, the milestones that were reached just now, the episode's seed and the step."""


@dataclass
class _Play:
    """An episode in progress."""

    env: GBAEnv
    seed: int
    start: str
    rng: np.random.Generator
    screen: Frames
    info: Info
    frames: list[Frames] = field(default_factory=list)
    ram_crc32: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    expert_actions: list[int] = field(default_factory=list)
    asked: list[Asked | None] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False
    last_milestone: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    """The actor's."""

    def turn(self, first_goal: int) -> Turn:
        """What the actor is told now."""
        goal = next_goal(list(self.info["milestones"].values()), first_goal)
        return Turn(self.info["state"], self.rng, goal, self.memory)


def play_episodes(
    envs: Sequence[GBAEnv],
    actor: Actor,
    seeds: Sequence[int],
    *,
    start_state: str | None = None,
    max_steps: int | None = None,
    patience: int = 0,
    keep_frames: bool = True,
    on_step: Callable[[int], None] | None = None,
    starts: Mapping[int, Start] | None = None,
    keep_state: KeepState | None = None,
    tell: bool = False,
    first_goal: int = 0,
) -> Iterator[Episode]:
    """Play one episode for each seed and give them as they end.

    The envs go in lockstep, one batch of questions a step; an env whose episode ends takes the
    next seed. What is played is a function of the arguments alone, and an episode's content does
    not depend on the other episodes or the number of envs (as long as the actor's answers do not
    depend on the batch); only the order in which they are given does.

    Args:
        envs: emulators of the same game, each its own.
        actor: who chooses the buttons.
        seeds: one an episode; the actor's generator is ``default_rng([seed, 1])``.
        start_state: name in ``game.yaml``; None takes the first.
        max_steps: truncate after so many steps; None leaves it to the env.
        patience: truncate after so many steps without a new milestone; 0 never does.
        keep_frames: False leaves ``Episode.frames`` with no rows, to spare memory, and the RAM
            without checksums.
        on_step: called with the number of steps just played, over all envs.
        starts: by seed, where its episode begins, in place of ``start_state``. The episodes'
            ``start_state`` is then 0.
        keep_state: called when an episode has just reached milestones.
        tell: keep of each of the expert's buttons what it cost (``Episode.labels``).
        first_goal: milestones that count as reached when an episode begins, for the actor's goals.
    """
    waiting = iter([int(seed) for seed in seeds])

    def begin(env: GBAEnv) -> _Play | None:
        seed = next(waiting, None)
        if seed is None:
            return None
        label = start_state or next(iter(env.game.start_states))
        options: dict[str, object] = {}
        if starts is not None:
            label, options = starts[seed].label, {"state": starts[seed].state}
        elif start_state is not None:
            options = {"start_state": start_state}
        screen, info = env.reset(seed=seed, options=options)
        return _Play(env, seed, label, np.random.default_rng([seed, 1]), screen, info)

    plays = [play for env in envs if (play := begin(env)) is not None]
    while plays:
        choices = actor.act(
            np.stack([play.screen for play in plays]),
            [play.turn(first_goal) for play in plays],
        )
        going: list[_Play] = []
        for play, choice in zip(plays, choices, strict=True):
            _advance(play, choice, max_steps, patience, keep_frames)
            if keep_state is not None:
                step = len(play.actions)
                reached = [name for name, at in play.info["milestones"].items() if at == step]
                if reached:
                    keep_state(play.env, reached, play.seed, step)
            if not (play.terminated or play.truncated):
                going.append(play)
                continue
            yield _episode(play, tell)
            following = begin(play.env)
            if following is not None:
                going.append(following)
        if on_step is not None:
            on_step(len(plays))
        plays = going


def _advance(
    play: _Play, choice: Choice, max_steps: int | None, patience: int, keep_frames: bool
) -> None:
    if keep_frames:
        play.frames.append(play.screen)
        play.ram_crc32.append(play.env.ram_crc32())
    play.states.append(play.info["state"])
    play.expert_actions.append(choice.expert)
    play.asked.append(choice.asked)
    play.screen, reward, terminated, truncated, play.info = play.env.step(choice.button)
    play.actions.append(play.info["action"])
    play.rewards.append(reward)
    steps = len(play.actions)
    play.last_milestone = max(play.last_milestone, *play.info["milestones"].values(), 0)
    if max_steps is not None and steps >= max_steps:
        truncated = True
    if patience and steps - play.last_milestone >= patience:
        truncated = True
    play.terminated, play.truncated = terminated, truncated and not terminated


def _episode(play: _Play, tell: bool) -> Episode:
    game = play.env.game
    steps = len(play.actions)
    expert_actions = np.asarray(play.expert_actions, np.uint8)
    terminated, truncated = np.zeros(steps, np.bool_), np.zeros(steps, np.bool_)
    terminated[-1], truncated[-1] = play.terminated, play.truncated
    names = list(game.start_states)
    actions = np.asarray(play.actions, np.uint8)
    root = f"{game.name}/{play.start}/{play.seed:08x}"
    return Episode(
        frames=np.stack(play.frames)
        if play.frames
        else np.empty((0, *play.screen.shape), np.uint8),
        actions=actions,
        expert_actions=expert_actions,
        label_status=np.where(
            expert_actions == NO_ACTION, LabelStatus.UNLABELLED, LabelStatus.LABELLED
        ).astype(np.uint8),
        rewards=np.asarray(play.rewards, np.float32),
        terminated=terminated,
        truncated=truncated,
        state=state_columns(game, play.states),
        final_frame=play.screen,
        seed=play.seed,
        success=bool(play.info["success"]),
        root=root,
        recording=recording_id(root, actions),
        milestones=np.asarray(list(play.info["milestones"].values()), np.int32),
        start_state=names.index(play.start) if play.start in names else 0,
        ram_crc32=np.asarray(play.ram_crc32, np.uint32) if play.frames else None,
        labels=_labels(play.asked) if tell else None,
    )


def _labels(asked: Sequence[Asked | None]) -> Labels:
    columns = no_labels(len(asked))
    for row, told in enumerate(asked):
        for name, value in ({} if told is None else told._asdict()).items():
            columns[name][row] = value
    return columns


def state_columns(game: GameDescription, states: list[State]) -> dict[str, NDArray[Any]]:
    """(T,...) arrays, one a variable, of the variable's own type."""
    return {
        name: np.asarray([state[name] for state in states], variable.dtype).reshape(
            len(states), *variable.shape
        )
        for name, variable in game.variables.items()
    }
