"""What an import has to say beside its result: a line each, however many files it is true of."""

from __future__ import annotations

from pathlib import Path


class Remarks:
    """Warnings and notes about files, in the order in which they first came."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, str], list[Path]] = {}

    def warn(self, path: Path, what: str) -> None:
        """Something is most likely wrong."""
        self._files.setdefault(("warning", what), []).append(path)

    def note(self, path: Path, what: str) -> None:
        """Something was understood that could be meant otherwise."""
        self._files.setdefault(("note", what), []).append(path)

    def lines(self) -> list[str]:
        """``warning: FILE and 3 more: ...``, one line for each remark."""
        return [
            f"{kind}: {files[0]}{f' and {len(files) - 1} more' if files[1:] else ''}: {what}"
            for (kind, what), files in self._files.items()
        ]
