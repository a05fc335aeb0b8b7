"""Where expert programs run: never in our process, and isolated unless they ship with the project.

``trusted``: plain Python in a process of its own. ``bwrap``: the same behind bubblewrap and
seccomp. ``monty``: an interpreter that knows nothing but the language.
"""

from pipeline.experts.sandbox.interface import (
    Isolation,
    Limits,
    Program,
    Reply,
    Sandbox,
    Trouble,
    bounded,
)
from pipeline.experts.sandbox.opening import isolation_of, open_sandbox

__all__ = [
    "Isolation",
    "Limits",
    "Program",
    "Reply",
    "Sandbox",
    "Trouble",
    "bounded",
    "isolation_of",
    "open_sandbox",
]
