"""The one error that is meant for the user's eyes."""


class SartmError(Exception):
    """Something the user can mend.

    The message names the file, topic or field, says what was expected and what came, and how to mend it.
    The command line prints it without a traceback and exits with status 1.
    """
