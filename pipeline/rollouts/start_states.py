"""The library of start states: ``datasets/GAME/states/MILESTONE/HASH.png``, where it was reached.

A file is a save state of mGBA with its screen, which any viewer shows, and carries in a PNG text
where it came from. It is named after its RAM, so the same moment is kept once; it is whole or
absent, and never changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from pipeline.emulator.core import Emulator
from pipeline.emulator.ram import State
from pipeline.games.description import GameDescription
from pipeline.games.states import note_of, with_note, without_note
from pipeline.games.subtask import known_milestone
from pipeline.rollouts.seeds import Purpose, purpose_of
from pipeline.system.errors import PipelineError
from pipeline.system.files import remove_leftovers, write_whole

MILESTONE = "milestone:"
"""How the name of a start state begins that stands for all of a milestone in the library."""
_DIGITS = 16
_LONGEST_ARRAY = 8


@dataclass(frozen=True)
class KeptState:
    """A state of the library."""

    file: Path
    milestone: str
    state: bytes
    """As the emulator gave it."""
    about: Mapping[str, Any]
    """milestone, game, rom_sha1, ram_sha256, from (what it came from), reached (the milestones),
    variables."""

    @property
    def label(self) -> str:
        """What names it in the ``root`` of an episode that begins in it."""
        return f"{MILESTONE}{self.milestone}/{self.file.stem}"

    @property
    def purpose(self) -> Purpose | None:
        """What the episode was played for that it is of; None where it was put in by hand."""
        return _purpose(self.about)

    def has_reached(self, milestone: str) -> bool:
        """Whether a later milestone is known to be reached in it, too."""
        reached = self.about.get("reached")
        return isinstance(reached, list) and milestone in reached


class Library:
    """The start states of a game, by milestone.

    Args:
        folder: ``datasets/GAME/states``; it need not be there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def milestones(self) -> list[str]:
        """Those that have a folder, also such as ``game.yaml`` no longer names."""
        if not self.folder.is_dir():
            return []
        return sorted(unquote(path.name) for path in self.folder.iterdir() if path.is_dir())

    def files(self, milestone: str) -> list[Path]:
        """The states of a milestone, by name."""
        return sorted(self._place(milestone).glob("*.png"))

    def add(
        self, milestone: str, state: bytes, about: Mapping[str, Any], *, most: int = 0
    ) -> Path | None:
        """Publish a PNG state.

        None if a state with its RAM is there already, or ``most`` states of its purpose. A bound of
        0 is none, see :meth:`add_several`.
        """
        added = self.add_several(milestone, [(state, about)], most=most)
        return added[0] if added else None

    def add_several(
        self, milestone: str, states: Sequence[tuple[bytes, Mapping[str, Any]]], *, most: int = 0
    ) -> list[Path]:
        """Publish PNG states, in their order.

        Those whose RAM is there already and those beyond ``most`` are left out. A bound of 0 is
        none.

        Each purpose has a bound of its own, and so have the states that were put in by hand: who
        collects never takes the places of those who judge.

        Args:
            states: each with what goes into its file as it is, as JSON, ``ram_sha256`` among it.

        Raises:
            PipelineError: the disk refuses.
        """
        folder = self._place(milestone)
        target, added = folder, []
        try:
            with _locked(folder):
                counts = self._counts(milestone) if most else Counter()
                remove_leftovers(folder, "*.png")
                for state, about in states:
                    target = folder / f"{about['ram_sha256'][:_DIGITS]}.png"
                    purpose = _purpose(about)
                    if target.exists() or (most and counts[purpose] >= most):
                        continue
                    note = json.dumps({"milestone": milestone, **about}, sort_keys=True)
                    write_whole(target, with_note(state, note))
                    counts[purpose] += 1
                    added.append(target)
        except OSError as error:
            raise PipelineError(
                f"{target}: cannot write the save state ({os.strerror(error.errno or 0)}); make "
                "room, or fix that, and run the same command again"
            ) from None
        return added

    def _counts(self, milestone: str) -> Counter[Purpose | None]:
        """How many states there are of each purpose; what is damaged is of none."""
        counts: Counter[Purpose | None] = Counter()
        for file in self.files(milestone):
            with suppress(PipelineError):  # named by `game states check`
                counts[self.read(milestone, file).purpose] += 1
        return counts

    def states(self, game: GameDescription, milestone: str) -> tuple[KeptState, ...]:
        """All states of a milestone, by name.

        Raises:
            PipelineError: no such milestone, no states, or one is damaged or of another ROM.
        """
        known_milestone(game, milestone)
        states = tuple(self.read(milestone, file) for file in self.files(milestone))
        for one in states:
            if one.about.get("rom_sha1") != game.rom_sha1:
                raise PipelineError(
                    f"{one.file}: made with a ROM with sha1 {one.about.get('rom_sha1')}, not "
                    f"{game.rom_sha1}; remove it"
                )
        if not states:
            raise PipelineError(
                f"{self.folder}: no states of the milestone '{milestone}' yet; keep some with: "
                f"collect --keep-states, or put one in with: game states add FILE --milestone "
                f"{milestone}"
            )
        return states

    def refuse_gaps(self, milestones: Sequence[str]) -> None:
        """Refuse to begin what needs states of all these milestones.

        Raises:
            PipelineError: some have none.
        """
        gaps = [name for name in milestones if not self.files(name)]
        if gaps:
            raise PipelineError(
                f"{self.folder}: no states of the milestones {', '.join(gaps)} yet, in which "
                "subtasks "
                "begin; keep some with: collect --keep-states, or evaluate the subtasks that have "
                "theirs with --milestone NAME"
            )

    def passes(self, milestone: str, goal: str) -> bool:
        """Whether ``goal`` is known to be reached in all states of ``milestone``.

        It is where the game as it was played reaches both at once, or in the other order, and
        reaches nothing in between.
        """
        states = [self.read(milestone, file) for file in self.files(milestone)]
        return bool(states) and all(one.has_reached(goal) for one in states)

    def states_for(
        self, game: GameDescription, milestone: str, purpose: Purpose, goal: str | None = None
    ) -> tuple[KeptState, ...]:
        """The states in which episodes of a purpose begin that are to reach ``goal``.

        Who judges begins in states that were reached by who judged for the same purpose, if there
        are any. Nobody learns from these.

        Raises:
            PipelineError: as :meth:`states`; all are of evaluations; or the goal holds in all.
        """
        there = self.states(game, milestone)
        left = [one for one in there if goal is None or not one.has_reached(goal)]
        if not left:
            raise PipelineError(
                f"{self.folder}: in all {len(there)} states of '{milestone}' the milestone "
                f"'{goal}' is reached already; begin at an earlier one with --from"
            )
        own = tuple(one for one in left if one.purpose == purpose)
        if purpose == "evaluate":
            return own or tuple(left)
        unjudged = tuple(one for one in left if one.purpose != "evaluate")
        free = tuple(one for one in unjudged if one.purpose != "select")
        if purpose == "select" and unjudged:
            return own or free or unjudged
        if not free:
            raise PipelineError(
                f"{self.folder}: all {len(left)} states of '{milestone}' were reached in "
                "evaluations, whose games nobody learns from; keep others with: collect "
                "--keep-states"
            )
        return free

    def read(self, milestone: str, file: Path) -> KeptState:
        """One state of the library, its provenance checked as far as that goes without a console.

        Raises:
            PipelineError: it cannot be read, is damaged, or was not put there by the pipeline.
        """
        try:
            data = file.read_bytes()
            about = json.loads(note_of(data) or "null")
            state = without_note(data)
        except OSError as error:
            raise PipelineError(
                f"{file}: cannot read the save state ({os.strerror(error.errno or 0)})"
            ) from None
        except PipelineError as error:
            raise PipelineError(f"{file}: {error}; or remove it") from None
        except ValueError:
            about = None
        if not isinstance(about, dict) or not isinstance(about.get("ram_sha256"), str):
            raise PipelineError(
                f"{file}: does not say where it came from; take it out, and put it in with: "
                f"game states add FILE --milestone {milestone}"
            )
        return KeptState(file, milestone, state, about)

    def _place(self, milestone: str) -> Path:
        name = quote(milestone, safe=" ")
        return self.folder / re.sub(r"^\.", "%2E", name)


def library_of(shards: Path) -> Library:
    """That of a game, by the folder of its shards."""
    return Library(shards / "states")


def begun_in(seeds: Sequence[int], count: int) -> list[int]:
    """Which of ``count`` states the episode of each seed begins in; a function of the two alone.

    Each state is begun in as often as the others, or once more. Drawn at random, a third of them
    would not be begun in at all, and as later states descend from these, a few subtasks on all
    games would descend from a handful: what a game draws at its beginning would hardly differ any
    more.
    """
    rng = np.random.default_rng([int(seeds[0]) if len(seeds) else 0, 2])
    rounds = [rng.permutation(count) for _ in range(-(-len(seeds) // count))]
    return [int(state) for state in np.concatenate([*rounds, [0]])[: len(seeds)]]


def ram_sha256(emulator: Emulator) -> str:
    """Of all blocks of RAM, one after another, as they are now; about 0.3 ms."""
    digest = hashlib.sha256()
    for block in emulator.ram:
        digest.update(block)
    return digest.hexdigest()


def summary(state: State) -> dict[str, Any]:
    """The variables of a state that are short enough to be read at a glance."""
    plain = {name: np.asarray(value) for name, value in state.items()}
    return {name: value.tolist() for name, value in plain.items() if value.size <= _LONGEST_ARRAY}


def _purpose(about: Mapping[str, Any]) -> Purpose | None:
    origin = about.get("from")
    seed = origin.get("seed") if isinstance(origin, Mapping) else None
    return purpose_of(seed) if isinstance(seed, int) else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep every other process out of ``folder``, which is made; the lock dies with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
