"""python -m launch.run --gpus-per-node 8 -- train +ratio=0.5 …: run a verb with an executor."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys

from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.executors import VERBS, exec_module

RENAMED = {
    "--gpus": "--gpus-per-node",
    "--ranks": "--nproc-per-node",
    "--on": "--executor",
    "--rendezvous": "--rdzv-endpoint",
}


def command(options: argparse.Namespace) -> list[str]:
    """The verb and its overrides, those of the executor included.

    The executor is `--executor`, else Slurm for several nodes if it is installed and there is no
    `--rdzv-endpoint`, else `local`. Raises BadInput if no verb is named.
    """
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words or words[0] not in (*VERBS, "launch"):
        problem = f"'{words[0]}' is no verb" if words else "a verb is needed"
        raise BadInput(
            f"{problem}: write -- and then one of {', '.join(VERBS)} or launch, with its overrides"
        )
    for name in ("nodes", "nproc_per_node", "gpus_per_node"):
        if (value := getattr(options, name)) < (1 if name == "nodes" else 0):
            raise BadInput(f"--{name.replace('_', '-')} {value} is no number of processes or nodes")
    slurm = options.nodes > 1 and not options.rdzv_endpoint and shutil.which("sbatch")
    executor = options.executor or ("slurm" if slurm else "local")
    keys = {
        "gpus_per_node": options.gpus_per_node,
        "nproc_per_node": options.nproc_per_node,
        "rdzv_endpoint": options.rdzv_endpoint,
        "nodes": options.nodes if options.nodes > 1 else None,
    }
    overrides = [f"executor.{key}={value}" for key, value in keys.items() if value]
    return [*words, f"executor={executor}", *overrides]


def parser() -> argparse.ArgumentParser:
    made = cli.argument_parser("launch.run", "Run a verb with an executor.", allow_abbrev=False)
    made.add_argument(
        "--gpus-per-node", type=int, default=0, help="GPUs of each node, with a process on each"
    )
    made.add_argument(
        "--nproc-per-node", type=int, default=0, help="processes of each node without GPUs"
    )
    made.add_argument("--nodes", type=int, default=1, help="number of nodes")
    made.add_argument(
        "--executor",
        choices=cli.options("executor"),
        help="default: slurm for several nodes if it is installed, else local",
    )
    made.add_argument(
        "--rdzv-endpoint",
        metavar="HOST:PORT",
        help="rendezvous of nodes without Slurm; run the same command on each",
    )
    made.add_argument("--dry-run", action="store_true", help="only print the command")
    made.add_argument("command", nargs=argparse.REMAINDER, help="-- VERB key=value …")
    return made


def main() -> None:
    def run() -> None:
        options = cli.parse_args(parser(), RENAMED)
        verb, *overrides = command(options)
        print(
            f"python -m {shlex.join([verb, *overrides])}",
            file=sys.stdout if options.dry_run else sys.stderr,
            flush=True,
        )
        if not options.dry_run:
            exec_module(verb, overrides)

    cli.leave("launch.run", run)


if __name__ == "__main__":
    main()
