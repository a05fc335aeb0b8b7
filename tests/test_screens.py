"""An expert that looks at the console's own screens gets those of the very steps it is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import label, preprocess
from pipeline.labelling.screens import screens_of
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.shards.repair import edit
from pipeline.shards.repair.salvage import save
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.scripted import Scripted, put_in
from tests.shards.factory import make_episode, make_header, raw_shard, write, write_game
from tests.shards.small import damage


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    game = write_game(tmp_path / "tiny")
    folder = tmp_path / "datasets" / "tiny"
    raw_shard(folder / "a-raw-v001.h5", (5, 23, 40))
    made = Settings.model_validate(
        {
            "game": str(game),
            "paths": {"datasets": tmp_path / "datasets"},
            "preprocess": {"workers": 1},
            "label": {"workers": 1},
            "expert": {"kind": "model"},
        }
    )
    return change(made, label={"shards": preprocess.run(made).shards})


def native(path: Path | str, rows: np.ndarray) -> np.ndarray:
    with Shard(path) as shard, screens_of(shard, "native") as gallery:
        looks = gallery(rows)
        assert looks is not None
        return np.stack([looks[i] for i in range(len(looks))])


def frames(path: Path) -> np.ndarray:
    with Shard(path) as shard:
        return shard.read_frames(0, shard.n_frames)


def refused(path: Path | str) -> str:
    with pytest.raises(PipelineError) as error:
        native(path, np.arange(1))
    return str(error.value)


def test_the_raw_shard_is_found_through_every_generation(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.shard_folder("tiny")
    screens = frames(folder / "a-raw-v001.h5")
    small = settings.label.shards[0]
    rows = np.array([0, 4, 5, 27, 28, 67])
    assert (native(small, rows) == screens[rows]).all()
    expert = Scripted(screens="native")
    put_in(monkeypatch, expert)
    labelled = label.run(settings).shards[0]
    assert (np.stack(expert.seen) == screens).all()
    assert (native(labelled, rows) == screens[rows]).all()
    chosen = edit.filter_shard(Path(labelled), edit.Criteria(episodes=(2, 0)))["shard"]
    assert (native(chosen, np.arange(45)) == screens[np.r_[0:5, 28:68]]).all()
    (folder / "a-raw-v001.h5").rename(folder / "moved.h5")  # the identity counts, not the name
    assert (native(chosen, np.arange(45)) == screens[np.r_[0:5, 28:68]]).all()


def test_each_chunk_is_decoded_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []
    read = Shard.read_frames

    def counted(self: Shard, start: int, stop: int) -> np.ndarray:
        reads.append((start, stop))
        return read(self, start, stop)

    with Shard(settings.label.shards[0]) as shard, screens_of(shard, "native") as gallery:
        looks = gallery(np.array([1, 2, 15, 16, 67]))
        assert looks is not None
        monkeypatch.setattr(Shard, "read_frames", counted)
        assert [looks[i].shape for i in range(len(looks))] == [(160, 240, 3)] * 5
    assert reads == [(0, 16), (16, 32), (64, 68)]


def test_a_raw_shard_that_is_gone_is_named(settings: Settings) -> None:
    small, folder = settings.label.shards[0], settings.shard_folder("tiny")
    with Shard(folder / "a-raw-v001.h5") as shard:
        identity = shard.header.shard_id[:12]
    (folder / "a-raw-v001.h5").unlink()
    assert refused(small) == (
        f"{small}: the expert looks at the console's own screens, and those of "
        f"power_on-00000000 lie in a-raw-v001.h5 ({identity}), which is not in {folder}; "
        "bring it back, or label shards that were made of recordings that are there"
    )


def test_steps_that_were_left_out_are_not_guessed(settings: Settings) -> None:
    mine = change(settings, preprocess={"drop_null_actions": True})
    folder = settings.shard_folder("tiny")
    still = make_episode(6, 3)
    still.frames[2] = still.frames[3] = still.frames[4]
    for values in still.state.values():
        values[2] = values[3] = values[4]
    write(folder / "s-raw-v001.h5", make_header(), [still], [b"state"])
    shards = preprocess.run(change(mine, preprocess={"shards": [str(folder / "s-raw-v001.h5")]}))
    small = shards.shards[0]
    assert refused(small) == (
        f"{small}: episode 0 has 4 of the 6 steps that s-raw-v001.h5 has, so that the console's "
        "own screens cannot be told apart; preprocess it without preprocess.drop_null_actions"
    )


def test_screens_of_a_salvaged_shard_are_found_though_the_damaged_one_is_gone(
    settings: Settings,
) -> None:
    small = Path(settings.label.shards[0])
    damage(small, "frames", 0)  # the first two episodes
    saved = save(small, stem="saved-84")["shard"]
    small.unlink()
    screens = frames(settings.shard_folder("tiny") / "a-raw-v001.h5")
    assert (native(saved, np.arange(40)) == screens[28:]).all()
