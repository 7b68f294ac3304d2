"""python -m train +ratio=0.5 model=qwen2.5-1.5b pairs=runs/distill/ab12"""

from ratiocine import cli, models, startup
from ratiocine.executors import distributed
from ratiocine.runs import publish, tracking
from train.config import Config, check_counts, inputs


def run(config: Config) -> None:
    # Errors are reported before downloads and before torch is imported.
    models.check_local(config.model)
    config.peak_rate(config.ratio or 0)
    tracking.check(config)
    inputs(config)
    check_counts(config)
    name = config.push_to_hub
    if name is not None and distributed.is_first():
        publish.check(name)
    with startup.hidden(*config.unused_packages):
        from train import card
        from train.sft import train

        run = train(config)
    if name is not None and run is not None and distributed.is_first():
        card.upload(name, run.out, card.read(run.out, []))


if __name__ == "__main__":
    cli.main("train", Config, run)
