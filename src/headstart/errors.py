"""The one exception for a user's mistake: the command prints its sentence and exits with status 2."""


class UserError(Exception):
    """What was expected, what was found, what to do; one or a few plain sentences, no traceback."""
