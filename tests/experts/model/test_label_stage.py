"""The label stage with a model: the real command, killed and run again; budgets; keys."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from pipeline import label, preprocess
from pipeline.__main__ import main
from pipeline.experts.model.kept import FILE_NAME
from pipeline.loops.round import label_round
from pipeline.settings.fields import Collect, Settings
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.experts.model.made import asking, right, settings_in
from tests.model_server import Asked, ModelServer, Reply, dropped, error, late, rate_limited, says
from tests.model_server.server import Request
from tests.shards.factory import raw_shard

STEPS = 40


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = settings_in(tmp_path, preprocess={"workers": 1}, label={"workers": 1})
    raw_shard(made.shard_folder("tiny") / "a-raw-v001.h5", (STEPS,))
    return change(made, label={"shards": preprocess.run(made).shards})


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with asking() as loopback:
        yield loopback


def command(settings: Settings, folder: Path) -> subprocess.Popen[str]:
    """The command itself, with these settings, in a session of its own."""
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "label", "--config", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def costs_in(path: str) -> NDArray[np.float32]:
    """Dollars of each label of a shard."""
    with Shard(path) as shard:
        labels = shard.labels()
    assert labels is not None
    dollars: NDArray[np.float32] = labels["dollars"]
    return dollars


def test_a_model_labels_a_shard_from_the_screens_of_its_recording(
    settings: Settings, server: ModelServer
) -> None:
    result = label.run(settings)
    assert (result.labels, result.asked) == (STEPS, STEPS)
    with Shard(result.shards[0]) as shard:
        x, labels = shard.state("x"), shard.labels()
        assert shard.column("expert_actions").tolist() == np.where(x < 0, 2, 0).tolist()
    assert labels is not None
    assert result.dollars == pytest.approx(float(labels["dollars"].sum()))
    assert set(labels["attempt"].tolist()) == {1}
    assert len(server.asked) == STEPS
    assert label.run(settings).up_to_date
    assert len(server.asked) == STEPS


def test_a_command_killed_in_the_middle_pays_for_nothing_twice(
    settings: Settings, tmp_path: Path, server: ModelServer
) -> None:
    process: list[subprocess.Popen[str]] = []

    def script(asked: Asked) -> Reply:
        if asked.number == 25:
            process[0].kill()
            return dropped()
        return right(asked)

    server.script = script
    process.append(command(change(settings, model={"concurrency": 1}), tmp_path))
    process[0].communicate(timeout=600)
    assert process[0].returncode == -signal.SIGKILL
    assert not list(settings.shard_folder("tiny").glob("*labelled*"))
    # The last one was under way when it was killed; the others were answered, and are kept.
    answered = {told_apart(asked) for asked in server.asked[:25]}
    before, server.script = len(server.asked), right
    result = label.run(settings)
    assert result.labels == STEPS
    assert not answered & {told_apart(asked) for asked in server.asked[before:]}
    # The shard tells the cost of all, of those before the kill too.
    assert (costs_in(result.shards[0]) > 0).all()


def told_apart(asked: Asked) -> tuple[str, bytes]:
    """What makes a question another one."""
    return asked.text, asked.images[0]


def test_a_batch_of_a_command_killed_while_submitting_is_found_again(
    settings: Settings, tmp_path: Path, server: ModelServer
) -> None:
    settings = change(settings, model={"batch": True})
    process: list[subprocess.Popen[str]] = []

    def kill_after(request: Request) -> Reply | None:
        if request.method == "POST" and request.path == "/v1/messages/batches":
            process[0].kill()
            return dropped("after")
        return None

    server.intercept = kill_after
    process.append(command(settings, tmp_path))
    process[0].communicate(timeout=600)
    assert process[0].returncode == -signal.SIGKILL
    server.intercept = lambda _: None
    result = label.run(settings)
    assert (result.labels, result.stopped) == (STEPS, None)
    assert [len(batch.requests) for batch in server.batches.made] == [STEPS]
    assert (costs_in(result.shards[0]) > 0).all()


def test_ctrl_c_ends_at_once_and_the_same_command_carries_on(
    settings: Settings, tmp_path: Path, server: ModelServer
) -> None:
    process: list[subprocess.Popen[str]] = []

    def script(asked: Asked) -> Reply:
        if asked.number < 10:
            return right(asked)
        if asked.number == 10:
            process[0].send_signal(signal.SIGINT)
        return late(right(asked), 50)

    server.script = script
    process.append(command(change(settings, model={"concurrency": 1}), tmp_path))
    out, _ = process[0].communicate(timeout=600)
    assert process[0].returncode == 130
    assert out.splitlines()[-1] == "interrupted; run the same command again to continue"
    server.script = right
    before = len(server.asked)
    result = label.run(settings)
    assert result.labels == STEPS
    assert len(server.asked) - before <= STEPS - 10


def test_a_batch_is_left_by_one_command_and_collected_by_the_next(
    settings: Settings, server: ModelServer
) -> None:
    settings = change(settings, model={"batch": True})
    server.batches.hold = True
    first = label.run(settings)
    assert (first.labels, first.shards) == (0, ())
    assert first.stopped.endswith("was submitted; run the same command again to collect the "
                                     "answers")  # fmt: skip
    server.batches.release()
    second = label.run(settings)
    assert (second.labels, second.stopped) == (STEPS, None)
    assert [len(batch.requests) for batch in server.batches.made] == [STEPS]


def test_the_command_says_that_a_batch_was_submitted_and_ends_well(
    settings: Settings,
    tmp_path: Path,
    server: ModelServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.batches.hold = True
    settings = change(settings, subtask=SUBTASKS["subtask"], model={"batch": True})
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json", by_alias=True)))
    assert main(["label", "--config", str(path)]) == 0
    [batch] = server.batches.made
    out = capsys.readouterr().out
    assert out.startswith("label: stopped\n")
    told = f"batch {batch.id} with {len(batch.requests)} questions was submitted; run the same"
    assert told in " ".join(out.split())


SUBTASKS = {"whole": (None, None), "subtask": (None, "left_home")}


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_each_shard_has_its_batch_and_each_is_told_once(
    settings: Settings, server: ModelServer, subtask: str
) -> None:
    raw_shard(settings.shard_folder("tiny") / "b-raw-v001.h5", (7, 9))
    shards = preprocess.run(change(settings, label={"shards": []})).shards
    settings = change(
        settings, subtask=SUBTASKS[subtask], label={"shards": shards}, model={"batch": True}
    )
    server.batches.hold = True
    first = label.run(settings)
    ones = [(batch.id, len(batch.requests)) for batch in server.batches.made]
    assert len(ones) == 2
    assert (first.labels, first.asked, first.shards) == (0, 0, ())
    assert first.stopped == "; ".join(
        f"batch {name} with {n} questions was submitted; run the same command again to collect "
        "the answers"
        for name, n in ones
    )
    again = label.run(settings)
    assert again.stopped == first.stopped.replace("was submitted", "is under way")
    server.batches.release()
    last = label.run(settings)
    assert (last.labels, last.stopped) == (sum(n for _, n in ones), None)
    assert len(last.shards) == len(server.batches.made) == 2


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_a_budget_of_nothing_is_told_as_such(
    settings: Settings, server: ModelServer, subtask: str
) -> None:
    result = label.run(change(settings, subtask=SUBTASKS[subtask], budget={"labels": 0}))
    assert (result.shards, len(server.asked)) == ((), 0)
    assert result.stopped == (
        "budget.labels is 0: 0 questions were put; the answers are kept; run the same "
        "command again to continue"
    )


def test_a_batch_of_another_shard_stops_no_questions_put_one_by_one(
    settings: Settings, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.labelling.pool.BATCH", 10)  # several waves of questions
    server.batches.hold = True
    raw_shard(settings.shard_folder("tiny") / "b-raw-v001.h5", (7,))
    shards = preprocess.run(change(settings, label={"shards": []})).shards
    other = [shard for shard in shards if shard.name.startswith("b-")]
    label.run(change(settings, label={"shards": other}, model={"batch": True}))
    result = label.run(settings)
    assert (result.labels, result.stopped) == (STEPS, None)


def test_a_round_whose_labels_are_a_batch_is_told_as_such(
    settings: Settings, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's part alone: who played and how small the frames are is not asked here."""
    server.batches.hold = True
    monkeypatch.setattr(
        "pipeline.loops.round.collect.run", lambda _: SimpleNamespace(shard="a-raw-v001.h5")
    )
    small = SimpleNamespace(shards=settings.label.shards)
    monkeypatch.setattr("pipeline.loops.round.preprocess.run", lambda _: small)
    settings = change(settings, subtask=SUBTASKS["subtask"], model={"batch": True})
    with pytest.raises(PipelineError) as error:
        label_round(
            settings, name="a", title="round 1", played=Collect(), round_=0, checkpoint=None
        )
    [batch] = server.batches.made
    assert str(error.value) == (
        f"round 1: the expert stopped after 0 of 40 steps (batch {batch.id} with "
        f"{len(batch.requests)} questions was submitted; run the same command again to collect "
        "the answers); all so far is kept, and the same command carries on from there"
    )


def test_a_budget_ends_the_command_cleanly_and_the_next_goes_on(
    settings: Settings, server: ModelServer
) -> None:
    first = label.run(change(settings, budget={"labels": 15}))
    assert first.labels == 15
    assert first.stopped == (
        "budget.labels is 15: 15 questions were put; the answers are kept; run the same "
        "command again to continue"
    )
    assert len(server.asked) == 15
    # The budget is the command's, whichever of its stages spends it.
    again = label.run(change(settings, budget={"labels": 16}))
    assert (again.labels, len(server.asked)) == (16, 16)
    result = label.run(settings)
    assert result.labels == STEPS
    assert len(server.asked) == STEPS
    assert (costs_in(result.shards[0]) > 0).all()


def test_a_dry_run_says_what_it_would_cost_and_asks_nothing(
    settings: Settings, server: ModelServer
) -> None:
    settings = change(settings, label={"dry_run": True}, budget={"dollars": 0.001})
    result = label.run(settings)
    assert (result.questions, result.kept) == (STEPS, "0 of 16 looked at")
    assert 0 < result.dollars < result.most_dollars
    assert result.stopped_by.startswith("budget.dollars (0.001), after about 0 of 40")
    assert [request.path for request in server.requests] == ["/v1/messages/count_tokens"]
    assert not (settings.game_folder("tiny") / FILE_NAME).exists()


@pytest.mark.parametrize("batch", [False, True])
def test_a_planted_key_is_in_nothing_that_is_made(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    batch: bool,
) -> None:
    key, password = "sk-ant-planted-31415926", "proxy-planted-27182818"
    caplog.set_level(logging.DEBUG)

    def script(asked: Asked) -> Reply:
        told = f"what a key: {key} {password}"
        odd = {
            0: rate_limited(),
            1: error(400, "invalid_request_error", told),
            2: says(told),
            3: says({"reason": told, "button": "JUMP"}),
            4: says({"reason": told, "button": "unsure"}),
            5: error(500, "api_error", told),
        }
        return odd.get(asked.number) or right(asked)

    with ModelServer(script, key=key) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", key)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", f"x-proxy: {password}")
        for _ in range(2):
            result = label.run(change(settings, model={"batch": batch, "retries": 1}))
    assert result.labels > 30
    told = repr(result) + caplog.text + "".join(capfd.readouterr())
    for secret in (key, password):
        assert secret not in told
        for path in tmp_path.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path
    assert server.requests[0].headers["x-proxy"] == password
    statuses = {LabelStatus(s).name for s in _statuses(result.shards[0])}
    assert {"LABELLED", "REFUSED", "INVALID"} <= statuses


def _statuses(path: str) -> list[int]:
    with Shard(path) as shard:
        found: list[int] = shard.column("label_status").tolist()
    return found
