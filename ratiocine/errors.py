"""The one exception that means: the user's input is wrong."""


class BadInput(ValueError):
    """Input the user can mend. `cli.main` prints it as one line and exits with code 2."""
