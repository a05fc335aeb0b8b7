"""Whose shards: a folder for each run in that of the game, and which ones a stage takes.

Shards belong to the run that made them: ``DATASETS/GAME/RUN/STEM-v001.h5``. Two runs never see each
other's versions, and a stage takes the shards of another run only when it is told to. Commands that
name no run are the run ``default``, whose shards lie in ``DATASETS/GAME/`` itself. There lay those
of all runs once, so a run that has none takes from there; ``data adopt`` moves them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings.run_names import DEFAULT, STATES, Folders, folder_of_run
from pipeline.shards.catalog.catalogue import Catalogue, Entry
from pipeline.system.errors import PipelineError, printable

ALL = "all"
"""In the place of shards: those of every run."""


def folders_of(game: Path) -> list[Path]:
    """Folders of a game with shards: that of the run ``default``, then each run's, by name."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, files in os.walk(game, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        here = Path(place)
        hidden = {name for name in folders if name[0] == "." or (here == game and name == STATES)}
        folders[:] = sorted(set(folders) - hidden)
        if any(name.endswith(".h5") and name[0] != "." for name in files):
            found.append(here)
    return sorted(found)


def games_of(datasets: Path) -> list[Path]:
    """The folder of each game."""
    return sorted(path for path in datasets.glob("*") if path.is_dir() and path.name[0] != ".")


def all_shards(datasets: Path) -> list[Path]:
    """Every ``*.h5`` of every run of every game."""
    folders = [folder for game in games_of(datasets) for folder in folders_of(game)]
    return sorted(path for folder in folders for path in Catalogue(folder).files())


def entries_of_game(game: Path) -> list[Entry]:
    """What the shards of all runs of a game hold."""
    return [entry for folder in folders_of(game) for entry in Catalogue(folder).entries()]


def run_of(folder: Path, game: Path) -> str | None:
    """The run whose shards lie in a folder; None of the game's own, and of one elsewhere."""
    try:
        parts = Path(os.path.abspath(folder)).relative_to(os.path.abspath(game)).parts
    except ValueError:
        return None
    return "/".join(parts) or None


def game_of(path: Path, datasets: Path) -> Path | None:
    """The folder of the game that a shard lies in; None elsewhere."""
    try:
        parts = Path(os.path.abspath(path)).relative_to(os.path.abspath(datasets)).parts
    except ValueError:
        return None
    return datasets / parts[0] if len(parts) > 1 else None


@dataclass(frozen=True)
class Chosen:
    """What a stage takes where no shards are named."""

    paths: list[Path]
    whose: str
    """``run 'quest'`` or ``all runs``."""
    folder: Path
    advice: str = ""
    """What to do about the shards of another run."""
    unread: tuple[str, ...] = ()
    """Names of files there that are no shards, or cannot be read."""

    def line(self, stage: str, kind: str, more: str = "") -> str:
        """What was taken, in one line."""
        number = len(self.paths)
        shards = f"{number:,} {kind} shard{'' if number == 1 else 's'}"
        line = f"{stage}: {shards} of {self.whose}{more} ({self.folder}){self.advice}"
        if self.unread:
            names = ", ".join(self.unread[:3]) + (" ..." if len(self.unread) > 3 else "")
            line += f"; left out, as it cannot be read: {names} (data ls says why)"
        return printable(line)


def choose(
    folders: Folders,
    named: Sequence[str],
    pick: Callable[[Sequence[Path]], list[Path]],
    missing: str,
) -> Chosen:
    """The shards of the own run, of ``from_run``, or of every run where ``named`` is ``all``.

    Those of the run ``default`` are taken where the own run has none.

    Args:
        folders: whose shards.
        pick: the shards of these folders that the stage wants.
        missing: the line where there are none, without the folder.

    Raises:
        PipelineError: there are none.
    """
    home = folders.game
    if list(named) == [ALL]:
        if folders.from_run is not None:
            raise PipelineError(
                f"from_run {folders.from_run}: --shards all takes every run's; give only one of "
                "them"
            )
        every = folders_of(home)
        chosen = Chosen(pick(every), "all runs", home, unread=_unread(every))
    else:
        run = folders.from_run or folders.shards_run
        folder = folder_of_run(home, run)
        chosen = Chosen(pick([folder]), f"run '{run}'", folder, unread=_unread([folder]))
    if chosen.paths:
        return chosen
    flat_too = folders.from_run is None and list(named) != [ALL] and chosen.folder != home
    if flat_too and Catalogue(home).files():
        adopt = f"; move them with: python -m pipeline data adopt --run {folders.shards_run}"
        flat = Chosen(pick([home]), f"run '{DEFAULT}'", home, adopt)
        if flat.paths:
            return flat
    others = [run_of(one, home) or DEFAULT for one in folders_of(home) if one != chosen.folder]
    there = f", or take those of another run with --from_run ({', '.join(others)})"
    raise PipelineError(f"{chosen.folder}: {missing}{there if others else ''}")


def _unread(folders: Sequence[Path]) -> tuple[str, ...]:
    """Names of files in these folders that no stage can take."""
    catalogues = [Catalogue(folder) for folder in folders]
    entries = [entry for one in catalogues for entry in one.of(one.files())]
    return tuple(entry.path.name for entry in entries if entry.facts is None)


def named_shards(from_run: str | None, named: Sequence[str]) -> list[Path] | None:
    """The files that ``named`` are; None where they are to be chosen.

    Raises:
        PipelineError: files are named, and a run to take them from as well.
    """
    if not named or list(named) == [ALL]:
        return None
    if from_run is not None:
        raise PipelineError(
            f"from_run {from_run}: the shards are named one by one; give only one of them"
        )
    return [Path(one) for one in named]


def stem_here(folders: Folders, source: Path, stem: str) -> str:
    """The stem of what the own run makes of a shard.

    What is made of another run's shard has that run in its name, but for a run in whose folder the
    own one lies. So neither is a version of the other.
    """
    run, own = run_of(source.parent, folders.game), folders.shards_run
    if run is None or f"{own}/".startswith(f"{run}/") or stem.startswith(f"{run}-"):
        return stem
    return f"{run.replace('/', '-')}-{stem}"


def refuse_same_stem(stage: str, stems: Iterable[tuple[Path, str]]) -> None:
    """Refuse sources, each with the stem of what becomes of it, if two would get the same name.

    Raises:
        PipelineError: names the first two.
    """
    seen: dict[str, Path] = {}
    for source, stem in stems:
        if stem in seen:
            raise PipelineError(
                f"{stage}.shards: {seen[stem]} and {source} would both become {stem}-...; "
                "name only one of them, or rename one"
            )
        seen[stem] = source
