"""Programs tried in the emulator: from a milestone's start states, until it is reached or not.

As in `pipeline.rollouts.recording`, a job is a picklable function of its arguments and running it
twice gives the same; but a program that fails ends its episode, not the run, and only evidence is
kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.emulator.env import GBAEnv, Info
from pipeline.emulator.version import emulator_version
from pipeline.experts import tools
from pipeline.experts.authoring.verdict import Moment, Try
from pipeline.experts.opening import open_expert
from pipeline.experts.protocol import Expert, PlainState, Questions
from pipeline.games.conditions import State
from pipeline.games.decisive import read_in_play
from pipeline.games.description import GameDescription
from pipeline.settings import expert_fields
from pipeline.settings.changing import change
from pipeline.settings.fields import Settings
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.provenance import versioned
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.system.errors import PipelineError
from pipeline.system.workers import run_jobs

EPISODES_PER_JOB = 5
# Of a failed episode: its last steps, steps spread over it, screens of its film, lines of log.
LAST, TRAIL, SCREENS, LINES = 12, 10, 80, 12
# States of an episode that a program is asked about once more.
AGAIN = 100


@dataclass(frozen=True)
class Course:
    """Everything that decides how an episode goes, the program, the start and the seed apart."""

    game: str
    """Folder of the game."""
    rom: Path
    settings: Settings
    """Those of the expert."""
    goal: str
    """The milestone that ends an episode."""
    max_steps: int
    sticky: float


def tried_with(game: GameDescription) -> list[Any]:
    """What of the game, the tools and the emulator a trial's result depends on, as JSON."""
    source = hashlib.sha256(tools.SOURCE.encode()).hexdigest()
    emulator = [emulator_version(), *versioned("emulator")]
    first = next(iter(game.start_states))
    return [
        read_in_play(game, first), tools.tools_data(game), source, emulator, versioned("program"),
    ]  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Where an episode begins."""

    seed: int
    state: bytes | None = None
    """A save state; None takes the game's first start state."""


@dataclass(frozen=True)
class Sight:
    """A start as the program would meet it, idle frames over."""

    screen: Frames
    state: PlainState


@dataclass(frozen=True)
class Arrival:
    """Where an episode stood when it reached its milestone."""

    seed: int
    steps: int
    state: bytes
    reached: tuple[str, ...]
    """All milestones reached by then."""


@dataclass(frozen=True)
class _Job:
    course: Course
    program: Path
    starts: tuple[Start, ...]


def try_program(
    pool: Executor, course: Course, program: Path, starts: Sequence[Start], *, title: str
) -> list[Try]:
    """Let a program play one episode a start, in the order of the starts.

    An exception, a late or an invalid answer ends the episode as failed, with the reason; no
    other button is ever pressed in the program's place.
    """
    return [one for part in _spread(pool, _try_job, course, program, starts, title) for one in part]


def arrivals(
    pool: Executor, course: Course, program: Path, seeds: Sequence[int], *, title: str
) -> list[Arrival]:
    """Play from the game's own start to ``course.goal`` and keep the save states there.

    Only episodes that arrive give one, in the order of the seeds.
    """
    starts = [Start(seed) for seed in seeds]
    done = _spread(pool, _arrival_job, course, program, starts, title)
    return [one for part in done for one in part]


def sights(pool: Executor, course: Course, starts: Sequence[Start]) -> list[Sight]:
    """What the screen and the variables are at each start."""
    return pool.submit(_sight_job, _Job(course, Path(), tuple(starts))).result()


def _spread(
    pool: Executor,
    function: Any,
    course: Course,
    program: Path,
    starts: Sequence[Start],
    title: str,
) -> list[Any]:
    jobs = [
        _Numbered(
            first, function, _Job(course, program, tuple(starts[first : first + EPISODES_PER_JOB]))
        )
        for first in range(0, len(starts), EPISODES_PER_JOB)
    ]
    done = run_jobs(
        pool, _numbered, jobs, title=title, unit="episode",
        weight=lambda result: len(result[1]), total=len(starts),
    )  # fmt: skip
    return [result for _, result in sorted(done, key=lambda pair: pair[0])]


@dataclass(frozen=True)
class _Numbered:
    number: int
    function: Any
    job: _Job


def _numbered(numbered: _Numbered) -> tuple[int, Any]:
    return numbered.number, numbered.function(numbered.job)


def _try_job(job: _Job) -> list[Try]:
    tries: list[Try] = []
    try:
        with _table(job) as (env, expert):
            for start in job.starts:
                episode = _Episode(env, expert, job.course)
                # One film a job: screens are large, and one is looked at.
                film = all(one.reached for one in tries)
                tries.append(episode.play(start, film=film))
                if len(tries) == 1:
                    tries[0] = replace(tries[0], again=_ask_again(job, env, episode))
    except PipelineError as error:
        # What isolates programs was tried before, so it is this program that does not load.
        why = str(error)
        tries += [Try(start.seed, False, 0, why) for start in job.starts[len(tries) :]]
    return tries


def _ask_again(job: _Job, env: GBAEnv, episode: _Episode) -> tuple[int, int]:
    """Put some of an episode's states to a fresh process, the last one first.

    A label is asked for in just this way. Returns how many states were asked about, and for how
    many of them the button was another one.
    """
    answered = [(state, asked) for state, asked, _ in episode.moments if asked != NO_ACTION]
    spread = np.linspace(len(answered) - 1, 0, min(AGAIN, len(answered))).round().astype(int)
    if not len(spread):
        return 0, 0
    states = [answered[i][0] for i in spread]
    columns = {name: np.stack([np.asarray(state[name]) for state in states]) for name in states[0]}
    with _open(job, env) as fresh:
        buttons = fresh.answer(Questions(columns)).buttons
    return len(spread), int(np.count_nonzero(buttons != [answered[i][1] for i in spread]))


def _arrival_job(job: _Job) -> list[Arrival]:
    found = []
    with _table(job) as (env, expert):
        for start in job.starts:
            episode = _Episode(env, expert, job.course)
            one = episode.play(start, film=False)
            if one.reached:
                state = env.emulator.save_state()
                found.append(Arrival(start.seed, one.steps, state, episode.reached))
    return found


def _sight_job(job: _Job) -> list[Sight]:
    env, found = _env_of(job.course), []
    for start in job.starts:
        screen, info = env.reset(seed=start.seed, options=_options(start))
        found.append(Sight(screen, plain(info["state"])))
    return found


def _env_of(course: Course) -> GBAEnv:
    return _env(course.game, course.rom, course.sticky, course.settings.unverified_rom)


@lru_cache(maxsize=1)
def _env(game: str, rom: Path, sticky: float, unverified: bool) -> GBAEnv:
    """The process's emulator: each that is deleted leaves the ROM's size in memory behind.

    An episode does not see the ones before it: a reset loads the whole console.
    """
    return GBAEnv(
        game,
        rom,
        sticky_action_probability=sticky,
        max_steps=1 << 30,
        unverified_rom=unverified,
    )


@contextmanager
def _table(job: _Job) -> Iterator[tuple[GBAEnv, Expert]]:
    """The game and its player."""
    env = _env_of(job.course)
    with _open(job, env) as expert:
        yield env, expert


def _open(job: _Job, env: GBAEnv) -> Expert:
    settings = change(
        job.course.settings,
        expert=expert_fields.Expert(kind="program", path=job.program, memory="function"),
    )
    return open_expert(settings, env.game)


def _options(start: Start) -> dict[str, bytes]:
    return {} if start.state is None else {"state": start.state}


def plain(state: State) -> PlainState:
    """Variables as a program gets them: int, and nested lists for arrays."""
    return {name: np.asarray(value).tolist() for name, value in state.items()}


class _Episode:
    """One episode of a program, and what is kept of it."""

    def __init__(self, env: GBAEnv, expert: Expert, course: Course) -> None:
        self._env = env
        self._expert = expert
        self._goal = course.goal
        self._max_steps = course.max_steps
        self.moments: list[tuple[State, int, int]] = []
        """State, the program's button and the one that was pressed, of every step."""
        self._screens: list[Frames] = []
        self._log: list[str] = []
        self.reached: tuple[str, ...] = ()
        """Milestones reached by the end."""

    def play(self, start: Start, *, film: bool) -> Try:
        screen, info = self._env.reset(seed=start.seed, options=_options(start))
        every = max(1, self._max_steps // SCREENS)
        reason = ""
        while not reason and info["milestones"][self._goal] < 0:
            if film and len(self.moments) % every == 0:
                self._screens.append(screen)
            button, reason = self._ask(info["state"])
            if reason:
                break
            before = info["state"]
            screen, _, terminated, _, info = self._env.step(button)
            self.moments.append((before, button, info["action"]))
            over = terminated or len(self.moments) >= self._max_steps
            if info["milestones"][self._goal] < 0 and over:
                reason = self._ended(info, terminated)
        self.reached = tuple(name for name, step in info["milestones"].items() if step >= 0)
        steps = len(self.moments)
        if not reason:
            return Try(start.seed, True, steps)
        self.moments.append((info["state"], NO_ACTION, NO_ACTION))
        self._screens.append(screen)
        return self._failed(start.seed, steps, reason, film)

    def _ask(self, state: State) -> tuple[int, str]:
        """The program's button, or why there is none."""
        columns = {name: np.asarray(value)[None] for name, value in state.items()}
        answers = self._expert.answer(Questions(columns))
        step = len(self.moments)
        if answers.logs.get(0):
            lines = " / ".join(str(answers.logs[0]).split("\n"))
            self._log = [*self._log, f"step {step}: {lines}"][-LINES:]
        if answers.status[0] == LabelStatus.LABELLED:
            return int(answers.buttons[0]), ""
        kind = LabelStatus(answers.status[0]).name.lower().replace("_", " ")
        return NO_ACTION, f"step {step}: {kind}: {answers.reasons.get(0, 'no reason given')}"

    def _ended(self, info: Info, terminated: bool) -> str:
        if not terminated:
            return f"not reached in {self._max_steps} steps"
        if info["success"]:
            return "the game was won without it"
        return f"the game was lost ({self._env.game.failure})"

    def _failed(self, seed: int, steps: int, reason: str, film: bool) -> Try:
        moments = [
            Moment(step, plain(state), self._name(asked), self._name(pressed))
            for step, (state, asked, pressed) in enumerate(self.moments)
        ]
        early = moments[:-LAST]
        spread = np.linspace(0, len(early) - 1, min(TRAIL, len(early))).round().astype(int)
        return Try(
            seed,
            False,
            steps,
            reason,
            tuple(early[i] for i in spread),
            tuple(moments[-LAST:]),
            tuple(self._log),
            np.stack(self._screens) if film else None,
        )

    def _name(self, button: int) -> str | None:
        return None if button == NO_ACTION else self._env.game.buttons[button]
