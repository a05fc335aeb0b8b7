"""A small run whose results are known: what is moved or renamed must not change what is computed.

Frames, buttons and labels are the same to the bit wherever mGBA plays; losses and agreement to what
processors differ by in float32.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline import collect, evaluate, label, preprocess, train
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard

BYTES = {
    "collect-raw": "8066cdc7b62f49aeb9464a3e6d80677d",
    "collect-84": "a28aefc313a7af4bb0dce33d4b803a29",
    "collect-labelled": "a28aefc313a7af4bb0dce33d4b803a29",
}
"""sha256, shortened, of frames, buttons, the expert's buttons, statuses and rewards."""
LOSSES = [1.84696, 1.537043, 1.437982, 1.329023, 1.24587, 1.062006, 1.040881, 0.860613, 0.770928]
AGREEMENT = [0.513333, 0.773333]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("golden")
    tree: dict[str, Any] = {
        "run": "golden",
        "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
        "collect": {"episodes": 4, "max_steps": 150, "workers": 1},
        "preprocess": {"workers": 1, "validation": 0.25},
        "label": {"relabel": True, "workers": 1},
        "train": {
            "steps": 100, "batch_size": 32, "precision": "fp32", "threads": 1, "hidden": 32,
            "log_every": 10, "validate_every": 50, "save_every": 0, "device": "cpu", "workers": 0,
            "cache": "ram", "shift": 2, "learning_rate": 1e-3,
        },
        "evaluate": {"episodes": 4, "max_steps": 80, "workers": 1},
    }  # fmt: skip
    made = Settings.model_validate(tree)
    for stage in (collect, preprocess, label, train):
        stage.run(made)
    return made


def held(path: Path) -> str:
    seen = hashlib.sha256()
    with Shard(path) as shard:
        seen.update(shard.read_frames(0, shard.n_frames).tobytes())
        for name in ("actions", "expert_actions", "label_status", "rewards"):
            seen.update(shard.column(name).tobytes())
    return seen.hexdigest()[:32]


def test_frames_buttons_and_labels_are_the_same_to_the_bit(settings: Settings) -> None:
    folder = settings.shard_folder("quest")
    assert {name: held(folder / f"{name}-v001.h5") for name in BYTES} == BYTES


def test_the_training_goes_the_same_way(settings: Settings) -> None:
    board = EventAccumulator(str(settings.run_folder() / "tensorboard")).Reload()
    losses = [point.value for point in board.Scalars("train/bc_loss")]
    # Differences of rounding grow from update to update.
    assert losses[:9] == pytest.approx(LOSSES, rel=0.05)
    agreement = [point.value for point in board.Scalars("validation/agreement")]
    assert agreement == pytest.approx(AGREEMENT, abs=0.1)


def test_the_evaluation_counts_the_same(settings: Settings) -> None:
    result = evaluate.run(settings)
    reached = {row.milestone: (row.reached, row.median_step) for row in result.milestones}
    assert reached["game_started"] == (4, 1.0)
    assert result.success_rate == 0.0
    assert result.length_mean == 80.0
