"""The error whose message is written for the user."""


class SartmError(Exception):
    """An error the user can fix.

    The message names the file, topic or field, says what was expected and what came, and how to fix it.
    The command line prints it without a traceback and exits with status 1.
    """


def shown(text: str) -> str:
    """What came from outside, for a log or a terminal: control characters, line breaks too, as their escapes."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
