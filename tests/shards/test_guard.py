"""A file can do to the child what it likes; the caller gets an answer for every file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.shards.catalog.guard import Answer, guarded
from pipeline.system.errors import PipelineError

READ = "tests.shards.readers:read"
ROOT = Path(__file__).parents[2]
ANEW = "make the shard anew, or leave it out"


def answers(*names: str, **options: Any) -> list[Answer]:
    return list(guarded(READ, [Path(name) for name in names], **options))


def error(name: str, **options: Any) -> str:
    """The error of one file between two harmless ones, which must have their answers."""
    before, found, after = answers("a", name, "b", **options)
    assert (before.get()["name"], after.get()["name"]) == ("a", "b")
    assert found.error is not None
    return found.error


def test_every_path_has_its_answer_in_order_from_one_child() -> None:
    names = ["a", "b", "c"]
    values = [answer.get() for answer in answers(*names)]
    assert [value["name"] for value in values] == names
    assert len({value["pid"] for value in values} - {os.getpid()}) == 1


def test_no_paths_start_no_child() -> None:
    assert answers() == []


@pytest.mark.parametrize("name", ["sleeps", "spins", "stops"])
def test_a_file_that_hangs_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.shards.catalog.guard._GRACE", 0.3)
    began = time.monotonic()
    assert error(name, seconds=0.5) == f"{name}: reading it hangs (more than 0.5 s); {ANEW}"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crashes", "reading it crashes HDF5 (signal 11)"),
        ("aborts", "reading it crashes HDF5 (signal 6)"),
        ("is_killed", "reading it was killed from outside (out of memory?)"),
        ("bloats", "reading it needs more memory than 0.5 GiB"),
        ("surprises", "reading it fails (OverflowError: a number)"),
    ],
)
def test_a_file_that_kills_the_reader_is_named_and_the_rest_goes_on(name: str, reason: str) -> None:
    assert error(name, memory=1 << 29) == f"{name}: {reason}; {ANEW}"


def test_the_error_of_the_pipeline_is_passed_on_as_it_is() -> None:
    (answer,) = answers("refused")
    assert answer.error == "refused: is refused; leave it out"
    assert answer.reason == "is refused; leave it out"
    with pytest.raises(PipelineError, match=r"^refused: is refused; leave it out$"):
        answer.get()


def test_a_file_is_not_blamed_for_what_the_one_before_did_to_the_process() -> None:
    poisons, meets = answers("poisons", "meets_poison")
    assert meets.get()["pid"] != poisons.get()["pid"]


def test_the_limit_can_be_a_function_of_the_path() -> None:
    limit: Callable[[Path], float] = lambda path: 0.3 if path.name == "sleeps" else 20  # noqa: E731
    assert error("sleeps", seconds=limit) == f"sleeps: reading it hangs (more than 0.3 s); {ANEW}"


def test_arguments_reach_the_function() -> None:
    assert answers("a", arguments={"extra": 7})[0].get()["extra"] == 7


def test_what_the_reader_prints_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    assert [answer.get()["name"] for answer in answers("prints", "a")] == ["prints", "a"]
    assert capfd.readouterr() == ("", "")


def test_names_may_be_any_bytes_and_answers_long() -> None:
    odd = Path(os.fsdecode(b"a\nb\x1b[31m\xff \xe2\x82\xac"))
    (answer,) = guarded(READ, [odd])
    assert answer.get()["name"] == odd.name
    assert len(answers("large")[0].get()) == 3_000_000


def test_the_child_loads_neither_torch_nor_gymnasium() -> None:
    (answer,) = guarded("tests.shards.readers:modules", [Path("a")])
    assert answer.get() == []


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_an_iterator_that_is_left_takes_its_child_with_it() -> None:
    iterator = guarded(READ, [Path("a"), Path("b")])
    pid = next(iterator).get()["pid"]
    assert alive(pid)
    iterator.close()
    assert not alive(pid)


CALLER = """
import sys
from pathlib import Path
from pipeline.shards.catalog.guard import guarded
for answer in guarded({read!r}, [Path("a"), Path("spins")], seconds=60):
    print(answer.value["pid"], flush=True)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_caller_that_is_ended_leaves_no_child_behind(end: signal.Signals) -> None:
    command: Sequence[str] = [sys.executable, "-c", CALLER.format(read=READ)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        assert alive(pid)
        time.sleep(0.2)  # the child is now at the file that never ends
        caller.send_signal(end)
        assert gone(pid)
