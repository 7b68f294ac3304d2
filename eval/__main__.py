"""python -m eval model=runs/train/ab12/model benchmarks=demo"""

from eval.config import Config
from ratiocine import cli
from ratiocine.runs import tracking


def run(config: Config) -> None:
    tracking.check(config)
    if config.validate_only:
        from eval.benchmarks import check

        check(config)
    else:
        from eval.suite import evaluate

        evaluate(config)


if __name__ == "__main__":
    cli.main("eval", Config, run)
