"""Which emulator plays: what a recording depends on beside the game."""

from __future__ import annotations

from pipeline.emulator.mgba_library import load_mgba


def emulator_version() -> str:
    """Name and version of the system's library, which is the emulator itself.

    The Python package around it has a version of its own.

    Raises:
        PipelineError: it is not installed.
    """
    return f"mgba {load_mgba().version}"
