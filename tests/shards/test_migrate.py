"""What a migration refuses, and that it then leaves everything as it was."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.shards.reader import Shard
from pipeline.shards.repair.migrate import migrate, migrate_all, verify_written
from pipeline.shards.repair.relabel import relabel
from pipeline.system.errors import PipelineError
from tests.shards.factory import processed_shard
from tests.shards.hostile import reseal
from tests.shards.test_golden import EXPERT, GOLDEN, STATUS
from tests.shards.test_writer import run_limited

FIX = "'data verify' lists all damage, 'data salvage' saves what is intact"
ANEW = "make the shard anew, or leave it out"


def old_shard(path: Path) -> Path:
    shutil.copy(GOLDEN / "v1-processed.h5", path)
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith(".catalogue"))


def refused(path: Path) -> str:
    """The line with which ``path`` is refused; nothing is written and nothing changes."""
    before, names = path.read_bytes(), names_in(path.parent)
    with pytest.raises(PipelineError) as error:
        migrate(path)
    assert path.read_bytes() == before
    assert names_in(path.parent) == names
    return str(error.value)


def damage(path: Path, dataset: str, chunk: int) -> None:
    with h5py.File(path) as file:
        found = file[dataset].id.get_chunk_info(chunk)
    with path.open("r+b") as raw:
        raw.seek(found.byte_offset + found.size // 2)
        byte = raw.read(1)[0]
        raw.seek(-1, os.SEEK_CUR)
        raw.write(bytes([byte ^ 8]))


def test_a_shard_of_today_is_up_to_date(tmp_path: Path) -> None:
    path = processed_shard(tmp_path / "a-v001.h5")
    assert migrate(path) == (path, path, 5, True)
    assert names_in(tmp_path) == ["a-v001.h5"]


def test_the_next_version_of_the_name_is_taken(tmp_path: Path) -> None:
    path = old_shard(tmp_path / "a-v004.h5")
    assert migrate(path) == (path, tmp_path / "a-v005.h5", 1, False)
    assert migrate(path) == (path, tmp_path / "a-v005.h5", 1, True)
    assert names_in(tmp_path) == ["a-v004.h5", "a-v005.h5"]


def test_a_version_that_is_not_the_newest_is_refused(tmp_path: Path) -> None:
    path = old_shard(tmp_path / "a-v001.h5")
    processed_shard(tmp_path / "a-v003.h5", (7,))
    assert refused(path) == (
        f"{path}: a-v003.h5 is newer, and what the stages read; migrate that one"
    )


def test_damaged_frames_of_an_old_shard_are_found_before_they_get_a_checksum(
    tmp_path: Path,
) -> None:
    path = old_shard(tmp_path / "a-v001.h5")
    damage(path, "frames", 1)
    said = refused(path)
    assert said.startswith(f"{path}: /frames is damaged in chunk 1, rows 16 to 20: ")
    assert said.endswith(f"; {FIX}")
    with pytest.raises(PipelineError) as error:
        relabel(path, tmp_path / "b-v001.h5", EXPERT, STATUS, {"stage": "label", "parents": []})
    assert str(error.value) == said
    assert names_in(tmp_path) == ["a-v001.h5"]


def test_a_bit_flipped_where_version_1_had_no_checksum_is_found(tmp_path: Path) -> None:
    path = old_shard(tmp_path / "a-v001.h5")
    with h5py.File(path, "r+") as file:
        file["episodes/seed"][1] = 9  # stored bare, so that nothing else would tell
    assert refused(path) == (
        f"{path}: /episodes/seed is damaged: the sha256 of its rows is another; {FIX}"
    )


def test_a_header_that_is_not_as_written_is_refused(tmp_path: Path) -> None:
    path = old_shard(tmp_path / "a-v001.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["game"] = "tina"
    assert refused(path) == (
        f"{path}: not a valid shard (the header, or the sha256 of a dataset, is not as written); "
        f"{ANEW}"
    )


def test_all_that_can_be_migrated_are_though_others_cannot(tmp_path: Path) -> None:
    good = [old_shard(tmp_path / f"{name}-v001.h5") for name in "ac"]
    bad = old_shard(tmp_path / "b-v001.h5")
    damage(bad, "frames", 0)
    text = tmp_path / "text.h5"
    text.write_text("no shard")
    with pytest.raises(PipelineError) as error:
        migrate_all([*good, bad, text])
    said = str(error.value)
    assert said.startswith(f"{bad}: /frames is damaged in chunk 0, rows 0 to 15: ")
    assert said.endswith(f"; {text}: not an HDF5 file, so no shard; {ANEW}")
    assert names_in(tmp_path) == [
        *("a-v001.h5", "a-v002.h5", "b-v001.h5", "c-v001.h5", "c-v002.h5", "text.h5")
    ]
    assert [m.up_to_date for m in migrate_all([*good, *tmp_path.glob("[ac]-v002.h5")])] == [
        True
    ] * 2


@pytest.mark.parametrize("limit", [500, 40_000, 90_000])
def test_a_disk_that_takes_no_more_leaves_the_original_alone(tmp_path: Path, limit: int) -> None:
    path = old_shard(tmp_path / "a-v001.h5")
    before = path.read_bytes()
    said = run_limited(
        f"from pipeline.shards.repair.migrate import migrate\nmigrate(Path({str(path)!r}))", limit
    )
    assert said == (
        f"{tmp_path / 'a-v002.h5'}: cannot write the shard (File too large); nothing is "
        "published; fix that and run the same command again"
    )
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["a-v001.h5"]


def test_what_cannot_be_read_back_is_not_published(tmp_path: Path) -> None:
    written = processed_shard(tmp_path / "half-written.h5", (3, 18))
    with Shard(written) as shard:
        header = shard.header
    damage(written, "frames", 1)
    with pytest.raises(PipelineError) as error:
        verify_written(written, header, tmp_path / "a-v001.h5")
    assert str(error.value) == (
        f"{tmp_path / 'a-v001.h5'}: what was written is not what was read; nothing is published; "
        "check the disk, and run the same command again"
    )


def test_the_checksums_of_a_new_shard_go_along_when_it_is_labelled(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a-v001.h5", (3, 18))
    relabel(source, tmp_path / "b-v001.h5", EXPERT, STATUS, {"stage": "label", "parents": []})
    damage(source, "frames", 1)  # in the copy it is whole
    with Shard(source) as old, Shard(tmp_path / "b-v001.h5") as new:
        expected = old.stored("frames").crc32
        assert expected is not None
        assert (new.stored("frames").crc32 == expected).all()
        assert len(new.read_frames(0, 21)) == 21
        with pytest.raises(PipelineError, match="chunk 1, rows 16 to 20: the CRC32 is another"):
            old.read_frames(0, 21)


def test_a_damaged_chunk_stays_damaged_when_it_is_labelled(tmp_path: Path) -> None:
    source = processed_shard(tmp_path / "a-v001.h5", (3, 18))
    damage(source, "frames", 1)
    relabel(source, tmp_path / "b-v001.h5", EXPERT, STATUS, {"stage": "label", "parents": []})
    with (
        Shard(tmp_path / "b-v001.h5") as new,
        pytest.raises(PipelineError, match="chunk 1, rows 16 to 20: the CRC32 is another"),
    ):
        new.read_frames(0, 21)


def test_what_someone_added_to_a_shard_is_left_behind(tmp_path: Path) -> None:
    path = old_shard(tmp_path / "a-v001.h5")
    with h5py.File(path, "r+") as file:
        file["notes"] = np.arange(3)
        file["nowhere"] = h5py.SoftLink("/there")
    with h5py.File(migrate(path).shard) as file:
        assert "notes" not in file
        assert "nowhere" not in file


def test_the_command_migrates_files_or_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "datasets" / "tiny"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        old_shard(folder / f"{name}-v001.h5")

    def run(*words: str) -> dict[str, object]:
        assert main(["data", "migrate", *words, "--json"]) == 0
        answer: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return answer

    one = run("datasets/tiny/a-v001.h5")
    row = {"from": 1, "to": 5, "up_to_date": False}
    files = {"file": "datasets/tiny/a-v001.h5", "shard": "datasets/tiny/a-v002.h5"}
    assert one == {"up_to_date": False, "shards": [{**files, **row}]}
    assert run("--all")["up_to_date"] is False
    assert names_in(folder) == ["a-v001.h5", "a-v002.h5", "b-v001.h5", "b-v002.h5"]
    assert run("--all")["up_to_date"] is True
    for words in ((), ("--all", "datasets/tiny/a-v001.h5")):
        assert main(["data", "migrate", *words]) == 2
        said = capsys.readouterr().err
        assert said == "error: data migrate: name the files, or give --all, not both\n"


def test_a_resealed_lie_is_still_read_so_that_other_tests_mean_something(tmp_path: Path) -> None:
    path = processed_shard(tmp_path / "a-v001.h5", (3, 18))
    with h5py.File(path, "r+") as file:
        file["actions"][0] = 1
    with pytest.raises(PipelineError, match="/actions is damaged in chunk 0"), Shard(path):
        pass
    reseal(path)
    with Shard(path) as shard:
        assert shard.column("actions")[0] == 1
