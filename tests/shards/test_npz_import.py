"""Importing recordings as a whole: the same one twice, files that are not there, the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.exchange.npz import import_episodes
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.shards.factory import write_game
from tests.shards.test_npz_odd import arrays, save


@pytest.fixture
def game(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {"game": str(write_game(tmp_path / "game")), "paths": {"datasets": tmp_path / "datasets"}}
    )


def test_the_same_recording_is_one_episode_whatever_its_name_and_packing(
    tmp_path: Path, game: Settings
) -> None:
    first = save(tmp_path / "a.npz", **arrays())
    copy = tmp_path / "copy.npz"
    copy.write_bytes(first.read_bytes())
    packed = tmp_path / "packed.npz"
    np.savez_compressed(packed, **arrays())
    other = save(tmp_path / "other.npz", **arrays(seed=1))
    done = import_episodes([first, first, copy, packed, other], game)
    assert done["episodes"] == 2
    assert done["remarks"] == [
        f"warning: {first} and 2 more: the same recording as {first}; it is taken once"
    ]
    with Shard(done["shard"]) as shard:
        assert (shard.episode(1).frames == arrays(seed=1)["observations"]).all()


def test_a_recording_that_another_shard_has_is_said(tmp_path: Path, game: Settings) -> None:
    path = save(tmp_path / "a.npz", **arrays())
    one = import_episodes([path], game, name="one")
    two = import_episodes([path], game, name="two")
    assert one["remarks"] == []
    assert two["remarks"] == [f"warning: {path}: {one['shard']} has this recording too"]
    again = import_episodes([path], game, name="two", expert=True)
    assert again["shard"].endswith("two-raw-v002.h5")  # in place of v001, not beside it
    assert again["remarks"] == two["remarks"]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("none.npz", "no such file; name existing ones"),
        ("episode_*.npz", "no file matches; name existing ones"),
        ("folder.npz", "not an episode to import: cannot be read (Is a directory)"),
    ],
)
def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, game: Settings, name: str, what: str
) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(PipelineError) as error:
        import_episodes([tmp_path / name], game)
    assert str(error.value) == f"{tmp_path}/{name}: {what}"


def test_the_command_warns_on_stderr_and_ends_with_json(
    tmp_path: Path, game: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(tmp_path / "a.npz", **arrays() | {"dones": np.zeros(6)})
    words = ["data", "import", str(path), "--json", "--game", game.game]
    assert main([*words, "--paths.datasets", str(tmp_path / "datasets")]) == 0
    printed = capsys.readouterr()
    warning = f"warning: {path}: no step is done, so the episode counts as truncated"
    assert printed.err.splitlines() == [warning]
    told = json.loads(printed.out.splitlines()[-1])
    assert (told["episodes"], told["remarks"]) == (1, [warning])


def test_nothing_is_left_of_an_import_that_fails_at_its_second_file(
    tmp_path: Path, game: Settings
) -> None:
    good = save(tmp_path / "a.npz", **arrays())
    bad = save(tmp_path / "b.npz", **arrays() | {"rewards": np.full(6, 1e39)})
    with pytest.raises(PipelineError):
        import_episodes([good, bad], game)
    left = [path for path in (tmp_path / "datasets").rglob("*") if path.is_file()]
    assert [path.name for path in left if ".h5" in path.name] == []
