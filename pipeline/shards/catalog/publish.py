"""How a file gets its name: written beside it under another one, made durable, then linked.

A name under ``datasets/`` is therefore whole or absent, and never overwritten.
"""

from __future__ import annotations

import errno
import glob
import os
import re
from pathlib import Path

from pipeline.system.errors import PipelineError
from pipeline.system.files import name_whole, remove_leftovers, temporary_name


def temporary_beside(target: Path) -> Path:
    """The name under which ``target`` is written; leftovers of dead processes are removed.

    Raises:
        PipelineError: ``target`` exists, or its folder cannot be made or written.
    """
    try:
        refuse_existing(target)
        make_folder(target.parent, target)
        # Of all versions: one that another process published is not written again.
        pattern = re.sub(r"-v\d+(\.h5)$", r"-v*\1", glob.escape(target.name))
        remove_leftovers(target.parent, pattern)
    except OSError as error:
        raise cannot_write(target, error) from None
    return temporary_name(target)


def make_folder(folder: Path, target: Path) -> None:
    """Make the folder that ``target`` needs.

    Raises:
        PipelineError: it cannot be made, or a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # a file has the folder's name
        raise cannot_write(target, NotADirectoryError(errno.ENOTDIR, "")) from None
    except OSError as error:
        raise cannot_write(target, error) from None


def publish(temporary: Path, target: Path) -> None:
    """Make the closed file ``temporary`` durable and give it its name.

    Raises:
        PipelineError: ``target`` exists by now, or the disk refuses. ``temporary`` is left.
    """
    try:
        name_whole(temporary, target)
    except FileExistsError:
        raise already_there(target) from None
    except OSError as error:
        raise cannot_write(target, error) from None


def refuse_existing(target: Path) -> None:
    """Refuse a name that is taken.

    Raises:
        PipelineError: something lies there.
    """
    if target.exists():
        raise already_there(target)


def already_there(target: Path) -> PipelineError:
    """The one line for a name that is taken."""
    return PipelineError(
        f"{target}: exists already, and a published shard is never overwritten; "
        "choose another name, or remove it first"
    )


def cannot_write(target: Path, error: OSError | RuntimeError) -> PipelineError:
    """The one line for a disk that refuses; HDF5 hides the reason in its text."""
    text = str(error)
    code = getattr(error, "errno", None)
    if code is None:
        code = next((c for c in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) if _names(text, c)), None)
    reason = os.strerror(code) if code else (text.splitlines() or ["unknown reason"])[0]
    if code == errno.ENOSPC:
        todo = "make room and run the same command again"
    elif code in (errno.EACCES, errno.EPERM, errno.EROFS):
        todo = "choose a folder that you may write (paths.datasets)"
    else:
        todo = "fix that and run the same command again"
    return PipelineError(
        f"{target}: cannot write the shard ({reason}); nothing is published; {todo}"
    )


def _names(text: str, code: int) -> bool:
    return os.strerror(code) in text or f"errno = {code}," in text
