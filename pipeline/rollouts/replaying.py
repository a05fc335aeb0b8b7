"""Recorded episodes, played again: the proof that a recording is what the console did.

The law: an episode is a function of the cartridge, the start state, the seed and the actions. A
raw shard holds the last three (the actions as they were after stickiness) and the ``game.yaml``
that it was recorded with, which says how long a button is held, where the seed is written and
which idle frames it draws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.clock import IN_UTC, as_before
from pipeline.emulator.core import WIDTH
from pipeline.emulator.env import GBAEnv
from pipeline.emulator.ram import State
from pipeline.games.description import GameDescription, Names
from pipeline.games.identity import find_rom
from pipeline.games.parsing import parse_recorded
from pipeline.games.subtask import ending_with, recorded_subtask
from pipeline.rollouts.episodes import state_columns
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import Episode
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError

Columns = dict[str, NDArray[Any]]
_Wrong = dict[str, NDArray[np.bool_]]
"""By what is compared, which rows of a block differ."""
_BLOCK = 128


@dataclass(frozen=True)
class Step:
    """One step played again: what was there before it, and what came of it."""

    screen: Frames
    """(160,240,3) u8."""
    state: State
    ram_crc32: int
    reward: float
    terminated: bool


@dataclass(frozen=True)
class Difference:
    """The first step of an episode that was played otherwise than it was recorded."""

    step: int
    """That many steps were the same; all of them where only the final frame differs."""
    what: tuple[str, ...]
    """What differs there: frame, RAM, state NAME, reward, terminated, final frame."""
    why: str = ""
    """What may be behind it, where something is known."""

    def __str__(self) -> str:
        return f"step {self.step}: {', '.join(self.what)}" + (f" ({self.why})" * bool(self.why))


def play_again(env: GBAEnv, start: bytes, seed: int, actions: NDArray[np.uint8]) -> Iterator[Step]:
    """Execute (T,) actions from a save state.

    After the last step, ``env.emulator.screen()`` is the final frame.

    Args:
        env: without stickiness; the idle frames before step 0 are drawn from the seed as ever.
    """
    screen, info = env.reset(seed=seed, options={"state": start})
    for action in actions.tolist():
        checksum = env.ram_crc32()
        following, reward, terminated, _, after = env.step(action)
        yield Step(screen, info["state"], checksum, reward, terminated)
        screen, info = following, after


def recorded_game(shard: Shard, game: GameDescription) -> GameDescription:
    """The game as it was described when ``shard`` was recorded.

    A shard from before the description was stored in it takes that of today, ``game``. One from
    before clocks were in UTC gets the clock that this host's time zone gave then.

    Raises:
        PipelineError: the shard cannot be played again: it is a processed one, of another game or
            ROM, without start states, or from before with other buttons or another timing.
    """
    header, path = shard.header, shard.path
    if header.kind != "raw":
        parents = ", ".join(str(one.get("file")) for one in header.provenance.get("parents", []))
        raise PipelineError(
            f"{path}: a processed shard, which cannot be played again; give the raw shard that it "
            f"was made of ({parents or 'unknown'})"
        )
    if header.game != game.name:
        raise PipelineError(
            f"{path}: recorded on the game {header.game}, not {game.name}; name its game or its "
            "folder with --game"
        )
    if header.rom_sha1 != game.rom_sha1:
        raise PipelineError(
            f"{path}: recorded on a ROM with sha1 {header.rom_sha1}, but {game.name} has "
            f"{game.rom_sha1}; name the folder of a game with that ROM with --game"
        )
    if not shard.start_states():
        raise PipelineError(
            f"{path}: holds no start states (it was imported?), so it cannot be played again"
        )
    text = header.provenance.get("game_yaml")
    if isinstance(text, str):
        recorded = replace(parse_recorded(text, path), rom_sha1=header.rom_sha1)
        if follows_time_zone(shard):
            recorded = replace(recorded, rtc_ms=as_before(recorded.rtc_ms))
        return ending_with(recorded, recorded_subtask(recorded, header.provenance))
    if header.actions != game.buttons or dict(header.timing) != game.timing.contract:
        raise PipelineError(
            f"{path}: recorded with other buttons or another timing than {game.name} has today, "
            "and from before shards carried their game.yaml; it cannot be played again"
        )
    return replace(game, rtc_ms=as_before(game.rtc_ms)) if follows_time_zone(shard) else game


def follows_time_zone(shard: Shard) -> bool:
    """Whether a recording is from when a cartridge's clock followed the host's time zone."""
    told = str(shard.header.provenance.get("emulator", ""))
    return bool(told) and not told.endswith(IN_UTC) and shard.header.frame_contract.width == WIDTH


def why(env: GBAEnv, shard: Shard) -> str:
    """What may be behind a difference; empty where nothing is known."""
    if not follows_time_zone(shard) or not env.emulator.has_clock:
        return ""
    return (
        "the cartridge's clock followed the time zone of the host that recorded it; set TZ to "
        "that zone, such as TZ=Europe/Berlin, and try again"
    )


def player_again(shard: Shard, game: GameDescription, rom: Path | None = None) -> GBAEnv:
    """The env in which :func:`first_difference` plays; see :func:`recorded_game`."""
    described = recorded_game(shard, game)
    return GBAEnv(described, find_rom(game, rom), sticky_action_probability=0.0)


def reader_anew(shard: Shard, game: GameDescription, rom: Path | None = None) -> GBAEnv:
    """The env in which :func:`read_anew` plays: as recorded, but with today's variables."""
    today = replace(
        recorded_game(shard, game),
        pointers=game.pointers,
        variables=game.variables,
        milestones=(),
        success="False",
        failure=None,
        names=Names(),
    )
    return GBAEnv(today, find_rom(game, rom), sticky_action_probability=0.0)


def first_difference(env: GBAEnv, shard: Shard, index: int) -> Difference | None:
    """Play episode ``index`` again; where it first differs from the recording, or None.

    Compared are the frames, the RAM's checksums (where recorded), every variable that the shard
    and the description have in the same type and shape, rewards, ends, and the final frame.

    Cost: an emulated step and about 0.1 ms; stops at the first block that differs.
    """
    episode = shard.episode(index, frames=False)
    for low, steps, wrong in _blocks(env, shard, index, episode):
        high = low + len(steps)
        played = state_columns(env.game, [step.state for step in steps])
        for name, values in played.items():
            recorded = episode.state[name][low:high] if name in episode.state else np.empty(0)
            if recorded.dtype == values.dtype and recorded.shape == values.shape:
                differ = (recorded != values).reshape(len(values), -1).any(axis=1)
                wrong[f"state {name}"] = differ
        rewards = np.array([step.reward for step in steps], np.float32)
        ends = np.array([step.terminated for step in steps])
        wrong["reward"] = rewards != episode.rewards[low:high]
        wrong["terminated"] = ends != episode.terminated[low:high]
        found = _first(low, wrong)
        if found is not None:
            return replace(found, why=why(env, shard))
    final = _final(env, episode)
    return None if final is None else replace(final, why=why(env, shard))


def read_anew(env: GBAEnv, shard: Shard, index: int) -> Columns:
    """Play episode ``index`` again and read today's variables before each step, (T,...) each.

    Raises:
        PipelineError: a frame, or the RAM where its checksum was recorded, is another.
    """
    episode = shard.episode(index, frames=False)
    columns: list[Columns] = []
    found: Difference | None = None
    for low, steps, wrong in _blocks(env, shard, index, episode):
        found = _first(low, wrong)
        if found is not None:
            break
        columns.append(state_columns(env.game, [step.state for step in steps]))
    found = found or _final(env, episode)
    if found is not None:
        found = replace(found, why=why(env, shard))
        raise PipelineError(
            f"{shard.path}: episode {index} is not played again as it was recorded ({found}), so "
            f"its states cannot be read anew; look with: data replay"
        )
    return {name: np.concatenate([block[name] for block in columns]) for name in columns[0]}


def _blocks(
    env: GBAEnv, shard: Shard, index: int, episode: Episode
) -> Iterator[tuple[int, list[Step], _Wrong]]:
    """The episode in blocks: the first step's number, the steps, which have another screen or RAM.

    Memory: the screens of one block, twice.
    """
    first = int(shard.starts[index])
    start = shard.start_states()[episode.start_state]
    steps = play_again(env, start, episode.seed, episode.actions)
    low = 0
    while True:
        try:
            block = list(islice(steps, _BLOCK))
        except PipelineError as error:
            raise PipelineError(f"{shard.path}: episode {index}: {error}") from None
        if not block:
            return
        high = low + len(block)
        frames = shard.read_frames(first + low, first + high)
        same = [np.array_equal(step.screen, f) for step, f in zip(block, frames, strict=True)]
        wrong: _Wrong = {"frame": ~np.array(same)}
        if episode.ram_crc32 is not None:
            checksums = np.array([step.ram_crc32 for step in block], np.uint32)
            wrong["RAM"] = checksums != episode.ram_crc32[low:high]
        yield low, block, wrong
        low = high


def _first(low: int, wrong: _Wrong) -> Difference | None:
    steps = np.flatnonzero(np.any(list(wrong.values()), axis=0))
    if not len(steps):
        return None
    return Difference(low + int(steps[0]), tuple(n for n, rows in wrong.items() if rows[steps[0]]))


def _final(env: GBAEnv, episode: Episode) -> Difference | None:
    """What is to be said when all steps were the same."""
    if np.array_equal(env.emulator.screen(), episode.final_frame):
        return None
    return Difference(len(episode), ("final frame",))
