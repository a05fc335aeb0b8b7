"""Shards that a stage takes together: what must fit, and that all mismatches are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.shards.format.frames import FrameContract
from pipeline.shards.reader import Shard, check_shards
from pipeline.system.errors import PipelineError
from tests.shards.factory import (
    BUTTONS,
    ROM,
    make_episode,
    make_header,
    processed_header,
    processed_shard,
    raw_shard,
    write,
)


def test_shards_that_fit_give_their_headers(tmp_path: Path) -> None:
    paths = [processed_shard(tmp_path / f"{i}.h5", (i + 3,), labelled=True) for i in range(2)]
    headers = check_shards(
        paths,
        kind="processed",
        game="tiny",
        rom_sha1=ROM,
        actions=BUTTONS,
        contract=FrameContract(84, 84, "bilinear"),
        timing={"hold": 4, "release": 6},
        labelled=True,
    )
    assert [h.shard_id for h in headers] == [Shard(p).header.shard_id for p in paths]


def test_all_mismatches_of_all_shards_are_listed_at_once(tmp_path: Path) -> None:
    good = processed_shard(tmp_path / "good.h5", labelled=True)
    other = processed_shard(
        tmp_path / "other.h5",
        game="emerald",
        rom_sha1="f" * 40,
        actions=("A", "B", "LEFT", "RIGHT"),
        timing={"hold": 2, "release": 6},
    )
    size = FrameContract(96, 96, "bilinear")
    large = write(
        tmp_path / "large.h5",
        processed_header(frame_contract=size),
        [make_episode(3, size=(96, 96))],
    )
    text = tmp_path / "text.h5"
    text.write_text("no shard")
    with pytest.raises(PipelineError) as error:
        check_shards(
            [good, other, large, text],
            kind="processed",
            game="tiny",
            rom_sha1=ROM,
            actions=BUTTONS,
            contract=FrameContract(84, 84, "bilinear"),
            timing={"hold": 4, "release": 6},
            labelled=True,
        )
    assert str(error.value).split("; ") == [
        f"{text}: not an HDF5 file, so no shard",
        "make the shard anew, or leave it out",
        f"{other}: the game is emerald, not tiny",
        f"{other}: the ROM's sha1 is {'f' * 40}, not {ROM}",
        f"{other}: the actions are A B LEFT RIGHT, not A B UP DOWN",
        f"{other}: the timing is hold 2, release 6, not hold 4, release 6",
        f"{large}: the frames are 96x96 RGB, resampling bilinear, "
        "not 84x84 RGB, resampling bilinear",
    ]


def test_a_raw_shard_is_no_processed_one(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5")
    with pytest.raises(PipelineError) as error:
        check_shards([path], kind="processed")
    assert str(error.value) == f"{path}: the shard is raw, not processed"


def test_shards_must_fit_one_another(tmp_path: Path) -> None:
    one = processed_shard(tmp_path / "1.h5")
    two = processed_shard(tmp_path / "2.h5", game="other")
    with pytest.raises(PipelineError) as error:
        check_shards([one, two])
    assert str(error.value) == f"{two}: the game is other, not tiny"


def test_shards_without_a_label_are_refused_where_labels_are_needed(tmp_path: Path) -> None:
    paths = [processed_shard(tmp_path / f"{i}.h5") for i in range(2)]
    with pytest.raises(PipelineError) as error:
        check_shards(paths, labelled=True)
    assert str(error.value) == (
        f"{paths[0]}, {paths[1]}: no labelled frames; run the label stage first"
    )
    check_shards([*paths, processed_shard(tmp_path / "2.h5", labelled=True)], labelled=True)


def test_raw_shards_may_differ_in_frame_size(tmp_path: Path) -> None:
    native = raw_shard(tmp_path / "1.h5")
    header = replace(make_header(), frame_contract=FrameContract(84, 84, "bilinear"))
    small = write(tmp_path / "2.h5", header, [make_episode(3, size=(84, 84))])
    assert len(check_shards([native, small], kind="raw")) == 2
