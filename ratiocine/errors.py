"""Exceptions that a command reports in one line."""


class BadInput(ValueError):
    """Input that the user can correct: exit code 2."""


class Failure(Exception):
    """A lasting fault outside this process, such as an unreachable server: exit code 1."""
