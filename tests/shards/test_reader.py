"""No reader trusts a file: what a good shard gives, and what a bad one says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.shards.format.frames import FrameContract
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.shards.factory import (
    make_episode,
    make_header,
    raw_shard,
    write,
)
from tests.shards.hostile import reseal

ANEW = "make the shard anew, or leave it out"
FIX = "'data verify' lists all damage, 'data salvage' saves what is intact"


def error_of(path: Path) -> str:
    with pytest.raises(PipelineError) as error, Shard(path):
        pass
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_columns_of_episodes_are_at_hand(tmp_path: Path) -> None:
    with Shard(raw_shard(tmp_path / "a.h5", (5, 23))) as shard:
        assert (shard.n_frames, shard.n_episodes) == (28, 2)
        assert shard.starts.tolist() == [0, 5]
        assert shard.lengths.tolist() == [5, 23]
        assert shard.seeds.tolist() == [0, 1]
        assert shard.success.tolist() == [True, True]
        assert shard.splits.tolist() == [0, 0]
        assert shard.roots == ["power_on-00000000", "power_on-00000001"]
        assert shard.milestones.tolist() == [[2, -1], [2, -1]]
        assert shard.returns.tolist() == [make_episode(5, 0).return_, make_episode(23, 1).return_]
        assert (shard.final_frames[1] == make_episode(23, 1).final_frame).all()
        assert shard.state_names == ("map", "x")
        assert (shard.state("x", 5, 28) == make_episode(23, 1).state["x"]).all()
        assert (shard.column("actions")[5:] == make_episode(23, 1).actions).all()


def test_start_states_come_back_byte_for_byte(tmp_path: Path) -> None:
    states = [b"\0\1\2" * 100, b"", b"short\0"]
    path = write(tmp_path / "a.h5", make_header(), [make_episode(3)], states)
    with Shard(path) as shard:
        assert shard.start_states() == states


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4), block=st.integers(1, 40))
def test_transitions_are_every_step_with_the_screen_after_it(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], block: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.h5"
    header = make_header(frame_contract=FrameContract(8, 8, "none"))
    ends = ("terminated", "truncated", "broken")
    episodes = [make_episode(n, i, size=(8, 8), ends=ends[i % 3]) for i, n in enumerate(lengths)]
    write(path, header, episodes)
    with Shard(path) as shard:
        found = list(shard.transitions(block))
    assert len(found) == sum(lengths)
    at = 0
    for number, episode in enumerate(episodes):
        after = np.concatenate([episode.frames[1:], episode.final_frame[None]])
        for i in range(len(episode)):
            frame, action, reward, next_frame, done = found[at]
            assert (frame == episode.frames[i]).all()
            assert (next_frame == after[i]).all()
            assert (action, reward) == (episode.actions[i], episode.rewards[i])
            assert done == (i == len(episode) - 1 and ends[number % 3] != "broken")
            at += 1


def test_an_unknown_state_variable_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5")
    with Shard(path) as shard, pytest.raises(PipelineError) as error:
        shard.state("money")
    assert str(error.value) == (
        f"{path}: no state variable 'money' was recorded; there are: map, x"
    )


# What cannot be a shard at all


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    assert error_of(path) == f"{path}: no such shard; see which there are with: data ls"


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no shard", b"\x89HDF\r\n\x1a"])
def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert error_of(path) == f"{path}: not an HDF5 file, so no shard; {ANEW}"


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.9999])
def test_a_truncated_shard_is_refused(tmp_path: Path, share: float) -> None:
    path = raw_shard(tmp_path / "a.h5")
    size = int(path.stat().st_size * share)
    os.truncate(path, size)
    assert error_of(path) == f"{path}: truncated, only {size} bytes are left of it; {ANEW}"


def test_a_foreign_hdf5_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["data/demo_0/actions"] = np.zeros(3)
    assert error_of(path) == (
        f"{path}: an HDF5 file, but no shard of pokemon-il (attribute 'format' is missing or "
        "another); leave it out"
    )


def test_a_shard_of_a_newer_schema_is_refused_with_both_versions(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 7
        del file["frames"]  # whatever a later version changes, the version is named first
    assert error_of(path) == (
        f"{path}: schema version 7, but this pipeline reads up to version 5; update the pipeline"
    )


@pytest.mark.parametrize("version", [0, -1, 1.5, "1"])
def test_a_schema_version_that_never_was_is_refused(tmp_path: Path, version: object) -> None:
    path = raw_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = version
    assert error_of(path).startswith(f"{path}: schema version ")
    assert error_of(path).endswith(f" does not exist; {ANEW}")


def test_an_incomplete_shard_is_refused(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["complete"]
    assert error_of(path) == f"{path}: incomplete, its writer never finished; {ANEW}"


def attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (attribute("game", None), "attribute 'game'"),
        (attribute("actions", None), "attribute 'actions'"),
        (attribute("kind", "cooked"), "kind 'cooked'"),
        (attribute("game", 3), "game, rom_sha1, shard_id, actions and milestones must be text"),
        (attribute("timing", "[]"), "timing is no JSON object"),
        (attribute("frame_contract", json.dumps({"height": 84})), "frame_contract has height"),
        (attribute("frame_contract", "{"), "frame_contract is no JSON object"),
        (
            attribute(
                "frame_contract",
                json.dumps({"height": 0, "width": 1 << 40, "resampling": "", "colour": "RGB"}),
            ),
            "frame_contract 0x1099511627776",
        ),
    ],
)
def test_a_header_that_is_not_valid_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], what: str
) -> None:
    path = raw_shard(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    said = error_of(path)
    assert said.startswith(f"{path}: the header is not valid (")
    assert said.endswith(f"); {ANEW}")
    assert what in said


# What contradicts itself


def assign(name: str, index: object, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][index] = value

    return change


def of_episode(name: str, index: object, value: object) -> Callable[[h5py.File], None]:
    """Another value in a column of the table /episodes."""

    def change(file: h5py.File) -> None:
        table = file["episodes"][:]
        table[name][index] = value
        file["episodes"][:] = table

    return change


def without_column(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        table = file["episodes"][:]
        del file["episodes"]
        file["episodes"] = table[[one for one in table.dtype.names if one != name]].copy()

    return change


def exchange(name: str, **fields: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        if fields:
            file.create_dataset(name, **fields)

    return change


def shorten(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name].resize(len(file[name]) - 1, axis=0)

    return change


def lengthen(file: h5py.File) -> None:
    file["rewards"].resize(1 << 60, axis=0)  # would be four exabytes in memory


def link_out(file: h5py.File) -> None:
    del file["actions"]
    file["actions"] = h5py.ExternalLink("/etc/other.h5", "actions")


def link_round(file: h5py.File) -> None:
    del file["state"]
    file["state"] = h5py.SoftLink("/state")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((28,), "u1")
    layout[:] = h5py.VirtualSource("nowhere.h5", "actions", (28,))
    del file["actions"]
    file.create_virtual_dataset("actions", layout)


SCREEN = (160, 240, 3)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (exchange("frames"), "/frames is missing"),
        (exchange("state"), "/state is missing"),
        (without_column("seed"), "/episodes has another column 'seed' than it should have"),
        (exchange("episodes"), "/episodes is missing or no table"),
        (exchange("final_frames"), "/final_frames is missing"),
        (without_column("root"), "/episodes has no column 'root' of text"),
        (exchange("actions", data=np.zeros(28, "f4")), "/actions is float32, not uint8"),
        (exchange("actions", data=np.zeros((28, 2), "u1")), "/actions has rows (2,), not ()"),
        (
            exchange("frames", data=np.zeros((28, 84, 84, 3), "u1")),
            "/frames has rows (84, 84, 3), not (160, 240, 3)",
        ),
        (
            exchange("frames", shape=(28, *SCREEN), chunks=(16, *SCREEN), dtype="u1"),
            "/frames has rows that are not stored in the file",
        ),
        (exchange("state/x", data=[b"a"] * 28), "/state/x is object, not numbers"),
        (exchange("state/x", data=3), "/state/x is no column"),
        (shorten("rewards"), "/rewards has 27 rows, but /frames has 28"),
        (shorten("frames"), "/actions has 28 rows, but /frames has 27"),
        (shorten("state/map"), "/state/map has 27 rows, but /frames has 28"),
        (
            shorten("final_frames"),
            "/final_frames has 1 rows, but there are 2 episodes",
        ),
        (lengthen, "/rewards has rows that are not stored in the file"),
        (link_out, "/actions is missing"),
        (link_round, "/state is missing"),
        (virtual, "/actions has rows that are not stored in the file"),
        (of_episode("start", 1, 4), "episode 1 starts at step 4, not 5"),
        (of_episode("start", slice(None), [5, 0]), "episode 0 starts at step 5, not 0"),
        (of_episode("start", 1, 1 << 63), "episode 1 starts at step 9223372036854775808, not"),
        (of_episode("length", 0, 0), "episode 0 has no steps"),
        (of_episode("length", 1, 24), "the episodes have 29 steps, but there are 28 frames"),
        (of_episode("length", 1, (1 << 32) - 1), "the episodes have 4294967300 steps"),
        (assign("actions", 9, 4), "/actions is not below 4 at 9"),
        (assign("expert_actions", 9, 77), "/expert_actions is not below 4 at 9"),
        (assign("expert_actions", 9, 2), "/label_status contradicts /expert_actions at 9"),
        (assign("label_status", 9, 1), "/label_status contradicts /expert_actions at 9"),
        (assign("label_status", 9, 6), "/label_status is above 5 at 9"),
        (assign("terminated", 9, True), "/terminated is set before the end of an episode at 9"),
        (assign("truncated", 0, True), "/truncated is set before the end of an episode at 0"),
        (assign("rewards", 3, np.nan), "/rewards is not finite at 3"),
        (of_episode("root", 1, b"\xff\xfe"), "/episodes/root is no text at 1"),
        (of_episode("split", 1, 2), "/episodes/split is neither 0 nor 1 at 1"),
        (of_episode("milestones", (1, 0), 24), "/episodes/milestones is outside its episode"),
        (of_episode("milestones", (0, 1), -2), "/episodes/milestones is outside its episode"),
        (of_episode("start_state", 1, 1), "/episodes/start_state is not below 1"),
        (exchange("start_states", data=[1.0]), "/start_states is not a table of bytes"),
    ],
)
def test_a_shard_that_contradicts_itself_is_refused(
    tmp_path: Path, change: Callable[[h5py.File], None], what: str
) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with h5py.File(path, "r+") as file:
        change(file)
    reseal(path)
    said = error_of(path)
    assert said.startswith(f"{path}: not a valid shard (")
    assert said.endswith(f"); {ANEW}")
    assert what in said


def test_everything_wrong_with_a_shard_is_said_at_once(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    with h5py.File(path, "r+") as file:
        file["actions"][3] = 9
        file["label_status"][4] = 77
        file["terminated"][6] = True
    reseal(path)
    assert error_of(path) == (
        f"{path}: not a valid shard (/actions is not below 4 at 3; /label_status is above 5 at 4; "
        f"/terminated is set before the end of an episode at 6); {ANEW}"
    )


def test_damaged_frames_are_named_when_they_are_read(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5", (40,))
    with h5py.File(path, "r") as file:
        chunk = file["frames"].id.get_chunk_info(1)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + chunk.size // 2)
        raw.write(b"\xff" * 64)
    with Shard(path) as shard:
        assert shard.read_frames(0, 16).shape == (16, *SCREEN)
        with pytest.raises(PipelineError) as error:
            shard.read_frames(10, 20)
    assert str(error.value) == (
        f"{path}: /frames is damaged in chunk 1, rows 16 to 31: the CRC32 is another; {FIX}"
    )


# What does not fit the others
