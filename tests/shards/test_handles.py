"""A shard in the hands of several processes: one descriptor each, nothing of HDF5 left open."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.descriptors import open_files
from tests.shards.factory import make_episode, make_header, raw_shard, write
from tests.shards.hostile import reseal

FIX = "'data verify' lists all damage, 'data salvage' saves what is intact"


def test_a_shard_can_be_used_without_a_with_block_and_again_after_it(tmp_path: Path) -> None:
    shard = Shard(raw_shard(tmp_path / "a.h5"))
    assert shard.n_frames == 28
    shard.close()
    assert shard.read_frames(0, 2).shape == (2, 160, 240, 3)
    shard.close()


def _sum_of(shard: Shard) -> int:
    return int(shard.read_frames(0, 28).sum())


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_an_open_shard_goes_to_another_process(tmp_path: Path, method: str) -> None:
    with Shard(raw_shard(tmp_path / "a.h5")) as shard:
        here = _sum_of(shard)
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(_sum_of, (shard,)) == here
        assert _sum_of(pickle.loads(pickle.dumps(shard))) == here


def test_a_forked_process_opens_the_file_for_itself(tmp_path: Path) -> None:
    with Shard(raw_shard(tmp_path / "a.h5")) as shard:
        here = _sum_of(shard)
        child = os.fork()
        if child == 0:
            os._exit(0 if _sum_of(shard) == here else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert _sum_of(shard) == here


def test_one_descriptor_is_open_while_a_shard_is_and_none_after(tmp_path: Path) -> None:
    paths = [raw_shard(tmp_path / f"{i}.h5", (3,)) for i in range(4)]
    shards = [Shard(path) for path in paths]
    assert [shard.n_frames for shard in shards] == [3] * 4
    assert open_files(tmp_path) == 4
    shards[0].close()
    assert open_files(tmp_path) == 3
    del shards
    assert open_files(tmp_path) == 0


def test_where_the_chunks_lie_can_be_read_by_another_process(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with Shard(path) as shard:
        frames = shard.stored("frames")
        assert pickle.loads(pickle.dumps(shard)).stored("frames").sizes.tolist() == (
            frames.sizes.tolist()
        )
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            read = pool.apply(_read_stored, (pickle.dumps(frames), str(path)))
        assert (read == shard.read_frames(3, 20)).all()
        with pytest.raises(KeyError):
            shard.stored("episodes/mood")


def _read_stored(pickled: bytes, path: str) -> np.ndarray:
    handle = os.open(path, os.O_RDONLY)
    try:
        found: np.ndarray = pickle.loads(pickled).read(handle, 3, 20)
        return found
    finally:
        os.close(handle)


def test_a_file_that_was_replaced_is_checked_again(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    shard = Shard(path)
    assert shard.n_frames == 28
    shard.close()
    raw_shard(tmp_path / "b.h5", (4,)).replace(path)
    assert shard.read_frames(0, 4).shape == (4, 160, 240, 3)
    assert shard.n_frames == 4
    shard.close()


def test_a_bool_that_is_neither_true_nor_false_is_not_passed_on(tmp_path: Path) -> None:
    episode = make_episode(5)
    episode.state["indoors"] = np.zeros(5, np.bool_)
    path = write(tmp_path / "a.h5", make_header(), [episode])
    with h5py.File(path, "r+") as file:
        attributes = dict(file["state/indoors"].attrs)
        del file["state/indoors"]
        made = file["state"].create_dataset("indoors", (5,), "?", chunks=(5,))
        made.id.write_direct_chunk((0,), b"\0\1\0\7\0")
        made.attrs.update(attributes)
    reseal(path)
    with Shard(path) as shard, pytest.raises(PipelineError) as error:
        shard.state("indoors")
    assert str(error.value) == (
        f"{path}: /state/indoors is damaged: it is neither true nor false; {FIX}"
    )
