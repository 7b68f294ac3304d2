"""`study.grid.pairs`: sets of pairs by name, folder or file, as overrides by name.

The overrides are those of `distill`, or of `train` (`pairs=FOLDER`) for finished pairs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ratiocine import cli
from ratiocine.data import ending

OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w.]*=")
FORMS = (
    "a name of conf/data, a finished folder of `distill`, a file of problems, or {NAME: any of "
    "these, or the arguments of `distill`}"
)


def is_name(text: str) -> bool:
    """Whether a text can name a study, a stage or an axis value, which are parts of folders."""
    return bool(re.fullmatch(r"[\w.+-]+", text)) and text not in (".", "..")


def parsed(value: object) -> object:
    """A list or mapping that the command line gives as a text."""
    if not isinstance(value, str) or not value.startswith(("[", "{")):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise ValueError("the brackets or quotes do not match") from None


def pair_sets(value: object) -> dict[str, list[str]]:
    """Overrides by name of a set. Raises ValueError for what is none, or has the name of
    another."""
    value = parsed(value)
    if isinstance(value, dict):
        return {_checked_name(name): _words(name, words) for name, words in value.items()}
    items = value if isinstance(value, list) else [value]
    found: dict[str, list[str]] = {}
    for item in items:
        if isinstance(item, dict):
            named = pair_sets(item)
        elif not isinstance(item, str) or not item.strip() or OVERRIDE.match(item):
            raise ValueError(f"{item!r} is none of: {FORMS}")
        else:
            named = {_name(item): [_override(item)]}
        for name, words in named.items():
            if name in found:
                hint = "" if found[name] == words else "; name them: {NAME: …, OTHER: …}"
                raise ValueError(f"'{name}' occurs twice{hint}")
            found[name] = words
    return found


def finished_pairs(words: Sequence[str]) -> str | None:
    """The `pairs=` override of a set that is finished; None for one to distill."""
    return next((word for word in words if word.startswith("pairs=")), None)


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not is_name(name):
        raise ValueError(f"{name!r} is no name of letters, digits and -._+")
    return name


def _words(name: str, value: object) -> list[str]:
    """The overrides of a named set; several folders are one set."""
    items: list[Any] = value if isinstance(value, list) else [value]
    if bad := [item for item in items if not isinstance(item, str) or not item.strip()]:
        raise ValueError(f"'{name}' holds {bad[0]!r}, which is none of: {FORMS}")
    words = [item if OVERRIDE.match(item) else _override(item) for item in items]
    finished = [word.removeprefix("pairs=") for word in words if word.startswith("pairs=")]
    if finished and len(finished) < len(words):
        raise ValueError(f"'{name}' has finished pairs, which no argument of `distill` changes")
    if len(finished) > 1:
        return [f"pairs=[{','.join(finished)}]"]
    return words


def _override(text: str) -> str:
    """A name, folder or file as an override."""
    text = os.path.expanduser(text)
    if _is_pairs_file(text):
        text = os.path.dirname(text) or "."
    if _is_folder(text):
        return f"pairs={cli.quoted(text)}"
    if ending(text):
        known = "/" in text or os.path.exists(text)
        return f"data={cli.quoted(text if known else f'./{text}')}"
    return f"data={text}"


def _is_pairs_file(text: str) -> bool:
    return Path(text).name == "pairs.parquet" and (Path(text).parent / "DONE").exists()


def _is_folder(text: str) -> bool:
    return not ending(text) and ("/" in text or os.path.isdir(text) or not is_name(text))


def _name(text: str) -> str:
    """The name of a set without one: that of its folder, or of its file without the ending."""
    if is_name(text) and not ending(text):
        return text
    path = Path(text).parent if _is_pairs_file(text) else Path(text)
    name = path.absolute().name
    if kind := ending(name):
        name = name[: name.lower().rindex(kind)]
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "pairs"
