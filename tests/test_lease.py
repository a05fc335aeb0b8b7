"""Who is still there: processes by name, leases by time, half-written files by both."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.shards.catalog.publish import temporary_beside
from pipeline.system import lease
from tests.shards.factory import raw_shard

DAY = 24 * 3600


def ended() -> tuple[str, str]:
    """The name and the file mark of a process that has ended since."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        return lease.process_name(process.pid), lease.file_mark(process.pid)


def elsewhere(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """From here on this process counts as one of another host, or of another PID namespace."""
    if what == "host":
        monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
    else:
        monkeypatch.setattr(lease, "_place", lambda: "00000000")


def test_a_process_that_ended_is_told_from_one_that_lives() -> None:
    own = lease.process_name()
    host, pid, start, place = own.split(":")
    assert (host, pid) == (socket.gethostname(), str(os.getpid()))
    assert lease.lives(own) is True
    assert lease.lives(f"{own}:and-more") is True
    assert lease.lives(ended()[0]) is False
    # A number that is used again by another process.
    assert lease.lives(f"{host}:{pid}:1:{place}") is False
    assert lease.lives(f"{host}:99999999999999999999:{start}:{place}") is False
    for unknown in ("", "somebody", f"{host}:self:{start}:{place}"):
        assert lease.lives(unknown) is None


def test_since_when_a_process_runs_is_known_here_alone() -> None:
    before = time.time()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        name = lease.process_name(process.pid)
        began = lease.began(name)
        assert began is not None
        assert before - 1 < began < time.time() + 1
    assert lease.began(name) is None
    assert lease.began("another-host:1:1:0badf00d") is None


def test_a_process_that_nobody_waited_for_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True)"], stdout=subprocess.PIPE)
    name = lease.process_name(process.pid)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    os.kill(process.pid, 0)  # it is still there, as a zombie
    assert lease.lives(name) is False
    process.communicate()


@pytest.mark.parametrize("what", ["host", "PID namespace"])
def test_of_a_process_elsewhere_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    own, (dead, _) = lease.process_name(), ended()
    elsewhere(monkeypatch, what)
    assert lease.lives(own) is None
    assert lease.lives(dead) is None


def test_names_of_former_versions_live_or_are_unknown() -> None:
    own = ":".join(lease.process_name().split(":")[:3])
    assert lease.lives(f"{own}:0badf00d") is None  # a random part, where a place is now
    assert lease.lives(own) is True
    assert lease.lives(f"{socket.gethostname()}:4194305:123") is None


def test_a_lease_ends_when_it_is_not_renewed_and_clocks_may_differ() -> None:
    here, steady = [1000.0], [50.0]
    watch = lease.Watch(lambda: here[0], lambda: steady[0])
    until = watch.end()
    assert until == 1000 + lease.TERM
    for seconds in (0.0, lease.TERM, lease.TERM + lease.SKEW):
        here[0] = 1000 + seconds
        assert not watch.over("a", until)
    here[0] += 1
    assert watch.over("a", until)
    assert not watch.over("a", watch.end())  # renewed


def test_a_lease_of_a_clock_that_is_hours_fast_is_over_when_it_is_seen_unchanged() -> None:
    steady = [50.0]
    watch = lease.Watch(lambda: 1000.0, lambda: steady[0])
    assert not watch.over("a", 9e9)
    steady[0] += lease.TERM + lease.SKEW
    assert not watch.over("a", 9e9)
    steady[0] += 1
    assert watch.over("a", 9e9)
    assert not watch.over("a", 9e9 + lease.RENEWED)


def test_what_a_dead_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    target = tmp_path / "a-v002.h5"
    _, dead = ended()
    gone = [tmp_path / f".a-v00{n}.h5.tmp-{dead}{end}" for n in (1, 2) for end in ("", "-schema2")]
    stays = [
        tmp_path / f".a-v001.h5.tmp-{lease.file_mark()}",
        tmp_path / f".a-v002.h5.tmp-{lease.file_mark()}-schema2",
        tmp_path / f".b-v001.h5.tmp-{dead}",
    ]
    for path in gone + stays:
        path.write_bytes(b"half")
    os.utime(stays[0], (1, 1))  # it lives: however long it waits
    temporary_beside(target)
    assert [path.exists() for path in gone + stays] == [False] * 4 + [True] * 3


@pytest.mark.parametrize("what", ["host", "PID namespace"])
def test_what_is_written_elsewhere_stays_until_nobody_writes_it_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    # The number that the other process has over there is that of a dead one here.
    left = [tmp_path / f".a.h5.tmp-{mark}" for mark in (ended()[1], f"{socket.gethostname()}-7")]
    for path in left:
        path.write_bytes(b"half")
    elsewhere(monkeypatch, what)
    temporary_beside(tmp_path / "a.h5")
    assert all(path.exists() for path in left)
    written = left[0].stat().st_mtime
    for path in left:
        os.utime(path, (written - DAY - 10,) * 2)
    raw_shard(tmp_path / "a.h5", (2,))
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


UNSHARED = ["unshare", "--pid", "--fork", "--mount-proc"]


def _unshares() -> bool:
    try:
        return subprocess.run([*UNSHARED, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _unshares(), reason="PID namespaces cannot be made here")
def test_a_real_pid_namespace_of_the_same_host_is_another_place() -> None:
    script = (
        "import sys; from pipeline.system.lease import *; "
        "print(process_name(), lives(sys.argv[1]), is_left_behind(Path('.'), sys.argv[2]))"
    )
    dead, mark = ended()
    done = subprocess.run(
        [*UNSHARED, sys.executable, "-c", script, dead, mark],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    name, dead_told, left = done.stdout.split()
    assert name.split(":")[0] == socket.gethostname()
    assert lease.lives(name) is None
    assert (dead_told, left) == ("None", "False")
