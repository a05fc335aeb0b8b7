"""A file that is replaced whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from pipeline.errors import PipelineError


def replace_file(
    path: Path,
    content: bytes | memoryview,
    what: str,
    advice: str = "mend that, then the same command carries on",
) -> None:
    """Write beside, make durable, rename: ``path`` is the old file or the new one, whole.

    Args:
        what: what the file is called where it cannot be written.
        advice: what to do then.

    Raises:
        PipelineError: the disk refuses; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise PipelineError(
            f"{path}: cannot write the {what} ({os.strerror(error.errno or 0)}); {advice}"
        ) from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
