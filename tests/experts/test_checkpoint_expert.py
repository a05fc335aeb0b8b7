"""Another checkpoint as expert: it labels with what it would press, and plays on the emulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline import collect
from pipeline.agents.network import NetworkActor
from pipeline.agents.policy import policy_sha256
from pipeline.experts.checkpoint_expert import PolicyExpert
from pipeline.experts.opening import open_expert
from pipeline.experts.protocol import Questions, get_action
from pipeline.games.description import GameDescription
from pipeline.games.loading import load_game
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import FrameContract, resize
from pipeline.shards.format.schema import LabelStatus
from pipeline.shards.reader import Shard
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import Checkpoint, save_checkpoint
from tests.changed import change
from tests.loading import made
from tests.training.test_checkpoint import checkpoint, told


def sharp(**changes: object) -> Checkpoint:
    """A network whose buttons differ between frames."""
    kept = checkpoint(**changes)
    kept.weights["head.weight"] = kept.weights["head.weight"] * 40
    return kept


@pytest.fixture
def game(tmp_path: Path) -> GameDescription:
    return load_game(made.game_folder(tmp_path / "paper"))


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "teacher.pt", sharp())
    return tmp_path / "teacher.pt"


def shown(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 84, 84, 3), np.uint8)


def questions(frames: np.ndarray) -> Questions:
    return Questions({"x": np.zeros(len(frames), np.int16)}, list(frames))


def test_a_checkpoint_labels_with_its_likeliest_button(
    teacher: Path, game: GameDescription
) -> None:
    frames = shown(270)
    with PolicyExpert(teacher, game) as expert:
        answers = expert.answer(questions(frames))
        assert expert.screens == "processed"
        assert expert.stopped is None
    best = NetworkActor(teacher, game).probabilities(frames).argmax(axis=1)
    assert answers.buttons.dtype == np.uint8
    assert answers.buttons.tolist() == best.tolist()
    assert len(set(best.tolist())) > 1
    assert set(answers.status.tolist()) == {LabelStatus.LABELLED}
    assert answers.costs is None


def test_its_identity_is_its_content_and_how_it_chooses(
    teacher: Path, game: GameDescription
) -> None:
    assert PolicyExpert(teacher, game, "sampled").identity == {
        "kind": "policy",
        "path": "teacher.pt",
        "sha256": policy_sha256(teacher),
        "mode": "sampled",
    }


def test_a_drawn_button_depends_on_the_frame_alone(teacher: Path, game: GameDescription) -> None:
    frames = shown(40)
    expert = PolicyExpert(teacher, game, "sampled")
    drawn = expert.answer(questions(frames)).buttons
    order = np.random.default_rng(1).permutation(40)
    assert (expert.answer(questions(frames[order])).buttons == drawn[order]).all()
    same = PolicyExpert(teacher, game, "sampled").answer(questions(frames[7:9])).buttons
    assert (same == drawn[7:9]).all()
    assert (drawn != PolicyExpert(teacher, game).answer(questions(frames)).buttons).any()


def test_the_consoles_screens_are_resized_as_the_checkpoint_says(
    teacher: Path, game: GameDescription
) -> None:
    screens = np.random.default_rng(0).integers(0, 256, (5, 160, 240, 3), np.uint8)
    small = resize(screens, FrameContract(84, 84, "bilinear"))
    expert = PolicyExpert(teacher, game)
    buttons = expert.answer(questions(screens)).buttons
    assert (buttons == expert.answer(questions(small)).buttons).all()
    assert get_action(expert, screens[3], {"state": {"x": 1}}) == buttons[3]


def test_what_cannot_be_asked_is_refused_in_one_line(
    teacher: Path, game: GameDescription, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"expert": {"kind": "policy"}})
    with pytest.raises(PipelineError) as caught:
        open_expert(settings, game)
    assert str(caught.value) == (
        "expert.kind policy asks a checkpoint; give its file with --expert.path FILE"
    )
    with pytest.raises(PipelineError) as caught:
        open_expert(change(settings, expert={"path": tmp_path / "away.pt"}), game)
    assert str(caught.value) == (
        f"{tmp_path / 'away.pt'}: no such checkpoint; run the train stage first"
    )
    save_checkpoint(tmp_path / "foreign.pt", checkpoint(rom_sha1="0" * 40))
    with pytest.raises(PipelineError) as caught:
        open_expert(change(settings, expert={"path": tmp_path / "foreign.pt"}), game)
    assert str(caught.value) == (
        f"{tmp_path / 'foreign.pt'}: does not fit paper: its ROM sha1 {'0' * 40} is not the "
        f"game's {made.ROM}; give a checkpoint that was trained for it"
    )
    save_checkpoint(tmp_path / "told.pt", told())
    with pytest.raises(PipelineError) as caught:
        open_expert(change(settings, expert={"path": tmp_path / "told.pt"}), game)
    assert str(caught.value) == (
        f"{tmp_path / 'told.pt'}: its network is goal-conditioned, but an expert sees only "
        "the screen; give a checkpoint that was trained without train.goal_conditioned"
    )
    with pytest.raises(PipelineError) as caught:
        PolicyExpert(teacher, game).answer(questions(np.zeros((2, 64, 64, 3), np.uint8)))
    assert str(caught.value) == (
        f"{teacher}: it sees frames of 84x84 RGB, resampling bilinear, and was shown 64x64; "
        "give shards that were preprocessed with --preprocess.size 84"
    )


def test_a_checkpoint_plays_as_expert_on_the_emulator(tmp_path: Path) -> None:
    quest = load_game("quest")
    timing = {"hold": quest.timing.hold, "release": quest.timing.release}
    teacher = sharp(game="quest", rom_sha1=quest.rom_sha1, actions=quest.buttons, timing=timing)
    save_checkpoint(tmp_path / "teacher.pt", teacher)
    settings = Settings.model_validate(
        {
            "game": "quest",
            "paths": {"datasets": tmp_path},
            "expert": {"kind": "policy", "path": tmp_path / "teacher.pt"},
            "collect": {"episodes": 1, "max_steps": 30, "workers": 1},
        }
    )
    with Shard(collect.run(settings).shard) as shard:
        best = NetworkActor(tmp_path / "teacher.pt", quest).probabilities(shard.read_frames(0, 30))
        assert shard.column("expert_actions").tolist() == best.argmax(axis=1).tolist()
        assert set(shard.column("label_status").tolist()) == {LabelStatus.LABELLED}
        assert shard.header.provenance["actor"]["expert"]["kind"] == "policy"
