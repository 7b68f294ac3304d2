"""Command-line flags of tools (`--name value`), with the flags of earlier releases refused."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from ratiocine.errors import BadInput


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
