"""The command line: exit codes, one line for a mistake, one JSON line for machines."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("collect", "--game", "zelda"),
            "error: game 'zelda' is unknown; give one of: emerald, quest, or a folder that holds a "
            "game.yaml",
        ),
        (
            ("train", "--stepz", "5"),
            "error: the command line: unknown key '--stepz'; the nearest is '--steps'",
        ),
        (
            ("collect", "--rom", "none.gba"),
            "error: none.gba: there is no ROM; give one with --rom FILE",
        ),
        (
            ("label",),
            "error: datasets/quest: no processed shard to label; run 'collect' and "
            "'preprocess' first",
        ),
        (
            ("evaluate",),
            "error: checkpoints/default/final.pt: no such checkpoint",
        ),
        (
            ("collect", "--start_state", "moon"),
            "error: quest has no start state 'moon'; it has: power_on",
        ),
        (
            ("collect", "--milestone", "left_hoem"),
            "error: quest has no milestone 'left_hoem'; the nearest one is 'left_home'",
        ),
        (
            ("collect", "--milestone", "left_home", "--to", "orb_found"),
            "error: --milestone says where episodes begin and end; leave out --from and --to",
        ),
        (
            ("collect", "--from", "orb_found", "--to", "left_home"),
            "error: 'left_home' does not come after 'orb_found' in quest's milestones; swap "
            "--from and --to",
        ),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(
    words: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_stage_has_help(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    for stage in ("collect", "preprocess", "train", "label", "evaluate", "dagger", "data"):
        assert f"\n    {stage}" in done.stdout
        assert run(stage, "--help", cwd=tmp_path).returncode == 0


def test_data_ls_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    done = run("data", "ls", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == {"shards": []}


def test_data_import_brings_npz_episodes_in_as_a_raw_shard(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(2):
        np.savez(
            tmp_path / f"episode_{i}.npz",
            observations=rng.integers(0, 256, (4, 84, 84, 3), np.uint8),
            actions=np.array([0, 4, 4, 6]),
            rewards=np.array([0.0, 0.0, 1.0, 0.0]),
            dones=np.array([False, False, False, True]),
        )
    files = [f"episode_{i}.npz" for i in range(2)]
    done = run("data", "import", *files, "--expert", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["frames"] == 8
    shown = run("data", "show", result["shard"], "--json", cwd=tmp_path)
    assert json.loads(shown.stdout.splitlines()[-1])["labels"] == 8
    listed = run("data", "ls", "--json", cwd=tmp_path)
    assert len(json.loads(listed.stdout.splitlines()[-1])["shards"]) == 1


def test_data_show_of_no_shard_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("not HDF5")
    done = run("data", "show", "text.h5", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: text.h5: not an HDF5 file, so no shard; make the shard anew, or leave it out\n"
    )


@pytest.mark.parametrize("said, holds", [(None, "1000"), ("7", "7")])
def test_waiting_threads_spin_a_little_unless_the_user_says_otherwise(
    said: str | None, holds: str
) -> None:
    code = (
        "import os, sys\n"
        "from pipeline.__main__ import main\n"
        "assert 'torch' not in sys.modules, 'too late: OpenMP reads it as it loads'\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ['GOMP_SPINCOUNT'])\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
    env |= {} if said is None else {"GOMP_SPINCOUNT": said}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == holds
