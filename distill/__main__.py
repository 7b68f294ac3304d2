"""python -m distill teacher=oracle data=demo"""

from distill.config import Config
from ratiocine import cli


def run(config: Config) -> None:
    from distill import hub
    from distill.pairs import distill

    if config.push_to_hub is not None:
        hub.check(config.push_to_hub)
    made = distill(config)
    if config.push_to_hub is not None:
        hub.push(made, config.push_to_hub)


if __name__ == "__main__":
    cli.main("distill", Config, run)
