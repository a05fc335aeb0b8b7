"""The short form, as the tests run it.

``python -m tests.stops`` takes every state that a stop can leave, and ``--all`` every single call.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.stops.commands import COMMANDS

ROOT = Path(__file__).parents[2]
LOOPS = ("dagger", "curriculum")
STAGES = tuple(name for name in COMMANDS if name not in LOOPS)


def assert_recovered(commands: Iterable[str]) -> None:
    """Each of these, stopped at some points and run again, ends with the undisturbed files."""
    # A process of its own: it forks, and nothing else may be under way in it.
    done = subprocess.run(
        [sys.executable, "-m", "tests.stops", "--short", *commands],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" 0 faults\n")
