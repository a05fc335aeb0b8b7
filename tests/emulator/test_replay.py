"""Playing again: a recording is what the console did, or the first step that is not is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.emulator.env import GBAEnv
from pipeline.games.loading import load_game
from pipeline.games.task import task_of
from pipeline.rollouts.parts import Parts
from pipeline.rollouts.player import make_player
from pipeline.rollouts.recording import Job, play_job
from pipeline.rollouts.replaying import (
    Difference,
    first_difference,
    play_again,
    player_again,
    read_anew,
    reader_anew,
    recorded_game,
)
from pipeline.settings.fields import Collect
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import Episode
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.impala import ImpalaCNN
from tests.training.test_checkpoint import checkpoint

QUEST = load_game("quest")
MakeGame = Callable[..., Path]


def record(folder: Path, policy: str = "expert", game: str = "quest", **play: Any) -> Path:
    """A raw shard of three short episodes, played in this process as a worker plays them."""
    beta = play.pop("beta", 0.0)
    options = Collect(**{"max_steps": 150, "sticky": 0.2, **play})
    task = task_of(Settings(game=game))
    player = make_player(task, options, policy=policy, beta=beta, purpose="collect")
    header = player.header("collect", {"policy": policy})
    seeds = (11, 12, 4_000_000_000)
    with Parts(folder, "made-raw", header) as parts:
        play_job(Job(player.play, {s: parts.path(i) for i, s in enumerate(seeds)}, header))
        return parts.seal(len(seeds))


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("expert"))


def changed(
    source: Path, target: Path, change: Callable[[Episode], Episode], **header: Any
) -> Path:
    """A copy with another second episode, or another header."""
    with Shard(source) as shard:
        made = replace(shard.header, shard_id="", **header)
        with ShardWriter(target, made, start_states=shard.start_states()) as writer:
            for index in range(shard.n_episodes):
                episode = shard.episode(index)
                writer.append(change(episode) if index == 1 else episode)
    return target


def differences(path: Path) -> list[Difference | None]:
    with Shard(path) as shard:
        env = player_again(shard, QUEST)
        return [first_difference(env, shard, index) for index in range(shard.n_episodes)]


def test_what_the_expert_played_under_sticky_actions_is_played_again(shard: Path) -> None:
    with Shard(shard) as recorded:
        assert (recorded.column("actions") != recorded.column("expert_actions")).any()
        assert recorded.ram_crc32() is not None
    assert differences(shard) == [None, None, None]


def test_what_a_network_played_is_played_again(tmp_path: Path) -> None:
    saved = tmp_path / "final.pt"
    torch.manual_seed(1)
    network = checkpoint(
        weights=ImpalaCNN(10, hidden=8).state_dict(),
        actions=QUEST.buttons,
        game="quest",
        rom_sha1=QUEST.rom_sha1,
        frame_contract=FrameContract(84, 84, "bilinear"),
    )
    save_checkpoint(saved, network)
    path = record(tmp_path, str(saved), max_steps=60)
    assert differences(path) == [None, None, None]


def test_the_step_after_another_action_is_the_first_that_differs(
    shard: Path, tmp_path: Path
) -> None:
    def press(episode: Episode) -> Episode:
        actions = episode.actions.copy()
        actions[100] = (actions[100] + 1) % 10
        return replace(episode, actions=actions)

    first, second, third = differences(changed(shard, tmp_path / "a.h5", press))
    assert (first, third) == (None, None)
    assert second is not None
    assert second.step == 101
    assert "RAM" in second.what


def pixel(episode: Episode) -> Episode:
    frames = episode.frames.copy()
    frames[130, 80, 120, 1] ^= 1
    return replace(episode, frames=frames)


def ram(episode: Episode) -> Episode:
    assert episode.ram_crc32 is not None
    checksums = episode.ram_crc32.copy()
    checksums[7] += 1
    return replace(episode, ram_crc32=checksums)


def state(episode: Episode) -> Episode:
    object_x = episode.state["object_x"].copy()
    object_x[140, 3] += 1
    return replace(episode, state={**episode.state, "object_x": object_x})


def reward(episode: Episode) -> Episode:
    rewards = episode.rewards.copy()
    rewards[20] = 5
    return replace(episode, rewards=rewards)


def end(episode: Episode) -> Episode:
    terminated = episode.terminated.copy()
    terminated[-1] = True
    return replace(episode, terminated=terminated, truncated=np.zeros(len(episode), np.bool_))


def final(episode: Episode) -> Episode:
    return replace(episode, final_frame=episode.final_frame ^ np.uint8(1))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (pixel, Difference(130, ("frame",))),
        (ram, Difference(7, ("RAM",))),
        (state, Difference(140, ("state object_x",))),
        (reward, Difference(20, ("reward",))),
        (end, Difference(149, ("terminated",))),
        (final, Difference(150, ("final frame",))),
    ],
)
def test_what_differs_is_named(
    shard: Path, tmp_path: Path, change: Callable[[Episode], Episode], found: Difference
) -> None:
    assert differences(changed(shard, tmp_path / "a.h5", change)) == [None, found, None]


def test_the_start_state_is_the_recorded_one_whatever_the_game_says_today(
    make_game: MakeGame, tmp_path: Path
) -> None:
    folder = make_game()
    (folder / "expert.py").write_text("def act(s):\n    return 'A'\n")
    path = record(tmp_path / "d", game=str(folder), start_state="later", max_steps=20)
    today = load_game(make_game(("later: {frames: 9}", "later: {frames: 30}")))
    with Shard(path) as shard:
        assert first_difference(player_again(shard, today), shard, 1) is None


def test_a_description_changed_since_changes_nothing_and_an_old_shard_takes_todays(
    make_game: MakeGame, tmp_path: Path
) -> None:
    folder = make_game()
    (folder / "expert.py").write_text("def act(s):\n    return 'A'\n")
    path = record(tmp_path / "d", game=str(folder), max_steps=20)
    today = load_game(
        make_game(
            ("idle_frames: [0, 12]", "idle_frames: [13, 50]"),
            ("hold: 4", "hold: 2"),
            ("money: {pointer: save1, offset: 0x490", "money: {pointer: save1, offset: 0x494"),
        )
    )
    with Shard(path) as shard:
        assert recorded_game(shard, today).reset.idle_frames == (0, 12)
        assert first_difference(player_again(shard, today), shard, 2) is None
        made = dict(shard.header.provenance)
    del made["game_yaml"]
    old = changed(path, tmp_path / "old.h5", lambda episode: episode, provenance=made)
    with Shard(old) as shard:
        assert recorded_game(shard, load_game(make_game())) == load_game(folder)
        with pytest.raises(PipelineError) as error:
            recorded_game(shard, today)
        assert str(error.value) == (
            f"{old}: recorded with other buttons or another timing than standing has today, and "
            "from before shards carried their game.yaml; it cannot be played again"
        )
        elsewhere = ("[0, 12], seed: {address: 0x0203FF00", "[0, 12], seed: {address: 0x0203FF10")
        later = load_game(make_game(elsewhere))
        found = first_difference(player_again(shard, later), shard, 0)
        assert found == Difference(0, ("RAM", "state game_seed"))


def test_variables_are_read_anew_as_they_are_described_today(shard: Path) -> None:
    with Shard(shard) as recorded:
        columns = read_anew(reader_anew(recorded, QUEST), recorded, 1)
        assert set(columns) == set(recorded.state_names)
        for name, values in columns.items():
            before = recorded.episode(1, frames=False).state[name]
            assert values.dtype == before.dtype
            assert (values == before).all()


def test_nothing_is_read_anew_from_an_episode_that_is_played_otherwise(
    shard: Path, tmp_path: Path
) -> None:
    path = changed(shard, tmp_path / "a.h5", pixel)
    with Shard(path) as recorded, pytest.raises(PipelineError) as error:
        read_anew(reader_anew(recorded, QUEST), recorded, 1)
    assert str(error.value) == (
        f"{path}: episode 1 is not played again as it was recorded (step 130: frame), so its "
        "states cannot be read anew; look with: data replay"
    )


def test_a_start_state_of_another_cartridge_is_named(shard: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with (
        Shard(shard) as recorded,
        ShardWriter(path, recorded.header, start_states=[b"no state" * 9]) as writer,
    ):
        writer.append(recorded.episode(0))
    with Shard(path) as odd, pytest.raises(PipelineError) as error:
        first_difference(player_again(odd, QUEST), odd, 0)
    assert str(error.value) == (
        f"{path}: episode 0: the save state cannot be loaded: it is damaged or belongs to another "
        "cartridge; record it again with this ROM"
    )


def test_each_step_gives_what_was_there_before_it(make_game: MakeGame) -> None:
    env = GBAEnv(make_game())
    start = env.start_state("later")
    steps = list(play_again(env, start, 5, np.array([0, 1, 2], np.uint8)))
    assert len(steps) == 3
    screen, _ = env.reset(seed=5, options={"start_state": "later"})
    assert np.array_equal(steps[0].screen, screen)
    assert (steps[0].state["game_seed"], steps[0].ram_crc32) == (5, env.ram_crc32())
    assert [step.reward for step in steps] == [-0.25] * 3
