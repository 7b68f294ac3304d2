"""python -m eval.advise: the earlier name of `python -m eval.recommend`."""

from ratiocine import cli

if __name__ == "__main__":
    cli.refuse_renamed("eval.advise", "eval.recommend")
