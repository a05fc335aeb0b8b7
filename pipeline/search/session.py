"""A search for a variable that goes on from command to command: plays, snapshots of RAM, one file.

The file (``.npz``) holds the RAM and the console's state after every play, and what was said of
each; so the last play can be undone, and the candidates are always a function of all comparisons.
About 40 KB a play.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.core import KEY_BITS
from pipeline.emulator.env import GBAEnv
from pipeline.games.description import GameDescription
from pipeline.games.platforms import PLATFORMS, Platform
from pipeline.games.pressing import parse_presses
from pipeline.rollouts.replaying import player_again
from pipeline.search.checking import saved_state
from pipeline.search.values import COMPARISONS, Comparison, Play
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.system.files import write_whole

_FORMAT = 1
_RELATIVE = ("changed", "unchanged", "greater", "less", "by")

Ram = list[NDArray[np.uint8]]


@dataclass
class Turn:
    """A play and its comparisons. The first turn is the beginning: nothing is played."""

    what: str
    position: int
    """Steps of the shard's episode played by now; 0 where buttons are given."""
    comparisons: list[Comparison] = field(default_factory=list)


@dataclass(frozen=True)
class Start:
    """Where a search begins: a start state by name, a state of the user's, or a shard's episode."""

    name: str | None = None
    state: Path | None = None
    shard: Path | None = None
    episode: int = 0


class SearchSession:
    """Plays, snapshots and comparisons; :meth:`save` keeps them in the file.

    Raises:
        PipelineError: the file is no search, or one in another game; no such start state, shard
            or episode.
    """

    def __init__(self, file: Path, game: GameDescription, rom: Path, start: Start | None) -> None:
        self.file, self.game = file, game
        self.console: Platform = PLATFORMS[game.platform]
        self.turns: list[Turn] = []
        self._rams: list[Ram] = []
        self._states: list[bytes] = []
        self._shard: tuple[Path, int] | None = None
        kept = _read(file) if file.exists() else None
        if kept is not None:
            self._take_up(kept, start)
        elif start is not None and start.shard is not None:
            self._shard = start.shard.resolve(), start.episode
        self.env, self._actions = self._open(game, rom)
        if kept is None:
            if self._shard is None:
                chosen = start or Start()
                self.env.emulator.load_state(saved_state(self.env, chosen.name, chosen.state))
            self._keep("beginning", 0)
        elif self._shard is None:
            self.env.emulator.load_state(self._states[-1])

    def play(self, text: str) -> bool:
        """Press buttons, a step of the game each: ``RIGHT*3 WAIT A``.

        Returns:
            Whether the screen is another than before.

        Raises:
            PipelineError: no such button, or the search goes along a shard.
        """
        if self._shard is not None:
            raise PipelineError(
                f"--play: the search {self.file} follows a shard; continue with --until STEP"
            )
        timing, before = self.game.timing, self.env.emulator.screen()
        for keys in _buttons(text, self.console):
            self.env.emulator.step(keys, timing.hold, timing.release)
        self._keep(" ".join(text.upper().split()), 0)
        return not np.array_equal(self.env.emulator.screen(), before)

    def until(self, step: int) -> None:
        """Play the shard's episode on, up to where ``step`` of its steps are played.

        Raises:
            PipelineError: there is no shard, or the step is behind or beyond its end.
        """
        if self._shard is None:
            raise PipelineError(
                "--until: there is no shard to play; begin the search with --shard FILE"
            )
        at = self.turns[-1].position
        if not at < step <= len(self._actions):
            raise PipelineError(
                f"--until {step}: the episode was played up to step {at} and has "
                f"{len(self._actions)}; give a step between"
            )
        for action in self._actions[at:step].tolist():
            self.env.step(action)
        self._keep(f"until step {step}", step)

    def compare(self, comparison: Comparison) -> None:
        """Say what the last play did to the number.

        Raises:
            PipelineError: nothing was played that it could be said of.
        """
        if comparison.word in _RELATIVE and len(self.turns) == 1:
            raise PipelineError(
                f"--{comparison}: nothing was played yet; give --play BUTTONS before it"
            )
        self.turns[-1].comparisons.append(comparison)

    def undo(self) -> None:
        """Take the last play back, with its comparisons."""
        if len(self.turns) == 1:
            raise PipelineError("--undo: there is no play to take back")
        del self.turns[-1], self._rams[-1], self._states[-1]
        if self._shard is None:
            self.env.emulator.load_state(self._states[-1])
        else:
            self._rewind()

    def plays(self) -> list[Play]:
        """All turns, as the search takes them."""
        before = [self._rams[0], *self._rams[:-1]]
        return [
            Play(b, a, turn.comparisons)
            for b, a, turn in zip(before, self._rams, self.turns, strict=True)
        ]

    def save(self) -> None:
        """Write the file, whole or not at all."""
        about = {
            "format": _FORMAT,
            "game": self.game.name,
            "rom_sha1": self.game.rom_sha1,
            "shard": None if self._shard is None else [str(self._shard[0]), self._shard[1]],
            "turns": [
                {
                    "what": turn.what,
                    "position": turn.position,
                    "comparisons": [[c.word, c.number] for c in turn.comparisons],
                }
                for turn in self.turns
            ],
        }
        arrays: dict[str, NDArray[np.uint8]] = {
            "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
            "ram": np.stack([np.concatenate(ram) for ram in self._rams]),
        }
        for index, state in enumerate(self._states):
            arrays[f"state{index}"] = np.frombuffer(state, np.uint8)
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]  # no array is allow_pickle
        try:
            write_whole(self.file, packed.getvalue())
        except OSError as error:
            raise PipelineError(
                f"{self.file}: cannot write the search ({os.strerror(error.errno or 0)})"
            ) from None

    def keep_state(self, file: Path) -> None:
        """Write the console as it is now: a save state for ``--state`` and ``start_states:``."""
        try:
            write_whole(file, self.env.emulator.save_state())
        except OSError as error:
            raise PipelineError(
                f"{file}: cannot write the save state ({os.strerror(error.errno or 0)})"
            ) from None

    def _open(self, game: GameDescription, rom: Path) -> tuple[GBAEnv, NDArray[np.uint8]]:
        if self._shard is None:
            return GBAEnv(game, rom, sticky_action_probability=0.0), np.empty(0, np.uint8)
        path, index = self._shard
        with Shard(path) as shard:
            env = player_again(shard, game, rom)
            if not 0 <= index < shard.n_episodes:
                raise PipelineError(
                    f"--episode {index}: {path} has the episodes 0 to {shard.n_episodes - 1}"
                )
            episode = shard.episode(index, frames=False)
            start = shard.start_states()[episode.start_state]
        self._begin = episode.seed, start
        _reset(env, *self._begin)
        for action in episode.actions[: self.turns[-1].position if self.turns else 0].tolist():
            env.step(action)
        return env, episode.actions

    def _rewind(self) -> None:
        _reset(self.env, *self._begin)
        for action in self._actions[: self.turns[-1].position].tolist():
            self.env.step(action)

    def _keep(self, what: str, position: int) -> None:
        emulator = self.env.emulator
        self.turns.append(Turn(what, position))
        self._rams.append([np.frombuffer(block[:], np.uint8) for block in emulator.ram])
        self._states.append(b"" if self._shard else emulator.save_state())

    def _take_up(self, kept: dict[str, NDArray[np.uint8]], start: Start | None) -> None:
        if start is not None:
            raise PipelineError(
                f"{self.file}: this search has already begun; leave --start, --state and --shard "
                "out, or remove the file to start over"
            )
        about = json.loads(bytes(kept["about"]))
        if (about["game"], about["rom_sha1"]) != (self.game.name, self.game.rom_sha1):
            raise PipelineError(
                f"{self.file}: a search in {about['game']} (ROM {about['rom_sha1']}), not in "
                f"{self.game.name} ({self.game.rom_sha1}); give its game, or another file"
            )
        if about["shard"] is not None:
            self._shard = Path(about["shard"][0]), int(about["shard"][1])
        for index, turn in enumerate(about["turns"]):
            said = [Comparison(word, number) for word, number in turn["comparisons"]]
            self.turns.append(Turn(turn["what"], turn["position"], said))
            ends = np.cumsum([block.size for block in self.console.blocks])[:-1]
            self._rams.append(list(np.split(kept["ram"][index], ends)))
            self._states.append(kept[f"state{index}"].tobytes())


def _reset(env: GBAEnv, seed: int, state: bytes) -> None:
    env.reset(seed=seed, options={"state": state})


def _read(file: Path) -> dict[str, NDArray[np.uint8]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            kept = {name: archive[name] for name in archive.files}
        about = json.loads(bytes(kept["about"]))
        words = {word for turn in about["turns"] for word, _ in turn["comparisons"]}
        whole = about["format"] == _FORMAT and words <= set(COMPARISONS)
        if not whole or len(about["turns"]) != len(kept["ram"]):
            raise ValueError
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        raise PipelineError(
            f"{file}: not a search that 'game find' can continue; name another file, or remove "
            "this one"
        ) from None
    return kept


def _buttons(text: str, console: Platform) -> list[int]:
    """The keys of each step that a text such as ``RIGHT*3 WAIT A`` asks for."""
    try:
        presses = parse_presses(text, console)
    except PipelineError as error:
        raise PipelineError(f"--play: {error}") from None
    return [KEY_BITS.get(name, 0) for name in presses]
