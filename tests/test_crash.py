"""Killed at any moment, over and over, or out of room: nothing published is lost or damaged.

Real processes, real SIGKILL to all of them at once, a real full disk.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.shards.repair.verify import verify
from pipeline.shards.table import header_of

ROOT = Path(__file__).parent.parent
EPISODES = 12
COLLECT = ["collect", "--episodes", str(EPISODES), "--max_steps", "60", "--workers", "2"]
FEW = ["collect", "--episodes", "4", "--max_steps", "60", "--workers", "2"]
PREPROCESS = ["preprocess", "--workers", "2"]

# Forks a process group for each command, with everything imported: a kill then hits the work and
# not the imports. Says its id, and when it has ended its exit code.
STARTER = """
import json, multiprocessing.util, os, sys
import pipeline.collect, pipeline.label, pipeline.preprocess, pipeline.shards.repair.verify
from pipeline.__main__ import main
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        code = main(json.loads(line))
        multiprocessing.util._exit_function()  # as at the end of a process that was not forked
        os._exit(code)
    try:
        os.setpgid(pid, pid)
    except PermissionError:
        pass
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Starter:
    """Runs commands of the pipeline, each in a process group that can be killed at once."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def start(self, words: list[str]) -> int:
        """Begin; the id of the process and of its group."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def code(self) -> int:
        """Wait for its end; the exit code, or minus the signal."""
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def run(self, words: list[str]) -> tuple[int, str]:
        """Run to the end; exit code and what it said on standard error."""
        before = self._log.seek(0, os.SEEK_END)
        self.start(words)
        code = self.code()
        self._log.seek(before)
        return code, self._log.read()

    def kill(self, words: list[str], moment: Callable[[], bool], delay: float) -> bool:
        """Kill a command ``delay`` seconds after a moment came; False if it had ended before."""
        group = self.start(words)
        while not moment() and alive(group):
            time.sleep(0.002)
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        return self.code() == -signal.SIGKILL

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(60) == 0
        self._log.close()


def alive(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    made = Starter(tmp_path_factory.mktemp("log") / "stderr.txt")
    yield made
    made.close()


def into(folder: Path) -> list[str]:
    return ["--paths.datasets", str(folder), "--paths.checkpoints", str(folder / "checkpoints")]


@pytest.fixture(scope="module")
def whole(starter: Starter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of an undisturbed collect, preprocess and label."""
    folder = tmp_path_factory.mktemp("whole")
    for words in (COLLECT, PREPROCESS, ["label"]):
        assert starter.run([*words, *into(folder)]) == (0, "")
    return folder / "quest"


def shards(folder: Path) -> dict[str, bytes]:
    """Every published shard and part under a folder."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*.h5"))}


def verified(folder: Path, known: dict[str, bytes]) -> dict[str, bytes]:
    """The same, each of them verified unless it has the bytes that it had in ``known``."""
    found = shards(folder)
    new = [Path(path) for path, data in found.items() if known.get(path) != data]
    assert {row["state"] for row in verify(new)} <= {"ok"}
    return found


def left_over(folder: Path) -> list[str]:
    """What a command that has ended must not leave behind."""
    return [p.name for p in folder.rglob(".*") if ".tmp-" in p.name or p.suffix == ".parts"]


def test_a_collection_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_one(
    starter: Starter, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(0)
    words, quest = [*COLLECT, *into(tmp_path)], tmp_path / "quest"
    expected = (whole / "collect-raw-v001.h5").read_bytes()
    target = quest / "collect-raw-v001.h5"
    kept: dict[str, bytes] = {}

    def parts() -> int:
        return len(list(quest.glob(".*.parts/part-*.h5")))

    def check() -> None:
        """Whatever was finished stays, byte for byte, until it is in the shard."""
        nonlocal kept
        found = verified(tmp_path, kept)
        if target.exists():
            assert target.read_bytes() == expected
        else:
            assert kept.items() <= found.items()
        kept = found

    def finish() -> None:
        nonlocal kept
        assert starter.run(words) == (0, "")
        assert left_over(tmp_path) == []
        check()
        target.unlink()
        kept = {}

    def at_once(before: int) -> bool:
        return True

    def part(before: int) -> bool:
        return parts() > before or sealing(before)

    def sealing(before: int) -> bool:
        return bool(list(quest.glob(".collect-raw-v*.tmp-*")))

    moments = [(at_once, 1.0), (part, 0.2), (part, 0.2), (part, 0.2)]
    moments += [(sealing, 0.3), (sealing, 0.3), (sealing, 0.3), (at_once, 1.0)]
    for moment, longest in moments:
        while not starter.kill(
            words, functools.partial(moment, parts()), chance.uniform(0, longest)
        ):
            finish()  # it had ended before: the next one begins anew
        check()
    finish()


def test_when_only_the_command_itself_is_killed_its_workers_end_too(
    starter: Starter, tmp_path: Path
) -> None:
    words, quest = [*FEW, *into(tmp_path)], tmp_path / "quest"
    group = starter.start(words)
    while not list(quest.glob(".*.parts/part-*.h5")):
        assert alive(group)
        time.sleep(0.002)
    os.kill(group, signal.SIGKILL)
    assert starter.code() == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while members(group):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert starter.run(words) == (0, "")
    assert [*verified(tmp_path, {})] == [str(quest / "collect-raw-v001.h5")]


def members(group: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found


def test_preprocess_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_one(
    starter: Starter, whole: Path, tmp_path: Path
) -> None:
    chance = random.Random(1)
    quest = tmp_path / "quest"
    quest.mkdir(parents=True)
    shutil.copy(whole / "collect-raw-v001.h5", quest)
    words = [*PREPROCESS, *into(tmp_path)]
    target, expected = quest / "collect-84-v001.h5", (whole / "collect-84-v001.h5").read_bytes()
    known = shards(tmp_path)
    began = time.monotonic()
    assert starter.run(words) == (0, "")
    seconds = time.monotonic() - began
    kills = 0
    while kills < 4:
        if target.exists():
            assert target.read_bytes() == expected
            target.unlink()
        kills += starter.kill(words, lambda: True, chance.uniform(0, seconds))
        found = verified(tmp_path, known)
        assert known.items() <= found.items()
        assert [path for path in found if path not in known] in ([], [str(target)])
    assert starter.run(words) == (0, "")
    assert target.read_bytes() == expected
    assert left_over(tmp_path) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB; `mount(disk, "size=6m")` changes it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode:
        pytest.skip(f"no disk can be mounted here ({made.stderr.decode().strip()})")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def refused(starter: Starter, words: list[str]) -> str:
    """The one line of a command that ends with exit code 2."""
    code, said = starter.run(words)
    assert code == 2, said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_a_full_disk_costs_nothing_that_was_finished(
    starter: Starter, whole: Path, disk: Path
) -> None:
    words = [*COLLECT, *into(disk)]
    said = refused(starter, words)
    assert (
        "cannot write the shard (No space left on device); nothing is published; make room" in said
    )
    kept = verified(disk, {})
    assert 2 <= len(kept) < EPISODES
    assert said.endswith(f" ({len(kept)} of {EPISODES} episodes are finished and kept)\n")

    # Room for the parts, but not for the shard beside them.
    shard = (whole / "collect-raw-v001.h5").stat().st_size
    parts = EPISODES * max(len(data) for data in kept.values())
    mount(disk, f"size={parts + shard // 2}")
    said = refused(starter, words)
    assert said == (
        f"error: {disk}/quest/collect-raw-v001.h5: cannot write the shard (No space left "
        "on device); nothing is published; make room and run the same command again "
        f"({EPISODES} of {EPISODES} episodes are finished and kept)\n"
    )
    found = verified(disk, kept)
    assert kept.items() <= found.items()
    assert len(found) == EPISODES

    mount(disk, "size=24m")
    assert starter.run(words) == (0, "")
    for words, name in ((PREPROCESS, "84"), (["label"], "labelled")):
        before = shards(disk)
        fill = disk / "fill"
        with suppress(OSError), fill.open("wb") as file:
            while True:
                file.write(bytes(1 << 12))
                file.flush()
        os.truncate(fill, fill.stat().st_size - (50 << 10))  # room to begin, but not to end
        said = refused(starter, [*words, *into(disk)])
        assert said == (
            f"error: {disk}/quest/collect-{name}-v001.h5: cannot write the shard (No space "
            "left on device); nothing is published; make room and run the same command again\n"
        )
        assert shards(disk) == before
        fill.unlink()
        assert starter.run([*words, *into(disk)]) == (0, "")
    for path in whole.glob("*.h5"):
        held = header_of if "labelled" in path.name else Path.read_bytes  # labels tell the time
        assert held(disk / "quest" / path.name) == held(path)
    assert left_over(disk) == []


def test_a_disk_that_may_only_be_read_is_one_clear_line(starter: Starter, disk: Path) -> None:
    mount(disk, "ro")
    said = refused(starter, [*COLLECT, *into(disk)])
    assert said.startswith(f"error: {disk}/quest/.collect-raw-")
    assert said.endswith(
        ".parts: cannot write the shard (Read-only file system); nothing is published; choose a "
        "folder that you may write (paths.datasets)\n"
    )


def test_a_file_in_the_place_of_the_folder_is_one_clear_line(
    starter: Starter, tmp_path: Path
) -> None:
    (tmp_path / "quest").write_text("a file")
    said = refused(starter, [*COLLECT, *into(tmp_path)])
    assert said.startswith(f"error: {tmp_path}/quest/.collect-raw-")
    assert said.endswith(
        ".parts: cannot write the shard (Not a directory); nothing is published; fix that and run "
        "the same command again\n"
    )


def test_a_folder_that_goes_away_in_the_middle_is_one_clear_line_and_the_rerun_carries_on(
    starter: Starter, tmp_path: Path
) -> None:
    folder, away = tmp_path / "datasets", tmp_path / "away"
    words = [*FEW, *into(folder)]

    def go_away() -> None:
        while len(list(folder.glob("quest/.*.parts/part-*.h5"))) < 2:
            time.sleep(0.002)
        folder.rename(away)

    mover = threading.Thread(target=go_away)
    mover.start()
    said = refused(starter, words)
    mover.join()
    assert "4 episodes are finished and kept)" in said
    shutil.rmtree(folder, ignore_errors=True)
    assert len(verified(away, {})) >= 2
    away.rename(folder)
    assert starter.run(words) == (0, "")
    assert [*verified(folder, {})] == [str(folder / "quest" / "collect-raw-v001.h5")]


def test_of_two_commands_that_collect_the_same_the_second_says_so_and_the_first_ends_well(
    starter: Starter, tmp_path: Path
) -> None:
    words = [*FEW, *into(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words], cwd=ROOT, stdout=subprocess.DEVNULL
    ) as first:
        while not list(tmp_path.glob("quest/.*.parts/part-*.h5")):
            assert first.poll() is None
            time.sleep(0.002)
        said = refused(starter, words)
        assert f".parts: process {first.pid} on " in said
        assert said.endswith(" is collecting into it; let it end, or end it\n")
        assert first.wait() == 0
    assert [*verified(tmp_path, {})] == [str(tmp_path / "quest" / "collect-raw-v001.h5")]
    assert left_over(tmp_path) == []
