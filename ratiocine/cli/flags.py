"""Command-line flags of tools (`--name value`), with the flags of earlier releases refused."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ratiocine.cli.unknown_keys import suggestion
from ratiocine.errors import BadInput

SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


class _Parser(argparse.ArgumentParser):
    """Errors are BadInput, one line, instead of a usage text and an exit."""

    # An unknown option is named before anything that is missing.
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for word in words[: words.index("--") if "--" in words else None]:
            flag = word.partition("=")[0]
            if flag.startswith("--") and not any(name.startswith(flag) for name in known):
                self.error(f"unknown option '{flag}'{suggestion(flag, known)}")
        return super().parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message.removeprefix('argument ')} (see {self.prog} --help)")


def quantity(text: str) -> float:
    """A number such as 7e9 or 7B, as the type of a flag."""
    found = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?)([KMBT]?)", text.strip(), re.IGNORECASE)
    try:
        return float(found[1]) * SCALES[found[2].upper()] if found else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number such as 7e9 or 7B") from None


def argument_parser(
    module: str, description: str | None = None, *, allow_abbrev: bool = True
) -> argparse.ArgumentParser:
    """The parser of `python -m module`, with the first line of `description` (its docstring)."""
    line = description.splitlines()[0] if description else None
    return _Parser(prog=f"python -m {module}", description=line, allow_abbrev=allow_abbrev)


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
