"""The command ``game states``: the library of start states, listed, filled and checked."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pipeline.commands.action import Report
from pipeline.games.description import GameDescription, StartState
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.games.subtask import known_milestone
from pipeline.reports.summary import rows_table
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError, printable

if TYPE_CHECKING:
    from pipeline.emulator.env import GBAEnv
    from pipeline.emulator.ram import State
    from pipeline.rollouts.start_states import Library

SOURCES = 2
"""What states came from, of each milestone, that a list names."""
_SAVES = (".sav", ".srm")
_SHARDS = (".h5",)


UseRow = TypedDict(
    "UseRow", {"collect": int, "select": int, "evaluate": int, "all": int, "from": list[str]}
)
"""Of a milestone: how many states serve whom, and what they came from, the commonest first."""


class _MilestoneRow(TypedDict):
    milestone: str
    states: int


class _NewestRow(TypedDict):
    newest: str
    when: str
    """Local time."""
    kilobytes: int


class MilestoneRow(_MilestoneRow, UseRow, _NewestRow):
    """The states of a milestone."""


AddedRow = TypedDict("AddedRow", {"milestone": str, "state": str, "from": str})
"""A state that was put in, or ``was there``, and the file that it is from."""


class WrongRow(TypedDict):
    """A state that is not what it should be."""

    milestone: str
    state: str
    problem: str


def run(known: argparse.Namespace, settings: Settings) -> Report:
    """``ls``, ``add`` or ``check``, as ``known.what`` says.

    Returns:
        Of ``check`` with an error where a state is not what it should be.

    Raises:
        PipelineError: no such milestone; a file that is none, or is not of this cartridge, or in
            which the milestone's condition does not hold.
    """
    from pipeline.rollouts.start_states import library_of

    game, rom = find_cartridge(
        load_game(settings.game), settings.rom, unverified=settings.unverified_rom
    )
    if known.milestone is not None:
        known_milestone(game, known.milestone)
    library = library_of(settings.game_folder(game.name))
    if known.what == "add":
        return _add(known, game, rom, library)
    if known.files:
        raise PipelineError(f"game states {known.what}: takes no files; leave {known.files[0]} out")
    names = [one.name for one in game.milestones]
    names += [name for name in library.milestones() if name not in names]
    if known.milestone is not None:
        names = [known.milestone]
    if known.what == "ls":
        return _ls(library, names)
    return _check(library, names, game, rom)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``states`` takes on the command line."""
    parser.add_argument("what", choices=("ls", "add", "check"), help="list, put in, load each one")
    parser.add_argument(
        "files", nargs="*", type=Path, default=[],
        help="add: save states (raw or PNG), in-game saves (.sav), or raw shards to play again",
    )  # fmt: skip
    parser.add_argument(
        "--milestone", metavar="NAME", help="this one only; add: none takes the last that holds"
    )
    parser.add_argument(
        "--frames", type=int, default=600, metavar="N", help="of a .sav: frames to run first (600)"
    )
    parser.add_argument(
        "--press", metavar="BUTTONS", help="of a .sav: then steps of the game: 'A*3 WAIT*60 A'"
    )
    parser.add_argument(
        "--most", type=int, default=0, metavar="N", help="add: states of a milestone at most"
    )


def _ls(library: Library, names: list[str]) -> Report:
    rows: list[MilestoneRow] = []
    count = 0
    for name in names:
        files = library.files(name)
        count += len(files)
        if not files:
            continue
        newest = max(files, key=lambda file: file.stat().st_mtime)
        rows.append(
            {
                "milestone": name,
                "states": len(files),
                **_kept(library, name, files),
                "newest": newest.name,
                "when": time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.stat().st_mtime)),
                "kilobytes": round(sum(file.stat().st_size for file in files) / 1000),
            }
        )
    print(rows_table(rows))
    print(f"{count} states in {printable(str(library.folder))}")
    return Report({"folder": str(library.folder), "milestones": rows})


def _kept(library: Library, name: str, files: list[Path]) -> UseRow:
    """How many serve whom, and what the states came from, the commonest first."""
    counts: Counter[str] = Counter()
    serving: Counter[str] = Counter()
    for file in files:
        try:
            one = library.read(name, file)
        except PipelineError:
            counts["damaged"] += 1
            continue
        origin = one.about.get("from", {})
        counts[str(origin.get("shard") or origin.get("file"))] += 1
        serving[one.purpose or "all"] += 1
    sources = [f"{count} {source}" for source, count in counts.most_common()]
    if len(sources) > SOURCES:
        left = len(sources) - SOURCES
        sources = [*sources[:SOURCES], f"and from {left} more"]
    return {
        "collect": serving["collect"],
        "select": serving["select"],
        "evaluate": serving["evaluate"],
        "all": serving["all"],
        "from": sources,
    }


def _add(known: argparse.Namespace, game: GameDescription, rom: Path, library: Library) -> Report:
    from pipeline.emulator.env import GBAEnv
    from pipeline.search.checking import still

    if not known.files:
        raise PipelineError("game states add: give a save state, a .sav file or a raw shard")
    env = GBAEnv(still(game), rom)
    rows: list[AddedRow] = []
    for file in known.files:
        if file.suffix.lower() in _SHARDS:
            rows += _add_shard(file, known, game, rom, library)
        else:
            rows.append(_add_file(file, known, game, env, library))
    print(rows_table(rows))
    return Report({"folder": str(library.folder), "added": rows})


def _add_shard(
    file: Path, known: argparse.Namespace, game: GameDescription, rom: Path, library: Library
) -> list[AddedRow]:
    """Keep the states at the milestones of a raw shard's episodes."""
    from pipeline.rollouts.keeping_states import harvest, keep_of
    from pipeline.shards.reader import Shard

    with Shard(file) as shard:
        header = shard.header
    keep = keep_of(library.folder.parent, header, file.stem, known.most)
    names = [known.milestone] if known.milestone is not None else list(header.milestones)
    before = {name: set(library.files(name)) for name in names}
    harvest(file, game, rom, keep, only=None if known.milestone is None else {known.milestone})
    return [
        {"milestone": name, "state": str(state), "from": str(file)}
        for name in names
        for state in sorted(set(library.files(name)) - before[name])
    ]


def _add_file(
    file: Path, known: argparse.Namespace, game: GameDescription, env: GBAEnv, library: Library
) -> AddedRow:
    from pipeline.emulator.starting import begin, load_file, warning_of
    from pipeline.games.states import without_note
    from pipeline.rollouts.start_states import ram_sha256, summary

    if Path(file.name.lower().removesuffix(".gz")).suffix in _SAVES:
        start = StartState("", known.frames, save=file, press=_presses(known.press, env))
        state = begin(env.emulator, env.rom, start, game.timing)
    else:
        state = load_file(env.emulator, env.rom, file)
        warning = warning_of(env.emulator, env.rom, file)
        if warning is not None:
            print(printable(f"warning: {file}: {warning}"))
    state = without_note(state)
    variables = env.reset(seed=0, options={"state": state})[1]["state"]
    milestone = _reached(file, known.milestone, game, variables)
    reached = _holding(game, variables)
    about = {
        "game": game.name,
        "rom_sha1": game.rom_sha1,
        "ram_sha256": ram_sha256(env.emulator),
        "from": {"file": file.name},
        "reached": reached,
        "variables": summary(variables),
    }
    added = library.add(milestone, state, about, most=known.most)
    told = "was there" if added is None else str(added)
    return {"milestone": milestone, "state": told, "from": str(file)}


def _presses(text: str | None, env: GBAEnv) -> tuple[str, ...]:
    from pipeline.games.pressing import parse_presses

    if text is None:
        return ()
    try:
        return parse_presses(text, env.emulator.platform)
    except PipelineError as error:
        raise PipelineError(f"--press: {error}") from None


def _reached(file: Path, milestone: str | None, game: GameDescription, state: State) -> str:
    """The milestone that the state is one of: the one that is asked for, or the last that holds."""
    holding = _holding(game, state)
    if milestone is None:
        if not holding:
            raise PipelineError(f"{file}: no milestone of {game.name} is reached in it")
        return holding[-1]
    if milestone not in holding:
        when = next(one.when for one in game.milestones if one.name == milestone)
        there = f"; these are reached: {', '.join(holding)}" if holding else "; none is"
        raise PipelineError(f"{file}: '{milestone}' is not reached in it ({when}){there}")
    return milestone


def _holding(game: GameDescription, state: State) -> list[str]:
    from pipeline.games.conditions import Condition

    shapes = {name: variable.shape for name, variable in game.variables.items()}
    return [one.name for one in game.milestones if Condition(one.when, shapes).holds(state)]


def _check(library: Library, names: list[str], game: GameDescription, rom: Path) -> Report:
    from pipeline.emulator.env import GBAEnv
    from pipeline.search.checking import still

    env = GBAEnv(still(game), rom)
    count = 0
    rows: list[WrongRow] = []
    for name in names:
        for file in library.files(name):
            count += 1
            problem = next(_problems(library, name, file, game, env), None)
            if problem is not None:
                rows.append({"milestone": name, "state": str(file), "problem": problem})
    if rows:
        print(rows_table(rows))
    print(f"{count - len(rows)} of {count} states are right")
    error = None
    if rows:
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        error = f"{rows[0]['state']}: {rows[0]['problem']}{more}"
    return Report({"checked": count, "wrong": rows}, error)


def _problems(
    library: Library, name: str, file: Path, game: GameDescription, env: GBAEnv
) -> Iterator[str]:
    """What is wrong with one state of the library."""
    from pipeline.rollouts.start_states import ram_sha256

    try:
        kept = library.read(name, file)
        state = env.reset(seed=0, options={"state": kept.state})[1]["state"]
    except PipelineError as error:
        yield str(error).removeprefix(f"{file}: ")
        return
    if kept.about.get("rom_sha1") != game.rom_sha1:
        yield f"made with a ROM with sha1 {kept.about.get('rom_sha1')}, not {game.rom_sha1}"
    if kept.about.get("milestone") != name:
        yield f"says that it is a state of '{kept.about.get('milestone')}'"
    digest = ram_sha256(env.emulator)
    if digest != kept.about["ram_sha256"] or not digest.startswith(file.stem):
        yield f"its RAM has the sha256 {digest[:16]}, which is not its name"
    if name not in {one.name for one in game.milestones}:
        yield f"{game.name} has no milestone '{name}' any more"
    elif name not in _holding(game, state):
        when = next(one.when for one in game.milestones if one.name == name)
        yield f"'{name}' is not reached in it ({when})"
