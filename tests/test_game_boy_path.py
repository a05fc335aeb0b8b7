"""A Game Boy game in a folder of the user's own goes through all five stages by the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.shards.format.frames import FrameContract, resize
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.training.checkpoint import load_checkpoint
from tests.game_boy import make_game

CONFIG = """
run: mover
game: %s
paths: {datasets: %s, checkpoints: %s}
collect: {episodes: 4, workers: 1, max_steps: 20}
preprocess: {workers: 1, validation: 0}
label: {workers: 1, relabel: true}
train: {steps: 3, batch_size: 8, threads: 1, device: cpu}
evaluate: {episodes: 2, workers: 1, max_steps: 5}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = make_game(tmp_path / "games" / "mine")
    file = tmp_path / "mover.yaml"
    file.write_text(CONFIG % (folder, tmp_path / "datasets", tmp_path / "checkpoints"))
    return file


def test_the_whole_path(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> dict[str, Any]:
        assert main([*words, "--config", str(config), "--json"]) == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return result

    raw = run("collect")
    assert raw["success_rate"] == 1
    with Shard(raw["shard"]) as shard:
        assert shard.header.game == "mover"
        assert shard.header.frame_contract == FrameContract(144, 160, "none")
        assert len(shard.header.actions) == 8
        frames, states = shard.read_frames(0, shard.n_frames), shard.state("mark")
        assert frames.shape[1:] == (144, 160, 3)
        assert len(set(states.tolist())) > 1  # every seed puts the mark elsewhere
    replayed = run("data", "replay", raw["shard"], "--workers", "1")
    assert (replayed["identical"], replayed["different"]) == (4, 0)
    small = run("preprocess")
    with Shard(small["shards"][0]) as shard:
        contract = FrameContract(84, 84, "bilinear")
        assert shard.header.frame_contract == contract
        assert np.array_equal(shard.read_frames(0, shard.n_frames), resize(frames, contract))
    labelled = run("label")
    assert labelled["asked"] == labelled["labels"] == len(frames)
    with Shard(labelled["shards"][0]) as shard:
        assert set(shard.column("label_status").tolist()) == {LabelStatus.LABELLED}
        buttons = [shard.header.actions[i] for i in shard.column("expert_actions")]
        pairs = zip(shard.state("x").tolist(), states.tolist(), strict=True)
        assert buttons == ["A" if x == m else "RIGHT" if x < m else "LEFT" for x, m in pairs]
    trained = run("train")
    assert load_checkpoint(Path(trained["checkpoint"])).actions == shard.header.actions
    played = run("evaluate")
    assert played["episodes"] == 2
    with Shard(played["rollouts"]) as shard:
        assert shard.read_frames(0, 1).shape == (1, 144, 160, 3)
