"""Who gave each label, and what it cost, goes wherever the label goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.shards.catalog.catalogue import entries_of
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.labels import (
    Labels,
    expert_id,
    experts_of,
    no_labels,
    reason_text,
    rows_of,
    told_labels,
)
from pipeline.shards.format.schema import LABEL_COLUMNS, Episode
from pipeline.shards.reader import Shard
from pipeline.shards.repair import edit
from pipeline.shards.repair.relabel import relabel
from pipeline.shards.repair.salvage import save
from pipeline.shards.repair.verify import examine
from pipeline.shards.table import describe, list_shards
from pipeline.system.errors import PipelineError
from tests.shards.factory import (
    EXPERTS,
    MADE,
    MODEL,
    PROGRAM,
    make_episode,
    make_labels,
    processed_header,
    processed_shard,
    same,
    write,
)
from tests.shards.hostile import reseal
from tests.shards.small import damage

TOLD = {**MADE, "stage": "label", "fingerprint": "1" * 64, "experts": EXPERTS}
LENGTHS = (5, 23)


def episodes(labels: Sequence[Labels] | None = None) -> list[Episode]:
    made = [make_episode(n, i, size=(84, 84), labelled=True) for i, n in enumerate(LENGTHS)]
    given = [make_labels(n, i) for i, n in enumerate(LENGTHS)] if labels is None else labels
    return [replace(one, labels=its) for one, its in zip(made, given, strict=True)]


def labelled(path: Path, labels: Sequence[Labels] | None = None, **told: Any) -> Path:
    return write(path, processed_header(provenance={**TOLD, **told}), episodes(labels))


def shard_id(path: Path) -> str:
    with Shard(path) as shard:
        return shard.header.shard_id


def read(path: Path | str) -> list[Episode]:
    with Shard(path) as shard:
        return [shard.episode(i) for i in range(shard.n_episodes)]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a.h5")
    assert all(map(same, read(path), episodes()))
    with Shard(path) as shard:
        columns = shard.labels(3, 9)
        assert columns is not None
        assert {name: values.dtype for name, values in columns.items()} == LABEL_COLUMNS
        assert columns["time"].tolist() == [1.7e9 + t for t in (0.75, 1, 0, 0.25, 0.5, 0.75)]
        assert columns["reason"][2].decode() == "stehengeblieben: übervoll"
    assert examine(path, deep=True)["problems"] == []


def test_a_recording_has_none(tmp_path: Path) -> None:
    with Shard(processed_shard(tmp_path / "a.h5")) as shard:
        assert shard.labels() is None
        assert shard.episode(0).labels is None


def test_all_episodes_of_a_shard_have_them_or_none(tmp_path: Path) -> None:
    with_labels, without = episodes()[0], make_episode(3, 2, size=(84, 84))
    for pair in ((with_labels, without), (without, with_labels)):
        with pytest.raises(ValueError, match="all episodes of a shard must have them, or none"):
            write(tmp_path / "a.h5", processed_header(), pair)
    short = replace(with_labels, labels=make_labels(4))
    with pytest.raises(ValueError, match="5 steps, but 4 rows of labels expert"):
        write(tmp_path / "a.h5", processed_header(), [short])
    part = {"expert": np.zeros(5, "S16")}
    with pytest.raises(ValueError, match="labels have expert"):
        write(tmp_path / "a.h5", processed_header(), [replace(with_labels, labels=part)])
    assert list(tmp_path.iterdir()) == []


def changed(name: str, value: Any) -> list[Labels]:
    columns = [make_labels(n, i) for i, n in enumerate(LENGTHS)]
    columns[1][name][7] = value
    return columns


@pytest.mark.parametrize(
    ("name", "value", "counts"),
    [
        ("time", 1.8e9, False),
        ("attempt", 9, False),
        ("input_tokens", 12, False),
        ("output_tokens", 12, False),
        ("dollars", 9.5, False),
        ("expert", b"0" * 16, True),
        ("reason", b"tired", True),
        ("score", 0.25, True),
    ],
)
def test_when_a_label_was_given_and_what_it_cost_is_no_part_of_the_identity(
    tmp_path: Path, name: str, value: Any, counts: bool
) -> None:
    one = labelled(tmp_path / "a.h5")
    other = labelled(tmp_path / "b.h5", changed(name, value))
    assert (shard_id(one) != shard_id(other)) == counts
    with h5py.File(one) as file, h5py.File(other) as file_2:
        assert file.attrs["stored_sha256"] != file_2.attrs["stored_sha256"]


@pytest.mark.parametrize("name", LABEL_COLUMNS)
def test_a_damaged_column_is_found_and_no_training_minds(tmp_path: Path, name: str) -> None:
    path = labelled(tmp_path / "a.h5")
    damage(path, f"labels/{name}")
    (hit,) = examine(path)["hits"]
    assert (hit["dataset"], [i for i, _ in hit["episodes"]]) == (f"/labels/{name}", [0, 1])
    with Shard(path) as shard:
        shard.read_frames(0, 28)
        with pytest.raises(PipelineError) as error:
            shard.labels()
    assert str(error.value) == (
        f"{path}: /labels/{name} is damaged in chunk 0, rows 0 to 27: the CRC32 is another; "
        "'data verify' lists all damage, 'data salvage' saves what is intact"
    )


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("expert", b"me", "/labels/expert is no id at 3"),
        ("reason", b"\xff\xfe", "/labels/reason is no text at 3"),
        ("time", np.inf, "/labels/time is infinite at 3"),
        ("dollars", -1, "/labels/dollars is no price at 3"),
        ("dollars", np.nan, "/labels/dollars is no price at 3"),
        ("score", np.inf, "/labels/score is infinite at 3"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_read(
    tmp_path: Path, name: str, value: Any, line: str
) -> None:
    path = labelled(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file[f"labels/{name}"][3] = value
    reseal(path)
    line = f"not a valid shard ({line}); make the shard anew, or leave it out"
    with Shard(path) as shard, pytest.raises(PipelineError) as error:
        shard.labels()
    assert str(error.value) == f"{path}: {line}"
    assert examine(path)["problems"] == [line]


def test_half_of_the_columns_are_refused(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["labels/time"]
        file.move("labels/score", "labels/mark")
    with pytest.raises(PipelineError) as error:
        Shard(path).handle()
    assert "(/labels/time is missing; /labels/score is missing)" in str(error.value)


def test_a_salvaged_shard_keeps_them(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a-v001.h5")
    damage(path, "frames", 1)  # of the second episode alone
    saved = save(path, stem="saved")
    assert all(map(same, read(saved["shard"]), episodes()[:1]))
    with Shard(saved["shard"]) as shard:
        assert shard.header.provenance["experts"] == EXPERTS


def test_split_and_filter_keep_them(tmp_path: Path) -> None:
    path = labelled(tmp_path / "a-v001.h5")
    rows = edit.split(path, episodes=1)
    rows.append(edit.filter_shard(path, edit.Criteria(episodes=(1,))))
    for row, expected in zip(rows, [*episodes(), episodes()[1]], strict=True):
        assert all(map(same, read(row["shard"]), [expected]))
        assert describe(Path(row["shard"]))["by_expert"][0]["name"] == "a-model-1"


def test_merged_with_shards_of_before_what_the_provenance_tells_of_those_is_kept(
    tmp_path: Path,
) -> None:
    new = labelled(tmp_path / "a-v001.h5")
    whose = {"kind": "program", "path": "older.py", "sha256": "7" * 64}
    old = make_episode(6, 9, size=(84, 84), labelled=True)
    old.label_status[2], old.expert_actions[2] = 3, 255
    told = {**MADE, "expert": whose, "stage": "label", "fingerprint": "2" * 64}
    before = write(tmp_path / "b-v001.h5", processed_header(provenance=told), [old])
    merged = edit.merge([before, new], "c")["shard"]
    third, *both = read(merged)
    assert all(map(same, both, episodes()))
    assert third.labels is not None
    assert third.labels["expert"].tolist() == [expert_id(whose).encode()] * 6
    assert np.isnan(third.labels["time"]).all()
    assert not third.labels["attempt"].any()
    with Shard(merged) as shard:
        assert shard.header.provenance["experts"] == {**EXPERTS, expert_id(whose): whose}
    assert {row["name"]: row["labels"] for row in describe(Path(merged))["by_expert"]} == {
        "a-model-1": 18,
        "expert.py": 10,
        "older.py": 5,
    }


def test_a_labelled_copy_gets_others_or_none(tmp_path: Path) -> None:
    source = labelled(tmp_path / "a.h5")
    status, buttons = np.ones(28, np.uint8), np.full(28, 2, np.uint8)
    columns = make_labels(28, 4)
    relabel(source, tmp_path / "b.h5", buttons, status, TOLD, columns)
    relabel(source, tmp_path / "c.h5", buttons, status, TOLD)
    with Shard(tmp_path / "b.h5") as shard:
        found = shard.labels()
        assert found is not None
        for name, values in columns.items():
            np.testing.assert_array_equal(found[name], values)
    with Shard(tmp_path / "c.h5") as shard:
        assert shard.labels() is None
    made = [replace(e, expert_actions=buttons[:n], label_status=status[:n]) for n, e in
            zip(LENGTHS, episodes([rows_of(columns, slice(0, 5)), rows_of(columns, slice(5, 28))]),
                strict=True)]  # fmt: skip
    assert shard_id(write(tmp_path / "d.h5", processed_header(provenance=TOLD), made)) == shard_id(
        tmp_path / "b.h5"
    )


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (make_labels(27), r"labels are not each of expert, .*, \(28,\)"),
        ({"expert": np.zeros(28, "S16")}, r"labels are not each of expert"),
        ({**make_labels(28), "dollars": np.full(28, -1, np.float32)}, "/labels/dollars is no"),
    ],
)
def test_columns_that_cannot_be_are_not_written(tmp_path: Path, columns: Labels, line: str) -> None:
    source = processed_shard(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=line):
        relabel(source, tmp_path / "b.h5", np.zeros(28, "u1"), np.ones(28, "u1"), TOLD, columns)


def test_show_sums_them_by_expert_and_ls_tells_the_dollars(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    path = tmp_path / "tiny" / "a-v001.h5"
    made = episodes()
    status, columns = made[1].label_status, made[1].labels
    assert columns is not None
    status[:2], made[1].expert_actions[:2] = 4, 255
    columns["reason"][:2] = b"no answer in 60 s"
    write(path, processed_header(provenance=TOLD), made)
    told = describe(path)
    paid, free = told["by_expert"]
    assert (paid["expert"], paid["kind"], paid["name"]) == (expert_id(MODEL), "model", "a-model-1")
    assert (paid["labels"], paid["failures"], paid["input_tokens"]) == (17, 1, 18 * 900)
    assert paid["dollars"] == pytest.approx(18 * 0.0025)
    assert paid["dollars_per_label"] == pytest.approx(18 * 0.0025 / 17)
    assert paid["last"] == "2023-11-14T22:13:25Z"
    assert (free["name"], free["labels"], free["failures"]) == ("expert.py", 9, 1)
    assert (free["dollars"], free["dollars_per_label"]) == (0, 0)
    assert told["by_failure"] == [
        {"expert": expert_id(who), "status": "timed_out", "reason": "no answer in 60 s", "steps": 1}
        for who in (PROGRAM, MODEL)
    ]
    (row,), _ = list_shards(tmp_path)
    assert row["dollars"] == pytest.approx(18 * 0.0025)
    facts = entries_of([path])[0].get()
    assert facts.experts == {"a-model-1": 17, f"expert.py sha256 {'5' * 64}": 9}


def test_a_reason_is_cut_at_a_character() -> None:
    assert reason_text("x" * 200) == b"x" * 96
    assert reason_text("x" * 95 + "ü") == b"x" * 95
    assert reason_text("é\ud800") == "é?".encode()


NO_ONE = (None, None)
OLD = {**PROGRAM, "path": "expert"}


@pytest.mark.parametrize(
    ("told", "labelled", "failed"),
    [
        ({"expert": PROGRAM}, PROGRAM, PROGRAM),
        ({"actor": {"expert": PROGRAM, "beta": 1.0}}, PROGRAM, PROGRAM),
        ({"actor": {"expert": "5" * 64}}, OLD, OLD),
        ({"labels": [{"expert": PROGRAM, "labels": 2}]}, PROGRAM, PROGRAM),
        (
            {
                "labels": [
                    {"expert": MODEL, "labels": 0},
                    {"expert": f"expert.py sha256 {'5' * 64}", "labels": 2},
                ]
            },
            PROGRAM,
            None,
        ),
        ({"labels": [{"expert": MODEL, "labels": 1}, {"expert": "several", "labels": 1}]}, *NO_ONE),
        ({"expert": 7, "labels": {}, "actor": 3}, *NO_ONE),
        ({}, *NO_ONE),
    ],
)
def test_an_older_provenance_tells_whose_labels_are_that_only_one_can_have_given(
    told: dict[str, Any], labelled: dict[str, Any] | None, failed: dict[str, Any] | None
) -> None:
    columns = told_labels(told, np.array([0, 1, 2, 1], np.uint8))
    ids = [expert_id(who).encode() if who else b"" for who in (None, labelled, failed, labelled)]
    assert columns["expert"].tolist() == ids
    assert {who.decode() for who in ids if who} <= set(experts_of(told))
    rest = no_labels(4)
    del columns["expert"], rest["expert"]
    assert all(np.array_equal(v, rest[k], equal_nan=k != "reason") for k, v in columns.items())


@pytest.mark.parametrize(("kind", "most"), [("program", 0.3), ("model", 6.0)])
def test_the_columns_cost_little(tmp_path: Path, kind: str, most: float) -> None:
    header = processed_header(frame_contract=FrameContract(1, 1, "bilinear"))
    more = []  # bytes, by steps
    for steps in (500, 20_500):
        made = make_episode(steps, size=(8, 8))
        made = replace(made, frames=made.frames[:, :1, :1], final_frame=made.final_frame[:1, :1])
        columns = make_labels(steps) if kind == "model" else no_labels(steps)
        if kind == "program":
            columns["expert"][:] = expert_id(PROGRAM).encode()
            columns["attempt"][:] = 1
            columns["time"] = 1.7e9 + np.arange(steps) // 1024 * 0.31
        bare = write(tmp_path / f"{steps}.h5", header, [made])
        told = write(tmp_path / f"{steps}-told.h5", header, [replace(made, labels=columns)])
        more.append(told.stat().st_size - bare.stat().st_size)
    each = (more[1] - more[0]) / 20_000
    print(f"{kind}: {more[0] - 500 * each:,.0f} bytes a shard and {each:.2f} a frame")
    assert more[0] < 32_000
    assert each < most
