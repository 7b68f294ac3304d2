"""python -m launch study=demo"""

from launch.config import Config
from ratiocine import cli


def run(config: Config) -> int:
    from launch.planner import run_study

    return run_study(config)


if __name__ == "__main__":
    cli.main("launch", Config, run)
