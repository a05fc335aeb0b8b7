"""A recording and the game that it recorded have two names: /episodes/recording and /episodes/root.

The expert and the student that play one game make two recordings; copies of one, resized, labelled,
cut or merged, say which one they are of.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.labelling.screens import screens_of
from pipeline.shards.format.schema import NO_ACTION, Episode, recording_id
from pipeline.shards.reader import Shard
from pipeline.shards.repair import edit
from pipeline.shards.repair.diff import diff
from pipeline.shards.repair.relabel import relabel
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_episode, make_header, processed_header, write

GOLDEN = Path(__file__).parent / "golden"


def played(button: int, steps: int = 6, seed: int = 1, **changes: bool) -> Episode:
    """A recording of the game ``seed`` in which one button was pressed for ever."""
    episode = make_episode(steps, seed, size=(84, 84), **changes)
    actions = np.full(steps, button, np.uint8)
    return replace(episode, actions=actions, recording=recording_id(episode.root, actions))


def small(path: Path, *episodes: Episode) -> Path:
    return write(path, processed_header(), list(episodes))


def raw(path: Path, episode: Episode, fingerprint: str) -> Path:
    native = make_episode(len(episode), episode.seed)
    told = {**make_header().provenance, "fingerprint": fingerprint}
    native = replace(native, actions=episode.actions)
    return write(path, replace(make_header(), provenance=told), [native], [b"state"])


def test_what_is_stored_is_read_back_and_a_copy_keeps_it(tmp_path: Path) -> None:
    path = small(tmp_path / "a-84-v001.h5", played(0), played(1))
    one, other = played(0).recording, played(1).recording
    with Shard(path) as shard:
        assert shard.recordings == [one, other]
        assert shard.roots[0] == shard.roots[1]
    none = np.full(12, NO_ACTION, np.uint8)
    copy = tmp_path / "a-labelled-v001.h5"
    relabel(path, copy, none, np.full(12, 3, np.uint8), {"stage": "label"})
    chosen = edit.filter_shard(copy, edit.Criteria(episodes=(1,)))["shard"]
    cut = replace(played(1), recording=other)
    assert Shard(copy).recordings == [one, other]
    assert Shard(chosen).recordings == [other]
    assert cut.recording == other


def test_merge_keeps_two_recordings_of_one_game_and_refuses_one_twice(tmp_path: Path) -> None:
    expert = small(tmp_path / "expert-84-v001.h5", played(0))
    student = small(tmp_path / "student-84-v001.h5", played(1))
    both = edit.merge([expert, student], "both")
    assert Shard(both["shard"]).recordings == [played(0).recording, played(1).recording]
    # A copy without a step is of the same recording.
    cut = replace(played(1, 5), recording=played(1).recording)
    again = small(tmp_path / "again-84-v001.h5", cut)
    with pytest.raises(PipelineError) as error:
        edit.merge([expert, student, again], "all")
    assert str(error.value) == (
        f"{again}: episode 0 is of the recording power_on-00000001 that episode 0 of {student} is "
        "of; say which to keep: --keep first or last"
    )
    last = edit.merge([expert, student, again], "last", keep="last")
    assert (last["left_out"], Shard(last["shard"]).lengths.tolist()) == (1, [6, 5])


def test_an_older_file_may_be_of_any_recording_of_its_game(tmp_path: Path) -> None:
    """Of a raw one the buttons tell; a processed one may lack some."""
    with Shard(GOLDEN / "v3-raw.h5") as shard:
        roots, recordings = shard.roots, shard.recordings
        actions = [shard.episode(i, frames=False).actions for i in range(2)]
        assert recordings == list(map(recording_id, roots, actions))
    old = small(tmp_path / "old-84-v001.h5", replace(played(0), recording=""))
    new = small(tmp_path / "new-84-v001.h5", played(1))
    with h5py.File(old) as file:
        assert "recording" not in file["episodes"].dtype.names
    assert Shard(old).recordings == [""]
    with pytest.raises(PipelineError, match="say which to keep: --keep first or last"):
        edit.merge([old, new], "both")
    first = edit.merge([old, new], "both", keep="first")["shard"]
    assert Shard(first).recordings == [""]


def test_diff_compares_labels_of_one_recording_and_says_where_only_the_game_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = small(tmp_path / "a-84-v001.h5", played(0, labelled=True), played(2, seed=2, labelled=True))
    b = small(tmp_path / "b-84-v001.h5", played(1, labelled=True), played(2, seed=2, labelled=True))
    assert main(["data", "diff", str(a), str(b)]) == 0
    told = diff(a, b)
    assert (told["steps"], told["same_game"], told["unmatched_a"]) == (6, 1, 6)
    assert (
        f"1 episodes of {a} are of games that {b} has other recordings of; their labels are not "
        "compared\n"
    ) in capsys.readouterr().out
    alone = small(tmp_path / "alone-84-v001.h5", played(3, 4, labelled=True))
    with pytest.raises(PipelineError) as error:
        diff(a, alone)
    assert str(error.value) == (
        f"{a}, {alone}: no recording in common (1 of the games are the same, but played "
        "otherwise), so there is nothing to compare; give two shards that descend from one"
    )


def test_screens_are_those_of_the_recording_and_not_of_another_of_its_game(tmp_path: Path) -> None:
    parents = []
    for button, name in enumerate(("expert", "student")):
        path = raw(tmp_path / f"{name}-raw-v001.h5", played(button), name[0] * 64)
        parents.append({"file": path.name, "shard_id": Shard(path).header.shard_id})
    header = processed_header()
    header = replace(header, provenance={**header.provenance, "parents": parents})
    merged = write(tmp_path / "both-84-v001.h5", header, [played(0), played(1)])
    with Shard(merged) as shard, screens_of(shard, "native") as gallery:
        looks = gallery(np.array([0, 6]))
        assert looks is not None
        assert [look.shape for look in (looks[0], looks[1])] == [(160, 240, 3)] * 2


def test_what_is_no_identity_is_neither_written_nor_read(tmp_path: Path) -> None:
    wrong = replace(played(0), recording="mine")
    with (
        pytest.raises(ValueError, match="recording 'mine' is no identity"),
        ShardWriter(tmp_path / "a-v001.h5", processed_header()) as writer,
    ):
        writer.append(wrong)
    assert list(tmp_path.iterdir()) == []
