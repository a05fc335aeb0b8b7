"""A command that is stopped at any call that makes, names or removes a file, and run again.

The short form; ``python -m tests.stops`` takes every state that a stop can leave, and ``--all``
every single call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stops.commands import COMMANDS
from tests.stops.layer import Layer

ROOT = Path(__file__).parents[2]
LOOPS = ("dagger", "curriculum")
GROUPS = {"stages": [name for name in COMMANDS if name not in LOOPS], "loops": list(LOOPS)}


@pytest.mark.parametrize("group", GROUPS)
def test_stopped_anywhere_it_ends_with_the_files_of_an_undisturbed_command(group: str) -> None:
    # A process of its own: it forks, and nothing else may be under way in it.
    done = subprocess.run(
        [sys.executable, "-m", "tests.stops", "--short", *GROUPS[group]],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 faults\n")


def test_the_layer_stops_before_and_after_a_call_and_sees_what_is_not_durable(
    tmp_path: Path,
) -> None:
    for stop, expected in ((0, ["a"]), (1, ["b"]), (None, ["b"])):
        for old in tmp_path.iterdir():
            old.unlink()
        (tmp_path / "a").write_bytes(b"1")
        pid = os.fork()
        if pid == 0:
            layer = Layer(stop=stop)
            layer.install()
            os.replace(tmp_path / "a", tmp_path / "b")
            layer.finish()
            os._exit(len(layer.breaches))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == (2 if stop is None else 137)  # neither its content nor its folder is durable
        assert [path.name for path in tmp_path.iterdir()] == expected
