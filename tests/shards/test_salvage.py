"""Salvage saves the intact episodes, all of them and nothing else, and touches nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.shards.reader import Shard
from pipeline.shards.repair import salvage as module
from pipeline.shards.repair.salvage import salvage, save
from pipeline.shards.repair.verify import examine
from pipeline.system.errors import PipelineError
from tests.shards.factory import same
from tests.shards.hostile import reseal
from tests.shards.small import LENGTHS, OLD, ROOTS, change_seal, damage, flip, place, small_shard

GOLDEN = Path(__file__).parent / "golden"
ANEW = "make the shard anew, or leave it out"


def saved(path: Path, **options: Any) -> dict[str, Any]:
    """Salvage a copy of ``path`` that a clean one lies beside; the copy must stay as it is."""
    before = path.read_bytes()
    result = save(path, **{"stem": "saved", **options})
    assert path.read_bytes() == before
    return result


def refusal(path: Path) -> str:
    before = sorted(path.parent.iterdir())
    with pytest.raises(PipelineError) as error:
        save(path, stem="saved")
    assert sorted(path.parent.iterdir()) == before
    return str(error.value)


def assert_kept(result: dict[str, Any], original: Path, kept: Sequence[int]) -> None:
    """The new shard is sound, and its episodes are those of the original, bit for bit."""
    new = Path(result["shard"])
    found = examine(new, deep=True)
    assert (found["problems"], found["hits"]) == ([], [])
    with Shard(original) as old, Shard(new) as shard:
        assert shard.n_episodes == len(kept)
        for index, before in enumerate(kept):
            one, other = old.episode(before), shard.episode(index)
            states = old.start_states()
            if states:
                assert states[one.start_state] == shard.start_states()[other.start_state]
            one.start_state = other.start_state
            assert same(one, other)


@pytest.mark.parametrize(
    ("kind", "dataset", "chunk", "lost"),
    [
        ("raw", "frames", 0, [0]),
        ("raw", "frames", 3, [2]),
        ("raw", "start_states", 0, [0]),
        ("raw", "final_frames", 1, [1]),
        ("raw", "episodes", 0, [0]),
        ("processed", "episodes", 2, [2]),
        ("labelled", "episodes", 1, [1]),
        ("processed", "frames", 2, [2]),
        ("labelled", "frames", 0, [0]),
    ],
)
def test_the_intact_episodes_are_saved_bit_for_bit(
    tmp_path: Path, kind: str, dataset: str, chunk: int, lost: list[int]
) -> None:
    sound = small_shard(tmp_path / "sound.h5", kind)
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    damage(path, dataset, chunk)
    result = saved(path)
    kept = [i for i in range(3) if i not in lost]
    assert_kept(result, sound, kept)
    assert result == {
        "shard": str(tmp_path / "saved-v001.h5"),
        "up_to_date": False,
        "episodes": len(kept),
        "frames": sum(LENGTHS[i] for i in kept),
        "lost_episodes": len(lost),
        "lost_frames": sum(LENGTHS[i] for i in lost),
        "lost": [
            {
                "episode": i,
                "root": None if dataset == "episodes" else ROOTS[i],
                "steps": LENGTHS[i],
                "why": f"/{dataset} chunk {chunk}: the CRC32 is another",
            }
            for i in lost
        ],
    }


@pytest.mark.parametrize("column", ["start", "length", "return"])
def test_in_schema_version_4_a_column_that_follows_from_others_costs_no_episode(
    tmp_path: Path, column: str
) -> None:
    sound = Path(shutil.copy(OLD / "raw.h5", tmp_path / "sound.h5"))
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    damage(path, f"episodes/{column}")
    assert_kept(saved(path), sound, [0, 1, 2])


def test_damaged_checksums_cost_no_episode(tmp_path: Path) -> None:
    sound = small_shard(tmp_path / "sound.h5")
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    with h5py.File(path) as file:
        offset, rows = file["checksums/chunks"].id.get_offset(), file["checksums/datasets"][:]
    for row in rows[np.isin(rows["dataset"], [b"/frames", b"/episodes"])]:
        flip(path, offset + 4 * int(row["first"]))
    assert_kept(saved(path), sound, [0, 1, 2])


def test_checksums_that_are_gone_cost_no_episode_as_long_as_nothing_else_is_damaged(
    tmp_path: Path,
) -> None:
    sound = small_shard(tmp_path / "sound.h5")
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    with h5py.File(path, "r+") as file:
        del file["checksums"]
    assert_kept(saved(path), sound, [0, 1, 2])


@pytest.mark.parametrize("field", ["stored_sha256", "sha256"])
def test_a_damaged_sha256_costs_no_episode(tmp_path: Path, field: str) -> None:
    sound = small_shard(tmp_path / "sound.h5")
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    change_seal(path, "frames", field, b"0" * 64)
    assert_kept(saved(path), sound, [0, 1, 2])


def test_the_new_shard_says_where_it_comes_from_and_what_is_lost(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    damage(path, "frames", 3)
    result = saved(path)
    with Shard(path) as old, Shard(result["shard"]) as shard:
        before, made = old.header, shard.header.provenance
    assert (made["stage"], made["actor"]) == ("salvage", before.provenance["actor"])
    assert made["parents"] == [{"file": "a.h5", "shard_id": before.shard_id}]
    assert made["salvaged"] == before.provenance
    assert made["lost"] == result["lost"]


def test_salvaging_twice_is_up_to_date_and_after_more_damage_the_next_version(
    tmp_path: Path,
) -> None:
    path = small_shard(tmp_path / "a.h5")
    damage(path, "frames", 3)
    first = saved(path)
    again = saved(path)
    assert again == {**first, "up_to_date": True}
    damage(path, "start_states", 0)
    assert saved(path)["shard"] == str(tmp_path / "saved-v002.h5")


def test_version_1_is_salvaged_by_decoding(tmp_path: Path) -> None:
    sound = GOLDEN / "v1-raw.h5"
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    with Shard(path) as shard:
        rows = shard.stored("frames").chunk_rows
        kept = [i for i, start in enumerate(shard.starts) if start + shard.lengths[i] <= rows]
    offset, size = place(path, "frames", 1)
    flip(path, offset + size // 2)
    assert_kept(saved(path), sound, kept)


def test_a_sound_shard_is_not_salvaged(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    assert refusal(path) == f"{path}: nothing is damaged, so there is nothing to salvage"


def test_a_shard_that_never_was_valid_is_not_salvaged(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["actions"][5] = 9
    reseal(path)
    assert refusal(path) == f"{path}: not a valid shard (/actions is not below 4 at 5); {ANEW}"


def test_where_every_episode_is_hit_nothing_is_written(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    damage(path, "actions")
    assert refusal(path) == (
        f"{path}: nothing can be salvaged (every episode is damaged: "
        f"/actions chunk 0: the CRC32 is another); {ANEW}"
    )


def other_type(file: h5py.File) -> None:
    """Of the same width: every checksum of the bytes still fits."""
    attributes = dict(file["state/x"].attrs)
    chunk = file["state/x"].id.read_direct_chunk((0,))[1]
    del file["state/x"]
    how = {"maxshape": (None,), "chunks": (4096,), "compression": 4}
    made = file.create_dataset("state/x", (64,), "<u2", **how)
    made.id.write_direct_chunk((0,), chunk)
    made.attrs.update(attributes)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.attrs.__setitem__("game", "tinz"),
        lambda file: file.attrs.__setitem__("stored_sha256", "0" * 64),
        lambda file: file["start_states"].attrs.modify("lengths", [300, 0, 0]),
        lambda file: file["start_states"].attrs.pop("lengths"),
        other_type,
    ],
)
@pytest.mark.parametrize("dataset", ["frames", "start_states"])
def test_what_nothing_vouches_for_is_not_believed(
    tmp_path: Path, change: Callable[[h5py.File], object], dataset: str
) -> None:
    path = small_shard(tmp_path / "a.h5")
    damage(path, dataset)
    with h5py.File(path, "r+") as file:
        change(file)
    assert refusal(path) == (
        f"{path}: nothing can be salvaged "
        f"(the header, or the shape or type of a dataset, is not as it was written); {ANEW}"
    )


def test_in_schema_version_4_episodes_without_known_boundaries_are_not_guessed(
    tmp_path: Path,
) -> None:
    path = Path(shutil.copy(OLD / "raw.h5", tmp_path / "a.h5"))
    offsets = [place(path, f"episodes/{name}")[0] for name in ("start", "length")]
    for offset in offsets:
        flip(path, offset)
    assert refusal(path) == (
        f"{path}: nothing can be salvaged (where its episodes begin and end is lost); {ANEW}"
    )


def test_a_file_cut_short_says_what_is_lost(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(whole // 2)
    assert refusal(path) == (
        f"{path}: cut short, {whole // 2} of {whole} bytes are left; the header, the episodes and "
        "the checksums lie at the end of a shard, and what they say of the rest is lost with "
        "them; nothing can be salvaged, copy the file anew or make the shard anew"
    )


def test_a_file_cut_short_of_nothing_but_padding_is_saved(tmp_path: Path) -> None:
    sound = small_shard(tmp_path / "sound.h5")
    path = Path(shutil.copy(sound, tmp_path / "a.h5"))
    assert sound.read_bytes()[-1] == 0
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert_kept(saved(path), sound, [0, 1, 2])
    assert sorted(p.name for p in tmp_path.glob(".*")) in ([], [".catalogue"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"text", "not an HDF5 file, so no shard"),
        (b"\x89HDF\r\n\x1a\n\0" + bytes(20), "cannot be opened"),
    ],
)
def test_what_is_no_shard_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: {reason}")


def test_bytes_that_fit_their_checksum_and_are_no_gzip_are_refused(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    damage(path, "frames", 0)
    reseal(path)
    damage(path, "frames", 3)
    assert refusal(path).startswith(
        f"{path}: nothing can be salvaged (/frames is damaged in chunk 0, rows 0 to 15: "
        "not a gzip stream of "
    )


def test_the_command_saves_in_a_guarded_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = small_shard(Path("collect-v003.h5"))
    damage(path, "frames", 3)
    assert main(["data", "salvage", "collect-v003.h5", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out.splitlines()[-1])["shard"] == "collect-salvaged-v001.h5"
    assert main(["data", "salvage", "collect-v003.h5", "--into", "collect"]) == 0
    assert Path("collect-v004.h5").exists()


@pytest.mark.parametrize("name", ["a/b", ".."])
def test_into_takes_a_name_and_no_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(PipelineError) as error:
        salvage(path, name)
    assert str(error.value) == (
        f"--into {name}: a name is expected, not a path; it lies beside {path}"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(PipelineError) as error:
        salvage(path)
    assert str(error.value) == f"{path}: no such shard; see which there are with: data ls"


def test_a_file_that_takes_for_ever_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_SECONDS", 1e-6)
    monkeypatch.setattr(module, "_SLOWEST", 1 << 60)
    path = small_shard(tmp_path / "a.h5")
    with pytest.raises(PipelineError, match=r"reading it hangs \(more than 1e-06 s\)"):
        salvage(path)
    assert {p.name for p in tmp_path.iterdir()} - {".catalogue"} == {"a.h5"}
