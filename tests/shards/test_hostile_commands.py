"""Hostile files through what a person calls: an answer within the limits, on one printable line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.shards.catalog.guard import guarded
from pipeline.shards.reader import Shard
from pipeline.shards.repair.salvage import salvage, save
from pipeline.shards.repair.verify import examine, verify
from pipeline.system.errors import PipelineError, printable
from tests.shards.hostile import reseal
from tests.shards.small import damage, flip, place, small_shard

GOLDEN = Path(__file__).parent / "golden"
ESCAPES = "a\n\x1b]0;owned\x07\x1b[31m\u202e"
Change = Callable[[h5py.File], object]


def anew(name: str, **how: object) -> Change:
    def change(file: h5py.File) -> None:
        file.pop(name, None)
        file.create_dataset(name, **how)

    return change


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((64,), "u1")
    layout[:] = h5py.VirtualSource("nowhere.h5", "actions", (64,))
    del file["actions"]
    file.create_virtual_dataset("actions", layout)


def outside(file: h5py.File) -> None:
    del file["actions"]
    file.create_dataset("actions", (64,), "u1", external=[("/etc/passwd", 0, 64)])


def cycle(file: h5py.File) -> None:
    file["state/again"] = file["/"]
    file["state/up"] = file["state"]


def referring(file: h5py.File) -> None:
    del file["state/x"]
    made = file.create_dataset("state/x", (64,), h5py.ref_dtype)
    made[0] = file.ref


HOSTILE: dict[str, Change] = {
    "a thousand million million rows": anew(
        "actions", shape=(10**15,), dtype="u1", chunks=(1 << 20,)
    ),
    "chunks of 2^29 rows": anew(
        "rewards", shape=(64,), maxshape=(None,), dtype="f4", chunks=(1 << 29,)
    ),
    "virtual": virtual,
    "in another file": outside,
    "a cycle of hard links": cycle,
    "a soft link to itself": lambda file: file.__setitem__("state/y", h5py.SoftLink("/state/y")),
    "an external link": lambda file: file.__setitem__(
        "state/y", h5py.ExternalLink("/dev/zero", "/x")
    ),
    "text for numbers": anew("state/x", data=["a"] * 64),
    "compounds for numbers": anew("state/x", data=np.zeros(64, "i4,f8")),
    "references for numbers": referring,
    "lists for numbers": anew("state/x", shape=(64,), dtype=h5py.vlen_dtype(np.int32)),
    "checksums of a thousand million million chunks": anew(
        "checksums/chunks", shape=(10**15,), dtype="<u4", chunks=(1 << 20,)
    ),
    "checksums that are a folder": lambda file: (
        file.pop("checksums/datasets"),
        file.create_group("checksums/datasets"),
    ),
    "a header that nests": lambda file: file.attrs.__setitem__("provenance", "[" * 100_000),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_told_by_verify_and_costs_salvage_nothing(
    tmp_path: Path, what: str
) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        HOSTILE[what](file)
    with pytest.raises(PipelineError) as error, Shard(path):
        pass
    assert str(error.value).startswith(f"{path}: ")
    try:
        found = examine(path)
    except PipelineError as unreadable:
        found = {"problems": [str(unreadable)]}
    assert found["problems"]
    if what.startswith("checksums"):  # which the identity of the rows can do without
        assert save(path, stem="saved")["lost"] == []
        return
    with pytest.raises(PipelineError) as error:
        save(path, stem="saved")
    assert {p.name for p in tmp_path.iterdir()} <= {"a.h5", ".catalogue"}


def test_a_file_that_hangs_hdf5_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text of variable length lies in a heap; an object of no bytes in it is read for ever."""
    path = Path(shutil.copy(GOLDEN / "v1-raw.h5", tmp_path))
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(data)
    monkeypatch.setattr("pipeline.shards.repair.verify.time_limit", lambda _: 1.0)
    bad, good = verify([path, GOLDEN / "v1-labelled.h5"])
    assert (bad["state"], good["state"]) == ("unreadable", "ok")
    assert bad["problems"] == [
        "reading it hangs (more than 1 s); make the shard anew, or leave it out"
    ]


def test_a_shard_of_today_has_no_such_heap(tmp_path: Path) -> None:
    for kind in ("raw", "processed", "labelled"):
        assert b"GCOL" not in small_shard(tmp_path / f"{kind}.h5", kind).read_bytes()


def test_what_claims_much_memory_is_not_given_it(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        HOSTILE["a thousand million million rows"](file)
    (answer,) = guarded("pipeline.shards.repair.verify:examine", [path], memory=1 << 28)
    assert answer.get()["problems"][0] == "/actions has rows that are not stored in the file"


def test_two_datasets_that_share_their_bytes_each_give_them(tmp_path: Path) -> None:
    """Nothing is gained by it and nothing is wrong in it: it is what both their checksums say."""
    path = small_shard(tmp_path / "a.h5", "labelled")
    (labels, _), (actions, _) = place(path, "expert_actions"), place(path, "actions")
    data = path.read_bytes()
    address = labels.to_bytes(8, "little")
    assert data.count(address) == 1
    path.write_bytes(data.replace(address, actions.to_bytes(8, "little")))
    with Shard(path) as shard:
        assert (shard.column("expert_actions") == shard.column("actions")).all()
    assert examine(path)["problems"] == []


@pytest.mark.parametrize("damaged", [False, True])
def test_names_cannot_write_on_the_terminal(
    tmp_path: Path,
    damaged: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{ESCAPES}.h5"
    small_shard(Path(name))
    with h5py.File(name, "r+") as file:
        file["state"].move("x", ESCAPES.replace("/", ""))
    if damaged:
        flip(Path(name), 30)
    for command in ("verify", "salvage", "show"):
        assert main(["data", command, name]) == 2
        out, error = capsys.readouterr()
        assert error.endswith("\n")
        assert error[:-1].isprintable()
        assert all(line.isprintable() for line in out.splitlines()), command
        assert printable(name) in error


def test_a_name_of_no_known_encoding_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / os.fsdecode(b"\xff\xfe.h5")
    small_shard(path)
    damage(path, "frames")
    assert main(["data", "verify", str(path)]) == 2
    out, error = capsys.readouterr()
    assert "\\udcff\\udcfe.h5; save what is intact" in error
    assert "/frames chunk 0" in out
    with pytest.raises(PipelineError, match=r"--into x/y: a name is expected"):
        salvage(path, "x/y")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "dangling"])
def test_what_is_no_file_is_no_shard(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.h5"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nothing")
    for call in (examine, salvage):
        with pytest.raises(PipelineError) as error:
            call(path)
        assert str(error.value) == f"{path}: no such shard; see which there are with: data ls"


def test_gzip_that_swells_is_read_as_large_as_it_says_and_no_larger(tmp_path: Path) -> None:
    path = small_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["state/x"]
        rows, width = 64, 1 << 20  # 64 MiB of zeros, 64 KiB in the file
        zeros = np.zeros((rows, width), "u1")
        file.create_dataset("state/x", data=zeros, compression=9, chunks=(1, width))
    reseal(path)
    (answer,) = guarded(
        "pipeline.shards.repair.verify:examine", [path], memory=1 << 29, arguments={"deep": True}
    )
    assert path.stat().st_size < 200_000
    assert answer.get()["problems"] == [
        "/state/x has other rows than its sha256 says; which is not known"
    ]
