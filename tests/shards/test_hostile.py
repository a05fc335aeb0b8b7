"""Files made to hurt: each is refused with one line, and no memory is given for what it claims."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.shards.format.index import attribute
from pipeline.shards.format.schema import layout, stored_id
from pipeline.shards.format.stored import stored_dataset
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_episode, make_header, raw_shard, write
from tests.shards.hostile import reseal

SCREEN = (160, 240, 3)
Change = Callable[[h5py.File], None]


def refused(path: Path) -> str:
    """The line; checked on the way: it took no more memory than a small shard needs."""
    tracemalloc.start()
    try:
        with pytest.raises(PipelineError) as error, Shard(path):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert "\n" not in str(error.value)
    return str(error.value)


def changed(tmp_path: Path, change: Change) -> Path:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def anew(name: str, **how: object) -> Change:
    """Another dataset in the place of ``name``; ``chunk`` are the stored bytes of its first."""

    def change(file: h5py.File) -> None:
        del file[name]
        fields = dict(how)
        chunk, mask = fields.pop("chunk", None), fields.pop("mask", 0)
        dataset = file.create_dataset(name, **fields)
        if chunk is not None:
            dataset.id.write_direct_chunk((0,) * dataset.ndim, chunk, filter_mask=mask)

    return change


def zeros(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def odd_type(file: h5py.File) -> None:
    twelve = h5py.h5t.STD_U16LE.copy()
    twelve.set_precision(12)
    del file["state/x"]
    space = h5py.h5s.create_simple((28,))
    h5py.h5d.create(file["state"].id, b"x", twelve, space).write(
        h5py.h5s.ALL, h5py.h5s.ALL, np.zeros(28, "u2")
    )


def loop(file: h5py.File) -> None:
    file["state/loop"] = file["state"]
    file["state/top"] = file["/"]


def link(name: str, to: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = to

    return change


NOT_STORED = "has rows that are not stored in the file"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            anew("actions", shape=(28,), maxshape=(1 << 62,), chunks=(1 << 31,), dtype="u1"),
            f"/actions {NOT_STORED}",
        ),
        (
            anew(
                "actions",
                shape=(28,),
                maxshape=(None,),
                chunks=(1 << 31,),
                dtype="u1",
                compression=1,
                chunk=zeros(1 << 20),
            ),
            "/actions has chunks too small for their rows",
        ),
        (
            anew(
                "state/x",
                shape=(28, 1 << 20, 1 << 10),
                chunks=(1, 1 << 20, 1 << 10),
                dtype="u1",
            ),
            f"/state/x {NOT_STORED}",
        ),
        (
            anew("state/x", shape=(28, 1 << 50), chunks=(1, 1 << 10), dtype="u1"),
            "/state/x has chunks of more than 4 GiB",
        ),
        (anew("state/x", shape=(1 << 60, 0), dtype="u1"), f"has {1 << 60} rows, but /frames has"),
        (anew("state/x", shape=(1 << 40,), dtype="u1"), "/state/x has chunks of more than 4 GiB"),
        (anew("state/x", shape=(1 << 30,), dtype="u1"), f"/state/x {NOT_STORED}"),
        (
            anew(
                "frames",
                data=np.zeros((28, *SCREEN), "u1"),
                chunks=(16, 80, 240, 3),
                compression=1,
            ),
            "/frames has chunks that cut through rows",
        ),
        (
            anew("frames", data=np.zeros((28, *SCREEN), "u1"), chunks=(16, *SCREEN), shuffle=True),
            "/frames has filters other than gzip",
        ),
        (
            anew(
                "actions",
                shape=(28,),
                chunks=(28,),
                dtype="u1",
                compression=1,
                chunk=bytes(28),
                mask=1,
            ),
            f"/actions {NOT_STORED}",
        ),
        (anew("actions", shape=(28,), chunks=(28,), dtype="u1", chunk=b"short"), "too small for"),
        (anew("episodes/root", shape=(2,), dtype="S2000000000"), f"/episodes/root {NOT_STORED}"),
        (
            anew(
                "episodes/root",
                shape=(2,),
                dtype="S1000000000",
                chunks=(2,),
                compression=1,
                chunk=zeros(1000),
            ),
            "/episodes/root has chunks too small for their rows",
        ),
        (odd_type, "/state/x is stored in another type than uint16"),
        (anew("state/x", data=np.zeros(28, "c8")), "/state/x is complex64, not numbers"),
        (anew("state/x", data=np.zeros(28, "i2,i2")), "not numbers"),
        (loop, "/state/loop is missing; /state/top is missing"),
        (link("frames", h5py.SoftLink("/frames")), "/frames is missing"),
        (link("episodes", h5py.SoftLink("/episodes")), "/episodes/final_frame is missing"),
        (link("episodes", h5py.ExternalLink("b.h5", "/")), "/episodes/final_frame is missing"),
        (
            anew("terminated", shape=(28,), chunks=(28,), dtype="?", chunk=b"\7" * 28),
            "/terminated is neither true nor false at 0",
        ),
    ],
)
def test_a_file_that_claims_what_it_has_not_is_refused(
    tmp_path: Path, change: Change, what: str
) -> None:
    path = changed(tmp_path, change)
    reseal(path)
    said = refused(path)
    assert said.startswith(f"{path}: not a valid shard (")
    assert what in said


def test_rows_of_nothing_cost_nothing(tmp_path: Path) -> None:
    path = changed(tmp_path, anew("state/x", shape=(28, 0), dtype="u1"))
    reseal(path)
    with Shard(path) as shard:
        assert shard.state("x").shape == (28, 0)


def test_chunks_that_lie_on_one_another_are_refused(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with h5py.File(path) as file:
        first, second = (file["frames"].id.get_chunk_info(i).byte_offset for i in (0, 1))
    data = path.read_bytes()
    assert data.count(struct.pack("<Q", second)) == 1
    path.write_bytes(data.replace(struct.pack("<Q", second), struct.pack("<Q", first)))
    assert "/frames has chunks outside the file, or that overlap" in refused(path)


@pytest.mark.parametrize("where", [1 << 40, (1 << 64) - 2])
def test_chunks_outside_the_file_are_refused(tmp_path: Path, where: int) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with h5py.File(path) as file:
        second = file["frames"].id.get_chunk_info(1).byte_offset
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<Q", second), struct.pack("<Q", where)))
    assert "/frames has chunks outside the file, or that overlap" in refused(path)


def header(name: str, value: object) -> Change:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        file.attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (header("format", np.zeros(3)), "an HDF5 file, but no shard of pokemon-il"),
        (header("complete", np.ones(3)), "incomplete, its writer never finished"),
        (header("schema_version", np.ones(3)), "schema version array([1., 1., 1.]) does not exist"),
        (header("kind", ["raw", "raw"]), "kind array(['raw', 'raw'], dtype=object)"),
        (header("actions", "A"), "attribute 'actions' is no list"),
        (header("actions", [f"B{i}" for i in range(256)]), "256 actions, more than 255"),
        (header("milestones", [str(i) for i in range(1001)]), "1001 milestones, more than 1000"),
        (header("provenance", '{"a":' + "[" * 300_000), "provenance is no JSON object"),
        (header("provenance", '{"parents": ["a.h5"]}'), "parents that are no list of objects"),
        (header("timing", '{"hold": "long"}'), "timing must be whole numbers"),
        (
            header(
                "frame_contract",
                json.dumps(
                    dict.fromkeys(("height", "width"), 8) | {"resampling": [], "colour": {}}
                ),
            ),
            "frame_contract",
        ),
        (header("game", b"\xff\xfe"), "the header is not valid (text that is no UTF-8)"),
    ],
)
def test_a_header_made_to_hurt_is_refused(tmp_path: Path, change: Change, what: str) -> None:
    path = changed(tmp_path, change)
    said = refused(path)
    assert said.startswith(f"{path}: ")
    assert what in said


def test_an_attribute_as_large_as_a_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:  # in older files none is above 64 KiB
        file.attrs["format"] = "pokemon-il"
        file.attrs["provenance"] = np.zeros(1 << 24, "u1")
    assert refused(path) == (f"{path}: the header is damaged; make the shard anew, or leave it out")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda file: file.pop("checksums"), "/checksums/frames is missing"),
        (lambda file: file.pop("checksums/state/x"), "/checksums/state/x is missing"),
        (
            anew("checksums/frames", data=np.zeros(3, "<u4")),
            "/checksums/frames is uint32 (3,), not uint32 (2,)",
        ),
        (
            anew("checksums/frames", data=np.zeros(2, "<i8")),
            "/checksums/frames is int64 (2,), not uint32 (2,)",
        ),
        (anew("checksums/frames", shape=(2,), dtype="<u4"), f"/checksums/frames {NOT_STORED}"),
        (anew("ram_crc32", data=np.zeros(28, "u1")), "/ram_crc32 is uint8, not uint32"),
        (anew("ram_crc32", data=np.zeros(27, "<u4")), "/ram_crc32 has 27 rows, but /frames has 28"),
        (lambda file: file.pop("labels/score"), "/labels/score is missing"),
        (anew("labels", data=np.zeros(28)), "/labels/expert is missing"),
        (anew("labels/time", data=np.zeros(28, "f4")), "/labels/time is float32, not float64"),
        (anew("labels/expert", data=np.zeros(28, "S9")), "/labels/expert is |S9, not |S16"),
        (anew("labels/reason", data=np.zeros((28, 2), "S96")), "/labels/reason has rows (2,), not"),
        (anew("labels/dollars", data=np.zeros(27, "f4")), "/labels/dollars has 27 rows, but"),
        (anew("labels/reason", shape=(28,), dtype="S96"), f"/labels/reason {NOT_STORED}"),
        (
            anew("labels/reason", data=["x"] * 28, dtype=h5py.string_dtype()),
            "/labels/reason is object, not |S96",
        ),
        (lambda file: file["labels/reason"].attrs.modify("sha256", "0" * 64), "is not as written"),
        (
            lambda file: file["labels/time"].attrs.modify("stored_sha256", "0" * 64),
            "the shape, the type or the stored_sha256 of a dataset is not as written",
        ),
        (header("stored_sha256", "0" * 64), "is not as written"),
        (header("shard_id", "0" * 32), "the header, or the sha256 of a dataset, is not as written"),
    ],
)
def test_a_file_whose_checksums_are_not_those_of_its_chunks_is_refused(
    tmp_path: Path, change: Change, what: str
) -> None:
    path = tmp_path / "a.h5"
    made = [make_episode(n, i, ram=True, labels=True) for i, n in enumerate((5, 23))]
    write(path, make_header(), made)
    with h5py.File(path, "r+") as file:
        change(file)
    said = refused(path)
    assert said.startswith(f"{path}: not a valid shard (")
    assert what in said


@pytest.mark.parametrize(
    "change",
    [
        header("milestones", ["left_hume", "badge"]),
        header("actions", ["A", "B", "DOWN", "UP"]),
        header("timing", '{"hold":4,"release":7}'),
        lambda file: file["state"].move("x", "y"),
        lambda file: file["frames"].attrs.modify("stored_sha256", "0" * 64),
        lambda file: file["frames"].attrs.modify("sha256", "0" * 64),
    ],
)
def test_what_hdf5_does_not_protect_is_compared_too(tmp_path: Path, change: Change) -> None:
    path = changed(tmp_path, change)
    assert "not a valid shard (" in refused(path)


def test_a_type_that_was_changed_in_its_place_is_noticed(tmp_path: Path) -> None:
    """The variable x is i2; were it read as u2, no CRC32 would tell."""
    path = changed(tmp_path, lambda file: None)
    with Shard(path) as shard:
        values = shard.state("x")
    with h5py.File(path, "r+") as file:
        chunk = file["state/x"].id.read_direct_chunk((0,))[1]
        attributes = dict(file["state/x"].attrs)
        del file["state/x"]
        made = file["state"].create_dataset(
            "x", (28,), "<u2", maxshape=(None,), chunks=(4096,), compression=4
        )
        made.id.write_direct_chunk((0,), chunk)
        made.attrs.update(attributes)
        assert (made[:] == values.view("u2")).all()
    assert refused(path) == (
        f"{path}: not a valid shard (the shape, the type or the stored_sha256 of a dataset is "
        "not as written); make the shard anew, or leave it out"
    )


def test_the_identity_of_a_file_is_the_sha256_that_the_schema_describes(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with Shard(path) as shard, h5py.File(path) as file:
        layouts = {}
        for name in shard.stored_names():
            dataset = file[name]
            lengths = dataset.attrs["lengths"].tolist() if name == "start_states" else ()
            digest = str(attribute(dataset, "stored_sha256"))
            layouts[f"/{name}"] = layout(digest, dataset.dtype, dataset.shape, lengths)
            found = stored_dataset(dataset, None, path.stat().st_size)
            assert (found.offsets == shard.stored(name).offsets).all()
        assert attribute(file, "stored_sha256") == stored_id(shard.header, layouts)
