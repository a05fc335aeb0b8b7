"""Subtasks: which part of a game a user asks for, and what a shard says that it was recorded on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.games.description import GameDescription, Milestone
from pipeline.games.loading import load_game
from pipeline.games.subtask import (
    Subtask,
    ending_with,
    known_milestone,
    recorded_subtask,
    subtask_in,
    subtask_of,
)
from pipeline.settings.fields import Settings
from pipeline.system.errors import PipelineError

QUEST = load_game("quest")
NAMES = [one.name for one in QUEST.milestones]


def game_with(*names: str) -> GameDescription:
    """Quest with other milestones."""
    return replace(QUEST, milestones=tuple(Milestone(name, "in_game == 1") for name in names))


def subtask(
    milestone: str | None = None,
    start: str | None = None,
    goal: str | None = None,
    game: GameDescription = QUEST,
) -> Subtask | None:
    return subtask_of(game, milestone=milestone, start=start, goal=goal)


def refusal(*ends: str | None, game: GameDescription = QUEST) -> str:
    with pytest.raises(PipelineError) as caught:
        subtask(*ends, game=game)
    return str(caught.value)


def test_who_asks_for_nothing_plays_the_whole_game() -> None:
    assert subtask() is None
    assert subtask(game=game_with()) is None


def test_the_subtask_of_the_first_milestone_begins_at_the_games_own_start() -> None:
    assert subtask("game_started") == Subtask(None, "game_started", "game_started", 0, 0)


def test_the_subtask_of_a_milestone_begins_at_the_one_before() -> None:
    assert subtask("orb_found") == Subtask("route_entered", "orb_found", "orb_found", 4, 4)
    assert subtask("badge_received") == Subtask(
        "leader_beaten", "badge_received", "badge_received", 9, 9
    )


@pytest.mark.parametrize(("before", "name"), list(zip([None, *NAMES], NAMES, strict=False)))
def test_a_milestone_is_the_same_subtask_as_from_the_one_before_it(
    before: str | None, name: str
) -> None:
    assert subtask(name) == subtask(None, before, name)


def test_a_subtask_of_several_milestones_is_named_by_both_ends() -> None:
    found = subtask(None, "left_home", "orb_found")
    assert found == Subtask("left_home", "orb_found", "left_home-to-orb_found", 2, 4)


def test_an_end_that_is_left_out_is_the_games_own() -> None:
    assert subtask(None, "left_home") == Subtask(
        "left_home", None, "left_home-to-end", 2, len(NAMES)
    )
    assert subtask(None, None, "orb_found") == Subtask(
        None, "orb_found", "start-to-orb_found", 0, 4
    )


def test_a_subtask_may_begin_at_the_last_milestone() -> None:
    found = subtask(None, "badge_received")
    assert found == Subtask("badge_received", None, "badge_received-to-end", 10, 10)


@pytest.mark.parametrize(
    ("goal", "name"),
    [
        ("a b/c", "a b%2Fc"),
        ("../up", "%2E.%2Fup"),
        ("Höhle %41", "H%C3%B6hle %2541"),
        ("two\nlines", "two%0Alines"),
        ("a:b*?", "a%3Ab%2A%3F"),
    ],
)
def test_a_milestone_with_odd_characters_gives_a_name_for_one_file(goal: str, name: str) -> None:
    game = game_with("first", goal, "last")
    assert subtask(goal, game=game) == Subtask("first", goal, name, 1, 1)
    assert subtask(None, goal, game=game) == Subtask(goal, None, f"{name}-to-end", 2, 3)
    told = subtask(None, None, goal, game)
    assert told is not None
    assert recorded_subtask(game, {"subtask": told.told}) == told


def test_an_unknown_milestone_names_the_nearest_wherever_it_stands() -> None:
    line = "quest has no milestone 'orb_fuond'; the nearest one is 'orb_found'"
    assert refusal("orb_fuond") == line
    assert refusal(None, "orb_fuond") == line
    assert refusal(None, None, "orb_fuond") == line
    assert refusal(None, "left_home", "orb_fuond") == line


def test_a_game_without_milestones_has_no_subtasks() -> None:
    line = "quest has no milestone 'orb_found': it has none at all"
    assert refusal("orb_found", game=game_with()) == line
    assert refusal(None, "orb_found", game=game_with()) == line


@pytest.mark.parametrize("ends", [("left_home", None), (None, "left_home"), ("nowhere", "nothing")])
def test_a_milestone_and_an_end_together_are_refused(ends: tuple[str | None, str | None]) -> None:
    line = "--milestone says where episodes begin and end; leave out --from and --to"
    assert refusal("orb_found", *ends) == line


def test_a_goal_that_does_not_come_after_the_start_is_refused() -> None:
    assert refusal(None, "orb_found", "left_home") == (
        "'left_home' does not come after 'orb_found' in quest's milestones; swap --from and --to"
    )
    assert refusal(None, "left_home", "left_home") == (
        "--from and --to are both 'left_home'; give two milestones"
    )


def test_a_known_milestone_is_given_whole() -> None:
    assert known_milestone(QUEST, "orb_found") is QUEST.milestones[4]


@pytest.mark.parametrize(
    ("asked", "ends"),
    [
        ({}, (None, None, None)),
        ({"milestone": "orb_found"}, ("orb_found", None, None)),
        ({"from": "left_home", "to": "orb_found"}, (None, "left_home", "orb_found")),
        ({"from": "left_home"}, (None, "left_home", None)),
    ],
)
def test_settings_ask_for_the_subtask_that_they_name(
    asked: dict[str, Any], ends: tuple[str | None, str | None, str | None]
) -> None:
    assert subtask_in(Settings.model_validate(asked), QUEST) == subtask(*ends)


@pytest.mark.parametrize(
    "ends",
    [(name, None, None) for name in NAMES]
    + [(None, "left_home", None), (None, None, "orb_found"), (None, "left_home", "badge_received")],
)
def test_a_shard_tells_the_subtask_that_it_was_recorded_on(
    ends: tuple[str | None, str | None, str | None],
) -> None:
    found = subtask(*ends)
    assert found is not None
    assert recorded_subtask(QUEST, {"stage": "collect", "subtask": found.told}) == found


@pytest.mark.parametrize(
    "provenance",
    [
        {},
        {"subtask": None},
        {"subtask": "orb_found"},
        {"subtask": ["left_home", "orb_found"]},
        {"subtask": {}},
        {"subtask": {"from": None, "to": None}},
        {"subtask": {"from": "left_home", "to": "a milestone of an older game.yaml"}},
        {"subtask": {"from": "gone", "to": "orb_found"}},
        {"subtask": {"from": "orb_found", "to": "left_home"}},
        {"subtask": {"from": 5, "to": "orb_found"}},
        {"subtask": {"from": ["left_home"], "to": None}},
        {"subtask": {"from": None, "to": {"name": "orb_found"}}},
        {"subtask": {"from": True}},
    ],
)
def test_what_a_foreign_shard_says_of_a_subtask_that_is_none_counts_as_none(
    provenance: dict[str, Any],
) -> None:
    assert recorded_subtask(QUEST, provenance) is None


@pytest.mark.parametrize("ends", [("orb_found", None, None), (None, "left_home", "orb_found")])
def test_a_subtask_changes_the_success_of_the_game_and_nothing_else(
    ends: tuple[str | None, str | None, str | None],
) -> None:
    ended = ending_with(QUEST, subtask(*ends))
    assert ended.success == "has_orb == 1" != QUEST.success
    assert replace(ended, success=QUEST.success) == QUEST


def test_a_subtask_to_the_games_own_end_and_the_whole_game_leave_its_success() -> None:
    assert ending_with(QUEST, subtask(None, "left_home")) is QUEST
    assert ending_with(QUEST, None) is QUEST


def test_a_subtask_whose_goal_the_game_no_longer_has_cannot_be_played() -> None:
    with pytest.raises(PipelineError) as caught:
        ending_with(game_with("first"), subtask("orb_found"))
    assert str(caught.value) == ("quest has no milestone 'orb_found'; the nearest one is 'first'")
