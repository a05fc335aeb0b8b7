"""``data replay`` and ``preprocess --reread_state`` as commands, on recordings of the real game."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import collect, preprocess
from pipeline.commands import replay
from pipeline.games.loading import GAMES
from pipeline.settings.reading import Settings
from pipeline.shards.format.schema import Episode, ShardHeader
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from tests.changed import change
from tests.shards.factory import processed_shard

ROOT = Path(__file__).parent.parent
QUEST = GAMES / "quest" / "game.yaml"
FOE, CURSOR = (
    next(line for line in QUEST.read_text().splitlines(True) if line.startswith(f"  {name}:"))
    for name in ("foe_hp", "cursor")
)


def make_game(folder: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the game that is included, with changes in its description."""
    folder.mkdir(exist_ok=True)
    for name in ("quest.gba", "expert.py"):
        shutil.copy(GAMES / "quest" / name, folder)
    text = QUEST.read_text()
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "game.yaml").write_text(text)
    return folder


def settings_for(folder: Path, game: Path | str = "quest", **sections: Any) -> Settings:
    return Settings.model_validate(
        {
            "game": str(game),
            "paths": {"datasets": folder / "datasets"},
            "collect": {"episodes": 3, "max_steps": 50, "workers": 1},
            "preprocess": {"workers": 1, "validation": 0.3},
            **sections,
        }
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    return Path(collect.run(settings_for(folder)).shard)


def command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "data", "replay", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
    )


def copy(
    source: Path,
    target: Path,
    *,
    header: Callable[[ShardHeader], ShardHeader] = lambda header: header,
    episode: Callable[[Episode], Episode] = lambda episode: episode,
    states: bool = True,
) -> Path:
    """The recording with another header or another last episode, or without start states."""
    with Shard(source) as shard:
        made = header(replace(shard.header, shard_id=""))
        kept = shard.start_states() if states else []
        with ShardWriter(target, made, start_states=kept) as writer:
            for index in range(shard.n_episodes):
                one = shard.episode(index)
                writer.append(episode(one) if index == shard.n_episodes - 1 else one)
    return target


def test_a_recording_is_played_again_and_found_identical(recorded: Path) -> None:
    done = command(str(recorded), "--episodes", "0,2", "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["identical"], result["different"], result["steps"]) == (2, 0, 100)
    assert result["steps_per_second"] > 0
    assert [(row["episode"], row["result"]) for row in result["by_episode"]] == [
        (0, "identical"),
        (2, "identical"),
    ]
    assert "identical" in done.stdout


def test_a_changed_frame_is_named_and_the_exit_code_is_not_0(
    recorded: Path, tmp_path: Path
) -> None:
    def paint(episode: Episode) -> Episode:
        frames = episode.frames.copy()
        frames[40] = 0
        return replace(episode, frames=frames)

    path = copy(recorded, tmp_path / "a-raw-v001.h5", episode=paint)
    done = command(str(path))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: {path}: 1 of 3 episodes are not played again as they were recorded, first "
        "episode 2 at step 40: frame\n"
    )
    assert "step 40: frame" in done.stdout


def message(path: Path, **keys: Any) -> str:
    with pytest.raises(PipelineError) as error:
        replay.run(Settings(), path, **keys)
    return str(error.value)


def test_what_cannot_be_played_again_is_one_clear_line(recorded: Path, tmp_path: Path) -> None:
    small = processed_shard(tmp_path / "a-84-v001.h5", game="quest")
    assert message(small) == (
        f"{small}: a processed shard, which cannot be played again; give the raw shard that it was "
        "made of (unknown)"
    )
    stateless = copy(recorded, tmp_path / "b.h5", states=False)
    assert message(stateless) == (
        f"{stateless}: holds no start states (it was imported?), so it cannot be played again"
    )
    rom = "0" * 40
    foreign = copy(recorded, tmp_path / "c.h5", header=lambda h: replace(h, rom_sha1=rom))
    with Shard(recorded) as shard:
        assert message(foreign) == (
            f"{foreign}: recorded on a ROM with sha1 {rom}, but quest has {shard.header.rom_sha1}; "
            "name the folder of a game with that ROM with --game"
        )
    other = copy(recorded, tmp_path / "d.h5", header=lambda h: replace(h, game="emerald"))
    assert message(other) == (
        f"{other}: recorded on the game emerald, not quest; name its game or its folder with --game"
    )
    broken = {"format": 1}
    odd = copy(
        recorded,
        tmp_path / "e.h5",
        header=lambda h: replace(h, provenance={**h.provenance, "game_yaml": str(broken)}),
    )
    assert message(odd) == f"{odd}: the key 'rom' is missing; add it"


@pytest.mark.parametrize("text", ["3", "0-3"])
def test_episodes_that_are_none_are_refused(recorded: Path, text: str) -> None:
    line = f"--episodes {text}: there are only the episodes 0 to 2"
    assert message(recorded, episodes=text) == line


@pytest.mark.parametrize("text", ["2-1", "x", "", "-1", "0,,1"])
def test_what_is_no_list_of_numbers_is_refused(recorded: Path, text: str) -> None:
    line = f"--episodes {text}: write numbers and ranges as 0,3,5-9"
    assert message(recorded, episodes=text) == line


def test_episodes_are_chosen_by_numbers_and_ranges() -> None:
    assert list(replay.chosen_episodes("7, 0,2-4,3", 8)) == [0, 2, 3, 4, 7]
    assert list(replay.chosen_episodes(None, 3)) == [0, 1, 2]


def states(path: str | Path) -> dict[str, list[Any]]:
    with Shard(path) as shard:
        return {name: shard.state(name).tolist() for name in shard.state_names}


def test_a_variable_added_later_is_filled_in_as_if_it_had_been_recorded(tmp_path: Path) -> None:
    game = make_game(tmp_path / "game", (FOE, ""))
    raw = collect.run(settings_for(tmp_path, game)).shard
    before = states(raw)
    assert "foe_hp" not in before
    plain = preprocess.run(settings_for(tmp_path, game)).shards[0]

    # One variable is added, one is gone, and one reads otherwise.
    added = make_game(tmp_path / "game", (CURSOR, ""))
    changed = (added / "game.yaml").read_text().replace("0x2, type: s16,", "0x2, type: u16,")
    (added / "game.yaml").write_text(changed)
    reread_state = {"workers": 1, "validation": 0.3, "reread_state": True}
    result = preprocess.run(settings_for(tmp_path, added, preprocess=reread_state))
    assert [Path(path).name for path in result.shards] == ["collect-84-v002.h5"]
    fresh = collect.run(settings_for(tmp_path / "fresh", added)).shard
    assert states(result.shards[0]) == states(fresh)
    with Shard(result.shards[0]) as small, Shard(plain) as old, Shard(fresh) as expected:
        assert small.state("y").dtype == np.dtype("<u2")
        assert (small.read_frames(0, 150) == old.read_frames(0, 150)).all()
        assert (small.column("rewards") == expected.column("rewards")).all()
        assert (small.milestones == expected.milestones).all()
        assert (small.splits == old.splits).all()

    again = preprocess.run(settings_for(tmp_path, added, preprocess=reread_state))
    assert again.up_to_date
    anew = settings_for(tmp_path, added, preprocess={**reread_state, "workers": 2})
    (added / "game.yaml").write_text(changed + "# a comment is not read\n")
    assert preprocess.run(anew).up_to_date
    more = changed.replace("0x0300000A, type: u8,", "0x0300000A, type: u8, mask: 0xFF,")
    assert more != changed
    (added / "game.yaml").write_text(more)
    other = preprocess.run(anew)
    assert not other.up_to_date
    assert states(other.shards[0]) == states(fresh)


def test_steps_left_out_are_left_out_of_the_state_read_anew(recorded: Path, tmp_path: Path) -> None:
    shards = [str(recorded)]
    dropping = settings_for(
        tmp_path, preprocess={"shards": shards, "drop_null_actions": True, "workers": 1}
    )
    plain = preprocess.run(dropping)
    assert plain.dropped_steps > 0
    anew = preprocess.run(change(dropping, preprocess={"reread_state": True}))
    assert states(anew.shards[0]) == states(plain.shards[0])


def test_a_recording_that_is_played_otherwise_is_not_reread(recorded: Path, tmp_path: Path) -> None:
    def other(episode: Episode) -> Episode:
        assert episode.ram_crc32 is not None
        checksums = episode.ram_crc32.copy()
        checksums[30] ^= 1
        return replace(episode, ram_crc32=checksums)

    path = copy(recorded, tmp_path / "a-raw-v001.h5", episode=other)
    options = {"shards": [str(path)], "reread_state": True, "workers": 1}
    with pytest.raises(PipelineError) as error:
        preprocess.run(settings_for(tmp_path, preprocess=options))
    assert str(error.value) == (
        f"{path}: episode 2 is not played again as it was recorded (step 30: RAM), so its states "
        "cannot be read anew; look with: data replay"
    )
    assert list((tmp_path / "datasets").rglob("*.h5")) == []
