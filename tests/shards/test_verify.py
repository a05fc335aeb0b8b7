"""Verify finds every flipped bit and says what it hits, down to the episode."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from pipeline.__main__ import main
from pipeline.shards.repair.examine import _blocks
from pipeline.shards.repair.verify import damage_rows, examine, time_limit, verify
from tests.shards.hostile import reseal
from tests.shards.small import LENGTHS, OLD, ROOTS, change_seal, damage, flip, place, small_shard

GOLDEN = Path(__file__).parent / "golden"
ALL = [[i, root] for i, root in enumerate(ROOTS)]
CRC = "the CRC32 is another"


def problems(path: Path, **options: bool) -> list[str]:
    found = examine(path, **options)
    assert found["hits"] == []
    return list(found["problems"])


def hits(path: Path) -> list[dict[str, Any]]:
    found = examine(path)
    assert found["problems"] == []
    return list(found["hits"])


@pytest.mark.parametrize("kind", ["raw", "processed", "labelled"])
@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_shard_is_ok(tmp_path: Path, kind: str, deep: bool) -> None:
    path = small_shard(tmp_path / "a.h5", kind)
    (row,) = verify([path], deep=deep)
    assert 0 < row.pop("seconds") < 10
    assert row == {
        "shard": str(path),
        "state": "ok",
        "schema_version": 5,
        "by": "decoding" if deep else "checksums",
        "frames": sum(LENGTHS),
        "episodes": len(LENGTHS),
        "problems": [],
        "hits": [],
    }


@pytest.mark.parametrize(
    ("dataset", "chunk", "rows", "episodes"),
    [
        ("frames", 0, (0, 15), [0]),
        ("frames", 1, (16, 31), [0, 1, 2]),
        ("frames", 3, (48, 63), [2]),
        ("actions", 0, (0, 63), [0, 1, 2]),
        ("ram_crc32", 0, (0, 63), [0, 1, 2]),
        ("state/map", 0, (0, 63), [0, 1, 2]),
        ("final_frames", 1, (1, 1), [1]),
        ("start_states", 2, (2, 2), [2]),
    ],
)
def test_one_flipped_bit_is_traced_to_chunk_rows_and_episodes(
    tmp_path: Path, dataset: str, chunk: int, rows: tuple[int, int], episodes: list[int]
) -> None:
    path = small_shard(tmp_path / "a.h5")
    damage(path, dataset, chunk)
    assert hits(path) == [
        {
            "dataset": f"/{dataset}",
            "chunk": chunk,
            "first": rows[0],
            "last": rows[1],
            "why": CRC,
            "episodes": [ALL[i] for i in episodes],
        }
    ]


def test_in_schema_version_4_the_episodes_are_known_as_long_as_starts_or_lengths_are(
    tmp_path: Path,
) -> None:
    path = Path(shutil.copy(OLD / "raw.h5", tmp_path))
    places = {name: place(path, name)[0] for name in ("frames", "episodes/length")}
    start, root = place(path, "episodes/start")[0], place(path, "episodes/root")[0]
    for offset in places.values():
        flip(path, offset)
    assert {hit["dataset"]: hit["episodes"] for hit in hits(path)} == {
        "/frames": ALL[:1],
        "/episodes/length": ALL,
    }
    flip(path, start)
    flip(path, root)
    assert {hit["dataset"]: hit["episodes"] for hit in hits(path)} == {
        "/frames": None,
        "/episodes/length": [[0, None], [1, None], [2, None]],
        "/episodes/start": [[0, None], [1, None], [2, None]],
        "/episodes/root": [[0, None], [1, None], [2, None]],
    }


def test_a_damaged_row_of_episodes_hits_that_episode_and_hides_its_root_alone(
    tmp_path: Path,
) -> None:
    path = small_shard(tmp_path / "a.h5")
    rows, frames = place(path, "episodes", 0), [place(path, "frames", i)[0] for i in range(4)]
    flip(path, rows[0] + rows[1])
    flip(path, frames[1])
    hidden = [*ALL[:1], [1, None], *ALL[2:]]
    found = {hit["dataset"]: (hit["chunk"], hit["episodes"]) for hit in hits(path)}
    assert found == {"/episodes": (1, hidden[1:2]), "/frames": (1, hidden)}
    flip(path, rows[0] + 2 * rows[1])  # the two together have the steps that are left
    flip(path, frames[3])
    found = {(hit["dataset"], hit["chunk"]): hit["episodes"] for hit in hits(path)}
    assert found["/episodes", 2] == [[2, None]]
    assert found["/frames", 3] == [[1, None]]
    flip(path, rows[0])
    assert {str(hit["episodes"]) for hit in hits(path) if hit["dataset"] == "/frames"} == {
        "[[0, None]]"
    }


def test_damaged_checksums_are_told_from_damaged_rows(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path) as file:
        place = file["checksums/chunks"].id.get_offset()
        row = next(one for one in file["checksums/datasets"][:] if one["dataset"] == b"/frames")
    flip(path, place + 4 * int(row["first"]))
    assert problems(path) == ["/frames has damaged checksums; the rows are intact"]


def test_missing_checksums_are_told_from_damaged_rows(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        rows = file["checksums/datasets"][:]
        del file["checksums/datasets"]
        file["checksums/datasets"] = rows[rows["dataset"] != b"/frames"]
    lost = "the shard_id is not that of the header and the rows"
    assert problems(path) == ["/frames has no readable checksums", lost]
    with h5py.File(path, "r+") as file:
        del file["checksums"]
    assert len(problems(path)) == 14


def test_a_damaged_sha256_is_told_from_damaged_rows(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    change_seal(path, "frames", "stored_sha256", b"0" * 64)
    assert problems(path) == ["/frames has a damaged stored_sha256; the rows are intact"]
    change_seal(path, "actions", "sha256", b"0" * 64)
    assert "the shard_id is not that of the header and the rows" in problems(path)


def test_a_changed_header_is_found(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["game"] = "tinz"
    assert problems(path) == [
        "the shard_id is not that of the header and the rows",
        "the stored_sha256 is not that of the header and the datasets",
    ]


def test_a_dataset_whose_chunks_are_not_there_is_named(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["frames"].resize(90, axis=0)
    assert "/frames has rows that are not stored in the file" in problems(path)


def test_rows_that_fit_their_checksums_and_not_their_identity_are_found_by_decoding(
    tmp_path: Path,
) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["actions"][5] = (file["actions"][5] + 1) % 4
    reseal(path)
    assert problems(path) == []
    assert problems(path, deep=True) == [
        "/actions has other rows than its sha256 says; which is not known"
    ]


@pytest.mark.parametrize("kind", ["raw", "processed", "labelled"])
def test_a_shard_of_version_1_is_decoded(kind: str) -> None:
    (row,) = verify([GOLDEN / f"v1-{kind}.h5"])
    assert (row["state"], row["schema_version"], row["by"]) == ("ok", 1, "decoding")


def test_damage_in_version_1_is_found_by_decoding(tmp_path: Path) -> None:
    path = Path(shutil.copy(GOLDEN / "v1-raw.h5", tmp_path))
    offset, size = place(path, "frames", 1)
    flip(path, offset + size // 2)
    (hit,) = hits(path)
    assert (hit["dataset"], hit["chunk"], hit["first"]) == ("/frames", 1, 16)
    assert hit["why"].startswith("not a gzip stream of ")


def test_damage_in_version_1_where_nothing_is_compressed_is_found_by_the_sha256(
    tmp_path: Path,
) -> None:
    path = Path(shutil.copy(GOLDEN / "v1-raw.h5", tmp_path))
    damage(path, "episodes/seed")
    assert problems(path) == [
        "/episodes/seed has other rows than its sha256 says; which is not known"
    ]


def test_a_shard_that_fits_its_checksums_and_is_not_valid_is_damaged(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["actions"][5] = 9
    reseal(path)
    assert problems(path) == [
        "not a valid shard (/actions is not below 4 at 5); make the shard anew, or leave it out"
    ]


def test_files_that_cannot_be_opened_are_unreadable(tmp_path: Path) -> None:
    sound = small_shard(tmp_path / "a.h5")
    cut, none = tmp_path / "cut.h5", tmp_path / "none.h5"
    cut.write_bytes(sound.read_bytes()[:5000])
    rows = list(verify([cut, none, sound]))
    assert [row["state"] for row in rows] == ["unreadable", "unreadable", "ok"]
    assert rows[0]["problems"] == [
        "truncated, only 5000 bytes are left of it; make the shard anew, or leave it out"
    ]
    assert rows[1]["problems"] == ["no such shard; see which there are with: data ls"]


def test_the_time_limit_grows_with_the_file(tmp_path: Path) -> None:
    large = tmp_path / "large.h5"
    with large.open("wb") as file:
        file.truncate(10**9)
    assert time_limit(large) == 20 + 50
    assert time_limit(tmp_path / "none.h5") == 20


def test_chunks_are_read_in_runs_that_may_have_small_gaps() -> None:
    kb = 1 << 10
    #          next to it, a small gap, a large gap, before the last one, a large one
    offsets = [0, 10 * kb, 30 * kb, 900 * kb, 400 * kb, 410 * kb]
    sizes = [10 * kb, 10 * kb, 10 * kb, 10 * kb, 10 * kb, 9000 * kb]
    assert list(_blocks(offsets, sizes)) == [(0, 3), (3, 4), (4, 5), (5, 6)]


def test_the_table_shows_the_first_chunks_and_counts_the_rest(tmp_path: Path) -> None:
    one = {"dataset": "/frames", "chunk": 0, "first": 0, "last": 15, "why": CRC, "episodes": None}
    many = [[i, f"r{i}"] for i in range(5)]
    rows = [{"shard": "a\n.h5", "problems": ["odd"], "hits": [{**one, "episodes": many}] * 22}]
    table = damage_rows(rows)
    assert table[0] == {"shard": "a\\n.h5", "what": "odd"}
    assert table[1] == {
        "shard": "a\\n.h5",
        "what": f"/frames chunk 0, rows 0 to 15: {CRC}",
        "episodes": "0 (r0), 1 (r1), 2 (r2) and 2 more",
    }
    assert table[-1] == {"shard": "a\\n.h5", "what": "and 2 chunks more; --json lists all"}
    assert (
        damage_rows([{"shard": "a", "problems": [], "hits": [one]}])[0]["episodes"] == "not known"
    )


def test_the_command_checks_all_shards_and_fails_if_one_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("datasets/tiny").mkdir(parents=True)
    small_shard(Path("datasets/tiny/a-v001.h5"))
    assert main(["data", "verify"]) == 0
    bad = small_shard(Path("datasets/tiny/b-v001.h5"))
    damage(bad, "frames", 3)
    capsys.readouterr()
    assert main(["data", "verify", "--json"]) == 2
    out, error = capsys.readouterr()
    assert error == (
        "error: 1 of 2 shards are damaged: datasets/tiny/b-v001.h5; "
        "save what is intact with: data salvage FILE\n"
    )
    assert f"/frames chunk 3, rows 48 to 63: {CRC}" in out
    assert f"2 ({ROOTS[2]})" in out
    shards = json.loads(out.splitlines()[-1])["shards"]
    assert [row["state"] for row in shards] == ["ok", "damaged"]
    assert main(["data", "verify", "datasets/tiny/a-v001.h5", "--deep"]) == 0


def test_the_command_without_any_shard_has_an_empty_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data", "verify"]) == 0
    assert capsys.readouterr().out == "(none)\n"
