"""Every kind of shard opens with Debian's own h5ls and h5dump, and they print what it holds."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.exchange.npz import import_npz
from pipeline.games.loading import load_game
from pipeline.shards.format.attributes import attribute
from pipeline.shards.format.described import DESCRIBED
from pipeline.shards.format.schema import EPISODE_COLUMNS, LABEL_COLUMNS, NO_ACTION, STEP_COLUMNS
from pipeline.shards.repair.merge import merge_parts
from pipeline.shards.repair.relabel import relabel
from pipeline.shards.writer import ShardWriter
from tests.shards.factory import (
    make_episode,
    make_header,
    make_labels,
    processed_header,
    processed_shard,
    raw_shard,
    screens,
    write,
)


def merged(path: Path) -> Path:
    parts = [raw_shard(path.with_name(f"part-{i}.h5"), (4, 17)) for i in range(2)]
    merge_parts(parts, path, make_header())
    return path


def labelled(path: Path) -> Path:
    source = processed_shard(path.with_name("source.h5"), (4, 17))
    expert = np.array([0, NO_ACTION, 3] * 7, np.uint8)
    status = np.array([1, 3, 1] * 7, np.uint8)
    relabel(source, path, expert, status, {"stage": "label", "parents": []}, make_labels(21))
    return path


def imported(path: Path) -> Path:
    npz = path.with_name("e.npz")
    frames = screens(18, (160, 240), np.random.default_rng(0))
    actions, dones = np.arange(17) % 4, np.arange(17) == 16
    np.savez(npz, observations=frames, actions=actions, rewards=np.ones(17), dones=dones)
    import_npz([npz], path, make_header())
    return path


def uncompressed(path: Path) -> Path:
    with ShardWriter(path, make_header(), compression=None) as writer:
        writer.append(make_episode(19))
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    "raw": raw_shard,
    "processed": processed_shard,
    "labelled": labelled,
    "merged": merged,
    "imported": imported,
    "uncompressed": uncompressed,
}


@pytest.fixture(params=KINDS, scope="module")
def shard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS[request.param](tmp_path_factory.mktemp(request.param) / "a.h5")


def tool(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def dumped(shard: Path, dataset: str, *options: str) -> str:
    """What h5dump prints as a dataset's data."""
    text = tool("h5dump", "-y", "-w", "0", "-m", "%.9g", "-d", dataset, *options, str(shard))
    return text.partition("DATA {")[2].partition("}")[0].strip()


def test_h5ls_lists_every_dataset_with_its_shape(shard: Path) -> None:
    listed = {}
    for line in tool("h5ls", "-r", str(shard)).splitlines():
        name, kind, *rest = line.split(maxsplit=2)
        listed[name] = [int(n) for n in re.findall(r"(\d+)(?:/Inf)?[,}]", "".join(rest))]
        assert kind in ("Group", "Dataset")
    expected = {"/": []}
    with h5py.File(shard) as file:
        file.visititems(
            lambda name, item: expected.__setitem__(f"/{name}", list(getattr(item, "shape", ())))
        )
    assert listed == expected
    assert {"/frames", "/episodes", "/final_frames"} <= set(listed)
    assert {f"/{name}" for name in STEP_COLUMNS} <= set(listed)


def test_a_labelled_shard_of_the_game_that_is_included_is_listed_on_one_page(
    tmp_path: Path,
) -> None:
    variables = load_game("quest").variables
    episode = make_episode(4, size=(84, 84), labels=True)
    episode.state = {name: np.zeros(4, np.uint8) for name in variables}
    listed = tool("h5ls", "-r", str(write(tmp_path / "a.h5", processed_header(), [episode])))
    assert len(listed.splitlines()) <= 60
    assert "/checksums/chunks" in listed


def test_h5dump_reads_as_a_manual(shard: Path) -> None:
    text = tool("h5dump", "-A", "-w", "0", str(shard))
    with h5py.File(shard) as file:
        found = {"": file}
        file.visititems(lambda name, item: found.__setitem__(name, item))
        for name, item in found.items():
            said = attribute(item, "description")
            assert f'"{said}"' in text, name
            assert not name or name.partition("/")[0] == "state" or said == DESCRIBED[name].text
        units = {name: attribute(item, "unit") for name, item in found.items()}
        assert {name: unit for name, unit in units.items() if unit} == {
            name: said.unit for name, said in DESCRIBED.items() if said.unit and name in found
        }


def test_h5dump_and_h5py_list_a_file_in_the_order_that_explains_it(shard: Path) -> None:
    text = tool("h5dump", "-n", "-q", "creation_order", str(shard))
    order = [line.split()[-1].lstrip("/") for line in text.splitlines() if " /" in line][1:]
    named = [name for name in order if not name.startswith("state/")]
    assert named == [name for name in DESCRIBED if name in order]
    if h5py.version.version_tuple >= (3, 12):  # 3.11 lists a file's root by name, groups in order
        with h5py.File(shard) as file:
            assert list(file) == [name for name in order if "/" not in name]


def test_h5dump_prints_every_number(shard: Path) -> None:
    with h5py.File(shard) as file:
        names = list(STEP_COLUMNS)
        names += [f"state/{n}" for n in file["state"]]
        if "labels" in file:
            names += [f"labels/{n}" for n, kind in LABEL_COLUMNS.items() if kind.kind != "S"]
        for name in names:
            values = file[name][:]
            printed = re.split(r"[\s,]+", dumped(shard, f"/{name}"))
            if values.dtype == bool:
                assert printed == ["TRUE" if v else "FALSE" for v in values.ravel()], name
            else:
                assert [float(w) for w in printed] == pytest.approx(
                    values.ravel().tolist(), nan_ok=True
                ), name


def test_h5dump_prints_the_pixels_of_the_first_and_the_last_frame(shard: Path) -> None:
    with h5py.File(shard) as file:
        for index in (0, len(file["frames"]) - 1):
            # A corner: for a part of a dataset h5dump unpacks the chunk anew for every pixel.
            frame = file["frames"][index, :8, :10]
            start, count = f"{index},0,0,0", "1,8,10,3"
            data = dumped(shard, "/frames", "-s", start, "-c", count)
            assert [int(n) for n in re.findall(r"\d+", data)] == frame.ravel().tolist()


def test_h5dump_prints_whole_frames(tmp_path: Path) -> None:
    shard = processed_shard(tmp_path / "a.h5", (2,))
    with h5py.File(shard) as file:
        for name in ("frames", "final_frames"):
            printed = re.findall(r"\d+", dumped(shard, f"/{name}"))
            assert (np.array(printed, np.uint8) == file[name][:].ravel()).all()


def test_h5dump_prints_the_header(shard: Path) -> None:
    text = tool("h5dump", "-A", str(shard))
    with h5py.File(shard) as file:
        for name in file.attrs:
            value = attribute(file, name)
            block = text.partition(f'ATTRIBUTE "{name}" {{')[2].partition("ATTRIBUTE")[0]
            if isinstance(value, np.ndarray):
                assert ", ".join(f'"{v}"' for v in value) in block.replace("\\000", "")
            elif isinstance(value, np.bool_):
                assert f"(0): {'TRUE' if value else 'FALSE'}" in block
            else:
                assert str(value) in block, name


def test_h5dump_prints_who_gave_each_label_and_why_there_is_none(tmp_path: Path) -> None:
    shard = labelled(tmp_path / "a.h5")
    with h5py.File(shard) as file:
        for name in ("expert", "reason"):
            texts = [text.decode() for text in file[f"labels/{name}"][:]]
            printed = re.findall(r'"([^"]*)"', dumped(shard, f"/labels/{name}"))
            assert [_as_text(text) for text in printed] == texts


def _as_text(printed: str) -> str:
    """Of what is no ASCII h5dump prints the bytes in octal, with 32 bits each."""
    plain = re.sub(r"\\([0-7]{11}|000)", lambda found: chr(int(found[1], 8) & 255), printed)
    return plain.rstrip("\0").encode("latin-1").decode()


def test_h5dump_prints_the_table_of_episodes(shard: Path) -> None:
    how = ("-y", "-w", "0", "-m", "%.9g", "--onlyattr=0", "-d", "/episodes")
    kind, data = tool("h5dump", *how, str(shard)).split("DATASPACE")
    with h5py.File(shard) as file:
        rows = file["episodes"][:]
    names = [*EPISODE_COLUMNS, "root", *(["recording"] if "recording" in rows.dtype.names else [])]
    assert re.findall(r'"(\w+)";', kind) == names
    printed = [re.split(r",\s+", row.strip()) for row in re.findall(r"\{([^{}]+)\}", data)]
    for row, cells in zip(rows, [one for one in printed if len(one) > 3], strict=True):
        told = [cell.strip("[ ]").strip('"').replace("\\000", "") for cell in cells]
        expected: list[object] = []
        for name in names:
            value = row[name].tolist()
            expected += value if isinstance(value, list) else [value]
        assert [_cell(value) for value in expected] == told


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return value.decode() if isinstance(value, bytes) else f"{value:.9g}"
