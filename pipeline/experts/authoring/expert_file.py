"""The joined program on disk, and beside it what it is made of and what that cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from pipeline.experts.authoring.attempts import (
    Attempts,
    milestone_folder,
    read_json,
    sha256,
    write_file,
    write_json,
)
from pipeline.experts.authoring.joining import join
from pipeline.experts.authoring.record import Judged
from pipeline.experts.authoring.written import AttemptsCost, MilestoneRow, ProgramRow, Whole
from pipeline.games.description import GameDescription
from pipeline.system.errors import PipelineError

Counted = Literal["attempts", "input_tokens", "output_tokens"]
COUNTED: Sequence[Counted] = ("attempts", "input_tokens", "output_tokens")


def spent(folder: Path, goal: str, game: GameDescription) -> AttemptsCost:
    """What all attempts at a milestone took, those of earlier runs too.

    ``dollars`` is None where no answer had a price.
    """
    names = [milestone.name for milestone in game.milestones]
    attempts = Attempts(milestone_folder(folder, goal, names)).answered()
    answers = [answer for attempt in attempts if (answer := attempt.answer())]
    return {
        "attempts": len(answers),
        "input_tokens": sum(int(one.get("input_tokens", 0)) for one in answers),
        "output_tokens": sum(int(one.get("output_tokens", 0)) for one in answers),
        "dollars": sum_of([one.get("dollars") for one in answers]) if answers else 0.0,
    }


def sum_of(dollars: Sequence[float | None]) -> float | None:
    """All dollars together, as far as they are known; None where none are."""
    known = [float(one) for one in dollars if one is not None]
    return sum(known) if known else None


def milestone_row(
    folder: Path, goal: str, kept: Judged | None, game: GameDescription
) -> MilestoneRow:
    """A milestone's line: its program, how that does, and what all attempts at it took."""
    if kept is None:
        return {
            "milestone": goal,
            "accepted": False,
            "program": None,
            "success_rate": None,
            "success_low": None,
            "success_high": None,
            "median_steps": None,
            **spent(folder, goal, game),
        }
    return program_row(folder, goal, kept, game)


def program_row(folder: Path, goal: str, kept: Judged, game: GameDescription) -> ProgramRow:
    """The same of a milestone that has a program."""
    found = kept.result
    return {
        "milestone": goal,
        "accepted": True,
        "program": kept.attempt.name,
        "sha256": found["sha256"],
        "model": found["model"],
        "success_rate": found["success_rate"],
        "success_low": found["success_low"],
        "success_high": found["success_high"],
        "median_steps": found["median_steps"],
        **spent(folder, goal, game),
    }


def write_expert(
    folder: Path,
    parts: Mapping[str, Judged],
    game: GameDescription,
    whole: Whole | None,
) -> None:
    """Publish ``expert.py`` and then ``expert.json``, which names its sha256.

    ``dollars`` and tokens are those of every attempt in the folder, failed ones and those at
    milestones without a program included: that is what the program cost.
    """
    source = joined_source(parts, game)
    rows = [program_row(folder, name, kept, game) for name, kept in parts.items()]
    every = [spent(folder, milestone.name, game) for milestone in game.milestones]
    sums: dict[str, int] = {name: sum(one[name] for one in every) for name in COUNTED}
    told: dict[str, object] = {
        "game": game.name,
        "rom_sha1": game.rom_sha1,
        "sha256": sha256(source),
        "models": sorted({str(row["model"]) for row in rows}),
        "complete": len(parts) == len(game.milestones),
        **sums,
        "dollars": sum_of([one["dollars"] for one in every if one["attempts"]]),
        "whole": whole,
        "milestones": rows,
    }
    write_file(folder / "expert.py", source.encode())
    write_json(folder / "expert.json", told)


def joined_source(parts: Mapping[str, Judged], game: GameDescription) -> str:
    """One program of the programs of all milestones.

    Raises:
        PipelineError: a file holds another program than the one that was tried.
    """
    return join({name: source_of(kept) for name, kept in parts.items()}, game)


def source_of(kept: Judged) -> str:
    """The program that was tried.

    Raises:
        PipelineError: its file holds another one by now.
    """
    path = kept.attempt.program
    data = path.read_bytes() if path.is_file() else b""
    if sha256(data) != kept.result["sha256"]:
        raise PipelineError(
            f"{path}: is not the program that was tried; remove {path.parent / 'result.json'} to "
            "have the answer's own tried again, and use one of your own with --expert.path FILE"
        )
    return data.decode("utf-8")


def read_whole(folder: Path, sha: str, mark: str) -> Whole | None:
    """How the joined program did, where it was tried already under these settings."""
    told = read_json(folder / "expert.json")
    whole = (told or {}).get("whole")
    if told is None or told.get("sha256") != sha or not isinstance(whole, dict):
        return None
    return cast("Whole", whole) if whole.get("mark") == mark else None
