"""python -m distill teacher=oracle data=demo"""

from distill.config import Config
from ratiocine import cli
from ratiocine.runs import publish

PUBLISHED = ("README.md", "pairs.parquet", "lengths.svg", "manifest.json")


def run(config: Config) -> None:
    from distill.pairs import distill

    name = config.push_to_hub
    if name is not None:
        publish.check(name)
    finished = distill(config)
    if name is not None:
        publish.push(
            name,
            "dataset",
            {file: finished.out / file for file in PUBLISHED},
            f"Pairs {finished.hash}",
            finished.out,
        )


if __name__ == "__main__":
    cli.main("distill", Config, run)
