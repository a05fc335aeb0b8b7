"""From a checkpoint to its shards, to theirs, to the ROM and the expert; and what is stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest

from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.catalog.facts import Parent
from pipeline.shards.lineage import draw, lineage, lineage_of
from pipeline.system.errors import PipelineError
from tests.shards.factory import MADE, ROM, processed_shard, raw_shard


def shard_id(path: Path) -> str:
    return entries_of([path])[0].get().shard_id


def child(path: Path, *parents: Path, stage: str = "preprocess", length: int = 5) -> Path:
    """A processed shard that says it was made from ``parents``."""
    named = [{"file": parent.name, "shard_id": shard_id(parent)} for parent in parents]
    made = {**MADE, "stage": stage, "parents": named}
    if stage == "label":
        made["expert"] = {"kind": "program", "path": "expert.py", "sha256": "6" * 64}
    return processed_shard(path, (length,), labelled=stage == "label", provenance=made)


@pytest.fixture
def family(tmp_path: Path) -> dict[str, Path]:
    raw = raw_shard(tmp_path / "a-round-01-raw-v001.h5", (5,))
    small = child(tmp_path / "a-round-01-84-v001.h5", raw)
    labelled = child(tmp_path / "a-round-01-labelled-v001.h5", small, stage="label")
    return {"raw": raw, "small": small, "labelled": labelled}


def states(path: Path) -> list[tuple[str, str]]:
    return [(Path(row["shard"]).name, row["state"]) for row in lineage_of(path)]


def test_a_labelled_shard_leads_to_the_recording_the_rom_and_the_expert(
    family: dict[str, Path],
) -> None:
    rows = lineage_of(family["labelled"])
    assert [row["shard"] for row in rows] == [
        str(family[name]) for name in ("labelled", "small", "raw")
    ]
    assert [row["depth"] for row in rows] == [0, 1, 2]
    assert {row["state"] for row in rows} == {"ok"}
    assert [row["stage"] for row in rows] == ["label", "preprocess", "collect"]
    assert rows[0]["experts"] == {f"expert.py sha256 {'6' * 64}": 5}
    assert rows[0]["round"] == 1
    assert (rows[2]["rom_sha1"], rows[2]["players"]) == (ROM, [f"expert sha256 {'5' * 64}"])
    ids = [row["shard_id"][:12] for row in rows]
    assert draw(rows) == (
        f"a-round-01-labelled-v001.h5 ({ids[0]}): label, 1 episodes, 5 frames, 5 labels\n"
        f"├─ 5 labels by expert.py sha256 {'6' * 64}\n"
        f"└─ a-round-01-84-v001.h5 ({ids[1]}): preprocess, 1 episodes, 5 frames, 0 labels\n"
        f"   └─ a-round-01-raw-v001.h5 ({ids[2]}): collect, 1 episodes, 5 frames, 0 labels\n"
        f"      ├─ ROM sha1 {ROM}\n"
        f"      └─ played by expert sha256 {'5' * 64}"
    )


def test_a_newer_version_makes_all_that_descends_from_the_older_stale(
    family: dict[str, Path], tmp_path: Path
) -> None:
    raw_shard(tmp_path / "a-round-01-raw-v002.h5", (6,))
    rows = lineage_of(family["labelled"])
    assert [row["why"] for row in rows] == [
        "its parent a-round-01-84-v001.h5 is stale",
        "its parent a-round-01-raw-v001.h5 has a newer version, a-round-01-raw-v002.h5",
        None,
    ]
    assert [row["state"] for row in rows] == ["stale", "stale", "ok"]
    assert "STALE: its parent a-round-01-84-v001.h5 is stale" in draw(rows).splitlines()[0]


def test_a_second_name_of_the_same_content_makes_nothing_stale(
    family: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "a-round-01-raw-v002.h5").hardlink_to(family["raw"])
    assert {state for _, state in states(family["labelled"])} == {"ok"}
    (tmp_path / "a-round-01-raw-v003.h5").write_text("a damaged version is no version")
    assert {state for _, state in states(family["labelled"])} == {"ok"}


def test_a_shard_made_from_an_earlier_version_of_itself_is_not_stale(
    family: dict[str, Path], tmp_path: Path
) -> None:
    more = child(tmp_path / "a-round-01-labelled-v002.h5", family["labelled"], stage="label")
    assert {state for _, state in states(more)} == {"ok"}
    assert len(states(more)) == 4


def test_a_parent_that_is_gone_is_missing_and_one_that_was_renamed_is_found(
    family: dict[str, Path], tmp_path: Path
) -> None:
    moved = family["raw"].rename(tmp_path / "kept-raw-v001.h5")
    assert states(family["small"]) == [(family["small"].name, "ok"), (moved.name, "ok")]
    gone = shard_id(moved)
    moved.unlink()
    rows = lineage_of(family["small"])
    assert rows[1] == {
        "depth": 1,
        "shard": family["raw"].name,
        "shard_id": gone,
        "state": "missing",
        "why": "there is no such file in any run of the game, and no other of its identity",
    }
    assert draw(rows).splitlines()[1] == f"└─ {family['raw'].name} ({gone[:12]}): MISSING"
    raw_shard(tmp_path / "a-round-01-raw-v002.h5", (6,))
    assert [state for _, state in states(family["small"])] == ["stale", "missing"]


def test_a_shard_is_told_once_and_a_merged_one_has_all_its_parents(
    family: dict[str, Path], tmp_path: Path
) -> None:
    other = child(tmp_path / "b-84-v001.h5", family["raw"], length=6)
    merged = child(tmp_path / "c-84-v001.h5", family["small"], other, stage="merge")
    assert states(merged) == [
        ("c-84-v001.h5", "ok"),
        ("a-round-01-84-v001.h5", "ok"),
        ("a-round-01-raw-v001.h5", "ok"),
        ("b-84-v001.h5", "ok"),
        ("a-round-01-raw-v001.h5", "above"),
    ]
    drawn = draw(lineage_of(merged)).splitlines()
    assert drawn[2].startswith("│  └─ a-round-01-raw-v001.h5")
    assert drawn[3].startswith("│     ├─ ROM")
    assert drawn[-1] == "   └─ a-round-01-raw-v001.h5: see above"


def test_the_shards_of_a_checkpoint_are_found_by_their_identity(
    family: dict[str, Path], tmp_path: Path
) -> None:
    ids = [shard_id(family["labelled"]), "0" * 32]
    rows = lineage(tmp_path, [Parent("", one) for one in ids])
    assert [(row["depth"], row["state"]) for row in rows] == [
        *((0, "ok"), (1, "ok"), (2, "ok")),
        (0, "missing"),
    ]
    drawn = draw(rows, "final.pt").splitlines()
    assert drawn[0] == "final.pt"
    assert drawn[1].startswith("├─ a-round-01-labelled-v001.h5")
    assert drawn[-1] == "└─ a shard (000000000000): MISSING"


def test_an_identity_cannot_be_made_up_so_no_shard_descends_from_itself(tmp_path: Path) -> None:
    path = tmp_path / "a-84-v001.h5"
    shutil.copyfile(Path(__file__).parent / "golden" / "v1-processed.h5", path)
    with h5py.File(path, "r+") as file:
        made = json.loads(file.attrs["provenance"])
        made["parents"] = [{"file": path.name, "shard_id": "a" * 32}]
        file.attrs["provenance"], file.attrs["shard_id"] = json.dumps(made), "a" * 32
    with pytest.raises(PipelineError) as error:
        lineage_of(path)
    assert str(error.value) == (
        f"{path}: not a valid shard (the header, or the sha256 of a dataset, is not as written); "
        "make the shard anew, or leave it out"
    )


def test_what_is_no_shard_has_no_lineage(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("text")
    with pytest.raises(PipelineError) as error:
        lineage_of(path)
    assert str(error.value) == (
        f"{path}: not an HDF5 file, so no shard; make the shard anew, or leave it out"
    )


def test_a_parent_may_lie_in_another_run_and_only_versions_of_one_run_make_stale(
    tmp_path: Path,
) -> None:
    raw = raw_shard(tmp_path / "one/a-raw-v001.h5", (5,))
    here = child(tmp_path / "one/a-84-v001.h5", raw)
    there = child(tmp_path / "two/one-a-84-v001.h5", raw)
    raw_shard(tmp_path / "two/a-raw-v002.h5", (6,))  # of another run: no version of that one
    for small in (here, there):
        rows = lineage_of(small, tmp_path)
        assert [(row["shard"], row["state"]) for row in rows] == [
            (str(small), "ok"),
            (str(raw), "ok"),
        ]
    shutil.copy(raw, tmp_path / "two/a-raw-v001.h5")  # the same shard, and there it is out of date
    assert [row["state"] for row in lineage_of(here, tmp_path)] == ["ok", "ok"]
    assert [row["why"] for row in lineage_of(there, tmp_path)] == [
        "its parent a-raw-v001.h5 has a newer version, a-raw-v002.h5",
        None,
    ]
    with_dots = tmp_path / "one/../two/one-a-84-v001.h5"
    assert lineage_of(with_dots, tmp_path)[0]["state"] == "stale"
