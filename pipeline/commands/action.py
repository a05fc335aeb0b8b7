"""What a command with actions is made of: ``data ls``, ``game check`` and the like."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.settings.reading import Settings


@dataclass(frozen=True)
class Report:
    """How an action ended, after it has printed its tables."""

    result: Mapping[str, object]
    """What ``--json`` prints."""
    error: str | None = None
    """Why the command fails although there is a result, in one line."""


@dataclass(frozen=True)
class Action:
    """One word after ``data``, or after another command that has actions."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace, Settings], Report]


def add_actions(
    command: argparse.ArgumentParser,
    shared: argparse.ArgumentParser,
    actions_of: Mapping[str, Action],
    epilog: str = "",
) -> dict[str, argparse.ArgumentParser]:
    """Give the parser of a command its actions; return the parser of each.

    Args:
        shared: the options that all have.
        epilog: ends the help of each.
    """
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    made: dict[str, argparse.ArgumentParser] = {}
    for name, action in actions_of.items():
        made[name] = actions.add_parser(
            name, help=action.help, parents=[shared], allow_abbrev=False, epilog=epilog
        )
        action.arguments(made[name])
    return made
