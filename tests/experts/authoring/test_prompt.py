"""What the model is told: all it needs, the shared part first, and of failures what matters."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from pipeline.experts.authoring.correspondence import most_usage
from pipeline.experts.authoring.evidence import of_tries, of_unusable, others, summary
from pipeline.experts.authoring.prompt import image_block, instructions, request
from pipeline.experts.authoring.verdict import Moment, Try
from pipeline.experts.tools import tools_text
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings

GAME = load_game("quest")
SCREEN = np.arange(160 * 240 * 3, dtype=np.uint32).astype(np.uint8).reshape(160, 240, 3)
STATE = {"x": 1, "y": 2, "map": [[1, 2], [3, 4]]}


def settings(**sections: Any) -> Settings:
    return Settings.model_validate({"model": {"name": "m"}, **sections})


def test_the_instructions_hold_the_game_the_tools_and_the_rules() -> None:
    text = instructions(GAME, settings())
    assert GAME.about.strip() in text
    assert tools_text() in text
    assert ", ".join(GAME.buttons) in text
    assert "holds the button for 4 frames and releases it for 6" in text
    assert "In 20 % of the steps" in text
    for name, variable in GAME.variables.items():
        assert f"- {name} (" in text
        assert " ".join(variable.about.split()) in text
    for milestone in GAME.milestones:
        assert f"{milestone.name} (reached when {milestone.when})" in text
    assert "5 seconds at most; all of memory is 1024 MB" in text
    assert "Any module of the standard library" in text


def test_the_instructions_follow_the_settings() -> None:
    text = instructions(
        GAME, settings(author={"sticky": 0}, expert={"isolation": "monty", "timeout": 2})
    )
    assert "of the steps the button of the step before" not in text
    assert "It runs in Monty" in text
    assert "2 seconds at most" in text


def test_all_prompts_of_a_game_share_their_beginning_and_mark_it_for_the_cache() -> None:
    first, second = (
        request(settings(), GAME, GAME.milestones[i], [(SCREEN, STATE)]) for i in (0, 3)
    )
    assert first["system"] == second["system"]
    assert first["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert first["messages"] != second["messages"]
    plain = request(settings(model={"name": "m", "cache": False}), GAME, GAME.milestones[0], [])
    assert "cache_control" not in plain["system"][0]
    assert most_usage(first).cache_write_tokens > most_usage(plain).input_tokens


def test_the_start_states_come_with_their_screens_and_alike_ones_only_once() -> None:
    sights = [(SCREEN, STATE), (SCREEN, dict(STATE)), (SCREEN, {**STATE, "x": 7})]
    content = request(settings(), GAME, GAME.milestones[1], sights)["messages"][0]["content"]
    texts = [block["text"] for block in content if block["type"] == "text"]
    assert "It is 'left_home', reached when left_home == 1." in texts[0]
    assert "where 'game_started' was just reached and has 400 steps" in texts[0]
    assert texts[1] == 'Start state 1:\n{"x": 1, "y": 2, "map": [\n  [1,2],\n  [3,4]]}'
    assert texts[2] == 'Start state 3, as the first one but for:\n{"x": 7}'
    assert [block["type"] for block in content].count("image") == 2


def test_a_screen_is_sent_as_it_is() -> None:
    block = image_block(SCREEN)
    data = base64.b64decode(block["source"]["data"])
    assert (np.asarray(Image.open(io.BytesIO(data))) == SCREEN).all()


def failed(seed: int, reason: str, x: int = 5) -> Try:
    trail = (Moment(0, {"x": 1, "y": 2}, "UP", "UP"), Moment(40, {"x": 4, "y": 2}, "UP", "LEFT"))
    last = (
        Moment(58, {"x": x, "y": 2}, "UP", "UP"),
        Moment(59, {"x": x, "y": 2}, "UP", "UP"),
        Moment(60, {"x": x, "y": 9, "map": [[1]]}, None, None),
    )
    film = np.stack([SCREEN, SCREEN])
    log = ("step 58: hm", "step 59: hm", "step 60: oh")
    return Try(seed, False, 60, reason, trail, last, log, film)


def test_a_failure_is_told_by_its_steps_its_log_its_last_state_and_its_screen() -> None:
    tries = [Try(1, True, 9), failed(2, "not reached in 60 steps"), failed(3, "lost", x=6)]
    blocks = of_tries("attempt-01", "def act(s): ...\n", tries)
    texts = [block.get("text", "(screen)") for block in blocks]
    assert texts[0] == (
        "# attempt-01\nThis program reached the milestone in 1 of 3 episodes:\n"
        "```python\ndef act(s): ...\n```\n"
        "episode 1: reached after 9 steps\n"
        "episode 2: failed after 60 steps: not reached in 60 steps\n"
        "episode 3: failed after 60 steps: lost"
    )
    assert texts[1] == (
        "Episode 2; variables are named where they changed.\nSome of its steps:\n"
        "step 0: x=1, y=2 -> UP\n"
        "step 40: x=4 -> UP (stuck: LEFT was pressed)\n"
        "Its last steps:\n"
        "step 58: x=5 -> UP\nstep 59: nothing changed -> UP\nstep 60: y=9\n"
        'The state at its end:\n{"x": 5, "y": 9, "map": [\n  [1]]}\n'
        "The last that it logged:\nsteps 58 to 59: hm\nstep 60: oh"
    )
    assert texts[2:4] == ["The screen at its end:", "(screen)"]
    assert texts[4].startswith("Episode 3;")


def test_a_program_with_a_memory_is_told_so() -> None:
    unsteady = replace(failed(1, "lost"), again=(100, 7))
    text = of_tries("a", "", [unsteady, failed(2, "lost")])[0]["text"]
    assert text.endswith(
        "Asked again about 100 of its states, out of order and in a fresh process, it gave another "
        "button for 7 of them: act must depend on the state alone."
    )


def test_episodes_that_went_alike_are_told_once() -> None:
    tries = [failed(seed, "not reached in 60 steps") for seed in range(4)]
    texts = [b["text"] for b in of_tries("a", "", tries) if b["type"] == "text"]
    assert "episodes 1 to 4: failed after 60 steps: not reached in 60 steps" in texts[0]
    assert len(texts) == 3  # the program, one episode, the title of its screen


def test_other_attempts_get_a_line() -> None:
    tries = [Try(1, True, 9), *(failed(s, f"step {s}: failed: KeyError: 'a'") for s in (2, 3))]
    line = summary("attempt-02", tries, None)
    assert line == "attempt-02: reached in 1 of 3 (0.06-0.79); 2 x failed: KeyError: 'a'"
    assert summary("attempt-01", [], "no block") == "attempt-01: could not be used: no block"
    assert others([line])[0]["text"] == f"# Other attempts\n{line}"
    assert others([]) == []


def test_an_answer_without_a_program_is_shown_with_the_reason() -> None:
    text = of_unusable("attempt-01", " Press A.\n", "no block")[0]["text"]
    assert (
        text == "# attempt-01\nThis answer could not be used: no block\n\nThe answer:\n\nPress A."
    )
