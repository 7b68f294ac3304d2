"""python -m eval.ask: the earlier name of `python -m eval.chat`."""

from ratiocine import cli

if __name__ == "__main__":
    cli.refuse_renamed("eval.ask", "eval.chat")
