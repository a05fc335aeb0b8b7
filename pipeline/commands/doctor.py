"""What this machine has and lacks, in one table, with the command for each gap.

Standard library only, and what Python 3.7 understands: it is run as a file, before anything is
installed (``make doctor``), and as ``pokemon-il doctor`` afterwards.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

OLDEST, NEWEST = (3, 10), (3, 14)
SONAME = "libmgba.so.0.10"
DISK_GIB = 9
"""What an environment takes (6.0) and a default run (1), with room for the downloads."""
MEMORY_GIB = 4
LISTS = Path("/var/lib/apt/lists")
"""What apt-get update fetched."""
VECTORS = {
    "x86_64": ("flags", ("avx2", "avx512f", "avx512_bf16", "amx_bf16")),
    "aarch64": ("Features", ("asimd", "sve", "bf16")),
}
"""By architecture: how /proc/cpuinfo calls them, and those that matter. (An emulator of another
architecture may show the host's file.)"""
MONTY = "pip install pydantic-monty and --expert.isolation monty"
"""Where bubblewrap cannot run."""

OK, GAP, NOTE = "ok", "MISSING", "note"


class Row(NamedTuple):
    """One thing that is looked at."""

    what: str
    state: str
    found: str
    do: str
    """A command or advice; empty where there is nothing to do."""


def rows() -> list[Row]:
    """Everything that is looked at; GAP is needed, NOTE is good to know."""
    return [
        _python(),
        _venv(),
        _libmgba(),
        *_isolation(),
        *_tools(),
        *_processor(),
        _memory(),
        _shared_memory(),
        _disk(),
        _gpu(),
    ]


def run(settings: Any) -> dict[str, object]:
    """The rows as ``machine``; ``settings`` (a stage's) are not looked at.

    Returns:
        ``missing``, what a run needs and the machine lacks; then also ``error``, as one line.
    """
    found = rows()
    gaps = [row.what for row in found if row.state == GAP]
    result: dict[str, object] = {"missing": gaps, "machine": [row._asdict() for row in found]}
    return {**result, "error": _line(gaps)} if gaps else result


_HEAD = Row._fields


def table(found: Sequence[Row]) -> str:
    """Plain text, one row a line."""
    cells = [_HEAD, *found]
    wide = [max(len(row[i]) for row in cells) for i in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, [*wide, 0])) for row in cells]  # noqa: B905
    lines.insert(1, "  ".join("-" * width for width in [*wide, 2]))
    return "\n".join(line.rstrip() for line in lines)


def _line(gaps: Sequence[str]) -> str:
    return f"this machine lacks {', '.join(gaps)}; the table has the commands"


def _python() -> Row:
    name = "{}.{}.{}".format(*sys.version_info[:3])
    span = "{}.{} to {}.{}".format(*(OLDEST + NEWEST))
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Row("Python", OK, name, "")
    return Row("Python", GAP, name, f"needs {span}; make PYTHON=/path/to/python3.x")


def _venv() -> Row:
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        if shutil.which("uv"):
            return Row("venv", OK, "uv", "")
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        return Row("venv", GAP, "no module ensurepip", _apt(package))
    return Row("venv", OK, "uv" if shutil.which("uv") else "venv and pip", "")


def _libmgba() -> Row:
    own = str(Path(sys.prefix, "lib", "pokemon-il", SONAME))
    named = os.environ.get("POKEMON_IL_LIBMGBA")
    for path, how in ((named, "named in POKEMON_IL_LIBMGBA"), (own, "unpacked in .venv")):
        if path and os.path.exists(path):
            return Row("libmgba", OK, f"{Path(path).resolve().name} ({how})", "")
    cached = _output(["ldconfig", "-p"]) or _output(["/sbin/ldconfig", "-p"])
    match = re.search(rf"{re.escape(SONAME)} .*=> (\S+)", cached)
    if match:
        return Row("libmgba", OK, Path(match.group(1)).resolve().name, "")
    unpack = "make venv SUDO=no unpacks it into .venv"
    for package in ("libmgba0.10t64", "libmgba0.10"):
        if _output(["apt-cache", "show", package]):
            return Row("libmgba", GAP, "not found", f"{_apt(package)}; without root: {unpack}")
    if not any(LISTS.glob("*_Packages*")):
        first = "sudo apt-get update, then make doctor again"
        return Row("libmgba", GAP, "not found, and no lists of packages", f"{first}; or {unpack}")
    return Row("libmgba", GAP, "not found", f"this system has no such package; {unpack}")


def _isolation() -> list[Row]:
    """Programs of others run in bubblewrap, which needs user namespaces (or root)."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        advice = f"{_apt('bubblewrap')} or {MONTY}; only for expert programs that are not ours"
        return [Row("bubblewrap", NOTE, "not found", advice)]
    version = _output([bwrap, "--version"]).strip()
    try:
        tried = subprocess.run(
            [bwrap, "--unshare-all", "--ro-bind", "/", "/", "true"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20,
        )  # fmt: skip
        works, said = tried.returncode == 0, tried.stdout.decode(errors="replace").strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        works, said = False, str(error)
    found = [Row("bubblewrap", OK, version, "")]
    if works:
        return [*found, Row("user namespaces", OK, "bubblewrap can isolate", "")]
    advice = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or "
    advice += "kernel.unprivileged_userns_clone=1 (Debian); in Docker: --security-opt "
    advice += f"seccomp=unconfined; or {MONTY}"
    return [
        *found,
        Row("user namespaces", NOTE, said.splitlines()[-1][:50] if said else "refused", advice),
    ]


def _tools() -> list[Row]:
    wanted = (
        ("git", "git", "git", "who made what is then told without a version"),
        ("h5ls, h5dump", "h5ls", "hdf5-tools", "to look into shards; make test needs them"),
        ("ARM compiler", "arm-none-eabi-gcc", "gcc-arm-none-eabi", "to rebuild quest's cartridge"),
        ("C compiler", "cc", "gcc", "only where a Python package has no wheel"),
    )  # fmt: skip
    found = []
    for what, program, package, why in wanted:
        path = shutil.which(program)
        state, advice = (OK, "") if path else (NOTE, f"{_apt(package)} ({why})")
        found.append(Row(what, state, path or "not found", advice))
    return found


def _processor() -> list[Row]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    word, known = VECTORS.get(platform.machine(), ("flags", ()))
    flags = set((re.search(rf"^{word}\s*: (.*)$", text, re.MULTILINE) or [""])[0].split())
    cores = len(os.sched_getaffinity(0))
    name = f"{named.group(1) if named else platform.processor()} ({platform.machine()})"
    fast = [flag for flag in known if flag in flags]
    state, advice = OK, ""
    if not {"avx512_bf16", "amx_bf16"} & set(fast):
        state, advice = NOTE, "training runs in fp32, about three times slower than with bf16"
    return [
        Row("processor", OK, name, ""),
        Row("cores", OK, str(cores), ""),
        Row(
            "vector units",
            state,
            " ".join(fast) or f"none of {' '.join(known) or 'those known'}",
            advice,
        ),
    ]


def _memory() -> Row:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2.0**30
    found = f"{gib:.1f} GiB"
    if gib >= MEMORY_GIB:
        return Row("memory", OK, found, "")
    return Row("memory", NOTE, found, f"{MEMORY_GIB} GiB are comfortable")


def _shared_memory() -> Row:
    """Worker processes pass semaphores and batches through /dev/shm."""
    if not os.access("/dev/shm", os.W_OK):
        advice = "mount it: sudo mount -t tmpfs -o mode=1777 shm /dev/shm"
        return Row("/dev/shm", GAP, "not writable", advice)
    gib = shutil.disk_usage("/dev/shm").total / 2.0**30
    advice = "" if gib >= 1 else "loading then keeps less in memory; in Docker: --shm-size=2g"
    return Row("/dev/shm", NOTE if advice else OK, f"{gib:.1f} GiB", advice)


def _disk() -> Row:
    gib = shutil.disk_usage(".").free / 2.0**30
    found = f"{gib:.1f} GiB free here"
    if gib >= DISK_GIB or os.path.exists(".venv/.installed"):
        return Row("disk", OK, found, "")
    return Row("disk", GAP, found, "the environment takes 6 GiB (torch), a run about 1; make room")


def _gpu() -> Row:
    said = _output(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    if said.strip():
        return Row("GPU", OK, said.strip().splitlines()[0], "")
    return Row("GPU", NOTE, "no NVIDIA driver", "not needed; training then runs on the processor")


def _apt(package: str) -> str:
    return f"sudo apt-get install {package}"


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def main() -> int:
    """Print the table; with ``--gaps`` only what is missing. Returns the exit code."""
    found = rows()
    gaps = [what for what, state, _, _ in found if state == GAP]
    if "--gaps" in sys.argv[1:]:
        found = [row for row in found if row[1] == GAP]
    if found:
        print(table(found))
    if gaps:
        sys.stderr.write(f"error: {_line(gaps)}\n")
    return 2 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
