"""The one error that a user's mistake ends in."""


class PipelineError(Exception):
    """A mistake that the user can fix: one line that says what, where and what to do.

    The command line prints it as ``error: MESSAGE`` and exits with code 2, never a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """One line that does nothing to a terminal: names of files and what is in them are not ours."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
