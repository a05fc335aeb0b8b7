"""The command line: ``python -m pipeline STAGE --config FILE [--section.key value ...]``."""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import BaseModel

from pipeline import data, game
from pipeline.config import Settings, load_settings, section_of, valid_keys
from pipeline.data import add_actions
from pipeline.errors import PipelineError
from pipeline.reports.summary import summary_table

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
ACTIONS = {"data": data.ACTIONS, "game": game.ACTIONS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0 done, 2 a user's mistake, 130 interrupted.

    141, as in a shell, where nobody reads its output any more.
    """
    # OpenMP threads that spin while they wait cost a busy machine ten times the speed, and threads
    # that never do cost a quiet one a sixth of it: so they spin a little. Set before torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "200000")
    try:
        _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command carries on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read has seen enough, as in "game show | head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


def _run(arguments: list[str]) -> None:
    parser = _parser()
    known, rest = parser.parse_known_args(arguments)
    if known.command in ACTIONS:
        settings = load_settings(known.config, read_overrides("", rest))
        result = ACTIONS[known.command][known.action].run(known, settings)
        error = result.pop("error", None)
    else:
        settings = load_settings(known.config, read_overrides(known.command, rest))
        result = _stage(known.command, settings)
        error = result.pop("error", None)
        print(_headline(known.command, result))
    if known.json:
        print(json.dumps(result, default=str))
    if error is not None:
        raise PipelineError(error)


def _stage(name: str, settings: Settings) -> dict[str, Any]:
    # Imported late: each stage brings only what it needs (train no emulator, collect no torch).
    module = importlib.import_module(f"pipeline.{name}")
    if name == "train" and settings.train.evaluate_every:
        from pipeline.evaluate import evaluator

        result: dict[str, Any] = module.run(settings, evaluator=evaluator(settings))
    else:
        result = module.run(settings)
    return result


def _headline(command: str, result: dict[str, Any]) -> str:
    state = "up to date" if result.get("up_to_date") else "done"
    hidden = {"up_to_date"}
    if len(result.get("by_shard", [])) == 1:
        hidden.add("by_shard")
    shown = {key: value for key, value in result.items() if key not in hidden}
    return f"{command}: {state}\n{summary_table(shown)}"


def read_overrides(stage: str, words: Sequence[str]) -> dict[str, Any]:
    """``--section.key value``, ``--key=value``, ``--flag``: dotted keys and their values.

    A key without a section is one of the stage's own section (``evaluate --episodes 40`` is
    ``--evaluate.episodes 40``) or else of the top level (``--game``).

    Raises:
        PipelineError: an unknown key, with the nearest valid one, or a value without a key.
    """
    keys = valid_keys()
    overrides: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--"):
            raise PipelineError(f"the command line: '{word}' stands alone; write --key value")
        name, equals, value = word[2:].partition("=")
        position += 1
        values = [value] if equals else []
        while not equals and position < len(words) and not words[position].startswith("--"):
            values.append(words[position])
            position += 1
        key = _full_key(stage, name.replace("-", "_"), keys)
        overrides[key] = _value(key, values)
    return overrides


def _full_key(stage: str, name: str, keys: Sequence[str]) -> str:
    for key in (f"{stage}.{name}", name):
        if key in keys:
            return key
    short = [key.partition(".")[2] for key in keys if key.startswith(f"{stage}.")]
    near = difflib.get_close_matches(name, [*keys, *short], n=1, cutoff=0.0)[0]
    raise PipelineError(f"the command line: unknown key '--{name}'; the nearest is '--{near}'")


def _value(key: str, words: Sequence[str]) -> Any:
    *sections, name = key.split(".")
    model: type[BaseModel] = Settings
    for section in sections:
        model = section_of(model.model_fields[section].annotation) or model
    named = {field.alias or key: field for key, field in model.model_fields.items()}
    kind = named[name].annotation
    if get_origin(kind) is list:
        return list(words)
    if not words:
        if kind is bool:
            return True
        raise PipelineError(f"the command line: --{key} needs a value")
    if len(words) > 1:
        raise PipelineError(f"the command line: --{key} takes one value, not {len(words)}")
    try:
        value = yaml.safe_load(words[0])
    except yaml.YAMLError:
        return words[0]
    return value if isinstance(value, (bool, int, float, dict)) or value is None else words[0]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pokemon-il",
        description="Imitation learning from pixels for games of the Game Boy family.",
        epilog="Any setting is an option: --train.steps 500, or --steps 500 for the stage's own.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, help="YAML of settings; none takes the defaults")
    shared.add_argument("--json", action="store_true", help="end with one JSON object on a line")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in STAGES.items():
        commands.add_parser(name, help=text, description=text, parents=[shared], allow_abbrev=False)
    for name, text in COMMANDS.items():
        add_actions(commands.add_parser(name, help=text), shared, ACTIONS[name])
    return parser


if __name__ == "__main__":
    sys.exit(main())
