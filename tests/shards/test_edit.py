"""Merge, split and filter: whole episodes, with where they come from; a failure has no trace."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline import preprocess
from pipeline.preprocessing.making import split_of
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import VALIDATION
from pipeline.shards.reader import Shard
from pipeline.shards.repair.edit import Criteria, filter_shard, merge, split
from pipeline.shards.writer import ShardWriter
from tests.shards.edited import (
    SMALL,
    episodes_of,
    recorded,
    refused,
    small,
    unchanged,
)
from tests.shards.factory import (
    make_episode,
    make_header,
    processed_header,
    processed_shard,
    raw_shard,
    same,
    write,
    write_game,
)

LENGTHS = (5, 40, 1, 16, 33)


def damage(path: Path, dataset: str, chunk: int) -> None:
    with h5py.File(path) as file:
        found = file[dataset].id.get_chunk_info(chunk)
    with path.open("r+b") as raw:
        raw.seek(found.byte_offset + found.size // 2)
        byte = raw.read(1)[0]
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte ^ 8]))


# Merge


def test_a_merge_holds_the_episodes_of_all_in_their_order(tmp_path: Path) -> None:
    states = [b"one" * 30, b"two" * 20, b"three"]
    episodes = [small(i, n, start_state=i % 2, split=i % 2) for i, n in enumerate(LENGTHS)]
    a = write(tmp_path / "a-v001.h5", SMALL, episodes[:2], states[:2])
    others = [replace(episode, start_state=1 - episode.start_state) for episode in episodes[2:]]
    b = write(tmp_path / "b-v002.h5", SMALL, others, [states[1], states[0]])
    result = merge([a, b], "all")
    target = tmp_path / "all-v001.h5"
    assert result == {
        **{"shard": str(target), "up_to_date": False, "episodes": 5, "frames": 95},
        "left_out": 0,
    }
    assert all(same(x, y) for x, y in zip(episodes_of(target), episodes, strict=True))
    with Shard(target) as shard, Shard(a) as first, Shard(b) as second:
        assert shard.start_states() == states[:2]
        made = shard.header.provenance
        assert made["stage"] == "merge"
        assert made["settings"] == {"keep": None}
        assert made["recorded_by"] == ["collect"]
        assert made["actor"] == first.header.provenance["actor"]
        assert made["parents"] == [
            {"file": "a-v001.h5", "shard_id": first.header.shard_id},
            {"file": "b-v002.h5", "shard_id": second.header.shard_id},
        ]


def test_a_merge_that_was_made_before_is_up_to_date_and_another_is_the_next_version(
    tmp_path: Path,
) -> None:
    a, b, c = (
        recorded(tmp_path / f"{n}-v001.h5", range(i * 2, i * 2 + 2)) for i, n in enumerate("abc")
    )
    first = merge([a, b], "all")
    with unchanged(tmp_path):
        assert merge([a, b], "all") == first | {"up_to_date": True}
    other = merge([b, a, c], "all")
    assert other["shard"] == str(tmp_path / "all-v002.h5")
    assert [e.seed for e in episodes_of(other["shard"])] == [2, 3, 0, 1, 4, 5]


def test_labelled_shards_keep_splits_and_labels_when_they_are_merged(tmp_path: Path) -> None:
    headers = [processed_header(mark=str(i) * 64) for i in range(2)]
    episodes = [
        replace(make_episode(20, i, size=(84, 84), labelled=True), split=VALIDATION, start_state=i)
        for i in range(2)
    ]
    paths = [
        write(tmp_path / f"{i}-v001.h5", header, [episode])
        for i, (header, episode) in enumerate(zip(headers, episodes, strict=True))
    ]
    merged = episodes_of(merge(paths, "all")["shard"])
    assert all(same(x, y) for x, y in zip(merged, episodes, strict=True))


def test_frames_are_compressed_as_those_of_the_first_shard_are(tmp_path: Path) -> None:
    for name, level in (("fast", 1), ("small", 9)):
        for part in range(2):
            path = tmp_path / f"{name}{part}-v001.h5"
            with ShardWriter(path, SMALL, level=level) as writer:
                writer.append(small(part, 32))
        merge([tmp_path / f"{name}{part}-v001.h5" for part in range(2)], name)
        with h5py.File(tmp_path / f"{name}-v001.h5") as file:
            assert file["frames"].compression_opts == level
    with ShardWriter(tmp_path / "bare-v001.h5", SMALL, compression=None) as writer:
        writer.append(small(0))
        writer.append(small(1))
    filter_shard(tmp_path / "bare-v001.h5", Criteria(episodes=(1,)))
    with h5py.File(tmp_path / "bare-filtered-v001.h5") as file:
        assert file["frames"].compression is None


def test_the_crc32_of_ram_stays_if_all_shards_have_it(tmp_path: Path) -> None:
    for i, ram in enumerate((True, True, False)):
        write(tmp_path / f"{i}-v001.h5", SMALL, [make_episode(5, i, size=(8, 8), ram=ram)])
    both = merge([tmp_path / "0-v001.h5", tmp_path / "1-v001.h5"], "both")["shard"]
    mixed = merge([tmp_path / "0-v001.h5", tmp_path / "2-v001.h5"], "mixed")["shard"]
    assert [e.ram_crc32 is None for e in episodes_of(both)] == [False, False]
    assert [e.ram_crc32 is None for e in episodes_of(mixed)] == [True, True]


def test_an_episode_recorded_once_is_refused_twice_unless_it_is_said_which_to_keep(
    tmp_path: Path,
) -> None:
    a = recorded(tmp_path / "a-v001.h5", range(0, 3))
    b = write(tmp_path / "b-v001.h5", SMALL, [small(5), small(1, split=1)], [b"s" * 9])
    assert refused(tmp_path, merge, [a, b], "all") == (
        f"{b}: episode 1 is of the recording power_on-00000001 that episode 1 of {a} is "
        "of; say which to keep: --keep first or last"
    )
    first = merge([a, b], "first", keep="first")
    assert first["left_out"] == 1
    assert [(e.seed, e.split) for e in episodes_of(first["shard"])] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (5, 0),
    ]
    last = merge([a, b], "last", keep="last")
    assert [(e.seed, e.split) for e in episodes_of(last["shard"])] == [
        (0, 0),
        (2, 0),
        (5, 0),
        (1, 1),
    ]


def test_a_shard_of_which_nothing_is_kept_is_still_named_as_a_parent(tmp_path: Path) -> None:
    a, b = (recorded(tmp_path / f"{n}-v001.h5", range(2)) for n in "ab")
    result = merge([a, b], "all", keep="last")
    assert (result["episodes"], result["left_out"]) == (2, 2)
    parents = Shard(result["shard"]).header.provenance["parents"]
    assert [parent["file"] for parent in parents] == ["a-v001.h5", "b-v001.h5"]


def test_everything_that_keeps_shards_from_being_one_is_listed_at_once(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a-v001.h5", range(2))
    b = recorded(tmp_path / "b-v001.h5", range(2, 4), game="other", milestones=("x", "y"))
    odd = small(7, state={"x": np.zeros(5, np.int64)})
    c = write(tmp_path / "c-v001.h5", SMALL, [odd])
    d = processed_shard(tmp_path / "d-v001.h5", (3,))
    text = tmp_path / "e-v001.h5"
    text.write_text("no shard")
    assert refused(tmp_path, merge, [a, b, c, d, text], "all").split("; ") == [
        f"{text}: not an HDF5 file, so no shard",
        "make the shard anew, or leave it out",
        f"{b}: the game is other, not tiny",
        f"{d}: the shard is processed, not raw",
        f"{d}: the frames are 84x84 RGB, resampling bilinear, not 8x8 RGB, resampling none",
        f"{b}: the milestones are x y, not left_home badge",
        f"{c}: the state variables are x int64, not map uint16[4, 5], x int16",
        f"{c}: the start states are left out, not kept",
        f"{d}: the start states are left out, not kept",
    ]


@pytest.mark.parametrize("stem", ["", "a/b", "..", ".a", "a.h5", "a-v002"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, stem: str) -> None:
    paths = [recorded(tmp_path / f"{i}-v001.h5", range(i, i + 1)) for i in range(2)]
    line = (
        f"--into {stem}: give a name without folder, version and .h5; the shard lies beside what "
        "it is made of"
    )
    assert refused(tmp_path, merge, paths, stem) == line


def test_one_shard_is_no_merge(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a-v001.h5", range(2))
    assert refused(tmp_path, merge, [path], "all") == "data merge: name at least two shards"


# Split


def test_a_split_by_episodes_gives_every_episode_once(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run-round-03-raw-v002.h5", range(7))
    rows = split(path, episodes=3)
    assert [(row["episodes"], row["up_to_date"]) for row in rows] == [
        (3, False),
        (3, False),
        (1, False),
    ]
    assert [Path(row["shard"]).name for row in rows] == [
        f"run-round-03-raw-part-0{i}-v001.h5" for i in (1, 2, 3)
    ]
    found = [episode for row in rows for episode in episodes_of(row["shard"])]
    assert all(same(x, y) for x, y in zip(found, episodes_of(path), strict=True))
    made = Shard(rows[1]["shard"]).header.provenance
    assert made["settings"] == {"episodes": 3, "part": 2}
    assert made["parents"] == [{"file": path.name, "shard_id": Shard(path).header.shard_id}]
    with unchanged(tmp_path):
        assert [row["up_to_date"] for row in split(path, episodes=3)] == [True] * 3


def test_a_split_by_fraction_goes_by_the_root_alone(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a-v001.h5", range(40))
    copy = write(
        tmp_path / "b-v001.h5",
        SMALL,
        [
            small(seed, expert_actions=np.full(5, 1, np.uint8), label_status=np.ones(5, np.uint8))
            for seed in reversed(range(40))
        ],
    )
    sides = []
    for shard in (path, copy):
        first, second = split(shard, fraction=0.7)
        assert first["episodes"] + second["episodes"] == 40
        assert 20 <= first["episodes"] <= 36
        sides.append(set(Shard(first["shard"]).roots))
    assert sides[0] == sides[1]
    validation = {e.root for e in episodes_of(path) if split_of(e.root, 0.7)}
    assert validation != sides[0]  # or a part would be one training split


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"episodes": 3},
            "{path}: it has 3 episodes, so that parts of 3 do not split it; "
            "--by-episodes takes 1 to 2",
        ),
        (
            {"episodes": 0},
            "{path}: it has 3 episodes, so that parts of 0 do not split it; "
            "--by-episodes takes 1 to 2",
        ),
        (
            {"fraction": 1.0},
            "{path}: with --by-fraction 1 one part would get none of its 3 "
            "episodes; give another fraction, or --by-episodes N",
        ),
        ({}, "data split: give either --by-episodes N or --by-fraction F"),
        (
            {"episodes": 1, "fraction": 0.5},
            "data split: give either --by-episodes N or --by-fraction F",
        ),
    ],
)
def test_a_split_into_one_is_refused(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    path = recorded(tmp_path / "a-v001.h5", range(3))
    assert refused(tmp_path, split, path, **options) == line.format(path=path)


def test_one_episode_cannot_be_split(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a-v001.h5", range(1))
    assert refused(tmp_path, split, path, episodes=1) == (
        f"{path}: it has one episode, which cannot be split"
    )


def test_parts_of_another_split_must_go_first(tmp_path: Path) -> None:
    path = recorded(tmp_path / "a-v001.h5", range(6))
    split(path, episodes=2)
    assert refused(tmp_path, split, path, episodes=3) == (
        f"{tmp_path / 'a-part-03-v001.h5'}: a part of another split of a, whose episodes the "
        "stages would read twice; move it away first"
    )
    (tmp_path / "a-part-03-v001.h5").unlink()
    assert [Path(row["shard"]).name for row in split(path, episodes=3)] == [
        "a-part-01-v002.h5",
        "a-part-02-v002.h5",
    ]


# What the stages make of it


def test_preprocess_takes_the_episodes_chosen_and_no_evaluation_in_disguise(
    tmp_path: Path,
) -> None:
    game, folder = write_game(tmp_path / "game"), tmp_path / "datasets" / "tiny"
    for name, stage, seed in (("played-raw", "collect", 0), ("judged-raw", "evaluate", 10)):
        header = replace(make_header(stage=stage), frame_contract=FrameContract(8, 8, "none"))
        path = write(folder / f"{name}-v001.h5", header, [small(seed), small(seed + 1)])
        filter_shard(path, Criteria(episodes=(1,)))
    settings = {"paths": {"datasets": tmp_path / "datasets"}, "preprocess": {"workers": 1}}
    result = preprocess.run(Settings.model_validate({"game": str(game), **settings}))
    assert [Path(shard).name for shard in result.shards] == ["played-raw-filtered-84-v001.h5"]
    assert [e.seed for e in episodes_of(result.shards[0])] == [1]


# What goes wrong leaves no trace


@pytest.mark.parametrize("what", ["frames", "rewards"])
def test_a_damaged_shard_is_not_passed_on(tmp_path: Path, what: str) -> None:
    good = raw_shard(tmp_path / "a-v001.h5", (5,))
    episodes = [make_episode(n, i) for i, n in enumerate((20, 20), 1)]
    bad = write(tmp_path / "b-v001.h5", make_header(), episodes, [b"state" * 50])
    damage(bad, what, 0)
    last = 15 if what == "frames" else 39
    line = (
        f"{bad}: /{what} is damaged in chunk 0, rows 0 to {last}: the CRC32 is another; "
        "'data verify' lists all damage, 'data salvage' saves what is intact"
    )
    assert refused(tmp_path, merge, [good, bad], "all") == line
    assert refused(tmp_path, split, bad, episodes=1) == line
    assert refused(tmp_path, filter_shard, bad, Criteria(episodes=(0,))) == line


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of ``size``, mounted; root may, and where the machine lets it."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk can only be mounted by root, where the machine permits it")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_on_a_full_disk_nothing_is_published_and_with_room_it_is(tmp_path: Path) -> None:
    full = "cannot write the shard (No space left on device); nothing is published; make room "
    again = "and run the same command again"
    header = replace(processed_header(), provenance={"parents": []})

    def two(folder: Path) -> list[Path]:
        episodes = [make_episode(40, seed, size=(84, 84)) for seed in range(4)]
        return [
            write(folder / f"{name}-v001.h5", header, episodes[i : i + 2])
            for i, name in ((0, "a"), (2, "b"))
        ]

    (tmp_path / "elsewhere").mkdir()
    parts = split(two(tmp_path / "elsewhere")[0], episodes=1)
    first, second = (Path(part["shard"]).stat().st_size for part in parts)
    with small_disk(tmp_path / "disk", "8m") as disk:
        paths, ballast = two(disk), disk / "ballast"

        def leave(room: int) -> None:
            ballast.unlink(missing_ok=True)
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            ballast.write_bytes(bytes(free - room))

        leave(first + second)  # not room for four episodes
        assert refused(disk, merge, paths, "all") == f"{disk / 'all-v001.h5'}: {full}{again}"
        leave(first + second // 2)  # the first part fits, the second does not: neither stays
        assert refused(disk, split, paths[0], episodes=1) == (
            f"{disk / 'a-part-02-v001.h5'}: {full}{again}"
        )
        ballast.unlink()
        assert len(split(paths[0], episodes=1)) == 2
