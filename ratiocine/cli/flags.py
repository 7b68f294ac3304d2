"""Command-line flags of tools (`--name value`), with the flags of earlier releases refused."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ratiocine.errors import BadInput


def argument_parser(
    module: str, description: str | None = None, *, allow_abbrev: bool = True
) -> argparse.ArgumentParser:
    """The parser of `python -m module`, with the first line of `description` (its docstring)."""
    line = description.splitlines()[0] if description else None
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=line, allow_abbrev=allow_abbrev
    )


def parse_args(
    parser: argparse.ArgumentParser,
    renamed: Mapping[str, str],
    arguments: Sequence[str] | None = None,
) -> argparse.Namespace:
    """`parser.parse_args`, after a check for renamed flags.

    `renamed` maps old to new flags. Raises BadInput for an old one that precedes `--`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for argument in arguments:
        if argument == "--":
            break
        flag = argument.partition("=")[0]
        if flag in renamed:
            raise BadInput(f"{flag} is now {renamed[flag]}")
    return parser.parse_args(arguments)
