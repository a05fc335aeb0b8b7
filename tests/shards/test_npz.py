"""Episodes of ``observations, actions, rewards, dones`` become a raw shard."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.exchange.npz import import_episodes, import_npz, read_npz
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from tests.shards.factory import make_header, screens, write_game

HEADER = make_header()
SIZE = (160, 240)


def arrays(steps: int = 6, extra: int = 1, size: tuple[int, int] = SIZE, seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, steps])
    return {
        "observations": screens(steps + extra, size, rng),
        "actions": rng.integers(0, 4, steps),
        "rewards": rng.random(steps),
        "dones": np.arange(steps) == steps - 1,
    }


def save(path: Path, **content: Any) -> Path:
    np.savez_compressed(path, **content)
    return path


def chw(frames: Any) -> Any:
    return frames.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("size", [SIZE, (84, 84)])
@pytest.mark.parametrize(
    "variant",
    [
        lambda frames: frames,
        chw,
        lambda frames: (frames / 255).astype(np.float32),
        lambda frames: chw(frames / 255),
        lambda frames: (frames / 255).astype(np.float16),
    ],
    ids=["HWC u8", "CHW u8", "HWC f32", "CHW f64", "HWC f16"],
)
def test_every_layout_gives_the_same_frames(
    tmp_path: Path, variant: Any, extra: int, size: tuple[int, int]
) -> None:
    content = arrays(extra=extra, size=size)
    frames = content["observations"]
    path = save(tmp_path / "e.npz", **content | {"observations": variant(frames)})
    import_npz([path], tmp_path / "a.h5", HEADER)
    with Shard(tmp_path / "a.h5") as shard:
        episode = shard.episode(0)
        assert (episode.frames == frames[:6]).all()
        assert (episode.final_frame == frames[-1]).all()
        assert (episode.actions == content["actions"]).all()
        assert (episode.rewards == content["rewards"].astype(np.float32)).all()
        assert episode.terminated.tolist() == [False] * 5 + [True]
        assert set(episode.label_status.tolist()) == {LabelStatus.UNLABELLED}
        resampling = "none" if size == SIZE else "bilinear"
        assert shard.header.frame_contract == FrameContract(*size, resampling)
        assert shard.header.kind == "raw"


def test_transitions_of_the_file_come_back(tmp_path: Path) -> None:
    content = arrays(steps=20)
    import_npz([save(tmp_path / "e.npz", **content)], tmp_path / "a.h5", HEADER)
    with Shard(tmp_path / "a.h5") as shard:
        found = list(shard.transitions())
    for i, (frame, action, reward, following, done) in enumerate(found):
        assert (frame == content["observations"][i]).all()
        assert (following == content["observations"][i + 1]).all()
        assert action == content["actions"][i]
        assert reward == np.float32(content["rewards"][i])
        assert done == content["dones"][i]
    assert len(found) == 20


def test_several_files_become_episodes_in_their_order(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"e{i}.npz", **arrays(3 + i, seed=i)) for i in range(3)]
    header = import_npz(paths, tmp_path / "a.h5", HEADER)
    with Shard(tmp_path / "a.h5") as shard:
        assert shard.header == header
        assert shard.lengths.tolist() == [3, 4, 5]
        assert len(set(shard.roots)) == 3
        assert shard.milestones.tolist() == [[-1, -1]] * 3


def test_an_experts_actions_can_be_taken_as_labels(tmp_path: Path) -> None:
    path = save(tmp_path / "e.npz", **arrays())
    import_npz([path], tmp_path / "a.h5", HEADER, expert=True)
    with Shard(tmp_path / "a.h5") as shard:
        assert (shard.column("expert_actions") == shard.column("actions")).all()
        assert set(shard.column("label_status").tolist()) == {LabelStatus.LABELLED}


def test_columns_of_one_and_numbers_for_booleans_are_understood(tmp_path: Path) -> None:
    content = arrays()
    content |= {k: content[k].astype(np.float32)[:, None] for k in ("rewards", "dones")}
    episode = read_npz(save(tmp_path / "e.npz", **content), HEADER)
    assert episode.terminated.tolist() == [False] * 5 + [True]
    assert episode.rewards.shape == (6,)


def test_a_file_that_never_says_done_is_a_broken_episode(tmp_path: Path) -> None:
    path = save(tmp_path / "e.npz", **arrays() | {"dones": np.zeros(6, bool)})
    episode = read_npz(path, HEADER)
    assert not episode.terminated.any()
    assert not episode.truncated.any()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"actions": np.arange(6)}, "action 4 at step 4, but there are 4: A B UP DOWN"),
        ({"actions": np.array([0, -1, 0, 0, 0, 0])}, "action -1 at step 1, but there are 4"),
        ({"actions": np.zeros(6)}, "actions are float64, not integers"),
        ({"actions": np.zeros(5, int)}, "expected (T,) each, found actions (5,), rewards (6,)"),
        ({"actions": np.zeros((6, 4), int)}, "expected (T,) each, found actions (6, 4)"),
        ({"rewards": np.full(6, np.nan)}, "rewards are not finite numbers"),
        ({"dones": np.ones(6, bool)}, "done at step 0 of 6; give one episode a file"),
        ({"dones": np.array(["n"] * 6)}, "dones are <U1, not booleans"),
        ({"observations": np.zeros((9, 160, 240, 3), "u1")}, "9 observations for 6 actions"),
        ({"observations": np.zeros((6, 160, 240), "u1")}, "observations are (6, 160, 240), not"),
        ({"observations": np.zeros((6, 8, 8, 4), "u1")}, "observations are (6, 8, 8, 4), not"),
        ({"observations": np.zeros((6, 8, 8, 3), "i4")}, "are int32, not uint8 or float in 0..1"),
        (
            {"observations": np.full((6, 8, 8, 3), 200.0)},
            "float observations from 200 to 200, not in 0..1",
        ),
        ({"observations": np.full((6, 8, 8, 3), np.nan)}, "float observations from nan to nan"),
        ({"observations": np.array([{}] * 6)}, "holds Python objects or damaged arrays"),
        ({k: np.zeros(0, int) for k in ("actions", "rewards", "dones")}, "no steps"),
    ],
)
def test_a_file_that_is_no_episode_says_why(
    tmp_path: Path, change: dict[str, Any], what: str
) -> None:
    path = save(tmp_path / "e.npz", **arrays(extra=0) | change)
    with pytest.raises(PipelineError) as error:
        import_npz([path], tmp_path / "a.h5", HEADER)
    assert str(error.value).startswith(f"{path}: not an episode to import: ")
    assert what in str(error.value)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["e.npz"]


def test_missing_arrays_are_named_with_those_there_are(tmp_path: Path) -> None:
    path = save(tmp_path / "e.npz", obs=np.zeros(3), actions=np.zeros(3))
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) == (
        f"{path}: not an episode to import: no observations, rewards, dones; "
        "the file has obs, actions; rename obs to observations"
    )


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\3\4 half of one"])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.npz"
    path.write_bytes(content)
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value).startswith(f"{path}: not an episode to import: ")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "e.npz", **arrays())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) == (
        f"{path}: not an episode to import: cannot be read, it is damaged, or not an npz archive"
    )


def test_a_bare_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) == (
        f"{path}: not an episode to import: a single array, not an npz archive"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    with pytest.raises(PipelineError) as error:
        read_npz(path, HEADER)
    assert str(error.value) == f"{path}: no such file; name existing ones"


def test_files_of_different_sizes_are_refused(tmp_path: Path) -> None:
    one = save(tmp_path / "1.npz", **arrays())
    two = save(tmp_path / "2.npz", **arrays(size=(84, 84)))
    with pytest.raises(PipelineError) as error:
        import_npz([one, two], tmp_path / "a.h5", HEADER)
    assert str(error.value) == (
        f"{two}: frames of 84x84, but {one} has 160x240; import them into shards of their own"
    )
    assert not (tmp_path / "a.h5").exists()


def test_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as error:
        import_npz([], tmp_path / "a.h5", HEADER)
    assert str(error.value) == "data import: no files; name some, such as episode_*.npz"


def test_importing_for_a_game_publishes_once(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"game": str(write_game(tmp_path / "game")), "paths": {"datasets": tmp_path / "datasets"}}
    )
    files = [save(tmp_path / f"e{i}.npz", **arrays(3 + i)) for i in range(2)]
    first = import_episodes(files, settings, name="old")
    assert first["shard"] == str(tmp_path / "datasets" / "tiny" / "old-raw-v001.h5")
    assert (first["episodes"], first["frames"], first["up_to_date"]) == (2, 7, False)
    again = import_episodes(files, settings, name="old")
    assert again == first | {"up_to_date": True}
    other = import_episodes(files[:1], settings, name="old", expert=True)
    assert other["shard"].endswith("old-raw-v002.h5")
    listed = subprocess.run(
        ["h5ls", "-r", first["shard"]], capture_output=True, text=True, check=True
    )
    assert "/frames                  Dataset {7/Inf, 160, 240, 3}" in listed.stdout


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("hold: 4", "hold: 5"),
        ("UP, DOWN]", "UP, LEFT]"),
        ("name: badge", "name: other"),
    ],
)
def test_what_a_shard_says_of_its_game_is_part_of_an_import(
    tmp_path: Path, text: str, other: str
) -> None:
    """Imported before a game's timing was set right, a file is imported anew."""
    folder = write_game(tmp_path / "game")
    settings = Settings.model_validate({"game": str(folder), "paths": {"datasets": tmp_path / "d"}})
    files = [save(tmp_path / "e.npz", **arrays(3))]
    first = import_episodes(files, settings, name="old")
    (folder / "notes.txt").write_text("nothing that is read")
    assert import_episodes(files, settings, name="old")["up_to_date"]
    described = (folder / "game.yaml").read_text()
    assert text in described
    (folder / "game.yaml").write_text(described.replace(text, other, 1))
    again = import_episodes(files, settings, name="old")
    assert not again["up_to_date"]
    with Shard(again["shard"]) as now, Shard(first["shard"]) as before:
        assert now.header != before.header
