"""Finished episodes that wait for their shard: found again, never mixed up, never trusted."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.rollouts.parts import Parts, unfinished
from pipeline.shards.format.schema import ShardHeader
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.system.lease import file_mark
from tests.shards.factory import make_episode, make_header, write
from tests.shards.small import damage

ROOT = Path(__file__).parents[2]
HEADER = make_header()
SEEDS = (5, 6, 7)


def fill(parts: Parts, numbers: tuple[int, ...] = (0, 1, 2), header: ShardHeader = HEADER) -> None:
    for number in numbers:
        steps = 20 + number
        episode = make_episode(steps, SEEDS[number])
        episode.ram_crc32 = np.arange(steps, dtype=np.uint32)
        write(parts.path(number), header, [episode], [b"start" * 30])


def test_a_sealed_shard_has_the_episodes_in_their_order_and_nothing_else_is_left(
    tmp_path: Path,
) -> None:
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        fill(parts, (2, 0, 1))
        assert parts.missing(SEEDS) == []
        path = parts.seal(3)
    assert path == tmp_path / "a-raw-v001.h5"
    assert [p for p in tmp_path.iterdir() if ".parts" in p.name] == []
    with Shard(path) as shard:
        assert shard.seeds.tolist() == list(SEEDS)
        assert shard.header.provenance == HEADER.provenance
        assert shard.start_states() == [b"start" * 30]


def test_what_was_finished_is_found_again_and_only_the_rest_is_missing(tmp_path: Path) -> None:
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        assert parts.missing(SEEDS) == [0, 1, 2]
        fill(parts, (1,))
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        assert parts.count() == 1
        assert parts.missing(SEEDS) == [0, 2]


def test_a_damaged_part_is_removed_and_missing(tmp_path: Path) -> None:
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        fill(parts)
        data = bytearray(parts.path(0).read_bytes())
        data[100:150] = bytes(50)
        parts.path(0).write_bytes(data)
        damage(parts.path(2), "actions")
        assert parts.missing(SEEDS) == [0, 2]
        assert [p.name for p in sorted(parts.folder.glob("*.h5"))] == ["part-000001.h5"]
        parts.path(0).write_bytes(b"")
        assert parts.missing(SEEDS) == [0, 2]


def test_a_part_of_another_seed_or_other_settings_is_missing(tmp_path: Path) -> None:
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        fill(parts, (0,))
        fill(parts, (1,), make_header(mark="f" * 64))
        assert parts.missing((6, 6, 7)) == [0, 1, 2]


def test_of_two_processes_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom pipeline.rollouts.parts import Parts\n"
        "from tests.shards.factory import make_header\n"
        f"with Parts(Path({str(tmp_path)!r}), 'a-raw', make_header()) as parts:\n"
        "    print('in', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        parts = Parts(tmp_path, "a-raw", HEADER)
        with pytest.raises(PipelineError) as error, parts:
            pass
        assert str(error.value) == (
            f"{parts.folder}: process {other.pid} on {socket.gethostname()} is collecting into it; "
            "let it end, or end it"
        )
        with Parts(tmp_path, "a-raw", make_header(mark="f" * 64)):
            pass  # other settings have a folder of their own
        other.kill()
        other.wait()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                with parts:
                    return
            except PipelineError:
                time.sleep(0.01)
        raise AssertionError("the lock outlived its process")


def test_a_name_taken_meanwhile_gives_way_to_the_next_version(tmp_path: Path) -> None:
    other = make_header(mark="f" * 64)
    with Parts(tmp_path, "a-raw", HEADER) as one, Parts(tmp_path, "a-raw", other) as two:
        fill(one, (0,))
        fill(two, (1,), other)
        assert one.seal(1).name == "a-raw-v001.h5"
        two.path(1).rename(two.path(0))
        assert two.seal(1).name == "a-raw-v002.h5"


def test_half_written_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        dead = file_mark(process.pid)
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        fill(parts, (0,))
    old = [
        parts.folder / f".part-000001.h5.tmp-{dead}",
        tmp_path / f".a-raw-v001.h5.tmp-{dead}",
    ]
    kept = [
        tmp_path / f".a-raw-v001.h5.tmp-{file_mark()}",
        tmp_path / f".b-raw-v001.h5.tmp-{dead}",
    ]
    for path in old + kept:
        path.write_bytes(b"half")
    with parts:
        assert [path.exists() for path in old + kept] == [False, False, True, True]


def test_leftovers_of_other_settings_are_listed_and_stay(tmp_path: Path) -> None:
    other = Parts(tmp_path, "a-raw", make_header(mark="f" * 64))
    with other:
        fill(other, (0, 1), make_header(mark="f" * 64))
    with Parts(tmp_path, "a-b-raw", make_header(mark="f" * 64)) as third:
        fill(third, (0,))
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        fill(parts)
        parts.seal(3)
    assert unfinished(tmp_path, "a-raw", HEADER) == [f"{other.folder} (2 parts)"]
    assert other.count() == 2


def test_parts_that_have_gone_are_counted_and_nothing_is_published(tmp_path: Path) -> None:
    with Parts(tmp_path, "a-raw", HEADER) as parts:
        fill(parts, (1,))
        with pytest.raises(PipelineError) as error:
            parts.seal(3)
        assert str(error.value) == (
            f"{parts.folder}: 2 of 3 finished episodes have gone from it meanwhile; "
            "run the same command again"
        )
    assert list(tmp_path.glob("*.h5")) == []


def test_a_folder_left_without_parts_is_removed(tmp_path: Path) -> None:
    with Parts(tmp_path / "d", "a-raw", HEADER):
        pass
    assert list((tmp_path / "d").iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("a file")
    parts = Parts(tmp_path / "d", "a-raw", HEADER)
    with pytest.raises(PipelineError) as error, parts:
        pass
    assert str(error.value) == (
        f"{parts.folder}: cannot write the shard (Not a directory); nothing is published; "
        "fix that and run the same command again"
    )
