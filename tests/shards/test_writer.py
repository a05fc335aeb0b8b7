"""What a ShardWriter promises."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import zlib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.shards.catalog.publish import cannot_write
from pipeline.shards.format.frames import FrameContract
from pipeline.shards.reader import Shard
from pipeline.shards.writer import ShardWriter
from pipeline.system.errors import PipelineError
from pipeline.system.lease import file_mark
from tests.shards.factory import (
    make_episode,
    make_header,
    processed_shard,
    raw_shard,
    same,
    write,
)

ROOT = Path(__file__).parents[2]
SMALL = make_header(frame_contract=FrameContract(8, 8, "none"))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=5), bare=st.booleans())
def test_a_shard_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], bare: bool
) -> None:
    path = tmp_path_factory.mktemp("shard") / "a.h5"
    episodes = [make_episode(n, i, size=(8, 8), labelled=i % 2 == 1) for i, n in enumerate(lengths)]
    with ShardWriter(path, SMALL, compression=None if bare else "gzip") as writer:
        for episode in episodes:
            writer.append(episode)
    with Shard(path) as shard:
        assert replace(shard.header, shard_id="") == SMALL
        assert shard.header.shard_id == writer.shard_id
        assert shard.lengths.tolist() == lengths
        assert all(same(shard.episode(i), episode) for i, episode in enumerate(episodes))


def test_every_type_of_state_variable_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {
        name: np.arange(6).reshape(3, 2).astype(name)
        for name in ("u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?")
    }
    episode = replace(make_episode(3, size=(8, 8)), state=state)
    with Shard(write(tmp_path / "a.h5", SMALL, [episode])) as shard:
        assert same(shard.episode(0), episode)


def test_the_crc32_of_ram_comes_back_where_it_was_recorded(tmp_path: Path) -> None:
    with_it = [make_episode(n, n, size=(8, 8), ram=True) for n in (5, 30)]
    with Shard(write(tmp_path / "a.h5", SMALL, with_it)) as shard:
        assert all(same(shard.episode(i), episode) for i, episode in enumerate(with_it))
        assert shard.ram_crc32(4, 7).tolist() == [0x04000651, 30, 0x010001B1]  # type: ignore[union-attr]
    with Shard(write(tmp_path / "b.h5", SMALL, [make_episode(5, size=(8, 8))])) as shard:
        assert shard.ram_crc32() is None
        assert shard.episode(0).ram_crc32 is None


@pytest.mark.parametrize("first", [True, False])
def test_of_the_crc32_of_ram_all_episodes_have_it_or_none(tmp_path: Path, first: bool) -> None:
    episodes = [make_episode(3, i, size=(8, 8), ram=first == (i == 0)) for i in range(2)]
    with pytest.raises(ValueError, match="all episodes of a shard must have it, or none"):
        write(tmp_path / "a.h5", SMALL, episodes)
    assert not list(tmp_path.glob("*.h5"))


def test_every_stored_chunk_has_its_crc32_and_every_dataset_the_sha256_of_them(
    tmp_path: Path,
) -> None:
    path = raw_shard(tmp_path / "a.h5", (5, 23))
    data = path.read_bytes()
    with Shard(path) as shard, h5py.File(path) as file:
        assert len(shard.stored_names()) == 12
        rows = {row["dataset"].decode(): row for row in file["checksums/datasets"][:]}
        assert list(rows) == [f"/{name}" for name in shard.stored_names()]
        crc32 = file["checksums/chunks"][:].tolist()
        for name in shard.stored_names():
            stored = shard.stored(name)
            places = zip(stored.offsets.tolist(), stored.sizes.tolist(), strict=True)
            chunks = [data[low : low + size] for low, size in places]
            row = rows[f"/{name}"]
            mine = crc32[row["first"] : row["first"] + row["chunks"]]
            assert mine == [zlib.crc32(c) for c in chunks]
            assert row["stored_sha256"].decode() == sha256(b"".join(chunks)).hexdigest()


def test_a_shard_without_milestones_or_state_can_be_read(tmp_path: Path) -> None:
    episode = replace(make_episode(3, size=(8, 8), milestones=()), state={})
    with Shard(write(tmp_path / "a.h5", replace(SMALL, milestones=()), [episode])) as shard:
        assert shard.milestones.shape == (1, 0)
        assert shard.state_names == ()
        assert same(shard.episode(0), episode)


def test_the_same_content_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    here = raw_shard(tmp_path / "a.h5")
    there = tmp_path / "elsewhere" / "b.h5"
    script = f"""
        from pathlib import Path
        from tests.shards.factory import raw_shard
        raw_shard(Path({str(there)!r}))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, cwd=ROOT)
    assert here.read_bytes() == there.read_bytes()


def test_the_bytes_do_not_depend_on_how_the_frames_were_handed_over(tmp_path: Path) -> None:
    episodes = [make_episode(n, n, size=(8, 8)) for n in (5, 40, 17)]
    whole = write(tmp_path / "a.h5", SMALL, episodes)
    with ShardWriter(tmp_path / "b.h5", SMALL) as writer:
        for episode in episodes:
            writer.append_steps(replace(episode, frames=episode.frames[:0]))
            for low in range(0, len(episode), 3):
                writer.append_frames(episode.frames[low : low + 3])
    assert whole.read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_other_content_gives_another_identity(tmp_path: Path) -> None:
    episode = make_episode(20, size=(8, 8))
    darker = episode.frames.copy()
    darker[7, 3, 3, 0] ^= 1
    variants = [
        (SMALL, episode, b"s"),
        (SMALL, replace(episode, frames=darker), b"s"),
        (SMALL, replace(episode, seed=1), b"s"),
        (SMALL, replace(episode, root="other"), b"s"),
        (SMALL, replace(episode, state={"x": episode.state["x"]}), b"s"),
        (replace(SMALL, game="other"), episode, b"s"),
        (SMALL, episode, b"s\0"),
    ]
    ids = set()
    for i, (header, one, state) in enumerate(variants):
        with ShardWriter(tmp_path / f"{i}.h5", header, start_states=[state]) as writer:
            writer.append(one)
        ids.add(writer.shard_id)
    assert len(ids) == len(variants)
    assert all(len(one) == 32 for one in ids)


def test_nothing_has_the_name_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with ShardWriter(path, SMALL) as writer:
        writer.append(make_episode(40, size=(8, 8)))
        assert not list(tmp_path.glob("*.h5"))
        name = f".a.h5.tmp-{file_mark()}"
        assert [p.name for p in tmp_path.iterdir()] == [name]
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_an_error_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> None:
        with ShardWriter(tmp_path / "a.h5", SMALL) as writer:
            writer.append(make_episode(40, size=(8, 8)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_published_shard_is_never_overwritten(tmp_path: Path) -> None:
    path = raw_shard(tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(PipelineError) as error:
        raw_shard(path, lengths=(3,))
    assert str(error.value) == (
        f"{path}: exists already, and a published shard is never overwritten; "
        "choose another name, or remove it first"
    )
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_of_two_writers_with_one_name_the_second_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    script = f"""
        from pathlib import Path
        from tests.shards.factory import raw_shard
        raw_shard(Path({str(path)!r}))
    """

    def overtaken() -> None:
        with ShardWriter(path, SMALL) as writer:
            writer.append(make_episode(9, size=(8, 8)))
            subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, cwd=ROOT)

    with pytest.raises(PipelineError, match="exists already"):
        overtaken()
    with Shard(path) as shard:
        assert shard.lengths.tolist() == [5, 23]
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_killed_writer_leaves_no_name_and_the_rerun_clears_up(tmp_path: Path) -> None:
    script = f"""
        import sys
        from pathlib import Path
        from pipeline.shards.writer import ShardWriter
        from tests.shards.factory import make_episode, make_header
        with ShardWriter(Path({str(tmp_path / "a.h5")!r}), make_header()) as writer:
            for seed in range(100000):
                writer.append(make_episode(40, seed))
                print("on the way", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on the way\n"
        process.send_signal(signal.SIGKILL)
    [left] = tmp_path.iterdir()
    assert left.name.startswith(f".a.h5.tmp-{socket.gethostname()}-")
    assert left.name.endswith(f"-{process.pid}")
    raw_shard(tmp_path / "a.h5")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def run_limited(script: str, limit: int) -> str:
    """Run a script that prints the PipelineError it meets; files may grow to ``limit`` bytes."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    wrapped = (
        "from pathlib import Path\n"
        "from pipeline.system.errors import PipelineError\n"
        "from tests.shards.factory import *\n"
        f"try:\n{textwrap.indent(textwrap.dedent(script), '    ')}\n"
        "except PipelineError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", wrapped]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=prepare
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("limit", [500, 20_000, 60_000, 120_000])
def test_a_disk_that_takes_no_more_gives_one_line_and_leaves_nothing(
    tmp_path: Path, limit: int
) -> None:
    path = tmp_path / "a.h5"
    said = run_limited(f"processed_shard(Path({str(path)!r}), (60, 70, 80))", limit)
    assert said == (
        f"{path}: cannot write the shard (File too large); nothing is published; "
        "fix that and run the same command again"
    )
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_called_by_its_name(tmp_path: Path) -> None:
    """HDF5 tells the reason only inside its text; the number of the error must be found there."""
    full = OSError(
        "[Errno 28] Can't write data (file write failed: errno = 28, error message = 'N')"
    )
    assert str(cannot_write(tmp_path / "a.h5", full)) == (
        f"{tmp_path / 'a.h5'}: cannot write the shard (No space left on device); "
        "nothing is published; make room and run the same command again"
    )


def test_a_folder_that_cannot_be_made_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "a.h5"
    with pytest.raises(PipelineError) as error:
        raw_shard(path)
    assert str(error.value) == (
        f"{path}: cannot write the shard (Not a directory); nothing is published; "
        "fix that and run the same command again"
    )


def test_a_folder_that_may_not_be_written_gives_one_line() -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "closed" / "a.h5"
        path.parent.mkdir()
        Path(place).chmod(0o755)
        path.parent.chmod(0o555)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may write anywhere
        try:
            with pytest.raises(PipelineError) as error:
                raw_shard(path)
        finally:
            os.seteuid(user)
    assert str(error.value) == (
        f"{path}: cannot write the shard (Permission denied); nothing is published; "
        "choose a folder that you may write (paths.datasets)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.zeros(3, np.float32)}, "5 steps, but 3 rows of rewards"),
        ({"state": {"x": np.zeros(4, np.int16)}}, "5 steps, but 4 rows of state x"),
        ({"frames": np.zeros((4, 8, 8, 3), np.uint8)}, "5 steps, but 4 frames"),
        ({"frames": np.zeros((5, 9, 8, 3), np.uint8)}, "/frames takes rows (8, 8, 3) uint8"),
        ({"frames": np.zeros((5, 8, 8, 3), np.float32)}, "/frames takes rows (8, 8, 3) uint8"),
        ({"actions": np.full(5, 4, np.uint8)}, "action 4 of 4"),
        ({"milestones": np.zeros(1, np.int32)}, "1 milestones, but the header names 2"),
        ({"root": ""}, "an episode needs a root"),
    ],
)
def test_an_episode_that_contradicts_itself_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    episode = replace(make_episode(5, size=(8, 8)), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError) as error, ShardWriter(tmp_path / "a.h5", SMALL) as writer:  # noqa: PT011
        writer.append(episode)
    assert message in str(error.value)
    assert not list(tmp_path.iterdir())


def test_state_variables_must_be_the_same_in_every_episode(tmp_path: Path) -> None:
    first, second = make_episode(5, size=(8, 8)), make_episode(5, 1, size=(8, 8))
    del second.state["map"]
    with pytest.raises(ValueError, match="first episode: map"):
        write(tmp_path / "a.h5", SMALL, [first, second])


def test_a_shard_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        write(tmp_path / "a.h5", SMALL, [])
    assert not list(tmp_path.iterdir())


def test_processed_frames_compress_at_least_threefold(tmp_path: Path) -> None:
    path = processed_shard(tmp_path / "a.h5", (160, 160))
    assert path.stat().st_size < 320 * 84 * 84 * 3 / 3
