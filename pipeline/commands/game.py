"""The game commands: ``python -m pipeline game ACTION``. Teach the pipeline a game, look at one.

An action prints its tables and returns a `Report`. The emulator is imported late.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.commands import game_states
from pipeline.commands.action import Action, Report
from pipeline.games.description import GameDescription
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.reports.summary import rows_table, summary_table
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError, printable

_TURNS = 20
"""Plays that a picture of a search tells."""
_STILL = (
    "nothing changed on the screen; look at it with --png FILE, and end a play with WAIT*4 or so, "
    "so that the game has time to react"
)

if TYPE_CHECKING:
    from pipeline.games.platforms import Platform
    from pipeline.search.session import SearchSession
    from pipeline.search.values import Result


def _new(known: argparse.Namespace, settings: Settings) -> Report:
    from pipeline.games.template import write_game

    if settings.rom is None:
        raise PipelineError(f"game new {known.name}: give the cartridge image with --rom FILE")
    folder = known.folder or Path(known.name)
    cartridge, files = write_game(known.name, settings.rom, folder)
    result = {
        "game": known.name,
        "files": [str(file) for file in files],
        "title": cartridge.title,
        "code": cartridge.code or None,
        "platform": cartridge.platforms[0].name,
        "sha1": cartridge.sha1,
    }
    print(summary_table(result))
    following = [
        f"python -m pipeline game show --game {folder} --png {folder}/screen.png",
        f"python -m pipeline game find {folder}/x.npz --game {folder} --play 'START WAIT*20 A'",
        f"python -m pipeline game check --game {folder}",
        f"python -m pipeline collect --game {folder} --episodes 1 --max-steps 20",
    ]
    print("It runs already. Next: look, find variables, check, play:")
    print("\n".join(f"  {command}" for command in following))
    return Report({**result, "next": following})


def _new_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the game's name: small letters, digits, - and _")
    parser.add_argument("--folder", type=Path, help="where its files go; none takes ./NAME")


def _check(known: argparse.Namespace, settings: Settings) -> Report:
    from pipeline.search.checking import examine

    game, rom = _game(settings)
    found = examine(
        game, rom, start=known.start, state=known.state, steps=known.steps, compared=known.stock
    )
    hidden = () if any(row["about"] for row in found.variables) else ("about",)
    rows = [{k: _short(v) for k, v in row.items() if k not in hidden} for row in found.variables]
    print(f"{game.folder / 'game.yaml'}: {game.title} on {rom}")
    print(f"variables at the beginning and after {known.steps} steps of random buttons")
    print(rows_table(rows))
    print("conditions")
    print(rows_table([{k: _short(v) for k, v in row.items()} for row in found.conditions]))
    if found.stock.first is None and found.stock.steps:
        print(found.stock)
    for warning in found.warnings:
        print(printable(f"warning: {warning}"))
    for problem in found.problems:
        print(printable(f"wrong: {problem}"))
    error = None
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if len(found.problems) > 1 else ""
        error = f"{game.folder / 'game.yaml'}: {found.problems[0]}{more}"
    else:
        print("nothing is wrong")
    told = {
        "game": game.name,
        "rom": str(rom),
        "variables": found.variables,
        "conditions": found.conditions,
        "warnings": found.warnings,
        "problems": found.problems,
        "stock": {
            "steps": found.stock.steps,
            "identical": found.stock.first is None,
            "first": found.stock.first,
            "differ": list(found.stock.what),
        },
    }
    return Report(told, error)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    _place_arguments(parser)
    parser.add_argument(
        "--steps", type=_natural, default=100, metavar="N", help="random buttons to watch (100)"
    )
    parser.add_argument(
        "--stock", type=_natural, default=300, metavar="N",
        help="steps that are played beside a stock mGBA, to compare (300)",
    )  # fmt: skip


def _show(known: argparse.Namespace, settings: Settings) -> Report:
    from pipeline.games.describing import describe
    from pipeline.games.platforms import PLATFORMS
    from pipeline.search.checking import look, place_of, type_of, value_text

    game, rom = _game(settings)
    sight = look(game, rom, start=known.start, state=known.state)
    words = describe(sight.state, game).splitlines()
    console = PLATFORMS[game.platform]
    rows = [
        {
            "name": name,
            "value": value_text(sight.state[name]),
            "type": type_of(variable),
            "where": _short(place_of(variable, console)),
        }
        for name, variable in game.variables.items()
    ]
    print("\n".join(printable(line) for line in words))
    print(rows_table(rows))
    if known.png is not None:
        from pipeline.reports.screen import draw_screen

        numbers = [f"{row['name']} = {row['value']}" for row in rows]
        draw_screen(sight.screen, _set(words), known.png, numbers)
        print(f"picture: {printable(str(known.png))}")
    state = {name: np.asarray(value).tolist() for name, value in sight.state.items()}
    return Report({"state": state, "milestones": sight.milestones})


def _set(words: Sequence[str]) -> list[str]:
    """Lines for a picture: long ones broken, the rows of a map (after its legend) in columns."""
    lines: list[str] = []
    in_map = False
    for line in words:
        lines += [" " + line] if in_map else textwrap.wrap(line, 60)
        in_map = in_map or line.startswith("map, ")
    return lines


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    _place_arguments(parser)
    parser.add_argument("--png", type=Path, metavar="FILE", help="a picture of screen and state")


class _InOrder(argparse.Action):
    """Keeps several options in the order in which they were given, as (word, value)."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        word = (option_string or self.dest).lstrip("-")
        value = None if values == [] else values
        namespace.script = [*(getattr(namespace, "script", None) or []), (word, value)]


def _find(known: argparse.Namespace, settings: Settings) -> Report:
    from pipeline.search.session import SearchSession, Start
    from pipeline.search.values import KINDS, Comparison, check_number, search

    game, rom = _game(settings)
    start = None
    if any(one is not None for one in (known.start, known.state, known.shard)):
        start = Start(known.start, known.state, known.shard, known.episode)
    session = SearchSession(known.session, game, rom, start)
    kinds = tuple(kind for kind in KINDS if kind != "bit") if known.type is None else (known.type,)
    for word, value in known.script or ():
        if word == "play":
            if not session.play(value):
                print(f"{session.turns[-1].what}: {_STILL}")
        elif word == "until":
            session.until(value)
        elif word == "undo":
            session.undo()
        else:
            check_number(Comparison(word, value or 0), kinds)
            session.compare(Comparison(word, value or 0))
            left = search(session.plays(), session.console, kinds, limit=0).total
            print(f"{session.turns[-1].what}: {Comparison(word, value or 0)}: {left:,} left")
    session.save()
    if known.png is not None:
        from pipeline.reports.screen import draw_screen

        turns = [turn.what for turn in session.turns[-_TURNS:]]
        draw_screen(session.env.emulator.screen(), turns, known.png)
        print(f"picture: {printable(str(known.png))}")
    if known.keep_state is not None:
        session.keep_state(known.keep_state)
        print(f"state: {printable(str(known.keep_state))}")
    return _found(known, session, kinds)


def _found(known: argparse.Namespace, session: SearchSession, kinds: Sequence[str]) -> Report:
    """Print what a search left, and the lines for ``game.yaml``."""
    from pipeline.search.values import emptied_by, search, search_behind_pointers

    name = known.name or re.sub(r"\W", "_", known.session.stem)
    plays, console = session.plays(), session.console
    turns = [turn.what for turn in session.turns]
    told = {"session": str(known.session), "plays": turns}
    if not any(play.comparisons for play in plays):
        print("no comparison yet: play, then say how the number changed, such as --by 1")
        return Report({**told, "left": None})
    found, where = search(plays, console, kinds, known.limit), "at fixed addresses"
    if known.pointers or not found.total:
        behind = search_behind_pointers(plays, console, kinds, known.limit)
        if known.pointers or behind.total:
            found, where = behind, "behind pointers that moved"
    one = found.total == 1
    print(f"{found.total:,} place{'' if one else 's'} {where} fit{'s' * one} all comparisons")
    if not found.total:
        emptied = emptied_by(plays, console, kinds)
        if emptied is not None:
            print(
                f"'{emptied[1]}' of the play '{turns[emptied[0]]}' left no place; --undo takes "
                "back the last play and its comparisons"
            )
    places = [one.as_dict(name, console) for one in found.found]
    if known.add is not None:
        added = _add(known.add, found, name, session)
        return Report({**told, "left": found.total, "found": places, "added": added})
    rows = [
        {
            "place": one.place(console),
            "fits as": list(one.kinds),
            "after each play": " ".join(str(value) for value in one.values),
        }
        for one in found.found
    ]
    if rows:
        print(rows_table(rows))
        print("\n".join(_lines(found, name, console)))
    return Report({**told, "left": found.total, "found": places})


def _add(place: str, found: Result, name: str, session: SearchSession) -> str:
    """Put one of the places into ``game.yaml``; its line."""
    from pipeline.games.template import add_variable

    file, console = session.game.folder / "game.yaml", session.console
    example = f"'{found.found[0].place(console)}'" if found.found else "0x02001000"
    if not place and not found.total:
        raise PipelineError(
            "--add: no place is left; take the last play back with --undo, or start a new search"
        )
    if not place and found.total != 1:
        raise PipelineError(
            f"--add: {found.total:,} places are left; add comparisons, or name one, such as "
            f"--add {example}"
        )
    chosen = [one for one in found.found if place in ("", one.place(console))]
    if not chosen:
        raise PipelineError(
            f"--add {place}: this is not one of the places listed; name one, such as "
            f"--add {example}"
        )
    line, pointer = chosen[0].yaml(name, console), None
    if chosen[0].pointer is not None:
        pointer = f"{name}_block: {console.written(chosen[0].pointer)}"
    add_variable(file, line, pointer)
    print(f"added to {printable(str(file))}: {line}")
    return line


def _lines(found: Result, name: str, console: Platform) -> list[str]:
    """What goes into ``game.yaml``: each place at an address, or the nearest behind a pointer."""
    lines = []
    if found.found[0].pointer is not None:
        pointer = console.written(found.found[0].pointer)
        lines += ["into game.yaml, under pointers:", f"  {name}_block: {pointer}"]
        return [*lines, "and under variables:", "  " + found.found[0].yaml(name, console)]
    which = "one of these" if len(found.found) > 1 else "this"
    lines = [f"into game.yaml, under variables, {which}:"]
    return lines + ["  " + one.yaml(name, console) for one in found.found]


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    # Imported late: the words of a search are those of its room, which brings no emulator.
    from pipeline.search.values import COMPARISONS, KINDS

    parser.add_argument("session", type=Path, help="file of the search; goes on if it is there")
    begin = parser.add_argument_group("where a new search begins (none: the first start state)")
    begin.add_argument("--start", metavar="NAME", help="a start state of game.yaml")
    begin.add_argument("--state", type=Path, metavar="FILE", help="a save state")
    begin.add_argument("--shard", type=Path, metavar="FILE", help="a raw shard, played again")
    begin.add_argument("--episode", type=_natural, default=0, help="which of its episodes (0)")
    script = parser.add_argument_group("plays and comparisons, in order, as many as you like")
    say = partial(script.add_argument, action=_InOrder, dest="script")
    say("--play", metavar="BUTTONS", help="steps of the game, such as 'RIGHT*3 WAIT*4'")
    say("--until", type=_natural, metavar="STEP", help="play the shard up to a step")
    say("--undo", nargs=0, help="take the last play back")
    for word, rule in COMPARISONS.items():
        text = f"of the last play: {rule.about}"
        if rule.number:
            say(f"--{word}", type=_number, metavar="N", help=text)
        else:
            say(f"--{word}", nargs=0, help=text)
    parser.add_argument("--type", choices=KINDS, help="search as this only; bit finds flags")
    parser.add_argument("--pointers", action="store_true", help="search behind moving pointers")
    parser.add_argument("--name", help="the variable's name; none takes the file's")
    parser.add_argument(
        "--add", nargs="?", const="", metavar="PLACE", help="put it into game.yaml, if one is left"
    )
    parser.add_argument("--limit", type=_natural, default=10, help="places to list (10)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="a picture of the screen now")
    parser.add_argument(
        "--keep-state", type=Path, metavar="FILE.png", help="a save state, as --state takes it"
    )


def _place_arguments(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--start", metavar="NAME", help="a start state; none takes the first")
    place.add_argument("--state", type=Path, metavar="FILE", help="a save state of mGBA")


def _natural(text: str) -> int:
    number = _number(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def _game(settings: Settings) -> tuple[GameDescription, Path]:
    return find_cartridge(
        load_game(settings.game), settings.rom, unverified=settings.unverified_rom
    )


def _short(value: Any) -> Any:
    """Long texts cut for a table."""
    return textwrap.shorten(value, 44, placeholder=" ...") if isinstance(value, str) else value


ACTIONS = {
    "new": Action("a game.yaml that runs, for a cartridge", _new_arguments, _new),
    "check": Action("is a game.yaml right? its variables, live", _check_arguments, _check),
    "find": Action("search RAM for a variable", _find_arguments, _find),
    "show": Action("a game's screen and state", _show_arguments, _show),
    "states": Action(
        "the library of start states: ls, add, check", game_states.arguments, game_states.run
    ),
}
