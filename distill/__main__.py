"""python -m distill teacher=oracle data=demo"""

from distill.config import Config
from ratiocine import cli


def run(config: Config) -> None:
    from distill.pairs import distill

    distill(config)


if __name__ == "__main__":
    cli.main("distill", Config, run)
