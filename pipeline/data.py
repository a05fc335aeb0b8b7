"""The data commands: ``python -m pipeline data ACTION``. Each composes what a room offers.

An action prints its tables and returns what ``--json`` prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Settings
from pipeline.reports.summary import rows_table, summary_table


@dataclass(frozen=True)
class Action:
    """One word after ``data``."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[argparse.Namespace, Settings], dict[str, Any]]


def _ls(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards import table

    rows = table.list_shards(settings.paths.datasets)
    print(rows_table(rows))
    return {"shards": rows}


def _show(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards import table

    result = dict(table.describe(Path(known.file)))
    print(summary_table(result))
    return result


def _import(known: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    from pipeline.shards import npz

    result = npz.import_episodes(known.files, settings, name=known.name, expert=known.expert)
    print(summary_table(result))
    return result


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+")
    parser.add_argument("--name", default="import", help="stem of the shard's file name")
    parser.add_argument("--expert", action="store_true", help="the buttons are an expert's")


ACTIONS = {
    "ls": Action("table of all shards", lambda parser: None, _ls),
    "show": Action("what one shard holds", lambda parser: parser.add_argument("file"), _show),
    "import": Action("episode_*.npz to a raw shard", _import_arguments, _import),
}


def add_actions(data: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> None:
    """Give the parser of ``data`` its actions; ``shared`` are the options that all have."""
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, action in ACTIONS.items():
        action.arguments(actions.add_parser(name, help=action.help, parents=[shared]))
