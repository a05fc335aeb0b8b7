"""Whether mGBA plays here as it should: a second of the included game, its picture and its RAM.

The module is built for another Python than this may be, and the library is the system's: a pair
that does not fit would hang in its first frame, or play something else. So the first command that
starts the emulator on a machine plays 60 known frames in a process of its own, and compares. What
was found right is remembered by the files that it was found of, in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pipeline.system.errors import PipelineError
from pipeline.system.files import write_whole

KNOWN = "7c3352b57897ad17930ec94d19250966"
"""sha256, shortened, of the 60 screens and then of RAM: the same wherever it was tried."""
SECONDS = 60
_UNDER_WAY = "POKEMON_IL_SELF_CHECK"


def check_once(module: Path) -> None:
    """Play the known second, unless these very files were found right before.

    Args:
        module: mGBA's native module, already imported; its library is in this process.

    Raises:
        PipelineError: it hangs, dies or plays something else.
    """
    if os.environ.get(_UNDER_WAY):
        return
    files = [module, *_loaded(r"libmgba\.so")]
    remembered = _cache() / f"mgba-{_key(files)}"
    if remembered.exists():
        return
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.emulator.known_second"],
            env={**os.environ, _UNDER_WAY: "1"},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        said = done.stdout.strip() or f"exit status {done.returncode}"
    except subprocess.TimeoutExpired:
        said = f"no frame within {SECONDS} seconds"
    if said != KNOWN:
        names = " and ".join(str(path) for path in files)
        raise PipelineError(
            f"the emulator does not play as it should on Python {platform.python_version()} "
            f"({platform.machine()}): a known second of quest gives {said[:40]}; it is made of "
            f"{names}; take another Python with make PYTHON=..., or libmgba 0.10"
        )
    _remember(remembered)


def _loaded(pattern: str) -> list[Path]:
    """Files of shared libraries in this process whose name fits."""
    try:
        text = Path("/proc/self/maps").read_text()
    except OSError:
        return []
    found = {line.split(maxsplit=5)[5] for line in text.splitlines() if re.search(pattern, line)}
    return sorted(Path(path) for path in found)


def _key(files: list[Path]) -> str:
    """Of what was checked: this Python, and the files by place, size and time."""
    facts: list[object] = [platform.python_version(), platform.machine(), KNOWN]
    for path in files:
        told = path.stat()
        facts.append((str(path), told.st_size, told.st_mtime_ns))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:24]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home) / "pokemon-il"


def _remember(path: Path) -> None:
    # Where nothing can be remembered it is checked again next time: half a second.
    with suppress(OSError):
        write_whole(path, b"")
