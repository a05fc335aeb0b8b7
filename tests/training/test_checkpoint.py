"""Checkpoints: whole or absent, nothing executed, and damage or a misfit said in one line."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.games.loading import load_game
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import (
    Checkpoint,
    check_fits,
    load_checkpoint,
    save_checkpoint,
)
from pipeline.training.impala import ImpalaCNN
from tests.loading import made


def checkpoint(**changes: Any) -> Checkpoint:
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "weights": ImpalaCNN(10, hidden=8).state_dict(),
        "hidden": 8,
        "frame_contract": made.CONTRACT,
        "actions": made.BUTTONS,
        "game": "paper",
        "rom_sha1": made.ROM,
        "timing": {"hold": 4, "release": 6},
        "step": 7,
        "settings": {"train": {"steps": 7}},
        "inputs": {"seed": 1},
        "shard_ids": ("a", "b"),
        "trained_seeds": np.array([1, 4_000_000_000], np.uint32),
        "random_state": {"cpu": torch.get_rng_state()},
        "metrics": {"seconds": 0.5},
    }
    return Checkpoint(**{**fields, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "final.pt"
    save_checkpoint(path, checkpoint())
    return path


def message(path: Path) -> str:
    with pytest.raises(PipelineError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_comes_back(saved: Path) -> None:
    before, after = checkpoint(), load_checkpoint(saved)
    assert after.path == saved
    for name, tensor in before.weights.items():
        assert torch.equal(after.weights[name], tensor)
    assert after.trained_seeds.tolist() == [1, 4_000_000_000]
    assert torch.equal(after.random_state["cpu"], before.random_state["cpu"])
    names = ("hidden", "frame_contract", "actions", "game", "rom_sha1", "timing", "step",
             "settings", "inputs", "shard_ids", "metrics")  # fmt: skip
    assert all(getattr(after, name) == getattr(before, name) for name in names)
    assert sum(p.numel() for p in after.network().parameters()) == sum(
        t.numel() for t in before.weights.values()
    )
    assert not after.network().training


def test_the_same_content_is_the_same_bytes(saved: Path) -> None:
    again = saved.with_name("again.pt")
    save_checkpoint(again, load_checkpoint(saved))
    assert again.read_bytes() == saved.read_bytes()


def test_nothing_but_the_checkpoint_is_left_in_the_folder(saved: Path) -> None:
    save_checkpoint(saved, checkpoint(step=8))
    assert load_checkpoint(saved).step == 8
    assert list(saved.parent.iterdir()) == [saved]


def test_a_disk_that_refuses_leaves_the_old_one(saved: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(PipelineError) as caught:
        save_checkpoint(blocked / "final.pt", checkpoint())
    assert str(caught.value) == (
        f"{blocked / 'final.pt'}: cannot write the checkpoint (File exists); "
        "fix that, then the same command carries on"
    )
    assert load_checkpoint(saved).step == 7


def test_no_file(tmp_path: Path) -> None:
    path = tmp_path / "none.pt"
    assert message(path) == f"{path}: no such checkpoint; run the train stage first"


@pytest.mark.parametrize("content", [b"", b"some text\n", b"\x80\x04K\x01.", os.urandom(5000)])
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.pt"
    path.write_bytes(content)
    assert message(path) in (
        f"{path}: damaged, or no checkpoint at all; remove it and train again",
        f"{path}: a torch file, but no checkpoint of this pipeline; give one that train wrote",
    )


def test_a_truncated_checkpoint(saved: Path) -> None:
    content = saved.read_bytes()
    for size in (len(content) // 2, len(content) - 1, 100):
        saved.write_bytes(content[:size])
        assert message(saved) == (
            f"{saved}: damaged, or no checkpoint at all; remove it and train again"
        )


def test_a_flipped_bit_in_the_weights_is_noticed(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    content = bytearray(saved.read_bytes())
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    saved.write_bytes(content)
    assert message(saved) == f"{saved}: damaged; remove it and train again"


def test_a_torch_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(ImpalaCNN(4, hidden=4).state_dict(), path)
    assert message(path) == (
        f"{path}: a torch file, but no checkpoint of this pipeline; give one that train wrote"
    )


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def test_nothing_in_the_file_is_executed(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = torch.load(saved, weights_only=True)
    torch.save({**content, "settings": Evil()}, saved)
    assert message(saved) == f"{saved}: damaged, or no checkpoint at all; remove it and train again"
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Evil()))
    message(tmp_path / "bare.pt")
    assert not (tmp_path / "executed").exists()


def test_a_newer_version_is_refused_with_both_versions(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    torch.save({**content, "version": 9}, saved)
    assert message(saved) == (
        f"{saved}: checkpoint version 9, but this pipeline reads up to version 2; "
        "update the pipeline"
    )


def told(**changes: Any) -> Checkpoint:
    """A checkpoint of a network that is told which of the milestones is next."""
    goals = changes.setdefault("goals", ("far",))
    torch.manual_seed(0)
    network = ImpalaCNN(10, hidden=8, goals=len(goals) + 1)
    return checkpoint(**{"weights": network.state_dict(), **changes})


def test_the_goals_that_a_network_is_told_come_back_with_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "told.pt", told())
    kept = load_checkpoint(tmp_path / "told.pt")
    assert kept.goals == ("far",)
    frames = torch.zeros(2, 84, 84, 3, dtype=torch.uint8)
    assert kept.network()(frames, torch.tensor([0, 1])).shape == (2, 10)


def test_a_checkpoint_of_version_1_is_told_no_goals(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    del content["goals"]
    torch.save({**content, "version": 1}, saved)
    assert load_checkpoint(saved).goals == ()
    assert load_checkpoint(saved).network().goals is None
    torch.save(content, saved)
    assert message(saved) == f"{saved}: damaged; remove it and train again"


def test_goals_that_are_not_the_milestones_of_the_game_are_a_mismatch(tmp_path: Path) -> None:
    game = load_game(made.game_folder(tmp_path / "paper"))
    path = tmp_path / "told.pt"
    save_checkpoint(path, told())
    check_fits(load_checkpoint(path), game)
    save_checkpoint(path, told(goals=("near", "far")))
    with pytest.raises(PipelineError) as caught:
        check_fits(load_checkpoint(path), game)
    assert str(caught.value) == (
        f"{path}: does not fit paper: its goals near far is not the game's far; "
        "give a checkpoint that was trained for it"
    )


def test_a_missing_part_is_damage(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    del content["timing"]
    torch.save(content, saved)
    assert message(saved) == f"{saved}: damaged; remove it and train again"


def test_weights_of_another_architecture(saved: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        replace(load_checkpoint(saved), hidden=16).network()
    assert str(caught.value).startswith(f"{saved}: the weights do not fit the network (size mis")
    assert "\n" not in str(caught.value)


def test_a_checkpoint_fits_the_game_it_was_trained_for(saved: Path, tmp_path: Path) -> None:
    check_fits(load_checkpoint(saved), load_game(made.game_folder(tmp_path / "paper")))


def test_every_mismatch_with_the_game_is_listed_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    other = checkpoint(
        game="quest", rom_sha1="f" * 40, actions=("A", "B"), timing={"hold": 4, "release": 8}
    )
    save_checkpoint(path, other)
    with pytest.raises(PipelineError) as caught:
        check_fits(load_checkpoint(path), load_game(made.game_folder(tmp_path / "paper")))
    assert str(caught.value) == (
        f"{path}: does not fit paper: its game quest is not the game's paper; "
        f"its ROM sha1 {'f' * 40} is not the game's {made.ROM}; "
        "its actions A B is not the game's A B START SELECT UP DOWN LEFT RIGHT L R; "
        "its timing hold 4, release 8 is not the game's hold 4, release 6; "
        "give a checkpoint that was trained for it"
    )
