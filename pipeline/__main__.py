"""The command line: ``python -m pipeline STAGE --config FILE [--section.key value ...]``."""

from __future__ import annotations

import argparse
import copy
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.settings.options import (
    VALUES,
    Words,
    full_key,
    kind_of_key,
    own_options,
    take_apart,
    typed,
    words_needed,
)
from pipeline.settings.reading import Settings, load_settings, tell_renamed
from pipeline.system.errors import PipelineError
from pipeline.system.streams import prepare_streams
from pipeline.system.strict_json import json_text

if TYPE_CHECKING:
    from pipeline.commands.action import Action

SPINS = "1000"
"""How often a waiting OpenMP thread looks before it sleeps (GOMP_SPINCOUNT, OMP_WAIT_POLICY).

Two trainings on two cores each have a tenth of a fair half where threads spin as they like, and a
quiet one loses an eighth where they never do (`tests.bench.bench_busy`): so they spin a little.
"""
PLACES = {
    **dict.fromkeys(("dagger", "curriculum", "compare", "author"), "pipeline.loops"),
    **dict.fromkeys(("setup", "doctor"), "pipeline.commands"),
}
"""Of commands that are no stage of the five: where their module lies."""
STAGES = {
    "collect": "someone plays; write a raw shard",
    "preprocess": "raw shards to 84x84 shards",
    "train": "behavioural cloning on labelled shards",
    "label": "the expert's button for every step of a shard",
    "evaluate": "a checkpoint plays unseen games",
    "dagger": "rounds of the five stages",
    "curriculum": "milestone after milestone: gate, rounds, and a table of them",
    "compare": "cloning against DAgger at equal labels",
    "author": "a model writes programs that play, a milestone at a time",
    "setup": "install what pip cannot: the emulator, once an environment",
    "doctor": "what this machine has and lacks, in one table",
}

COMMANDS = {
    "data": "look into shards and change them: ls, show, import ...",
    "game": "teach the pipeline a game, look at one: new, find, check, show",
}
"""They have actions, in a module of their name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 2 a user's mistake, 130 interrupted.

    141, as in a shell, where nobody reads its output any more.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # before torch loads
    prepare_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            _run(words)
        except SystemExit:  # after a help, which perhaps nobody reads to its end
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except PipelineError as error:
        if "--json" in words and not isinstance(error, _Told):
            print(json_text({"error": str(error)}), flush=True)
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has seen enough, as in "game show | head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _run(arguments: list[str]) -> None:
    known, overrides = _read(arguments)
    settings = load_settings(known.config, overrides)
    if known.command in COMMANDS:
        report = _actions(known.command)[known.action].run(known, settings)
        result, error = dict(report.result), report.error
    else:
        result = _stage(known.command, settings)
        told = result.pop("error", None)
        error = None if told is None else str(told)
        print(_headline(known.command, result))
    if known.json:
        print(json_text(result if error is None else {**result, "error": error}))
    if error is not None:
        raise _Told(error)


def _actions(command: str) -> Mapping[str, Action]:
    """Imported late: stages need none of what they need, and help is a fifth of a second faster."""
    actions: Mapping[str, Action] = importlib.import_module(f"pipeline.commands.{command}").ACTIONS
    return actions


class _Told(PipelineError):
    """An error of a command that has a result, which is told already."""


def _stage(name: str, settings: Settings) -> dict[str, object]:
    """Run a stage, or a loop of them; what is told of its result."""
    # Imported late: each stage brings only what it needs (train no emulator, collect no torch).
    module = importlib.import_module(f"{PLACES.get(name, 'pipeline')}.{name}")
    if name == "train" and settings.train.evaluate_every:
        from pipeline.loops.judge import evaluator

        result = module.run(settings, evaluator=evaluator(settings))
    else:
        result = module.run(settings)
    if isinstance(result, dict):
        return result  # setup and doctor
    from pipeline.reports.telling import told

    return told(result)


def _headline(command: str, result: Mapping[str, Any]) -> str:
    from pipeline.reports.summary import summary_table  # no help and no error needs it

    state = "up to date" if result.get("up_to_date") else "done"
    if result.get("stopped"):  # the same command carries on
        state = "stopped"
    hidden = {"up_to_date"}
    if len(result.get("by_shard", [])) == 1:
        hidden.add("by_shard")
    shown = {key: value for key, value in result.items() if key not in hidden}
    return f"{command}: {state}\n{summary_table(shown)}"


def read_overrides(stage: str, words: Sequence[str]) -> dict[str, object]:
    """``--section.key value``, ``--key=value``, ``--flag``: dotted keys and their values.

    A key without a section is one of the stage's own section (``evaluate --episodes 40`` is
    ``--evaluate.episodes 40``) or else of the top level (``--game``).

    Raises:
        PipelineError: an unknown key, with the nearest valid one, or a value without a key.
    """
    taken = take_apart(words, {}, lambda name: kind_of_key(full_key(stage, name)), plain=None)
    _none_alone(taken)
    return _settings_of(stage, taken)


def _settings_of(stage: str, taken: Words) -> dict[str, object]:
    given: dict[str, list[str]] = {}
    for name, values in taken.settings:
        key = full_key(stage, name)
        if key.rpartition(".")[2] != name.replace("-", "_").rpartition(".")[2]:
            tell_renamed(f"--{name}", f"--{key}", "the command line")
        given[key] = values
    return {key: typed(key, values) for key, values in given.items()}


def _none_alone(taken: Words) -> None:
    if taken.plain:
        word = taken.plain[0]
        raise PipelineError(f"the command line: '{word}' has no key; write --key value")


def _read(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, object]]:
    """The command, its own arguments, and settings by their dotted keys."""
    main_parser, leaves = _parsers([one for one in COMMANDS if one in arguments])
    named = _commands_in(arguments, leaves)
    if named is None:
        main_parser.parse_args(arguments)  # ends: help, or what is wrong
        raise PipelineError("the command line: give a command; --help lists them")
    leaf, places = named
    command, action = leaf
    parser = leaves[leaf]
    rest = [word for place, word in enumerate(arguments) if place not in places]
    stage, own = ("" if action else command), own_options(parser)
    taken = take_apart(
        rest,
        own,
        lambda name: kind_of_key(full_key(stage, name, list(own))),
        plain=words_needed(parser) if action else None,
    )
    if not action:
        _none_alone(taken)
    known = parser.parse_args(taken.arguments())
    known.command, known.action = command, action
    return known, _settings_of(stage, taken)


def _commands_in(
    arguments: list[str], leaves: Mapping[Leaf, argparse.ArgumentParser]
) -> tuple[Leaf, set[int]] | None:
    """Which command is meant, and where its words stand; None where there is no whole one."""
    own = {name: one for parser in leaves.values() for name, one in own_options(parser).items()}
    stages = list(dict.fromkeys(command for command, _ in leaves))

    def kind_of(name: str) -> Any:
        for stage in ("", *stages):
            try:
                return kind_of_key(full_key(stage, name))
            except PipelineError:
                continue
        return bool  # unknown: said when the command is known

    # Each word knows its place: two may be alike. Before it is known whose options they are, one
    # that takes several words takes one, and one that may do without takes none.
    few = {name: _taking_few(one) for name, one in own.items()}
    plain = take_apart([_Placed(word, n) for n, word in enumerate(arguments)], few, kind_of).plain
    found = [word for word in plain if isinstance(word, _Placed)]
    for number, word in enumerate(found):
        if (word, "") in leaves:
            return (str(word), ""), {word.place}
        following = found[number + 1] if number + 1 < len(found) else word
        if (word, following) in leaves:
            return (str(word), str(following)), {word.place, following.place}
    return None


def _taking_few(option: argparse.Action) -> argparse.Action:
    """The same option, with the fewest words that it may have."""
    few = copy.copy(option)
    few.nargs = {"?": 0, "+": None, "*": 0}.get(str(option.nargs), option.nargs)
    return few


class _Placed(str):
    """A word that knows where it stood."""

    place: int

    def __new__(cls, word: str, place: int) -> _Placed:
        made = super().__new__(cls, word)
        made.place = place
        return made


class _Parser(argparse.ArgumentParser):
    """One whose complaints are one line, and whose help of a stage lists its settings."""

    stage: str | None = None

    def format_help(self) -> str:
        text = super().format_help()
        if self.stage is None:
            return text
        from pipeline.settings.reference import help_text  # 30 ms that only help needs

        return f"{text}\n{help_text(self.stage)}\n"

    def error(self, message: str) -> NoReturn:
        raise PipelineError(f"the command line: {message}; see {self.prog} --help")


class _Version(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        try:
            version = importlib.metadata.version("pokemon-il")  # it looks through all packages
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        print(f"pokemon-il {version}")
        sys.exit(0)


Leaf = tuple[str, str]
"""A command and its action, or ""."""


def _parsers(
    with_actions: Sequence[str],
) -> tuple[argparse.ArgumentParser, dict[Leaf, argparse.ArgumentParser]]:
    """The parser of all commands, for its help, and that of each.

    Args:
        with_actions: commands that may be meant; only their actions have parsers.
    """
    parser = _Parser(
        prog="pokemon-il",
        description="Imitation learning from pixels for games of the Game Boy family.",
        epilog="Any setting is an option: --train.steps 500, or --steps 500 for the stage's own. "
        + VALUES,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    shared = _Parser(add_help=False)
    shared.add_argument("--config", type=Path, help="YAML of settings; none takes the defaults")
    shared.add_argument("--json", action="store_true", help="end with one JSON object on a line")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    leaves: dict[Leaf, argparse.ArgumentParser] = {}
    for name, text in STAGES.items():
        leaf = commands.add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False, epilog=VALUES
        )
        leaf.stage = name
        leaf.usage = f"{leaf.prog} [--config CONFIG] [--json] [--KEY VALUE ...]"
        leaves[name, ""] = leaf
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if name in with_actions:
            from pipeline.commands.action import add_actions

            made = add_actions(command, shared, _actions(name), VALUES)
            leaves.update({(name, action): leaf for action, leaf in made.items()})
    return parser, leaves


if __name__ == "__main__":
    sys.exit(main())
