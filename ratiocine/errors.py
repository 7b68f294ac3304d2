"""The exceptions that are said in one line."""


class BadInput(ValueError):
    """Input the user can mend. `cli.main` prints it as one line and exits with code 2."""


class Failure(Exception):
    """Something outside failed for good (a server that stays away): exit code 1, one line."""
