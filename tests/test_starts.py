"""Start states of later milestones: made once by the programs before, checked when found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import pytest

from pipeline.experts.authoring.joining import join
from pipeline.experts.authoring.starts import find_starts
from pipeline.experts.authoring.trials import Course
from pipeline.games.description import GameDescription
from pipeline.games.identity import find_rom
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from pipeline.system.workers import local_executor
from tests.quest_author.conversation import right

GAME = load_game("quest")


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with local_executor(1) as executor:
        yield executor


def find(
    pool: Executor,
    folder: Path,
    program: str,
    *,
    game: GameDescription = GAME,
    goal: str = "left_home",
    mark: str = "m",
) -> list[bytes | None]:
    joined = folder / "before.py"
    joined.write_text(join({game.milestones[0].name: program}, game))
    course = Course(str(game.folder), find_rom(game), Settings(), goal, 30, 0.2)
    return find_starts(
        pool, course, game, joined, folder / "starts", mark=mark, base=0, count=2
    )  # fmt: skip


def test_they_are_made_once_and_again_when_something_they_depend_on_has_changed(
    pool: Executor, tmp_path: Path
) -> None:
    first = find(pool, tmp_path, right("game_started"))
    assert len(first) == 2
    assert all(state is not None and len(state) > 1000 for state in first)
    told = tmp_path / "starts" / "starts.json"
    written = told.stat().st_mtime_ns
    assert find(pool, tmp_path, right("game_started")) == first
    assert told.stat().st_mtime_ns == written
    # A damaged file is not believed; the same games give the same states.
    (tmp_path / "starts" / "001.state").write_bytes(b"cut")
    assert find(pool, tmp_path, right("game_started")) == first
    assert find(pool, tmp_path, right("game_started"), mark="other") == first
    assert json.loads(told.read_text())["mark"] == "other"


def test_the_first_milestone_begins_where_the_game_does(pool: Executor, tmp_path: Path) -> None:
    course = Course(str(GAME.folder), find_rom(GAME), Settings(), "game_started", 30, 0.2)
    found = find_starts(pool, course, GAME, None, tmp_path, mark="m", base=0, count=2)
    assert found == [None]
    assert not list(tmp_path.iterdir())


def test_programs_that_arrive_nowhere_are_named(pool: Executor, tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        find(pool, tmp_path, "def act(s): return 'L'")
    assert str(caught.value) == (
        f"{tmp_path / 'before.py'}: reached 'game_started' in none of 8 games, so 'left_home' has "
        "no start states; remove the accepted attempts of a milestone before it and author that "
        "one again"
    )


def test_milestones_in_a_wrong_order_are_named(pool: Executor, tmp_path: Path) -> None:
    text = (GAME.folder / "game.yaml").read_text()
    place = text.index("  - {name: left_home, when:")
    copy = tmp_path / "quest"
    copy.mkdir()
    (copy / "game.yaml").write_text(
        text[:place] + '  - {name: begun, when: "in_game == 1"}\n' + text[place:]
    )
    (copy / "quest.gba").symlink_to(find_rom(GAME))
    game = load_game(copy)
    with pytest.raises(PipelineError) as caught:
        find(pool, tmp_path, right("game_started"), game=game, goal="begun")
    assert str(caught.value) == (
        "'begun' holds already where 'game_started' is reached (8 of 8 games); give game.yaml's "
        "milestones in the order in which they are reached"
    )
