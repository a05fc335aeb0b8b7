"""Versions of a shard: found again by their fingerprint, and the newest counts."""

from __future__ import annotations

from pathlib import Path

from pipeline.shards.catalog.names import newest_versions, publish_name, stem_and_version
from pipeline.shards.format.provenance import fingerprint, provenance
from pipeline.shards.table import newest_shards
from tests.shards.factory import processed_shard, raw_shard


def test_a_name_says_stem_and_version() -> None:
    assert stem_and_version(Path("x/collect-raw-v012.h5")) == ("collect-raw", 12)
    assert stem_and_version(Path("x/round-v2-raw-v1000.h5")) == ("round-v2-raw", 1000)
    assert stem_and_version(Path("x/mine.h5")) == ("mine", 0)


def test_the_first_version_is_free_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    assert publish_name(folder, "a", "f") == (folder / "a-v001.h5", False)


def test_a_rerun_with_the_same_fingerprint_is_up_to_date(tmp_path: Path) -> None:
    raw_shard(tmp_path / "a-v001.h5", mark="1")
    assert publish_name(tmp_path, "a", "1") == (tmp_path / "a-v001.h5", True)
    assert publish_name(tmp_path, "a", "2") == (tmp_path / "a-v002.h5", False)
    assert publish_name(tmp_path, "b", "1") == (tmp_path / "b-v001.h5", False)


def test_going_back_to_older_settings_makes_the_older_version_the_newest(tmp_path: Path) -> None:
    first = raw_shard(tmp_path / "a-v001.h5", mark="1")
    raw_shard(tmp_path / "a-v002.h5", (9,), mark="2")
    third = tmp_path / "a-v003.h5"
    assert publish_name(tmp_path, "a", "1") == (third, True)
    assert third.read_bytes() == first.read_bytes()
    assert newest_shards(tmp_path) == [third]
    assert publish_name(tmp_path, "a", "1") == (third, True)


def test_a_file_that_is_no_shard_only_takes_its_number(tmp_path: Path) -> None:
    (tmp_path / "a-v007.h5").write_text("no shard")
    assert publish_name(tmp_path, "a", "1") == (tmp_path / "a-v008.h5", False)


def test_only_the_newest_version_of_each_stem_counts(tmp_path: Path) -> None:
    for name in ("a-v001", "a-v002", "a-v010", "b-v001", "c"):
        raw_shard(tmp_path / f"{name}.h5", (1,))
    processed_shard(tmp_path / "a-84-v001.h5", (1,))
    (tmp_path / "d.h5").write_text("no shard")
    newest = ["a-84-v001.h5", "a-v010.h5", "b-v001.h5", "c.h5"]
    assert [
        p.name for p in newest_versions(p for p in tmp_path.iterdir() if p.name != "d.h5")
    ] == newest
    assert [p.name for p in newest_shards(tmp_path)] == newest
    assert [p.name for p in newest_shards(tmp_path, kind="processed")] == newest[:1]
    assert [p.name for p in newest_shards(tmp_path, kind="raw")] == newest[1:]


def test_a_fingerprint_depends_on_everything_that_decides_and_on_no_order_of_keys() -> None:
    mark = fingerprint("label", {"a": 1, "b": 2.5}, ["id"], "sha")
    assert mark == fingerprint("label", {"b": 2.5, "a": 1}, ["id"], "sha")
    assert len(mark) == 64
    others = {
        fingerprint("train", {"a": 1, "b": 2.5}, ["id"], "sha"),
        fingerprint("label", {"a": 1, "b": 2.6}, ["id"], "sha"),
        fingerprint("label", {"a": 1, "b": 2.5}, ["other"], "sha"),
        fingerprint("label", {"a": 1, "b": 2.5}, ["id"], "other"),
    }
    assert len(others | {mark}) == 5


def test_provenance_says_who_made_what_from_what_with_what() -> None:
    parent = {"file": "a.h5", "shard_id": "0"}
    made = provenance("label", settings={"n": 1}, fingerprint="f", parents=[parent])
    assert set(made) == {
        *("stage", "settings", "fingerprint", "code_version", "packages", "emulator", "actor"),
        "parents",
    }
    assert made["parents"] == [parent]
    assert {"python", "numpy", "h5py", "pillow"} <= set(made["packages"])
    assert made["code_version"]
