"""The error whose message is written for the user."""


class SartmError(Exception):
    """An error the user can fix.

    The message names the file, topic or field, says what was expected and what came, and how to fix it.
    The command line prints it without a traceback and exits with status 1.
    """
