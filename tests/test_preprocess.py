"""What the preprocess stage promises, on real files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import Resize

from pipeline import preprocess
from pipeline.preprocessing.making import split_of
from pipeline.preprocessing.resize import resize_jobs
from pipeline.reports.telling import told
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.format.schema import Episode, recording_id
from pipeline.shards.reader import Shard
from pipeline.shards.repair.edit import merge
from pipeline.system.errors import PipelineError
from pipeline.system.workers import MOST_THREADS
from tests.shards.factory import (
    make_episode,
    make_header,
    processed_shard,
    raw_shard,
    same,
    write,
    write_game,
)
from tests.test_frames import pillow

ROOT = Path(__file__).parents[1]
CONTRACT = FrameContract(84, 84, "bilinear")
SMALL = make_header(frame_contract=FrameContract(40, 60, "none"))


@pytest.fixture
def game(tmp_path: Path) -> Path:
    return write_game(tmp_path / "game")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "datasets" / "tiny"


def settings_for(game: Path, **options: Any) -> Settings:
    return Settings.model_validate(
        {
            "game": str(game),
            "paths": {"datasets": game.parent / "datasets"},
            "preprocess": {"workers": 1, **options},
        }
    )


def run(game: Path, **options: Any) -> dict[str, Any]:
    return told(preprocess.run(settings_for(game, **options)))


def episodes_of(path: Path | str) -> list[Episode]:
    with Shard(path) as shard:
        return [shard.episode(i) for i in range(shard.n_episodes)]


def test_frames_are_what_torchvision_makes_of_them_bit_for_bit(game: Path, folder: Path) -> None:
    raw = raw_shard(folder / "a-raw-v001.h5", (5, 23))
    small = run(game)["shards"][0]
    resize = Resize((84, 84))
    for before, after in zip(episodes_of(raw), episodes_of(small), strict=True):
        for frames, found in (
            (before.frames, after.frames),
            (before.final_frame[None], after.final_frame[None]),
        ):
            expected = [np.asarray(resize(Image.fromarray(frame))) for frame in frames]
            assert (np.stack(expected) == found).all()


def test_everything_but_the_frames_stays(game: Path, folder: Path) -> None:
    raw = raw_shard(folder / "a-raw-v001.h5", (5, 23))
    small = run(game, validation=0)["shards"][0]
    assert Path(small) == folder / "a-84-v001.h5"
    for before, after in zip(episodes_of(raw), episodes_of(small), strict=True):
        assert after.recording == recording_id(before.root, before.actions)
        before = replace(before, recording=after.recording)
        assert same(replace(after, frames=before.frames, final_frame=before.final_frame), before)
    with Shard(raw) as old, Shard(small) as new:
        assert new.header == replace(
            old.header,
            kind="processed",
            frame_contract=FrameContract(84, 84, "bilinear"),
            provenance=new.header.provenance,
            shard_id=new.header.shard_id,
        )
        made = new.header.provenance
        assert made["stage"] == "preprocess"
        assert made["parents"] == [{"file": raw.name, "shard_id": old.header.shard_id}]
        assert made["actor"] == old.header.provenance["actor"]
        assert new.start_states() == []
        assert len(old.start_states()) == 1


def test_any_number_of_threads_or_processes_gives_the_same_bytes(game: Path, folder: Path) -> None:
    episodes = [make_episode(n, n, size=(40, 60)) for n in (1500, 1, 800)]
    write(folder / "a-raw-v001.h5", SMALL, episodes)
    one = Path(run(game)["shards"][0])
    alone = one.read_bytes()
    for workers in (2, MOST_THREADS + 1):
        one.unlink()
        assert run(game, workers=workers)["shards"] == [str(one)]
        assert one.read_bytes() == alone


def test_several_shards_at_once_keep_their_frames_apart(game: Path, folder: Path) -> None:
    lengths = [(300, 5), (1,), (17, 200), (130,)]
    for name, some in zip("abcd", lengths, strict=True):
        episodes = [make_episode(n, n, size=(40, 60)) for n in some]
        write(folder / f"{name}-raw-v001.h5", SMALL, episodes)
    result = run(game, workers=2)
    assert [row["frames"] for row in result["by_shard"]] == [305, 1, 217, 130]
    assert result["frames_per_second"] > 0
    for name, some in zip("abcd", lengths, strict=True):
        for length, found in zip(some, episodes_of(folder / f"{name}-84-v001.h5"), strict=True):
            expected = make_episode(length, length, size=(40, 60)).frames
            assert (found.frames == pillow(expected)).all()


@pytest.mark.parametrize("workers", [1, MOST_THREADS + 1])
def test_a_damaged_chunk_is_named_and_the_shards_before_it_are_made(
    game: Path, folder: Path, workers: int
) -> None:
    raw_shard(folder / "a-raw-v001.h5")
    episodes = [make_episode(300, seed, size=(40, 60)) for seed in (1, 2)]
    broken = folder / "b-raw-v001.h5"
    write(broken, SMALL, episodes)
    with Shard(broken) as shard:
        frames = shard.stored("frames")
    with broken.open("r+b") as file:
        file.seek(int(frames.offsets[20]) + 40)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(PipelineError) as error:
        run(game, workers=workers)
    assert str(error.value) == (
        f"{broken}: /frames is damaged in chunk 20, rows 320 to 335: the CRC32 is another; "
        "'data verify' lists all damage, 'data salvage' saves what is intact"
    )
    assert sorted(p.name for p in folder.glob("*84*")) == ["a-84-v001.h5"]
    assert not list(folder.glob(".*.tmp-*"))


def test_a_raw_chunk_is_in_two_jobs_at_most_and_travels_with_its_job_alone(folder: Path) -> None:
    write(folder / "a-raw-v001.h5", SMALL, [make_episode(600, 1, size=(40, 60))])
    with Shard(folder / "a-raw-v001.h5") as raw:
        whole = list(resize_jobs(raw, np.arange(600), CONTRACT))
        some = list(resize_jobs(raw, np.arange(8, 600, 3), CONTRACT))
    assert [len(job.rows) for job in whole] == [128, 128, 128, 128, 88]
    assert [(job.first, len(job.frames.offsets)) for job in whole] == [
        (0, 8),
        (8, 8),
        (16, 8),
        (24, 8),
        (32, 6),
    ]
    assert [(job.first, len(job.frames.offsets)) for job in some] == [(0, 25), (24, 14)]


def test_a_rerun_is_up_to_date_and_other_settings_make_the_next_version(
    game: Path, folder: Path
) -> None:
    raw_shard(folder / "a-raw-v001.h5")
    first = run(game)
    assert not first["up_to_date"]
    again = run(game, workers=2)
    assert again["up_to_date"]
    assert again["shards"] == first["shards"]
    other = run(game, validation=0.5)
    assert not other["up_to_date"]
    assert other["shards"] == [str(folder / "a-84-v002.h5")]
    assert run(game, size=96)["shards"] == [str(folder / "a-96-v001.h5")]
    assert Path(first["shards"][0]).exists()


def test_a_new_version_of_the_raw_shard_is_taken_instead_of_the_old(
    game: Path, folder: Path
) -> None:
    raw_shard(folder / "a-raw-v001.h5", (5,))
    run(game)
    raw_shard(folder / "a-raw-v002.h5", (9,))
    raw_shard(folder / "b-raw-v001.h5", (3,))
    result = run(game)
    assert result["shards"] == [str(folder / "a-84-v002.h5"), str(folder / "b-84-v001.h5")]
    assert (result["episodes"], result["frames"]) == (2, 12)


def test_an_evaluations_rollouts_are_taken_only_by_name(game: Path, folder: Path) -> None:
    raw_shard(folder / "a-raw-v001.h5")
    rollouts = raw_shard(folder / "evaluate-raw-v001.h5", stage="evaluate")
    assert run(game)["shards"] == [str(folder / "a-84-v001.h5")]
    named = run(game, shards=[str(rollouts)])
    assert named["shards"] == [str(folder / "evaluate-84-v001.h5")]


def test_what_an_evaluation_has_a_part_in_hides_no_recording(game: Path, folder: Path) -> None:
    raw_shard(folder / "a-raw-v001.h5", (5,))
    episode = make_episode(4, 99)
    write(
        folder / "evaluate-raw-v001.h5", make_header(stage="evaluate"), [episode], [b"state" * 50]
    )
    merge([folder / "a-raw-v001.h5", folder / "evaluate-raw-v001.h5"], "both-raw")
    assert run(game)["shards"] == [str(folder / "a-84-v001.h5")]


def test_a_file_that_cannot_be_read_is_left_out_aloud(
    game: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = raw_shard(folder / "a-raw-v001.h5", (5,)).read_bytes()
    (folder / "cut-raw-v001.h5").write_bytes(whole[: len(whole) // 2])
    assert run(game)["shards"] == [str(folder / "a-84-v001.h5")]
    said = capsys.readouterr().out
    assert "; left out, as it cannot be read: cut-raw-v001.h5 (data ls says why)" in said


def test_the_split_follows_the_root_alone(game: Path, folder: Path) -> None:
    episodes = [make_episode(1, seed, size=(40, 60)) for seed in range(200)]
    write(folder / "a-raw-v001.h5", SMALL, episodes)
    write(folder / "b-raw-v001.h5", SMALL, episodes[150::-3])
    result = run(game, validation=0.25)
    split: dict[str, int] = {}
    for path in result["shards"]:
        for episode in episodes_of(path):
            assert split.setdefault(episode.root, episode.split) == episode.split
    assert 30 <= sum(split.values()) <= 70
    assert result["by_shard"][0]["validation_episodes"] == sum(split.values())


def test_a_larger_validation_share_keeps_the_validation_episodes() -> None:
    roots = [f"power_on-{seed:08x}" for seed in range(300)]
    small, large = ({r for r in roots if split_of(r, v)} for v in (0.1, 0.3))
    assert small < large
    assert not any(split_of(root, 0.0) for root in roots)


def test_the_split_of_a_root_never_changes() -> None:
    # Copies that were made before would change sides, and validation be learned from.
    golden = {
        "quest/power_on/0": (0, 0, 0, 1), "quest/power_on/1": (0, 1, 1, 1),
        "quest/power_on/7": (0, 0, 0, 1), "quest/power_on/4294967295": (0, 1, 1, 1),
        "a": (0, 0, 0, 1),
    }  # fmt: skip
    shares = (0.1, 0.3, 0.5, 0.9)
    assert {r: tuple(split_of(r, v) for v in shares) for r in golden} == golden


def test_without_a_raw_shard_it_says_what_to_do(game: Path, folder: Path) -> None:
    with pytest.raises(PipelineError) as error:
        run(game)
    assert str(error.value) == (
        f"{folder}: no raw shard to preprocess; run 'collect' first, or name one in "
        "preprocess.shards"
    )


def test_raw_shards_that_do_not_fit_the_game_are_all_named_before_it_starts(
    game: Path, folder: Path
) -> None:
    raw_shard(folder / "a-raw-v001.h5")
    other = raw_shard(folder / "b-raw-v001.h5", game="emerald")
    small = processed_shard(folder / "c-84-v001.h5")
    with pytest.raises(PipelineError) as error:
        run(game, shards=[str(folder / "a-raw-v001.h5"), str(other), str(small)])
    assert str(error.value) == (
        f"{other}: the game is emerald, not tiny; {small}: the shard is processed, not raw"
    )
    assert not list(folder.glob("a-84*"))


def test_two_sources_of_one_name_are_refused(game: Path, folder: Path) -> None:
    paths = [raw_shard(folder / f"a-raw-v00{i}.h5", (i,)) for i in (1, 2)]
    with pytest.raises(PipelineError) as error:
        run(game, shards=[str(path) for path in paths])
    assert str(error.value) == (
        f"preprocess.shards: {paths[0]} and {paths[1]} would both become a-...; "
        "name only one of them, or rename one"
    )


def test_killed_in_the_middle_nothing_half_written_stays_and_the_rerun_carries_on(
    game: Path, folder: Path
) -> None:
    raw_shard(folder / "a-raw-v001.h5", (30,))
    episodes = [make_episode(900, seed, size=(40, 60)) for seed in (1, 2)]
    write(folder / "b-raw-v001.h5", SMALL, episodes)
    script = (
        "from pathlib import Path\nfrom tests.test_preprocess import run\n"
        f"run(Path({str(game)!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(folder.glob(".b-84-v001.h5.tmp-*")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert sorted(p.name for p in folder.glob("*.h5")) == [
        "a-84-v001.h5",
        "a-raw-v001.h5",
        "b-raw-v001.h5",
    ]
    done = folder / "a-84-v001.h5"
    before = done.stat().st_ino
    result = run(game)
    assert [row["up_to_date"] for row in result["by_shard"]] == [True, False]
    assert done.stat().st_ino == before
    assert not list(folder.glob(".*.tmp-*"))
    assert result["frames"] == 1830
