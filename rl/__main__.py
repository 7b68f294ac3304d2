"""python -m rl model=runs/train/ab12/model reward=r1"""

from ratiocine import cli, startup
from ratiocine.runs import tracking
from rl.config import Config, check_packages, inputs


def run(config: Config) -> None:
    # Errors are reported before downloads and before torch is imported.
    check_packages(config)
    tracking.check(config)
    inputs(config)
    with startup.hidden(*config.unused_packages):
        from rl.grpo import train

        train(config)


if __name__ == "__main__":
    cli.main("rl", Config, run)
