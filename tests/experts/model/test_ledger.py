"""The count of what a command has spent: where it is lost, the spending stops."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.experts.budget import Spending, Spent
from pipeline.experts.model import database
from pipeline.experts.model.database import Database
from pipeline.experts.model.kept import FILE_NAME
from pipeline.experts.model.ledger import LEDGER, SharedBook
from pipeline.experts.model.process_names import command_id
from pipeline.experts.opening import open_expert
from pipeline.games.loading import load_game
from pipeline.settings.expert_fields import Budget
from pipeline.settings.reading import Settings
from pipeline.system.lease import process_name
from tests.experts.model.made import answers_of, asking, expert, questions, right, settings_in
from tests.model_server import Asked, Reply, late

ONE = Spent(1.0, 10, 1)
LIMITS = {
    "dollars": Budget(dollars=6.0),
    "tokens": Budget(tokens=60),
    "labels": Budget(labels=6),
}
ENDS = "nothing more is asked, so that nothing is paid twice and no budget is exceeded"


def lost(path: Path, why: str) -> str:
    return f"{path}: the count of what this command has spent is lost ({why}); {ENDS}"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of a disk of its own, with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs rights")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _remove(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _be_a_folder(path: Path) -> None:
    _remove(path)
    path.mkdir()


def _set_aside(path: Path) -> None:
    """As another process does that finds it damaged."""
    path.rename(f"{path}.damaged-1")
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    other = Database(path, LEDGER)
    assert SharedBook(other, "other").take(ONE, Budget())
    other.close()


def _lock(path: Path) -> None:
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    HELD.append(holder)


def _lower(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("UPDATE spent SET dollars = 0, tokens = 0, labels = 0")
    other.close()


def _forget(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("DELETE FROM spent")
    other.close()


HELD: list[sqlite3.Connection] = []
REPLACED = "the file was removed or replaced"
WAYS: dict[str, tuple[Callable[[Path], None], str]] = {
    "removed": (_remove, REPLACED),
    "a folder in its place": (_be_a_folder, REPLACED),
    "set aside by another": (_set_aside, REPLACED),
    "locked for too long": (_lock, "database is locked"),
    "lowered": (_lower, "it holds less than was written to it"),
    "begun anew": (_forget, "it was begun anew"),
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("way", WAYS)
def test_a_ledger_that_is_lost_in_the_middle_stops_the_spending(
    tmp_path: Path, way: str, limit: str
) -> None:
    path, (lose, why) = tmp_path / "book", WAYS[way]
    command = f"{tmp_path}-{way}"
    book = SharedBook(Database(path, LEDGER), command)
    spending = Spending(LIMITS[limit], None, book) if limit != "dollars" else None
    took = [book.take(ONE, LIMITS[limit]) for _ in range(3)]
    lose(path)
    try:
        book.change(Spent(-0.5, -5, 0))
        book.change(Spent(0.5, 5, 0))
        took += [book.take(ONE, LIMITS[limit]) for _ in range(6)]
        assert took == [True] * 3 + [False] * 6
        assert book.lost == lost(path, why)
        if spending is not None:
            assert not spending.reserve_now(ONE)
            assert spending.stopped == book.lost
        assert book.total()[0] == Spent(3.0, 30, 3)
        # What stopped is opened anew by the same process: it has not forgotten what it spent.
        again = SharedBook(Database(path, LEDGER), command)
        assert not again.take(ONE, LIMITS[limit])
    finally:
        while HELD:
            HELD.pop().close()


def test_a_ledger_that_can_be_written_again_goes_on(tmp_path: Path) -> None:
    path, limits = tmp_path / "book", Budget(labels=4)
    book = SharedBook(Database(path, LEDGER), f"{path}")
    assert all(book.take(ONE, limits) for _ in range(3))
    _lock(path)
    assert not book.take(ONE, limits)
    HELD.pop().close()
    again = SharedBook(Database(path, LEDGER), f"{path}")
    assert [again.take(ONE, limits) for _ in range(2)] == [True, False]
    assert again.lost is None
    assert again.total()[0] == Spent(4.0, 40, 4)


def test_a_full_disk_stops_the_spending(small_disk: Path) -> None:
    path = small_disk / "book"
    book = SharedBook(Database(path, LEDGER), f"{path}")
    took = [book.take(ONE, LIMITS["labels"]) for _ in range(3)]
    with suppress(OSError), (small_disk / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(b"x" * 4096)
    while book.lost is None and len(took) < 9:
        took.append(book.take(ONE, LIMITS["labels"]))
    assert sum(took) <= 6
    assert book.lost == lost(path, "database or disk is full")


def test_a_book_without_a_file_counts_on_by_itself_where_nothing_is_limited(
    tmp_path: Path,
) -> None:
    path = tmp_path / "book"
    path.mkdir()
    book = SharedBook(Database(path, LEDGER), "a")
    assert all(book.take(ONE, Budget(minutes=5)) for _ in range(3))
    assert book.total()[0] == Spent(3.0, 30, 3)
    other = tmp_path / "other"
    book = SharedBook(Database(other, LEDGER), "d")
    assert book.take(ONE, Budget())
    _forget(other)
    assert all(book.take(ONE, Budget()) for _ in range(2))
    assert book.total()[0] == Spent(3.0, 30, 3)
    # Of others of the same command it would know nothing.
    assert not SharedBook(Database(path, LEDGER), "b").take(ONE, Budget(labels=9))


def test_settling_never_takes_back_more_than_was_put_there(tmp_path: Path) -> None:
    path = tmp_path / "book"
    book = SharedBook(Database(path, LEDGER), "c")
    spending = Spending(Budget(labels=5), None, book)
    assert spending.reserve_now(ONE)
    _be_a_folder(path)
    spending.settle(ONE, Spent(0.25, 2, 1))
    assert not spending.reserve_now(ONE)
    assert book.total()[0] == Spent(0.25, 2, 1)


def test_kept_answers_that_cannot_be_reached_are_not_paid_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    path = settings.shard_folder("tiny") / FILE_NAME
    with asking() as server:
        answers_of(settings, [1, 2])
        held = sqlite3.connect(path, isolation_level=None)
        held.execute("PRAGMA locking_mode = EXCLUSIVE")
        held.execute("PRAGMA journal_mode = DELETE").fetchall()
        held.execute("BEGIN EXCLUSIVE")
        answers, stopped = answers_of(settings, [1, 2])
        held.close()
        assert (answers.status.tolist(), len(server.asked)) == ([0, 0], 2)
        assert stopped is not None
        assert stopped.startswith(lost(path, "database is locked"))
        assert answers_of(settings, [1, 2])[0].status.tolist() == [1, 1]
        assert len(server.asked) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("way", ["removed", "locked for too long"])
def test_a_command_whose_file_is_lost_stops_within_its_budget(tmp_path: Path, way: str) -> None:
    settings = settings_in(tmp_path, budget={"labels": 8}, model={"concurrency": 2})
    path, (lose, why) = settings.shard_folder("tiny") / FILE_NAME, WAYS[way]

    def script(asked: Asked) -> Reply:
        if asked.number == 4:
            lose(path)
        return right(asked)

    with asking(script) as server:
        # As a stage does with one shard after the other: what stopped is opened anew.
        for first in (0, 20, 40):
            with expert(settings, f"{tmp_path}") as model:
                answers = model.answer(questions(range(first, first + 12)))
            if first == 0:
                assert int((answers.status == 1).sum()) >= 4  # none that was paid for is lost
                assert model.stopped == (
                    f"{lost(path, why)}; the answers are kept; run the same "
                    "command again to continue"
                )
            while HELD:
                HELD.pop().close()
        assert 5 <= len(server.asked) <= 8


def test_a_worker_that_comes_after_the_damage_does_not_begin_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "book"
    path.write_bytes(b"this is no database" * 500)
    Database(path, LEDGER).read("SELECT * FROM spent")  # another worker finds it damaged
    late = SharedBook(Database(path, LEDGER), command_id())
    assert not late.take(ONE, Budget(labels=5))
    assert late.lost == lost(path, "it was damaged and set aside while this command ran")
    time.sleep(0.1)  # a process is known by its start, in hundredths of a second
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as later:  # the same command, again
        assert SharedBook(Database(path, LEDGER), process_name(later.pid)).take(
            ONE, Budget(labels=5)
        )


def _in_a_worker(settings: Settings, first: int) -> tuple[int, str | None]:
    database.PATIENCE = 0.2
    with open_expert(settings, load_game(settings.game)) as model:
        status = model.answer(questions(range(first, first + 12))).status
        return int((status == 1).sum()), model.stopped


def test_workers_that_all_lose_the_ledger_pass_no_budget_together(tmp_path: Path) -> None:
    settings = settings_in(
        tmp_path,
        budget={"dollars": 0.02},
        model={"concurrency": 2, "max_tokens": 100},
    )
    path = settings.shard_folder("tiny") / FILE_NAME

    def script(asked: Asked) -> Reply:
        if asked.number == 5:
            _lock(path)
        return late(right(asked), 0.02)

    with asking(script) as server:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            told = pool.starmap(_in_a_worker, [(settings, 0), (settings, 100)], chunksize=1)
        while HELD:
            HELD.pop().close()
        # Two workers with two questions at a time: no more than what was under way.
        assert len(server.asked) <= 6 + 4
    assert sum(labels for labels, _ in told) == len(server.asked)
    for _, stopped in told:
        assert stopped is not None
        assert stopped.startswith((lost(path, "database is locked"), "budget.dollars is 0.02: "))
    assert any("is lost" in str(stopped) for _, stopped in told)


def test_the_journal_fits_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def journal() -> str:
        made = Database(tmp_path / "book", LEDGER)
        made.write(("DELETE FROM spent", ()))
        [(mode,)] = made.read("PRAGMA journal_mode")
        made.close()
        return str(mode)

    assert journal() == "wal"
    told = f"1 2 0:3 / / rw - ext4 a rw\n1 2 0:3 / {os.path.realpath(tmp_path)} rw - nfs4 b rw\n"
    real = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, *a, **k: told if path.name == "mountinfo" else real(path, *a, **k),
    )
    assert journal() == "delete"
    told = told.replace("nfs4", "ext4")
    assert journal() == "wal"
