"""What a model is told of a state, and what makes two questions the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.experts.model.prompt import Prompt, instructions
from pipeline.games.describing import map_rows
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.settings.expert_fields import Model
from tests.experts.model.made import SCREEN

# Two marks of a map cell of quest: a wall, and tall grass.
WALL, GRASS, LEDGE = 0x0400, 146, 166


@pytest.fixture(scope="module")
def quest() -> GameDescription:
    return load_game("quest")


@pytest.fixture
def state(quest: GameDescription) -> dict[str, Any]:
    """On the route at (6, 20), a person above, the warp to the town two tiles below."""
    state: dict[str, Any] = {
        name: 0 if variable.shape == () else np.zeros(variable.shape, np.int64)
        for name, variable in quest.variables.items()
    }
    state |= {"in_game": 1, "left_home": 1, "map_group": 0, "map_number": 16, "x": 6, "y": 20}
    state["object_active"][:2] = 1
    state["object_kind"][:2] = 1, 7
    state["object_x"][:2], state["object_y"][:2] = (6, 6), (20, 19)
    state["map"][:] = WALL
    state["map"][3:9, 6:9] = 0
    state["map"][5, 6], state["map"][5, 8] = GRASS, LEDGE
    return state


def test_a_map_is_drawn_in_signs(quest: GameDescription, state: dict[str, Any]) -> None:
    assert map_rows(quest, "map", state) == [
        "###############",
        "###############",
        "###############",
        "######...######",
        "######.&.######",
        "######,@v######",
        "######...######",
        "######.O.######",
        "######...######",
        "###############",
    ]


def test_a_map_that_nothing_explains_is_written_in_numbers(
    quest: GameDescription, state: dict[str, Any]
) -> None:
    plain = replace(quest, tools=replace(quest.tools, terrain=None))
    assert map_rows(plain, "map", state)[5] == "1024 " * 6 + "146 0 166" + " 1024" * 6
    assert "signs" not in instructions(plain)
    assert "'@' the player" in instructions(quest)


def test_a_state_names_the_next_milestone_and_every_variable(
    quest: GameDescription, state: dict[str, Any]
) -> None:
    text = Prompt(quest, Model(name="m")).question(state, None).text
    assert text.startswith("next milestone: errand_received\nscreen: 0\nin_game: 1\n")
    assert "\nobject_kind: 1 7 0 0 0 0 0 0\n" in text
    for name in quest.variables:
        assert f"\n{name}:" in text


def test_long_arrays_and_maps_that_are_not_drawn_are_left_out_of_a_question() -> None:
    emerald = load_game("emerald")
    state = {
        name: 0 if variable.shape == () else np.zeros(variable.shape, np.int64)
        for name, variable in emerald.variables.items()
    }
    text = Prompt(emerald, Model(name="m")).question(state, None).text
    assert "\nflags:" not in text
    assert "\nmap:\n" in text
    assert "\nmap_collision:" not in text
    assert len(text) < 2500


def test_the_instructions_hold_what_the_description_tells(quest: GameDescription) -> None:
    told = instructions(quest)
    assert quest.about in told
    for variable in quest.variables.values():
        assert variable.about in told
    for milestone in quest.milestones:
        assert f"{milestone.name} ({milestone.when}): {milestone.about}" in told


def test_a_key_is_a_function_of_what_is_asked(
    quest: GameDescription, state: dict[str, Any]
) -> None:
    prompt = Prompt(quest, Model(name="m"))
    key = prompt.question(state, SCREEN).key
    assert Prompt(quest, Model(name="m", max_tokens=9)).question(dict(state), SCREEN).key == key
    other = SCREEN.copy()
    other[0, 0, 0] ^= 1
    different = [
        prompt.question(state, other),
        prompt.question(state, None),
        prompt.question({**state, "x": 7}, SCREEN),
        Prompt(quest, Model(name="n")).question(state, SCREEN),
        Prompt(quest, Model(name="m", effort="low")).question(state, SCREEN),
        Prompt(replace(quest, about="Another."), Model(name="m")).question(state, SCREEN),
    ]
    assert len({question.key for question in different} | {key}) == 7


def test_a_state_of_an_older_description_is_asked_as_far_as_it_goes(
    quest: GameDescription, state: dict[str, Any]
) -> None:
    del state["badge"], state["map"], state["object_x"]
    text = Prompt(quest, Model(name="m")).question(state, None).text
    assert "badge" not in text
    assert "x: 6" in text
