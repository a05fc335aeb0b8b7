"""The author: a model writes programs over HTTP, and the real emulator says what they are worth."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.loops import author
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.model_server import ModelServer, error, late, says
from tests.quest_author.conversation import STARES, SYNTAX_ERROR, WANDERS, Conversation, right

ROOT = Path(__file__).parent.parent
KEY = "sk-ant-planted-4711"
Open = Callable[..., ModelServer]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Open a server whose key stands in the environment."""
    servers: list[ModelServer] = []

    def open_server(script: Any = None) -> ModelServer:
        server = ModelServer(Conversation() if script is None else script, key=KEY)
        servers.append(server.__enter__())
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    yield open_server
    for server in servers:
        server.__exit__()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "run": "written",
            "paths": {"datasets": tmp_path / "datasets", "checkpoints": tmp_path / "checkpoints"},
            "model": {"name": "a-model-1", "prices": {"input": 3, "output": 15}},
            "author": {
                "milestone": "game_started",
                "episodes": 2,
                "max_steps": 60,
                "workers": 1,
                "max_tokens": 2000,
            },
        }
    )


def folder(settings: Settings) -> Path:
    return settings.run_folder() / "author"


def result_of(settings: Settings, name: str) -> Any:
    return json.loads((folder(settings) / name / "result.json").read_text())


def test_the_third_program_succeeds_after_evidence_of_two_failures(
    settings: Settings, serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    first = author.run(settings)
    assert (first.asked, first.milestones[0].program) == (2, "attempt-02")
    done = author.run(change(settings, author={"milestone": "left_home"}))
    row = done.milestones[0]
    assert (row.program, row.attempts, row.success_rate) == ("attempt-03", 3, 1.0)
    assert str(row.interval) == "0.34-1.00"
    assert (done.asked, done.plays, done.whole.success_rate) == (
        3, "2 of 10 milestones", 1.0,
    )  # fmt: skip
    again = {name: result_of(settings, f"left_home/attempt-0{name}") for name in (1, 2, 3)}
    assert again[1]["reason"] == "the program cannot be used: line 1: expected ':'"
    assert again[2]["tries"][0]["reason"] == "not reached in 60 steps"
    assert [again[name]["accepted"] for name in (1, 2, 3)] == [False, False, True]
    # What the prompts said of the failures before them.
    second, third = server.asked[-2].texts, server.asked[-1].texts
    assert "line 1: expected ':'" in second
    assert SYNTAX_ERROR in second
    assert "attempt-01: could not be used: the program cannot be used: line 1" in third
    assert WANDERS in third
    assert "failed after 60 steps: not reached in 60 steps" in third
    assert re.search(r"steps? \d+.*: at 1, 3", third)  # its log
    assert '"left_home": 0' in third
    assert len(server.asked[-1].images) > len(server.asked[-3].images)
    assert (folder(settings) / "left_home" / "attempt-02" / "failure.gif").read_bytes()[
        :3
    ] == b"GIF"
    # The same again asks nothing, and needs no key.
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    same = author.run(change(settings, author={"milestone": "left_home"}))
    assert (same.up_to_date, same.asked, len(server.asked)) == (True, 0, 5)


def test_every_attempt_is_on_record_and_the_joined_program_says_what_it_cost(
    settings: Settings, serve: Open
) -> None:
    server = serve()
    done = author.run(settings)
    attempt = folder(settings) / "game_started" / "attempt-01"
    names = {path.name for path in attempt.iterdir()}
    assert names == {
        "prompt.json", "answer.json", "program.py", "evidence.json", "result.json", "failure.gif",
    }  # fmt: skip
    assert json.loads((attempt / "prompt.json").read_text()) == server.asked[0].body
    answer = json.loads((attempt / "answer.json").read_text())
    assert [block["type"] for block in answer["blocks"]] == ["thinking", "text"]
    assert answer["dollars"] > 0
    assert result_of(settings, "game_started/attempt-01")["tries"][0]["reason"] == (
        "step 0: failed: KeyError: 'scene', line 2"
    )
    told = json.loads((folder(settings) / "expert.json").read_text())
    assert told["dollars"] == pytest.approx(done.dollars)
    assert told["dollars"] == pytest.approx(
        sum(result_of(settings, f"game_started/attempt-0{n}")["dollars"] for n in (1, 2))
    )
    assert (told["models"], told["complete"]) == (["a-model-1"], False)
    assert (told["milestones"][0]["milestone"], told["milestones"][0]["attempts"]) == (
        "game_started", 2,
    )  # fmt: skip
    assert done.use == f"--expert.path {folder(settings) / 'expert.py'}"
    # And the key is nowhere.
    assert KEY in str(server.requests[0].headers)
    files = [path for path in settings.paths.checkpoints.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_of_several_candidates_the_best_is_kept(settings: Settings, serve: Open) -> None:
    server = serve(Conversation({"game_started": (STARES,)}))
    several = change(settings, author={"candidates": 2}, model={"cache": False})
    done = author.run(several)
    assert (done.asked, done.attempts) == (2, 2)
    assert server.asked[0].body == server.asked[1].body
    both = [result_of(settings, f"game_started/{n}") for n in ("attempt-01", "attempt-01-2")]
    assert sorted(one["success_rate"] for one in both) == [0.0, 1.0]
    assert [t["seed"] for t in both[0]["tries"]] == [t["seed"] for t in both[1]["tries"]]


def test_what_failed_attempts_cost_is_told_beside_the_program(
    settings: Settings, serve: Open
) -> None:
    serve(Conversation({"left_home": (SYNTAX_ERROR,) * 9}))
    before = author.run(settings).dollars
    failed = author.run(change(settings, author={"milestone": "left_home", "attempts": 2}))
    assert failed.error == (
        "no program for 'left_home' in 2 attempts: the best could not be tried (the program "
        f"cannot be used: line 1: expected ':'), and author.accept is 0.8; look into "
        f"{folder(settings) / 'left_home'}, and raise author.attempts to go on"
    )
    told = json.loads((folder(settings) / "expert.json").read_text())
    assert told["dollars"] == pytest.approx(before + failed.dollars)
    assert [row["milestone"] for row in told["milestones"]] == ["game_started"]


def test_other_trials_try_the_answers_again_and_ask_nothing(
    settings: Settings, serve: Open
) -> None:
    server = serve()
    author.run(settings)
    done = author.run(change(settings, author={"episodes": 3}))
    assert (done.up_to_date, done.asked, len(server.asked)) == (False, 0, 2)
    assert result_of(settings, "game_started/attempt-02")["episodes"] == 3


def test_a_milestone_without_a_program_ends_the_run_with_the_table_and_an_error(
    settings: Settings, serve: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(Conversation({"game_started": (STARES,) * 9}))
    checkpoints = settings.paths.checkpoints
    words = ["author", "--run", "written", "--paths.checkpoints", str(checkpoints)]
    words += ["--model.name", "a-model-1", "--episodes", "2", "--max_steps", "20"]
    words += ["--attempts", "2", "--workers", "1"]
    assert main(words) == 2
    told = capsys.readouterr()
    assert "game_started" in told.out
    assert told.err.strip().splitlines()[-1] == (
        "error: no program for 'game_started' in 2 attempts: the best reached it in 0 of 2 "
        f"episodes, and author.accept is 0.8; look into {folder(settings) / 'game_started'}, and "
        "raise author.attempts to go on"
    )
    assert len(server.asked) == 2
    # More attempts go on from there.
    assert main([*words, "--attempts", "3"]) == 2
    assert len(server.asked) == 3


def test_a_budget_stops_before_the_question_that_might_go_beyond_it(
    settings: Settings, serve: Open
) -> None:
    talk = Conversation({"game_started": (STARES,)})
    server = serve(lambda asked: replace(talk(asked), output_tokens=40_000))
    settings = change(settings, author={"max_tokens": 50_000})
    done = author.run(change(settings, budget={"tokens": 80_000}))
    assert re.fullmatch(
        r"budget.tokens is 80000: 4\d+ are spent and the next question may take \d+; "
        "'game_started' has no program yet",
        done.error,
    )
    assert (len(server.asked), done.asked, done.program) == (1, 1, None)
    assert author.run(settings).milestones[0].program == "attempt-02"
    assert len(server.asked) == 2


def test_what_it_would_cost_is_said_before_anything_is_asked(
    settings: Settings, serve: Open
) -> None:
    server = serve()
    dry = change(
        settings,
        author={"milestone": "all", "dry_run": True, "attempts": 2, "candidates": 3},
        budget={"dollars": 0.5},
    )
    told = author.run(dry)
    assert (server.requests, told.total.questions) == ([], 60)
    assert told.total.output_tokens == 60 * 2000
    assert told.total.dollars > 60 * 2000 * 15 / 1e6
    assert told.stopped_by.startswith("budget.dollars is 0.5: 0.0000 are spent and the next")
    author.run(settings)
    assert author.run(dry).total.questions == 54
    # What was really paid is within what was said for it.
    assert author.run(settings).dollars < told.milestones[0].cost.dollars


def test_a_service_that_gives_no_answer_ends_the_run_and_is_asked_again_later(
    settings: Settings, serve: Open
) -> None:
    serve(error(500, "api_error", "Internal server error"))
    once = change(settings, model={"retries": 0})
    assert author.run(once).error == (
        "the model gave no answer (500 api_error: Internal server error); 'game_started' has no "
        "program yet"
    )
    assert not list(folder(settings).rglob("answer.json"))
    serve(says(f"```python\n{right('game_started')}```"))
    unpriced = change(once, model={"prices": None})
    done = author.run(unpriced)
    assert done.milestones[0].program == "attempt-01"
    assert (done.dollars, done.output_tokens > 0) == (None, True)


def start(settings: Settings, *words: str) -> subprocess.Popen[bytes]:
    keys = settings.author.model_dump(include={"milestone", "episodes", "max_steps", "workers"})
    command = [sys.executable, "-m", "pipeline", "author", "--run", settings.run]
    command += ["--paths.checkpoints", str(settings.paths.checkpoints), "--model.name", "a-model-1"]
    for key, value in keys.items():
        command += [f"--{key}", str(value)]
    return subprocess.Popen([*command, *words], cwd=ROOT, stderr=subprocess.DEVNULL)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.002)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_after_a_kill_a_paid_answer_is_tried_and_not_asked_for_again(
    settings: Settings, serve: Open
) -> None:
    server = serve(says(f"```python\n{right('game_started')}```"))
    attempt = folder(settings) / "game_started" / "attempt-01"
    process = start(settings)
    wait_for(attempt / "answer.json")
    kill(process)
    assert not (attempt / "result.json").exists()
    assert author.run(settings).milestones[0].program == "attempt-01"
    assert len(server.asked) == 1


def test_after_a_kill_while_the_model_answers_the_same_attempt_is_asked_for_again(
    settings: Settings, serve: Open
) -> None:
    server = serve(late(says("too late"), 30))
    attempt = folder(settings) / "game_started" / "attempt-01"
    process = start(settings)
    wait_for(attempt / "prompt.json")
    kill(process)
    assert not (attempt / "answer.json").exists()
    server.script = says(f"```python\n{right('game_started')}```")
    done = author.run(settings)
    assert (done.asked, done.milestones[0].program) == (1, "attempt-01")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"author": {"milestone": "game_start"}},
            "author.milestone: quest has no milestone 'game_start'; the nearest is "
            "'game_started', and 'all' takes them all",
        ),
        (
            {"author": {"milestone": "errand_received"}},
            "'errand_received' begins where the programs of the milestones before it arrive, and "
            "'game_started' has no accepted one; author that first (--author.milestone "
            "game_started), or all in order (--author.milestone all)",
        ),
        (
            {"expert": {"isolation": "trusted"}},
            "expert.isolation is trusted, and what a model writes never is; choose "
            "--expert.isolation bwrap or --expert.isolation monty",
        ),
        (
            {"model": {"name": None}},
            "model.name is not set; give the id of a model, as the provider lists it, with "
            "--model.name",
        ),
        (
            {},
            "the environment holds no key; set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN) before "
            "asking a model",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, dict[str, Any]],
    message: str,
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PipelineError) as caught:
        author.run(change(settings, **sections))
    assert str(caught.value) == message
    assert not list(settings.paths.checkpoints.rglob("*"))  # no lock, and no empty folder


def test_a_retired_model_is_named(settings: Settings, serve: Open) -> None:
    serve(error(404, "not_found_error", "model: a-model-1"))
    with pytest.raises(PipelineError, match=r"model\.name: the Messages API has no model 'a-mod"):
        author.run(settings)
