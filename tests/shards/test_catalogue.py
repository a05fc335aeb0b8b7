"""The catalogue says what the files hold, whatever becomes of what it keeps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.loading.selection import _labelled_shards
from pipeline.shards.catalog.catalogue import KEPT, Catalogue, Entry, entries_of
from pipeline.shards.catalog.names import publish_name
from pipeline.shards.reader import Shard, check_shards
from pipeline.system.errors import PipelineError
from tests.shards.factory import MADE, make_episode, processed_shard, raw_shard

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]

LOOK = """
import json, sys
from pathlib import Path
from pipeline.shards.catalog.catalogue import Catalogue
found = Catalogue(Path(sys.argv[1])).entries()
print(json.dumps({e.path.name: e.error or e.get().frames for e in found}))
"""


def look(folder: Path) -> Any:
    """Frames, or what is wrong, by file, as another process says that knows nothing yet."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(folder)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def only(folder: Path) -> Entry:
    (entry,) = Catalogue(folder).entries()
    return entry


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a child fails."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")


@pytest.mark.parametrize("name", ["raw", "processed", "v1-raw.h5", "v1-labelled.h5"])
def test_facts_are_what_the_file_holds(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a-round-07-x-v001.h5"
    if name == "raw":
        raw_shard(path, (5, 23))
    elif name == "processed":
        processed_shard(path, (5, 23), labelled=True)
    else:
        shutil.copyfile(GOLDEN / name, path)
    facts = entries_of([path])[0].get()
    with Shard(path) as shard:
        assert facts.header == shard.header
        assert facts.episodes == shard.n_episodes
        assert facts.frames == shard.n_frames
        status = shard.column("label_status")
        assert list(facts.label_status.values()) == np.bincount(status, minlength=6).tolist()
        assert facts.labels == int((status == 1).sum())
        assert facts.split == [int((shard.splits == split).sum()) for split in (0, 1)]
        assert facts.successes == int(shard.success.sum())
        assert facts.return_mean == pytest.approx(float(shard.returns.mean(dtype=np.float64)))
        assert facts.reached == (shard.milestones >= 0).sum(axis=0).tolist()
        assert facts.seeds.tolist() == np.unique(shard.seeds).tolist()
        assert facts.start_states == len(shard.start_states())
    assert facts.checksums == (not name.startswith("v1"))
    assert facts.schema_version == (1 if name.startswith("v1") else 4)
    assert facts.bytes == path.stat().st_size
    assert facts.round == 7


def test_the_files_of_a_folder_that_is_not_there_are_none(tmp_path: Path) -> None:
    assert Catalogue(tmp_path / "no").entries() == []
    assert list(tmp_path.iterdir()) == []


def test_what_was_found_holds_in_another_process_until_the_file_changes(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    (tmp_path / "b.h5").write_text("no shard")
    wrong = "not an HDF5 file, so no shard; make the shard anew, or leave it out"
    assert look(tmp_path) == {"a.h5": 28, "b.h5": wrong}
    found = path.stat()
    with path.open("r+b") as file:
        file.write(b"XXXX")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    # Nobody looked into it again: it has the size, the time and the inode that it had.
    assert look(tmp_path) == {"a.h5": 28, "b.h5": wrong}
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert look(tmp_path) == {"a.h5": wrong, "b.h5": wrong}


def test_another_file_of_the_same_name_is_examined_again(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5,))
    assert only(tmp_path).get().frames == 5
    time_of = path.stat().st_mtime_ns
    other = raw_shard(tmp_path / "elsewhere" / "a.h5", (7,))
    other.replace(path)
    os.utime(path, ns=(time_of, time_of))
    assert only(tmp_path).get().frames == 7
    path.unlink()
    assert Catalogue(tmp_path).entries() == []


def test_what_this_process_wrote_needs_no_child(tmp_path: Path, no_child: None) -> None:
    folder = tmp_path / "tiny"
    for i in range(3):
        processed_shard(folder / f"{i}-84-v001.h5", (5, 6), labelled=True)
    assert [entry.get().frames for entry in Catalogue(folder).entries()] == [11, 11, 11]
    assert len(check_shards(Catalogue(folder).files(), labelled=True)) == 3
    # Where something is kept already, the writer itself adds what it wrote.
    processed_shard(folder / "3-84-v001.h5", (9,))
    assert b'"3-84-v001.h5"' in (folder / KEPT).read_bytes()
    assert publish_name(folder, "3-84", "0" * 64) == (folder / "3-84-v001.h5", True)


def test_what_another_process_kept_needs_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        shutil.copyfile(GOLDEN / "v1-labelled.h5", tmp_path / f"{i}-v001.h5")
    kept = look(tmp_path)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert {e.path.name: e.get().frames for e in Catalogue(tmp_path).entries()} == kept


def test_lone_files_are_examined_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    paths = [tmp_path / f"part-{i:06d}.h5" for i in range(3)]
    for path in paths:
        shutil.copyfile(GOLDEN / "v1-raw.h5", path)
    assert len(check_shards(paths, kind="raw")) == 3
    assert sorted(tmp_path.iterdir()) == paths


def test_paths_that_are_no_files_are_named_as_before(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "gone.h5").symlink_to("nowhere")
    line = "no such shard; see which there are with: data ls"
    assert [entry.error for entry in Catalogue(tmp_path).entries()] == [line] * 3
    with pytest.raises(PipelineError) as error:
        check_shards([tmp_path / "pipe.h5", tmp_path / "none" / "a.h5"])
    assert str(error.value) == (f"{tmp_path}/pipe.h5: {line}; {tmp_path}/none/a.h5: {line}")


def test_a_header_nested_too_deep_for_json_is_refused(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5,))
    with h5py.File(path, "r+") as file:
        file.attrs["provenance"] = '{"a":' * 400 + "{}" + "}" * 400
    entry = only(tmp_path)
    assert entry.error == (
        "the header is not valid (provenance is nested too deep); "
        "make the shard anew, or leave it out"
    )
    with pytest.raises(PipelineError) as error:
        entry.get()
    assert str(error.value) == f"{path}: {entry.error}"


# What is kept is only a memory


def flip(kept: Path) -> None:
    data = bytearray(kept.read_bytes())
    for at in range(60, len(data), 97):
        data[at] ^= 4
    kept.write_bytes(data)


def lines_again(kept: Path, old: bytes, new: bytes) -> None:
    """Replace in every line, and give it the CRC32 that it then has."""
    head, *lines = kept.read_bytes().splitlines()
    rows = [line.partition(b"\t")[2].replace(old, new) for line in lines]
    kept.write_bytes(b"\n".join([head, *(b"%08x\t%s" % (zlib.crc32(x), x) for x in rows), b""]))


def other_version(kept: Path) -> None:
    lines_again(kept, b'"frames":2', b'"frames":9')
    kept.write_bytes(kept.read_bytes().replace(b"facts 3\n", b"facts 0\n"))


def wrong_fields(kept: Path) -> None:
    lines_again(kept, b'"episodes"', b'"games"')


def pipe(kept: Path) -> None:
    kept.unlink()
    os.mkfifo(kept)


def folder(kept: Path) -> None:
    kept.unlink()
    kept.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        other_version,
        pipe,
        folder,
        wrong_fields,
        lambda kept: os.truncate(kept, 700),
        lambda kept: os.truncate(kept, 0),
        lambda kept: kept.write_bytes(np.random.default_rng(0).bytes(9000)),
        lambda kept: kept.write_bytes(kept.read_bytes() + b"\xff\n\t\t\t\n00000000\t\n\n"),
    ],
)
def test_a_damaged_or_foreign_memory_is_made_anew_or_done_without(
    tmp_path: Path, damage: Any
) -> None:
    for i in range(2):
        raw_shard(tmp_path / f"{i}.h5", (2,))
    assert len(Catalogue(tmp_path).entries()) == 2
    kept = tmp_path / KEPT
    assert kept.is_file()
    damage(kept)
    assert look(tmp_path) == {"0.h5": 2, "1.h5": 2}
    raw_shard(tmp_path / "2.h5", (2,))
    assert look(tmp_path) == {"0.h5": 2, "1.h5": 2, "2.h5": 2}
    assert [p.name for p in tmp_path.iterdir() if ".tmp-" in p.name] == []


def test_processes_that_look_and_write_at_once_end_with_one_whole_memory(tmp_path: Path) -> None:
    write = (
        "import sys; from pathlib import Path; from tests.shards.factory import raw_shard\n"
        "from pipeline.shards.catalog.catalogue import Catalogue\n"
        "folder = Path(sys.argv[1])\n"
        "for i in range(4):\n"
        "    raw_shard(folder / f'{sys.argv[2]}-{i}-v001.h5', (2,))\n"
        "    Catalogue(folder).entries()\n"
    )
    raw_shard(tmp_path / "first.h5", (2,))
    Catalogue(tmp_path).entries()
    writers = [
        subprocess.Popen([sys.executable, "-c", write, str(tmp_path), name], cwd=ROOT)
        for name in "abc"
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    found = look(tmp_path)
    assert list(found.values()) == [2] * 13
    lines = (tmp_path / KEPT).read_bytes().splitlines()
    assert {json.loads(x.split(b"\t")[1]) for x in lines[1:] if x} == set(found)


def test_lines_that_no_longer_count_do_not_pile_up(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (2,))
    gone = raw_shard(tmp_path / "gone.h5", (2,))
    Catalogue(tmp_path).entries()
    gone.unlink()
    head, *lines = (tmp_path / KEPT).read_bytes().splitlines(keepends=True)
    (tmp_path / KEPT).write_bytes(head + b"".join(lines) * 60)
    assert look(tmp_path) == {path.name: 2}
    assert len((tmp_path / KEPT).read_bytes().splitlines()) == 2
    assert look(tmp_path) == {path.name: 2}


def test_what_a_dead_process_half_wrote_is_removed_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / f"{KEPT}.tmp-here-1", tmp_path / f"{KEPT}.tmp-here-2"
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (time.time() - 3700,) * 2)
    raw_shard(tmp_path / "a.h5", (2,))
    Catalogue(tmp_path).entries()
    assert not old.exists()
    assert young.exists()


def test_many_new_shards_are_looked_at_by_several_children_and_kept(tmp_path: Path) -> None:
    for i in range(110):
        shutil.copyfile(GOLDEN / "v1-processed.h5", tmp_path / f"{i:03d}.h5")
    (tmp_path / "050.h5").write_text("no shard")
    entries = Catalogue(tmp_path).entries()
    assert [entry.path.name for entry in entries] == [f"{i:03d}.h5" for i in range(110)]
    assert [i for i, entry in enumerate(entries) if entry.error] == [50]
    started = time.perf_counter()
    assert Catalogue(tmp_path).entries() == entries
    assert time.perf_counter() - started < 1


# Who asks it


def test_training_takes_labelled_shards_and_refuses_a_damaged_one(tmp_path: Path) -> None:
    small = processed_shard(tmp_path / "a-84-v001.h5", (5,), labelled=True)
    shard_id = entries_of([small])[0].get().shard_id
    parents = [{"file": small.name, "shard_id": shard_id}]
    made = {**MADE, "parents": parents}
    labelled = processed_shard(
        tmp_path / "a-labelled-v001.h5", (5,), labelled=True, provenance=made
    )
    other = processed_shard(tmp_path / "b-84-v001.h5", (5,), labelled=True)
    processed_shard(tmp_path / "c-84-v001.h5", (5,))
    raw_shard(tmp_path / "d-raw-v001.h5", (5,))
    assert _labelled_shards([tmp_path]) == [labelled, other]
    with h5py.File(labelled, "r+") as file:
        del file["rewards"]
    assert _labelled_shards([tmp_path]) == [labelled, other]
    with pytest.raises(PipelineError) as error:
        check_shards(_labelled_shards([tmp_path]), labelled=True)
    assert str(error.value) == (
        f"{labelled}: not a valid shard (/rewards is missing); make the shard anew, or leave it out"
    )


def test_a_damaged_shard_is_not_up_to_date(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a-v001.h5", (5, 23), mark="1")
    assert publish_name(tmp_path, "a", "1") == (path, True)
    with h5py.File(path, "r+") as file:
        file["actions"][9] = 77
    assert publish_name(tmp_path, "a", "1") == (tmp_path / "a-v002.h5", False)


def test_the_seeds_of_a_shard_are_all_there(tmp_path: Path) -> None:
    raw_shard(tmp_path / "a.h5", (1, 2, 3))
    assert only(tmp_path).get().seeds.tolist() == [make_episode(1, i).seed for i in range(3)]
