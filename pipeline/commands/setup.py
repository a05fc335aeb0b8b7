"""Installs what pip cannot: mGBA's module for Python 3.12 and later, its library without root.

Then the emulator plays a second whose frames are known. ``pokemon-il setup``, once an environment.
"""

from __future__ import annotations

import platform
import sys
from typing import TypedDict

from pipeline.emulator import installing
from pipeline.emulator.mgba_library import load_mgba
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError


class Installed(TypedDict):
    """What there is now."""

    up_to_date: bool
    """Nothing was missing."""
    python: str
    mgba: str
    """The library's version."""
    library: str
    """Its file where it was unpacked here, or ``of the system``."""


def run(settings: Settings) -> Installed:
    """Install what is missing of mGBA into this environment, and try it.

    Raises:
        PipelineError: something cannot be installed, or does not play as it should.
    """
    try:
        module = installing.install_module()
        library = installing.own_library() is None and not installing.system_library()
        if library:
            print(f"unpacking libmgba into {installing.own_folder()}", file=sys.stderr)
            installing.install_library()
    except installing.NotInstalled as error:
        raise PipelineError(str(error)) from None
    mgba = load_mgba()
    return {
        "up_to_date": not (module or library),
        "python": platform.python_version(),
        "mgba": mgba.version,
        "library": str(installing.own_library() or "of the system"),
    }
