"""Files that are whole or absent: written beside, made durable, then given their name.

The one place where files are synced, linked and renamed, so that none can forget a step: content
is on the disk before its name is, and the name before anything is built upon it.
"""

from __future__ import annotations

import errno
import glob
import os
from contextlib import suppress
from pathlib import Path

from pipeline.system.errors import PipelineError
from pipeline.system.lease import file_mark, is_left_behind

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def replace_file(
    path: Path,
    content: bytes | memoryview,
    what: str,
    advice: str = "fix that, then the same command carries on",
) -> None:
    """`write_whole`, refusals told in one line.

    Args:
        what: what the file is called where it cannot be written.
        advice: what to do then.

    Raises:
        PipelineError: the disk refuses; the old file is untouched.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise PipelineError(
            f"{path}: cannot write the {what} ({os.strerror(error.errno or 0)}); {advice}"
        ) from None


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write beside, make durable, rename: ``path`` is the old file or the new one, whole.

    Its folder is made where there is none; what dead processes left of the same file goes.

    Raises:
        OSError: the disk refuses; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, glob.escape(path.name))
    temporary = temporary_name(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync(path.parent)


def name_whole(temporary: Path, target: Path) -> None:
    """Make the closed file ``temporary`` durable and give it the name ``target``, which is free.

    Raises:
        FileExistsError: the name is taken; ``temporary`` is left.
        OSError: the disk refuses.
    """
    sync(temporary)
    try:
        os.link(temporary, target)  # unlike a rename, fails where the name is taken
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.replace(temporary, target)
    else:
        temporary.unlink()
    sync(target.parent)


def move_folder(source: Path, target: Path) -> None:
    """Give a folder another name on the same disk, where there is none or an empty one.

    Raises:
        OSError: the disk refuses, or something lies there.
    """
    os.rename(source, target)
    sync(target.parent)


def write_new(path: Path, content: bytes) -> None:
    """Write a file whole where none is.

    Raises:
        FileExistsError: one is.
        OSError: the disk refuses; nothing is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, glob.escape(path.name))
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content)
        name_whole(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """The hidden name beside ``path`` under which this process writes it."""
    return path.with_name(f".{path.name.lstrip('.')}.tmp-{file_mark()}")


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove what dead processes left half-written in ``folder``.

    Those of this host are known to be dead; of others, and of another PID namespace, goes what was
    not written to for ``lease.FORGOTTEN`` seconds.

    Args:
        pattern: as ``glob`` takes it, of the names that they were to have.
    """
    for old in folder.glob(f".{pattern.lstrip('.')}.tmp-*"):
        if is_left_behind(old, old.name.rpartition(".tmp-")[2]):
            old.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
