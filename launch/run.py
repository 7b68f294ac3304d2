"""python -m launch.run --gpus 8 --nodes 2 -- train +ratio=0.5 model=qwen2.5-7b: a verb on these machines."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys

from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.executors import VERBS, exec_module


def words(asked: argparse.Namespace) -> list[str]:
    """The verb and its words, with where it is to run as its own `on`. Several nodes are Slurm's where it is here. Raises
    BadInput where no verb is named."""
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    if not command or command[0] not in (*VERBS, "launch"):
        named = f"'{command[0]}' is no verb" if command else "a verb is needed"
        raise BadInput(
            f"{named}: write -- and then one of {', '.join(VERBS)} or launch, with its words"
        )
    on = asked.executor or (
        "slurm"
        if asked.nodes > 1 and not asked.rdzv_endpoint and shutil.which("sbatch")
        else "local"
    )
    more = {
        "gpus_per_node": asked.gpus_per_node,
        "nproc_per_node": asked.nproc_per_node,
        "rdzv_endpoint": asked.rdzv_endpoint,
    }
    nodes = [f"executor.nodes={asked.nodes}"] if asked.nodes > 1 else []
    return [
        *command,
        f"executor={on}",
        *(f"executor.{key}={value}" for key, value in more.items() if value),
        *nodes,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m launch.run", description=(__doc__ or "").partition(": ")[2]
    )
    parser.add_argument(
        "--gpus-per-node", type=int, default=0, help="GPUs of each node, a process on each"
    )
    parser.add_argument(
        "--nproc-per-node",
        type=int,
        default=0,
        help="processes of each node, where they have no GPUs",
    )
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument(
        "--executor",
        choices=cli.options("executor"),
        help="default: slurm for several nodes where it is here, else local",
    )
    parser.add_argument(
        "--rdzv-endpoint",
        metavar="HOST:PORT",
        help="without Slurm: where nodes meet, on each of which this is typed",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be run")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- VERB key=value …")
    asked = parser.parse_args()

    def run() -> None:
        found = words(asked)
        print(
            f"python -m {shlex.join(found)}",
            file=sys.stdout if asked.dry_run else sys.stderr,
            flush=True,
        )
        if not asked.dry_run:
            exec_module(found[0], found[1:])

    cli.leave("launch.run", run)


if __name__ == "__main__":
    main()
