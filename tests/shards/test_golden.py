"""Files of every schema version are read for ever: some of each are kept in golden/, frozen.

Those of a version are made once, when it is new, by :func:`make_golden`; a file of a later version
that exists by then is refused by the readers of before.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pytest

from pipeline.shards.format.attributes import attribute
from pipeline.shards.format.labels import rows_of
from pipeline.shards.format.schema import (
    EPISODE_COLUMNS,
    NO_ACTION,
    SCHEMA_VERSION,
    recording_id,
)
from pipeline.shards.reader import Shard
from pipeline.shards.repair.migrate import migrate
from pipeline.shards.repair.relabel import relabel
from pipeline.shards.repair.verify import verify
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from tests.shards.factory import (
    EXPERTS,
    make_episode,
    make_header,
    make_labels,
    processed_header,
    same,
)
from tests.shards.fuzz import content_of
from tests.shards.small import small_shard

GOLDEN = Path(__file__).parent / "golden"
STATE = b"state" * 50
EXPERT = np.array([0, NO_ACTION, 3] * 7, np.uint8)
STATUS = np.array([1, 3, 1] * 7, np.uint8)
LABELS = make_labels(21)
RECORDINGS = [recording_id(one.root, one.actions) for one in map(make_episode, (3, 18), (0, 1))]
IDS = {
    "raw": "364518aff36eb58ef082aa6ea3d72e5c",
    "processed": "4f9f37f38cabcc20e9aec13fe4ea4ed1",
    "labelled": "2696f194efc375b76a0d6924b20c88d7",
}
"""Of the content, which is the same in every version (raw: but for the CRC32 of RAM; labelled: but
for who gave the labels)."""
MORE = {
    "v2-raw": "c7ad08ed3484c79f4259fb4c1de51fb2",
    "v3-raw": "c7ad08ed3484c79f4259fb4c1de51fb2",
    "v3-labelled": "e83f641a34e30af353edbe7354d35e9a",
    "v4-raw": "b792cdc5f7612b646a4daf1bbecf62bf",
    "v4-processed": "af24288eef520ae01044b0b2ed0dbacd",
    "v4-labelled": "0bb0e8f734ea8e13cd0867cdd005dd03",
    "v5-raw": "b792cdc5f7612b646a4daf1bbecf62bf",
    "v5-processed": "af24288eef520ae01044b0b2ed0dbacd",
    "v5-labelled": "0bb0e8f734ea8e13cd0867cdd005dd03",
}
"""Of those that hold more than the files of version 1."""
TODAY = {
    "raw": "b792cdc5f7612b646a4daf1bbecf62bf",
    "processed": "af24288eef520ae01044b0b2ed0dbacd",
    "labelled": "0bb0e8f734ea8e13cd0867cdd005dd03",
}
"""Of the same content, made since the identity leaves out commit, packages and file names."""
FILES = sorted(GOLDEN.glob("v*.h5"))
OLD = [path for path in FILES if not path.name.startswith(f"v{SCHEMA_VERSION}-")]


def make_golden(folder: Path) -> dict[str, Path]:
    """Write the golden files of today's schema: what golden/v5-* were made by."""
    raw, small = folder / "v5-raw.h5", folder / "v5-processed.h5"
    # Level 6 for the native screens only to keep the file small.
    with ShardWriter(raw, make_header(), level=6, start_states=[STATE]) as writer:
        for i, steps in enumerate((3, 18)):
            writer.append(replace(make_episode(steps, i, ram=True), recording=RECORDINGS[i]))
    with ShardWriter(small, processed_header()) as writer:
        for i, steps in enumerate((3, 18)):
            episode = make_episode(steps, i, size=(84, 84))
            writer.append(replace(episode, recording=RECORDINGS[i]))
    with Shard(small) as shard:
        parents = [{"file": "v1-processed.h5", "shard_id": shard.header.shard_id}]
    told = {"stage": "label", "fingerprint": "1" * 64, "parents": parents, "experts": EXPERTS}
    relabel(small, folder / "v5-labelled.h5", EXPERT, STATUS, told, LABELS)
    return {"raw": raw, "processed": small, "labelled": folder / "v5-labelled.h5"}


LATE = sorted((GOLDEN / "v4-late").glob("*.h5"))
"""Of schema version 4 too, by its last writer: whose identity leaves out commit and packages."""


def kind_of(path: Path) -> str:
    return path.stem.partition("-")[2]


def holds_what_it_should(path: Path) -> None:
    kind = kind_of(path).partition("-v")[0]
    size = (160, 240) if kind == "raw" else (84, 84)
    with Shard(path) as shard:
        header = make_header() if kind == "raw" else None
        if header is not None:
            assert replace(shard.header, shard_id="") == header
            assert shard.start_states() == [STATE]
        assert shard.lengths.tolist() == [3, 18]
        for i, steps in enumerate((3, 18)):
            found, low = shard.episode(i), int(shard.starts[i])
            expected = make_episode(steps, i, size=size, ram=found.ram_crc32 is not None)
            expected = replace(expected, recording=found.recording)
            if kind == "labelled":
                expected = replace(
                    expected,
                    expert_actions=EXPERT[low : low + steps],
                    label_status=STATUS[low : low + steps],
                    labels=found.labels and rows_of(LABELS, slice(low, low + steps)),
                )
            assert same(found, expected)


def test_there_are_golden_files_of_every_version_and_kind() -> None:
    expected = [f"v{v}-{kind}.h5" for v in range(1, SCHEMA_VERSION + 1) for kind in IDS]
    assert [path.name for path in FILES] == sorted(expected)
    assert all(path.stat().st_size < 250_000 for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_file_gives_what_was_written(path: Path) -> None:
    holds_what_it_should(path)
    with Shard(path) as shard:
        assert (shard.ram_crc32() is not None) == (path.name[1] > "1" and kind_of(path) == "raw")
        assert (shard.labels() is not None) == (path.name[1] > "2" and kind_of(path) == "labelled")
        known = path.name[1] > "3" or kind_of(path) == "raw"  # there the buttons tell
        assert shard.recordings == (RECORDINGS if known else ["", ""])
        assert (shard.stored("frames").crc32 is not None) == (not path.name.startswith("v1"))
        assert shard.header.shard_id == MORE.get(path.stem, IDS[kind_of(path)])


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_a_golden_file_of_an_older_version_migrates(path: Path, tmp_path: Path) -> None:
    source = shutil.copy(path, tmp_path / path.name)
    before = source.read_bytes()
    migrated = migrate(source)
    assert (migrated.version, migrated.up_to_date) == (int(path.name[1]), False)
    assert migrated.shard == tmp_path / f"{path.stem}-v001.h5"
    assert source.read_bytes() == before
    holds_what_it_should(migrated.shard)
    with Shard(source) as old, Shard(migrated.shard) as new:
        assert new.header == old.header
        apart = {f"episodes/{name}" for name in (*EPISODE_COLUMNS, "root", "recording")}
        moved = {"episodes/final_frame": "final_frames"}
        alike = {moved.get(name, name): name for name in old.stored_names() if name not in apart}
        assert new.stored_names() == sorted(["episodes", *alike])
        for name, before in alike.items():
            one, other = old.stored(before), new.stored(name)
            assert other.crc32 is not None
            for chunk in range(len(one.sizes)):
                stored = one.stored_bytes(old.handle(), chunk)
                assert (stored == other.stored_bytes(new.handle(), chunk)).all()
    again = migrate(source)
    assert (again.shard, again.up_to_date) == (migrated.shard, True)
    assert {p.name for p in tmp_path.glob("*.h5")} == {source.name, migrated.shard.name}


@pytest.mark.parametrize("path", LATE, ids=lambda path: path.stem)
def test_a_shard_of_the_last_writer_of_version_4_migrates_to_what_is_written_today(
    path: Path, tmp_path: Path
) -> None:
    source = shutil.copy(path, tmp_path / "a-v001.h5")
    today = small_shard(tmp_path / "b.h5", path.stem)
    made = migrate(source).shard
    assert content_of(source) == content_of(made) == content_of(today)
    with h5py.File(made) as one, h5py.File(today) as other:
        assert list(one) == list(other)
        assert (one["checksums/datasets"][:] == other["checksums/datasets"][:]).all()
        assert (one["checksums/chunks"][:] == other["checksums/chunks"][:]).all()


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_stock_tools_read_a_migrated_file(path: Path, tmp_path: Path) -> None:
    migrated = migrate(shutil.copy(path, tmp_path / path.name)).shard

    def tool(*command: str) -> str:
        done = subprocess.run([*command, str(migrated)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout

    listed = tool("h5ls", "-r")
    with h5py.File(migrated) as file:
        chunks = len(file["checksums/chunks"])
        assert f"/checksums/chunks        Dataset {{{chunks}}}" in listed
        assert f"({file['checksums/chunks'][0]}, " in _flat(
            tool("h5dump", "-d", "/checksums/chunks")
        )
        actions = ", ".join(map(str, file["actions"][:].tolist()))
    assert actions in _flat(tool("h5dump", "-w", "0", "-d", "/actions"))


def _flat(dump: str) -> str:
    return " ".join(dump.replace("(0): ", "(").split())


@pytest.mark.parametrize("kind", IDS)
def test_the_writer_of_today_gives_the_golden_files(kind: str, tmp_path: Path) -> None:
    with (
        h5py.File(GOLDEN / f"v{SCHEMA_VERSION}-{kind}.h5") as golden,
        h5py.File(make_golden(tmp_path)[kind]) as made,
    ):
        names = ["dataset", "sha256", "chunks"]
        if imagecodecs.deflate_version() == "libdeflate 1.25":  # the golden files' compressor
            names.append("stored_sha256")
            assert (made["checksums/chunks"][:] == golden["checksums/chunks"][:]).all()
        tables = [file["checksums/datasets"][:] for file in (made, golden)]
        for name in names:
            assert (tables[0][name] == tables[1][name]).all(), name
        found: list[str] = []
        golden.visititems(lambda path, item: found.append(path))
        assert "actions" in found
        for path in found:
            for name in ("description", "unit"):
                assert attribute(made[path], name) == attribute(golden[path], name), (path, name)
        # The golden files keep the identity of their time, and what was made of them names it.
        ours = ("shard_id", "stored_sha256", *(["provenance"] if kind == "labelled" else []))
        for name in golden.attrs.keys() - set(ours):
            assert np.array_equal(attribute(made, name), attribute(golden, name)), name
        assert attribute(made, "shard_id") == TODAY[kind]


def test_an_identity_does_not_tell_commit_machine_or_file_names(tmp_path: Path) -> None:
    played = {"kind": "program", "path": "expert.py", "sha256": "1" * 64}
    network = {"path": "final.pt", "sha256": "2" * 64, "mode": "argmax"}
    told = {
        "stage": "collect",
        "fingerprint": "3" * 64,
        "code_version": "1234567",
        "packages": {"numpy": "1.0"},
        "isolation": "bwrap",
        "game_yaml": "title: a\n",
        "actor": {"expert": played, "checkpoint": network},
        "parents": [{"file": "a.h5", "shard_id": "4" * 32}],
        "experts": {"5" * 16: {**played, "isolation": "trusted"}},
    }

    def made(number: int, **changes: Any) -> str:
        path = tmp_path / f"{number}.h5"
        header = replace(make_header(), provenance={**told, **changes})
        with ShardWriter(path, header, start_states=[STATE]) as writer:
            writer.append(make_episode(3, 0, ram=True))
        assert next(iter(verify([path])))["state"] == "ok"
        return writer.shard_id

    renamed = {**played, "path": "other.py"}
    same_content: list[dict[str, Any]] = [
        {"code_version": "7654321-dirty"},
        {"packages": {"numpy": "2.0", "torch": "2.1"}},
        {"isolation": "trusted"},
        {"game_yaml": "# more\ntitle: a\n"},
        {"actor": {"expert": renamed, "checkpoint": {**network, "path": "copy.pt"}}},
        {"parents": [{"file": "b-v002.h5", "shard_id": "4" * 32}]},
        {"experts": {"5" * 16: {**renamed, "isolation": "bwrap"}}},
    ]
    other_content: list[dict[str, Any]] = [
        {"stage": "evaluate"},
        {"fingerprint": "6" * 64},
        {"actor": {"expert": played, "checkpoint": {**network, "sha256": "7" * 64}}},
        {"actor": {"expert": played, "checkpoint": {**network, "mode": "sampled"}}},
        {"parents": [{"file": "a.h5", "shard_id": "8" * 32}]},
        {"subtask": {"from": None, "to": "far"}},
    ]
    first = made(0)
    numbers = iter(range(1, 100))
    assert [made(next(numbers), **changes) for changes in same_content] == [first] * 7
    others = [made(next(numbers), **changes) for changes in other_content]
    assert len({first, *others}) == 7


def test_a_file_of_a_later_version_is_refused_by_its_version(tmp_path: Path) -> None:
    path = shutil.copy(GOLDEN / "v5-processed.h5", tmp_path / "a-v001.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
        file["mood"] = np.zeros(2)  # whatever a later version brings
        del file["checksums"]
    line = f"{path}: schema version 6, but this pipeline reads up to version 5; update the pipeline"
    for reading in (lambda: Shard(path).header, lambda: migrate(path)):
        with pytest.raises(PipelineError) as error:
            reading()
        assert str(error.value) == line
    assert [p.name for p in tmp_path.iterdir()] == ["a-v001.h5"]
