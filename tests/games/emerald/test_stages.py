"""The stages, end to end, on a cartridge that has Emerald's header and nothing else."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import collect, evaluate, label, preprocess, train
from pipeline.commands import replay
from pipeline.games.loading import load_game
from pipeline.reports.telling import told
from pipeline.settings.reading import Settings
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError

ROOT = Path(__file__).parents[3]
PROGRAM = """
def act(state):
    if state["in_game"] == 0:
        return "START" if state["at_main_menu"] == 0 else "A"
    if in_dialog(state):
        return "A"
    path = find_path(state, state["x"], state["y"] - 4)
    return path[0] if path else "UP"
"""


@pytest.fixture(scope="module")
def settings(rom: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("stages")
    program = folder / "expert.py"
    program.write_text(PROGRAM)
    return Settings.model_validate(
        {
            "run": "standin",
            "game": "emerald",
            "rom": rom,
            "unverified_rom": True,
            "paths": {"datasets": folder / "datasets", "checkpoints": folder / "checkpoints"},
            "collect": {"episodes": 2, "max_steps": 8, "workers": 1},
            "preprocess": {"workers": 1, "validation": 0.5},
            "label": {"workers": 1, "relabel": True},
            "expert": {"path": program},
            "train": {"steps": 2, "batch_size": 4, "threads": 1},
            "evaluate": {"episodes": 2, "max_steps": 5, "workers": 1},
        }
    )


@pytest.fixture(scope="module")
def raw(settings: Settings) -> Path:
    return Path(collect.run(settings).shard)


@pytest.fixture(scope="module")
def labelled(settings: Settings, raw: Path) -> dict[str, Any]:
    preprocess.run(settings)
    return told(label.run(settings))


def test_collect_records_every_variable_and_the_rom_s_own_hash(
    settings: Settings, rom: Path, raw: Path
) -> None:
    with Shard(raw) as shard:
        assert shard.header.rom_sha1 == hashlib.sha1(rom.read_bytes()).hexdigest()
        assert set(shard.state_names) == set(load_game("emerald").variables)
        assert shard.n_frames == 16
        assert len(shard.header.milestones) == 28
        assert np.all(np.asarray(shard.milestones) == -1)
        assert not shard.state("in_game").any()


def test_a_recording_with_random_frames_is_played_again_by_its_seed(
    settings: Settings, raw: Path
) -> None:
    result = replay.run(settings, raw, workers=1)
    assert (result["identical"], result["different"]) == (2, 0)


def test_the_expert_labels_what_was_recorded(labelled: dict[str, Any]) -> None:
    assert labelled["labels"] == labelled["asked"] == 16
    buttons = load_game("emerald").buttons
    with Shard(labelled["shards"][0]) as shard:
        assert set(shard.column("expert_actions").tolist()) == {buttons.index("START")}
        assert shard.read_frames(0, 2).shape == (2, 84, 84, 3)


def test_a_network_trained_on_it_is_evaluated_by_all_28_milestones(
    settings: Settings, labelled: dict[str, Any]
) -> None:
    train.run(settings)
    result = evaluate.run(settings)
    assert (result.episodes, result.success_rate) == (2, 0.0)
    assert [row.milestone for row in result.milestones] == [
        one.name for one in load_game("emerald").milestones
    ]


def test_preprocess_needs_no_rom_but_the_word_that_it_may_be_another(
    settings: Settings, raw: Path
) -> None:
    without = settings.model_copy(update={"rom": None})
    assert preprocess.run(without).frames == 16
    with pytest.raises(PipelineError, match="the ROM's sha1 is"):
        preprocess.run(without.model_copy(update={"unverified_rom": False}))


def test_the_command_goes_on_with_a_warning_and_without_the_flag_ends_in_one_line(
    settings: Settings, tmp_path: Path, rom: Path
) -> None:
    words = ["collect", "--game", "emerald", "--rom", str(rom), "--episodes", "1", "--max-steps",
             "2", "--workers", "1", "--expert.path", str(settings.expert.path),
             "--paths.datasets", str(tmp_path)]  # fmt: skip
    command = [sys.executable, "-m", "pipeline", *words]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: {rom}: 4096 bytes, less than the 16777216 of the whole Pokemon Emerald: trimmed "
        "or cut off; give the ROM with sha1 f3ae088181bf583e55daf962a92bb46f4f1d07b7 by --rom, or "
        "go on with this one by --unverified-rom\n"
    )
    command += ["--unverified-rom", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"warning: {rom}: 4096 bytes, less than the 16777216 of")
    assert done.stderr.count("warning:") == 1
    assert json.loads(done.stdout.splitlines()[-1])["frames"] == 2
