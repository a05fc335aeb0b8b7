"""The one error that a user's mistake ends in."""


class PipelineError(Exception):
    """A mistake that the user can mend: one line that says what, where and what to do.

    The command line prints it as ``error: MESSAGE`` and exits with code 2, never a traceback.
    """
