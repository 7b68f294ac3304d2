"""python -m train +ratio=0.5 model=qwen2.5-1.5b pairs=runs/distill/ab12"""

from ratiocine import cli, tracking
from train.config import Config, inputs


def run(config: Config) -> None:
    # What is wrong is said before anything is downloaded and before torch is imported.
    config.peak_rate(config.ratio or 0)
    tracking.check(config)
    inputs(config)
    from train.sft import train

    train(config)


if __name__ == "__main__":
    cli.main("train", Config, run)
