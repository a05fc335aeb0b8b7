"""Moves shards of the old layout, one folder a game, to the folders of their runs.

A file gets its new name before it loses the old one, so that an interruption at any place leaves
it under at least one, and the same command finishes. Nothing is overwritten.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from pipeline.rollouts.parts import held
from pipeline.settings.run_names import folder_of_run, is_run_name
from pipeline.shards.catalog.catalogue import KEPT, Catalogue
from pipeline.shards.catalog.publish import cannot_write, make_folder
from pipeline.shards.run_shards import games_of
from pipeline.system.files import move_folder, name_whole

_OF_COMPARE = re.compile(
    r"\.?(?P<run>.+?)-(?:dagger|cloning(?:_[a-z]+)*|thinned|uncertain|disagree|novel)-\d+"
    r"(?:-round-\d+)?-(?:raw|84|labelled)-.+"
)
_OF_A_LOOP = re.compile(r"\.?(?P<run>.+?)-(?:round-\d+|evaluate)-.+")


def run_by_name(name: str, otherwise: str) -> str:
    """The run that a loop gave a shard's name; ``otherwise`` where no loop named it.

    ``X`` of ``X-round-00-raw-v001.h5`` and of ``X-evaluate-raw-v001.h5``, and ``X/compare`` of
    ``X-cloning-0-raw-v001.h5``, as `compare` keeps its shards.
    """
    match = _OF_COMPARE.fullmatch(name)
    run = f"{match['run']}/compare" if match else None
    if match is None and (match := _OF_A_LOOP.fullmatch(name)):
        run = match["run"]
    return run if run is not None and is_run_name(run) else otherwise


class AdoptedRow(TypedDict):
    """A file in a game's folder."""

    file: str
    run: str
    """That it belongs to."""
    shard: str
    """Its new path."""
    state: str
    """``moved``, or why it stays."""


def adopt(datasets: Path, run: str) -> list[AdoptedRow]:
    """Move shards that lie directly in a game's folder to the folders of their runs.

    Finished episodes of interrupted collections are moved, too.

    Args:
        run: of the shards that no loop named.

    Returns:
        A row a file.

    Raises:
        PipelineError: the disk refuses; what was moved is moved, and the same command goes on.
    """
    rows: list[AdoptedRow] = []
    for game in games_of(datasets):
        flat = Catalogue(game)
        for path in [*flat.files(), *sorted(game.glob(".*.parts"))]:
            own = run_by_name(path.name, run)
            target = folder_of_run(game, own) / path.name
            if target == path:
                continue  # it is where it belongs
            try:
                make_folder(target.parent, target)
                state = _move(path, target)
            except OSError as error:
                raise cannot_write(target, error) from None
            rows.append({"file": str(path), "run": own, "shard": str(target), "state": state})
        if rows and not flat.files():
            with suppress(OSError):
                (game / KEPT).unlink()  # told of what has gone; each run's folder gets its own
    return rows


def _move(path: Path, target: Path) -> str:
    if path.is_dir():
        return _move_parts(path, target)
    try:
        name_whole(path, target)
    except FileExistsError:
        if not path.samefile(target):
            return f"stays: {target} is there already"
        path.unlink()  # named before an interruption
    return "moved"


def _move_parts(path: Path, target: Path) -> str:
    with held(path) as mine:
        if not mine:
            return "stays: a process is collecting into it; let it end"
        try:
            move_folder(path, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return f"stays: {target} is there already"
    return "moved"
