"""Standard input, output and error, whatever the terminal, the pipe or the shell made of them."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Let no output end a command.

    What the encoding of a stream lacks is written as its escape (a file's name that is no text,
    or any letter where the terminal is ASCII). A stream that was closed by who started the command
    (``>&-``) leads nowhere: else the next file that is opened, a shard, would take its place and
    get what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest that is free is taken, so this is the number itself.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
