"""Start states of a milestone: where the programs of the milestones before it arrive."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from pipeline.experts.authoring.attempts import read_json, sha256, write_file, write_json
from pipeline.experts.authoring.trials import Arrival, Course, arrivals
from pipeline.experts.authoring.written import StartRow
from pipeline.games.description import GameDescription
from pipeline.rollouts.seeds import episode_seeds
from pipeline.system.errors import PipelineError

# Programs are chosen by their games, so these are of the set "select". Its first half is left to
# the choice between checkpoints; the second is shared out to milestones, and in each to the search
# for its start states and to the trials.
FIRST, A_MILESTONE, TRIALS, WHOLE = 1 << 29, 1 << 20, 1 << 18, 1 << 19
# Waves of as many games as start states are wanted; a joined program does not always arrive.
WAVES = 4


def seeds(base: int, milestone: int, offset: int, count: int) -> list[int]:
    """Seeds of the author's games at the game's ``milestone``-th milestone, from 0."""
    first = FIRST + milestone * A_MILESTONE + offset
    return [int(seed) for seed in episode_seeds("select", base, count, first)]


def find_starts(
    pool: Executor,
    course: Course,
    game: GameDescription,
    joined: Path | None,
    folder: Path,
    *,
    mark: str,
    base: int,
    count: int,
) -> list[bytes | None]:
    """The save states in which ``course.goal``'s episodes begin, at most ``count`` of them.

    For the first milestone that is the game's own start state, None. For a later one the joined
    program of those before it plays game after game to the one before, and the console is kept
    there. They lie in ``folder`` and are found again under the same ``mark``.

    Args:
        joined: the program of the milestones before; None for the first one.
        base: of the seeds.

    Raises:
        PipelineError: the joined program arrives in none of its games, or where it arrives the goal
            holds already.
    """
    if joined is None:
        return [None]
    kept = _kept(folder, mark)
    if kept:
        return kept
    names = [milestone.name for milestone in game.milestones]
    place = names.index(course.goal)
    course_there = replace(course, goal=names[place - 1], max_steps=course.max_steps * place)
    found: list[Arrival] = []
    beyond = games = 0
    while len(found) < count and games < WAVES * count:
        wave = seeds(base, place, games, count)
        games += len(wave)
        for one in arrivals(pool, course_there, joined, wave, title=f"starts of {course.goal}"):
            if course.goal in one.reached:
                beyond += 1
            else:
                found.append(one)
    found = found[:count]
    if not found:
        raise PipelineError(_nowhere(names[place - 1], course.goal, beyond, games, joined))
    rows: list[StartRow] = []
    for number, one in enumerate(found):
        file = f"{number:03d}.state"
        write_file(folder / file, one.state)
        sha = sha256(one.state)
        rows.append({"file": file, "seed": one.seed, "steps": one.steps, "sha256": sha})
    write_json(folder / "starts.json", {"mark": mark, "games": games, "starts": rows})
    return [one.state for one in found]


def _kept(folder: Path, mark: str) -> list[bytes | None]:
    """The start states of an earlier run, if they are those of ``mark``, whole."""
    told = read_json(folder / "starts.json")
    if told is None or told.get("mark") != mark:
        return []
    states: list[bytes | None] = []
    for row in told["starts"]:
        path = folder / str(row["file"])
        state = path.read_bytes() if path.is_file() else b""
        if sha256(state) != row["sha256"]:
            return []  # made again
        states.append(state)
    return states


def _nowhere(before: str, goal: str, beyond: int, games: int, joined: Path) -> str:
    if beyond:
        return (
            f"'{goal}' holds already where '{before}' is reached ({beyond} of {games} games); give "
            "game.yaml's milestones in the order in which they are reached"
        )
    return (
        f"{joined}: reached '{before}' in none of {games} games, so '{goal}' has no start states; "
        f"remove the accepted attempts of a milestone before it and author that one again"
    )
