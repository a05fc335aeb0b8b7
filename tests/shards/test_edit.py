"""Merge, split and filter: whole episodes, with where they come from; a failure has no trace."""

from __future__ import annotations

import json
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
from pipeline.__main__ import main
from pipeline.config import Settings
from pipeline.errors import PipelineError
from pipeline.frames import FrameContract
from pipeline.shards.edit import Criteria, filter_shard, merge, numbers, split
from pipeline.shards.reader import Shard
from pipeline.shards.schema import NO_ACTION, VALIDATION, Episode, LabelStatus
from pipeline.shards.writer import ShardWriter
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

SMALL = make_header(frame_contract=FrameContract(8, 8, "none"))
LENGTHS = (5, 40, 1, 16, 33)


def shards_in(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.h5")}


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if ".tmp-" in p.name]


@contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    before = shards_in(folder)
    yield
    assert shards_in(folder) == before
    assert leftovers(folder) == []


def refused(folder: Path, function: Any, *arguments: Any, **options: Any) -> str:
    """The line with which it is refused; everything in the folder stays as it was."""
    with unchanged(folder), pytest.raises(PipelineError) as error:
        function(*arguments, **options)
    return str(error.value)


def episodes_of(path: Path | str) -> list[Episode]:
    with Shard(path) as shard:
        return [shard.episode(i) for i in range(shard.n_episodes)]


def small(seed: int, steps: int = 5, **changes: Any) -> Episode:
    ends = changes.pop("ends", "terminated")
    return replace(make_episode(steps, seed, size=(8, 8), ends=ends), **changes)


def recorded(path: Path, seeds: range, **header: Any) -> Path:
    return write(path, replace(SMALL, **header), [small(seed) for seed in seeds], [b"s" * 9])


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
        f"{b}: episode 1 has the root power_on-00000001, as episode 1 of {a} has; "
        "say which to keep: --keep first or last"
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
    validation = {e.root for e in episodes_of(path) if preprocess.split_of(e.root, 0.7)}
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


# Filter


def varied(path: Path, **header: Any) -> Path:
    """Six episodes: won and lost, milestones reached and not, labelled in part, whole and not."""
    status = np.array([1, 1, 1, 1, 1], np.uint8), np.array([1, 3, 1, 2, 0], np.uint8)
    whole, part = (
        {
            "label_status": s,
            "expert_actions": np.where(s == LabelStatus.LABELLED, 1, NO_ACTION).astype(np.uint8),
        }
        for s in status
    )
    reached = np.array([2, 5], np.int32)
    episodes = [
        small(10),
        small(11, ends="truncated"),
        small(12, milestones=reached, **whole),
        small(13, ends="truncated", **part),
        small(14, milestones=reached, **part),
        small(15, **whole),
    ]
    return write(path, replace(SMALL, **header), episodes)


@pytest.mark.parametrize(
    ("criteria", "kept"),
    [
        (Criteria(episodes=(0, 3, 4)), [0, 3, 4]),
        (Criteria(seeds=(11, 15, 99)), [1, 5]),
        (Criteria(success=True), [0, 2, 4, 5]),
        (Criteria(success=False), [1, 3]),
        (Criteria(milestone="badge"), [2, 4]),
        (Criteria(status="labelled"), [2, 3, 4, 5]),
        (Criteria(status="refused"), [3, 4]),
        (Criteria(complete_labels=True), [2, 5]),
        (Criteria(round=3), [0, 1, 2, 3, 4, 5]),
        (Criteria(round=3, success=True, milestone="badge", status="failed"), [4]),
        (Criteria(round=4), []),
        (Criteria(success=False, milestone="badge"), []),
    ],
)
def test_a_filter_keeps_the_episodes_that_meet_all_that_is_asked(
    tmp_path: Path, criteria: Criteria, kept: list[int]
) -> None:
    path = varied(tmp_path / "run-round-03-84-v001.h5")
    before = episodes_of(path)
    result = filter_shard(path, criteria)
    assert result["left_out"] == 6 - len(kept)
    if not kept:
        assert result["shard"] is None
        assert list(shards_in(tmp_path)) == [path.name]
        return
    assert result["shard"] == str(tmp_path / "run-round-03-84-filtered-v001.h5")
    found = episodes_of(result["shard"])
    assert all(same(x, before[i]) for x, i in zip(found, kept, strict=True))
    assert Shard(result["shard"]).header.provenance["settings"] == criteria.asked()
    with unchanged(tmp_path):
        assert filter_shard(path, criteria) == result | {"up_to_date": True}


def test_a_filter_keeps_only_the_start_states_that_are_left(tmp_path: Path) -> None:
    states = [b"one", b"two", b"three"]
    episodes = [small(i, start_state=row) for i, row in enumerate((0, 2, 1, 2))]
    path = write(tmp_path / "a-v001.h5", SMALL, episodes, states)
    with Shard(filter_shard(path, Criteria(episodes=(1, 3)))["shard"]) as shard:
        assert shard.start_states() == [b"three"]
        assert shard.start_state_rows.tolist() == [0, 0]


def test_a_shard_of_the_old_schema_can_be_filtered(tmp_path: Path) -> None:
    old = tmp_path / "a-v001.h5"
    old.write_bytes((Path(__file__).parent / "golden" / "v1-raw.h5").read_bytes())
    with Shard(filter_shard(old, Criteria(episodes=(1,)))["shard"]) as shard:
        assert shard.lengths.tolist() == [18]
        assert shard.stored("frames").crc32 is not None


@pytest.mark.parametrize(
    ("criteria", "line"),
    [
        (Criteria(), "data filter: nothing is asked; see: data filter --help"),
        (Criteria(episodes=(2, 6)), "{path}: there is no episode 6, the last one is 5"),
        (
            Criteria(milestone="bagde"),
            "{path}: there is no milestone 'bagde'; there are: left_home, badge",
        ),
    ],
)
def test_a_filter_for_what_is_not_there_is_refused(
    tmp_path: Path, criteria: Criteria, line: str
) -> None:
    path = varied(tmp_path / "a-v001.h5")
    assert refused(tmp_path, filter_shard, path, criteria) == line.format(path=path)


def test_numbers_are_lists_and_ranges() -> None:
    assert numbers("0,3,5-9", "--episodes") == (0, 3, 5, 6, 7, 8, 9)
    assert numbers(" 7 ", "--seeds") == (7,)


@pytest.mark.parametrize("text", ["", "a", "1,", "5-3", "-1", "1-2-3", "0-9999999999", "1.5"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(PipelineError) as error:
        numbers(text, "--seeds")
    assert str(error.value) == f"--seeds {text}: write numbers and ranges as 0,3,5-9"


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
    assert [Path(shard).name for shard in result["shards"]] == ["played-raw-filtered-84-v001.h5"]
    assert [e.seed for e in episodes_of(result["shards"][0])] == [1]


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
    with small_disk(tmp_path / "disk", "900k") as disk:
        paths = [disk / f"{name}-v001.h5" for name in "ab"]
        for i, path in enumerate(paths):
            header = replace(processed_header(), provenance={"parents": []})
            write(path, header, [make_episode(40, i * 2 + j, size=(84, 84)) for j in range(2)])
        full = "cannot write the shard (No space left on device); nothing is published; make room "
        again = "and run the same command again"
        assert refused(disk, merge, paths, "all") == f"{disk / 'all-v001.h5'}: {full}{again}"
        # The first part fits, the second does not: neither stays.
        with unchanged(disk):
            ballast = disk / "ballast"
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            ballast.write_bytes(bytes(max(0, free - 250_000)))
            with pytest.raises(PipelineError) as error:
                split(paths[0], episodes=1)
            assert str(error.value) == f"{disk / 'a-part-02-v001.h5'}: {full}{again}"
            ballast.unlink()
        paths[1].unlink()
        assert len(split(paths[0], episodes=1)) == 2


# The commands


def test_the_commands_do_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    varied(Path("run-round-00-84-v001.h5"))
    write(Path("run-round-01-84-v001.h5"), SMALL, [small(seed) for seed in (20, 21)])

    def run(*words: str) -> Any:
        assert main(["data", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    files = ["run-round-00-84-v001.h5", "run-round-01-84-v001.h5"]
    merged = run("merge", *files, "--into", "all")
    assert (merged["shard"], merged["episodes"]) == ("all-v001.h5", 8)
    parts = run("split", "all-v001.h5", "--by-episodes", "4")
    assert [row["shard"] for row in parts["shards"]] == [f"all-part-0{i}-v001.h5" for i in (1, 2)]
    assert run("split", "all-v001.h5", "--by-episodes", "4")["up_to_date"] is True
    won = run("filter", *files, "--success", "--round", "1", "--seeds", "0-20")
    assert won["up_to_date"] is False
    assert [(row["shard"], row["episodes"], row["left_out"]) for row in won["shards"]] == [
        (None, 0, 6),
        ("run-round-01-84-filtered-v001.h5", 1, 1),
    ]
    some = run("filter", files[0], "--failure", "--status", "failed", "--into", "lost")
    assert (some["shards"][0]["shard"], some["shards"][0]["episodes"]) == ("lost-v001.h5", 1)
    whole = run("filter", files[0], "--complete-labels", "--milestone", "badge", "--into", "x")
    assert whole["shards"][0]["episodes"] == 1


def test_the_commands_end_with_one_line_for_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    varied(Path("a-v001.h5"))
    for words, line in (
        (
            ("filter", "a-v001.h5", "--round", "7"),
            "a-v001.h5: no episode meets all that is asked; nothing is published",
        ),
        (
            ("filter", "a-v001.h5", "b.h5", "--success", "--into", "x"),
            "data filter: --into x names one shard, not 2",
        ),
        (("filter", "a-v001.h5"), "data filter: nothing is asked; see: data filter --help"),
    ):
        with unchanged(tmp_path):
            assert main(["data", *words]) == 2
        assert capsys.readouterr().err == f"error: {line}\n"
