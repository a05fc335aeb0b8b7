"""Two hosts on one volume: what a process that is gone claimed or submitted is free after minutes.

A host is a host name here: this process takes another one, as a container does that takes the place
of one that was killed. Time passes by setting back when a lease ends.
"""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from pipeline import label, preprocess
from pipeline.experts.model.database import Database
from pipeline.experts.model.kept import FILE_NAME
from pipeline.experts.model.leases import LEASES, Leases
from pipeline.experts.model.under_way import UnderWay
from pipeline.settings.reading import Settings
from pipeline.system import lease
from tests.changed import change
from tests.experts.model.made import answers_of, asking, expert, questions, settings_in
from tests.experts.model.test_batching import created, only
from tests.model_server import Reply, dropped
from tests.model_server.server import Request
from tests.shards.factory import raw_shard

SUBMITTED = r"was submitted; run the same command again to collect the answers"


def become(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)


def change_file(settings: Settings, *statements: str) -> None:
    with sqlite3.connect(settings.shard_folder("tiny") / FILE_NAME) as database:
        for sql in statements:
            database.execute(sql)
    database.close()


def pass_minutes(settings: Settings) -> None:
    change_file(settings, "UPDATE leases SET until = until - 3600")


def rows(settings: Settings, sql: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(settings.shard_folder("tiny") / FILE_NAME) as database:
        found: list[tuple[str, ...]] = database.execute(sql).fetchall()
    database.close()
    return found


def killed(settings: Settings, keys: int) -> None:
    """A run of this host that claimed its questions, and of which nothing was heard again."""
    model = expert(settings)
    kept = model._desk.kept
    for key in [f"other-{n}" for n in range(keys)] + _keys(model, [1, 2]):
        assert kept.claim(key) is None
    kept.leases._ended.set()
    kept.database.close()


def _keys(model: object, xs: Sequence[int]) -> list[str]:
    from pipeline.experts.model.prompt import questions_of

    prompt = model._desk.prompt  # type: ignore[attr-defined]
    return [one.key for _, one in questions_of(prompt, questions(xs), range(len(xs)))]


def wait_for_line(capsys: pytest.CaptureFixture[str]) -> str:
    told, end = "", time.monotonic() + 60
    while not told and time.monotonic() < end:
        time.sleep(0.05)
        told = capsys.readouterr().err
    return told


def test_a_container_that_takes_a_killed_ones_place_carries_on_after_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path, model={"concurrency": 2})
    become(monkeypatch, "pod-1")
    killed(settings, 3)
    become(monkeypatch, "pod-2")
    with asking() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(answers_of, settings, [1, 2, 3])
        line = wait_for_line(capsys)
        assert re.fullmatch(
            r"waiting for answers to the same questions, which are asked by process \d+ on pod-1, "
            r"until \d\d:\d\d:\d\d UTC if it does not renew that\n",
            line,
        )
        assert not waiting.done()
        pass_minutes(settings)
        answers, stopped = waiting.result(timeout=600)
        assert (answers.status.tolist(), stopped) == ([1, 1, 1], None)
        assert len(server.asked) == 3
    assert capsys.readouterr().err == ""  # one line, whoever waits
    assert {run.split(":")[0] for (run,) in rows(settings, "SELECT run FROM asking")} == {"pod-1"}


def test_a_process_of_another_host_that_renews_its_lease_keeps_its_claim(tmp_path: Path) -> None:
    now, steady = [1000.0], [0.0]
    watch = lease.Watch(lambda: now[0], lambda: steady[0])
    database = Database(tmp_path / "a", LEASES)
    theirs = Leases(database, "pod-1:7:1:0badf00d:a", watch)
    ours = Leases(database, "pod-2:7:1:0badf00d:b", watch)
    theirs.renew()
    for _ in range(20):  # minutes
        assert ours.held(theirs.run)
        now[0], steady[0] = now[0] + lease.RENEWED, steady[0] + lease.RENEWED
        theirs.renew()
    for _ in range(6):
        assert ours.held(theirs.run)
        now[0] += lease.RENEWED
    now[0] += 1
    assert not ours.held(theirs.run)
    assert ours.holder(theirs.run).startswith("process 7 on pod-1, until 00:")
    database.close()


def test_a_lease_is_renewed_while_its_run_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.experts.model.leases.RENEWED", 0.01)
    database = Database(tmp_path / "a", LEASES)
    held = Leases(database, "pod-1:7:1:0badf00d:a")
    held.hold()
    [(first,)] = database.read("SELECT until FROM leases")
    end = time.monotonic() + 30
    while database.read("SELECT until FROM leases") == [(first,)]:
        assert time.monotonic() < end
        time.sleep(0.01)
    held.end(finished=True)
    assert database.read("SELECT until FROM leases") == []
    database.close()


def test_the_cost_of_a_run_on_another_host_is_told_when_its_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)

    def told() -> float:
        costs = answers_of(settings, [1, 2])[0].costs
        assert costs is not None
        return float(costs.dollars.sum())

    become(monkeypatch, "pod-1")
    with asking():
        model = expert(settings)
        costs = model.answer(questions([1, 2])).costs
        assert costs is not None
        model._desk.kept.leases._ended.set()  # killed
        become(monkeypatch, "pod-2")
        assert told() == 0
        pass_minutes(settings)
        assert told() == pytest.approx(float(costs.dollars.sum()))
        assert told() == 0


def test_claims_of_a_former_version_end_after_a_lease_and_its_answers_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    old = f"{socket.gethostname()}:4194305:77:0a0b0c0d"
    with asking() as server:
        answers_of(settings, [1, 2])
        keys = _keys(expert(settings), [3])
        change_file(
            settings,
            "DROP TABLE leases",
            f"UPDATE answers SET teller = '{old}'",
            f"INSERT INTO asking VALUES ('{keys[0]}', '{old}')",
        )
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(answers_of, settings, [1, 2, 3])
            assert "asked by process 4194305 on " in wait_for_line(capsys)
            pass_minutes(settings)
            answers, _ = waiting.result(timeout=600)
        assert answers.status.tolist() == [1, 1, 1]
        assert len(server.asked) == 3
        costs = answers_of(settings, [1, 2])[0].costs
        assert costs is not None
        assert (costs.dollars > 0).all()


def test_a_batch_that_a_killed_container_submitted_is_found_by_the_next(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, preprocess={"workers": 1}, label={"workers": 1})
    raw_shard(settings.shard_folder("tiny") / "a-raw-v001.h5", (40,))
    settings = change(
        settings, label={"shards": preprocess.run(settings).shards}, model={"batch": True}
    )
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    script = (
        "import socket, sys; socket.gethostname = lambda: 'pod-1'; "
        "from pipeline.__main__ import main; main(sys.argv[1:])"
    )
    process: list[subprocess.Popen[bytes]] = []

    def kill_after(request: Request) -> Reply | None:
        if request.method == "POST" and request.path == "/v1/messages/batches":
            process[0].kill()
            return dropped("after")
        return None

    with asking() as server:
        server.intercept = kill_after
        server.batches.hold = True
        command = [sys.executable, "-c", script, "label", "--config", str(config)]
        process.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        assert process[0].wait(timeout=600) == -signal.SIGKILL
        server.intercept = lambda _: None
        told = label.run(settings).stopped
        assert re.fullmatch(
            rf"a batch with 40 questions is being submitted by process {process[0].pid} on pod-1, "
            r"until \d\d:\d\d:\d\d UTC if it does not renew that; run the same command again to "
            r"collect the answers",
            told,
        )
        pass_minutes(settings)
        [batch] = server.batches.made
        assert label.run(settings).stopped == (
            f"batch {batch.id} with 40 questions is under way; run the same command again to "
            "collect the answers"
        )
        server.batches.release()
        result = label.run(settings)
        assert (result.labels, result.stopped) == (40, None)
        assert created(server) == [40]


def test_an_intention_that_never_arrived_is_submitted_by_the_next_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, model={"batch": True})
    become(monkeypatch, "pod-1")
    model = expert(settings)
    UnderWay(model._desk.kept.database, model._desk.kept.leases).intend(_keys(model, [1, 2]))
    model._desk.kept.leases._ended.set()  # killed
    become(monkeypatch, "pod-2")
    with asking() as server:
        _, stopped = answers_of(settings, [1, 2])
        assert created(server) == []
        assert "is being submitted by process" in str(stopped)
        pass_minutes(settings)
        _, stopped = answers_of(settings, [1, 2])
        assert re.search(SUBMITTED, str(stopped))
        assert created(server) == [2]


def test_a_process_that_stood_still_does_not_submit_what_another_one_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, model={"batch": True})
    intend: Callable[..., str] = UnderWay.intend
    others: list[str | None] = []

    def stand_still(batches: UnderWay, keys: Sequence[str]) -> str:
        name = intend(batches, keys)
        if not others:
            others.append(None)
            pass_minutes(settings)
            become(monkeypatch, "pod-2")
            others[0] = answers_of(settings, [1, 2, 3])[1]
            become(monkeypatch, "pod-1")
        return name

    monkeypatch.setattr(UnderWay, "intend", stand_still)
    become(monkeypatch, "pod-1")
    with asking() as server:
        server.batches.hold = True
        _, stopped = answers_of(settings, [1, 2, 3])
        assert created(server) == [3]
    assert re.search(SUBMITTED, str(others[0]))
    assert stopped == (
        "a batch with 3 questions was not submitted, as this process stood still and another one "
        "took them over; run the same command again to collect the answers"
    )


def test_of_several_batches_that_may_be_ours_each_is_looked_into(tmp_path: Path) -> None:
    """The newest of that size and time is another's: ours is not taken for lost."""
    settings = settings_in(tmp_path, model={"batch": True})
    (tmp_path / "other").mkdir()
    other = settings_in(tmp_path / "other", model={"batch": True})
    with asking() as server:
        server.intercept = only("POST", "/v1/messages/batches", dropped("after"))
        answers_of(settings, [1, 2, 3])
        answers_of(other, [7, 8, 9])
        answers, stopped = answers_of(settings, [1, 2, 3])
        assert (answers.status.tolist(), stopped) == ([1, 1, 1], None)
        assert created(server) == [3, 3]


def test_a_batch_whose_id_cannot_be_written_down_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, model={"batch": True})
    path = settings.shard_folder("tiny") / FILE_NAME
    monkeypatch.setattr(UnderWay, "submitted", lambda *_: False)
    with asking() as server:
        server.batches.hold = True
        _, stopped = answers_of(settings, [1, 2])
        [batch] = server.batches.made
    assert stopped == (
        f"batch {batch.id} with 2 questions was submitted; run the same command again to collect "
        f"the answers; batch {batch.id} cannot be recorded in {path}: if a later command "
        "submits its 2 questions again, cancel this one"
    )
