"""The author: a model writes a program a milestone, which is tried, and kept or asked for again.

``CHECKPOINTS/RUN/author/`` holds every attempt and, as ``expert.py``, the programs that were
accepted, joined into one that plays the game.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import fields
from typing import Any

from pipeline.experts.authoring.attempts import Attempts, alone_in, milestone_folder, sha256
from pipeline.experts.authoring.drafting import SIGHTS, Drafting, Workshop
from pipeline.experts.authoring.expert_file import (
    COUNTED,
    joined_source,
    milestone_row,
    read_whole,
    source_of,
    sum_of,
    write_expert,
)
from pipeline.experts.authoring.forecast import forecast
from pipeline.experts.authoring.prompt import request
from pipeline.experts.authoring.record import Judged
from pipeline.experts.authoring.starts import WHOLE, seeds
from pipeline.experts.authoring.trials import Start, sights, tried_with, try_program
from pipeline.experts.authoring.verdict import verdict
from pipeline.experts.authoring.written import Whole
from pipeline.experts.budget import Spending
from pipeline.games.checked import nearest
from pipeline.games.description import GameDescription
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.loops.results import (
    AuthorCost,
    AuthorCostRow,
    AuthorForecast,
    AuthorResult,
    AuthorRow,
    WholeProgram,
)
from pipeline.reports.telling import Interval
from pipeline.settings.reading import Settings
from pipeline.shards.format.provenance import fingerprint
from pipeline.system.errors import PipelineError
from pipeline.system.workers import local_executor


def run(settings: Settings) -> AuthorResult | AuthorForecast:
    """Write, try and join programs for ``author.milestone``, or for ``all`` in the game's order.

    What is on disk is used first: an accepted program is up to date, an answer without a result
    (or with one under other settings) is tried again, and only then the model is asked. The budget
    is that of one command; what earlier ones spent stands in the table, but does not count.

    Raises:
        PipelineError: an unknown milestone, one before it without a program, no isolation, no
            model or no key, or a model, key or account that the service refuses.
    """
    described = load_game(settings.game)
    game, rom = find_cartridge(described, settings.rom, unverified=settings.unverified_rom)
    goals = _goals(settings, game)
    spending = Spending(settings.budget, settings.model.prices)
    folder = settings.run_folder() / "author"
    shop = Workshop(settings, game, rom, folder, spending)
    if settings.author.dry_run:
        return _forecast(shop, goals)
    if settings.expert.isolation == "trusted":
        raise PipelineError(
            "expert.isolation is trusted, and what a model writes never is; choose "
            "--expert.isolation bwrap or --expert.isolation monty"
        )
    # So that no program is blamed for a sandbox that is not there, and no answer paid for.
    shop.check_loads("def act(state):\n    return None\n")
    parts: dict[str, Judged] = {}
    error, asked, tried = None, 0, 0
    with alone_in(folder), local_executor(settings.author.workers) as pool:
        for milestone in game.milestones:
            before = {name: source_of(one) for name, one in parts.items()}
            drafting = Drafting(shop, milestone, before)
            if milestone.name in goals and drafting.kept() is None:
                error = drafting.draft(pool)
                asked, tried = asked + drafting.asked, tried + drafting.tried
            kept = drafting.kept()
            if kept is None:
                break
            parts[milestone.name] = kept
        if error is None:
            _refuse_gaps(goals, parts, game)
        whole, new = _whole(shop, parts, pool, paid=asked > 0)
    rows = [milestone_row(folder, goal, parts.get(goal), game) for goal in goals]
    return AuthorResult(
        up_to_date=not (asked or tried or new or error),
        program=folder / "expert.py" if parts else None,
        use=f"--expert.path {folder / 'expert.py'}" if parts else None,
        plays=f"{len(parts)} of {len(game.milestones)} milestones",
        whole=whole,
        asked=asked,
        **{name: sum(row[name] for row in rows) for name in COUNTED},
        dollars=sum_of([row["dollars"] for row in rows if row["attempts"]]),
        milestones=tuple(_row(row) for row in rows),
        error=error,
    )


def _goals(settings: Settings, game: GameDescription) -> list[str]:
    names = [milestone.name for milestone in game.milestones]
    wanted = settings.author.milestone
    if wanted == "all":
        return names
    if wanted not in names:
        raise PipelineError(
            f"author.milestone: {game.name} has no milestone '{wanted}'; the nearest is "
            f"'{nearest(wanted, names)}', and 'all' takes them all"
        )
    return [wanted]


def _refuse_gaps(goals: Sequence[str], parts: Mapping[str, Any], game: GameDescription) -> None:
    missing = next((one.name for one in game.milestones if one.name not in parts), None)
    if missing is not None and any(goal not in parts for goal in goals):
        raise PipelineError(
            f"'{goals[0]}' begins where the programs of the milestones before it arrive, and "
            f"'{missing}' has no accepted one; author that first (--author.milestone {missing}), "
            "or all in order (--author.milestone all)"
        )


def _whole(
    shop: Workshop, parts: Mapping[str, Judged], pool: Executor, *, paid: bool
) -> tuple[WholeProgram | None, bool]:
    """Publish the joined program with how it does from the game's start to its last milestone.

    Args:
        paid: whether something was since it was last published.

    Returns:
        Its figures, and whether it was tried anew.
    """
    if not parts:
        return None, False
    author, game = shop.settings.author, shop.game
    decisive = author.model_dump(include={"episodes", "max_steps", "seed", "sticky"})
    mark = fingerprint("author", "whole", decisive, tried_with(game), list(parts))
    source = joined_source(parts, game)
    found = read_whole(shop.folder, sha256(source), mark)
    if found is not None:
        if paid:
            write_expert(shop.folder, parts, game, found)
        return _figures(found), False
    write_expert(shop.folder, parts, game, None)
    course = shop.course(list(parts)[-1], author.max_steps * len(parts))
    chosen = seeds(author.seed, len(parts) - 1, WHOLE, author.episodes)
    program = shop.folder / "expert.py"
    starts = [Start(seed) for seed in chosen]
    told = verdict(try_program(pool, course, program, starts, title="whole"))
    low, high = told.interval
    whole: Whole = {
        "success_rate": told.rate,
        "success_low": low,
        "success_high": high,
        "median_steps": told.median_steps,
        "mark": mark,
    }
    write_expert(shop.folder, parts, game, whole)
    return _figures(whole), True


def _figures(whole: Mapping[str, Any]) -> WholeProgram:
    """How the joined program did, as ``expert.json`` has it."""
    return WholeProgram(**{one.name: whole[one.name] for one in fields(WholeProgram)})


def _row(row: Mapping[str, Any]) -> AuthorRow:
    """A milestone's row, as ``expert.json`` has it."""
    rate = row["success_rate"]
    return AuthorRow(
        milestone=row["milestone"],
        program=row["program"],
        attempts=row["attempts"],
        success_rate=rate,
        interval=None if rate is None else Interval(row["success_low"], row["success_high"]),
        median_steps=row["median_steps"],
        tokens=row["input_tokens"] + row["output_tokens"],
        dollars=row["dollars"],
    )


def _forecast(shop: Workshop, goals: Sequence[str]) -> AuthorForecast:
    """What the goals without an accepted program would cost at most; the emulator starts once.

    Nobody has been at the later milestones yet, so the game's own start stands for theirs.
    """
    settings, game = shop.settings, shop.game
    with local_executor(1) as pool:
        course = shop.course(goals[0], settings.author.max_steps)
        starts = [Start(seed) for seed in seeds(settings.author.seed, 0, 0, SIGHTS)]
        seen = [(one.screen, one.state) for one in sights(pool, course, starts)]
    parts: dict[str, Judged] = {}
    for milestone in game.milestones:
        sources = {name: source_of(one) for name, one in parts.items()}
        kept = Drafting(shop, milestone, sources).kept()
        if kept is None:
            break
        parts[milestone.name] = kept
    names = [milestone.name for milestone in game.milestones]
    left = [one for one in game.milestones if one.name in goals and one.name not in parts]
    requests = {one.name: request(settings, game, one, seen) for one in left}
    folders = {one.name: milestone_folder(shop.folder, one.name, names) for one in left}
    asked = {
        name: max((one.number for one in Attempts(folder).answered()), default=0)
        for name, folder in folders.items()
    }
    found = forecast(settings, requests, asked)
    return AuthorForecast(
        up_to_date=found["up_to_date"],
        estimate=found["estimate"],
        total=_cost(found),
        stopped_by=found["stopped_by"],
        milestones=tuple(
            AuthorCostRow(milestone=row["milestone"], cost=_cost(row))
            for row in found["milestones"]
        ),
    )


def _cost(told: Mapping[str, Any]) -> AuthorCost:
    return AuthorCost(**{one.name: told[one.name] for one in fields(AuthorCost)})
