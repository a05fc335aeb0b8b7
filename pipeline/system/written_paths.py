"""Paths as they are written in settings: ``~`` and environment variables are filled in."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError


def expanded(value: Any) -> Any:
    """A path with its ``~``, ``$NAME`` and ``${NAME}`` filled in.

    A file that exists under the name as written keeps it. What is no path is let through.

    Raises:
        PydanticCustomError: a variable that is not set.
    """
    text = str(value) if isinstance(value, (str, Path)) else ""
    if not ("$" in text or text.startswith("~")) or os.path.lexists(text):
        return value

    def value_of(name: re.Match[str]) -> str:
        found = os.environ.get(name[1] or name[2])
        if found is None:
            raise PydanticCustomError(
                "unset_variable",
                "the environment variable {name} is not set; set it, or write the whole path",
                {"name": name[1] or name[2]},
            )
        return found

    filled = re.sub(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))", value_of, os.path.expanduser(text))
    return type(value)(filled)


FilePath = Annotated[Path, BeforeValidator(expanded)]
FileName = Annotated[str, BeforeValidator(expanded)]
"""A word that may be a file's path."""
