"""Options of multiple-choice rows: from a list, a table cell, or the text of the question."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence

from ratiocine.records import LETTERS

LINE = re.compile(r"^\s*\(?([A-J])[.):]", re.MULTILINE)
MARKED_LINE = re.compile(r"^[ \t]*\(?([A-J])[.):][ \t]+(?=\S)", re.MULTILINE)
# Within a line a bracket only: `vitamin A. B. …` lists nothing.
MARKED = re.compile(r"(?<!\S)\(?([A-J])\)[ \t]*(?=\S)")
CELL = "a JSON list, options between | or lines that begin with A), B), …"


def option_list(given: object) -> tuple[str, ...]:
    """The options of a row: a list, or a table cell with a JSON list, with options between `|`, or
    with lettered ones. Raises ValueError for anything else."""
    if given is None or given == "":
        return ()
    options = _of_cell(given) if isinstance(given, str) else given
    if isinstance(options, Mapping) and list(options) == list(LETTERS[: len(options)]):
        options = list(options.values())
    if (
        isinstance(options, (str, Mapping))
        or not isinstance(options, Sequence)
        or len(options) > len(LETTERS)
    ):
        raise ValueError(
            f"choices {str(given)[:40]!r} are no list of at most {len(LETTERS)} options; a cell "
            f"holds {CELL}"
        )
    return tuple(str(option) for option in options)


def _of_cell(text: str) -> object:
    """The options in a table cell; the text itself if it holds none."""
    for read in (json.loads, ast.literal_eval):  # the second as pandas writes a list
        try:
            if isinstance(options := read(text), (list, tuple, dict)):
                return options
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
    if (found := _lettered(text)) and not found[0].strip():
        return found[1]
    parts = [part.strip() for part in text.split("|")]
    return parts if len(parts) > 1 and all(parts) else text


def lists_options(question: str) -> bool:
    """Whether a question lists its own options: three or more lines that begin with A, B, C."""
    return LINE.findall(question)[:3] == ["A", "B", "C"]


def listed_options(question: str, answer: object) -> tuple[str, tuple[str, ...]] | None:
    """The question without the options at its end, and these; None if it is not certain that they
    are its options: they begin with `A)`, `B)`, … once and in order, and the answer is the letter
    of one of them."""
    if not isinstance(answer, str) or not re.fullmatch(r"\(?[A-J]\)?", answer.strip()):
        return None
    found = _lettered(question)
    if not found or not found[0].strip() or answer.strip(" ()") not in LETTERS[: len(found[1])]:
        return None
    return found


def _lettered(text: str) -> tuple[str, tuple[str, ...]] | None:
    """The text before lettered options, and the options."""
    for pattern in (MARKED_LINE, MARKED):
        marks = list(pattern.finditer(text))
        if len(marks) < 2 or [m[1] for m in marks] != list(LETTERS[: len(marks)]):
            continue
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        options = tuple(text[m.end() : end].strip() for m, end in zip(marks, ends, strict=True))
        if all(options) and not any("\n" in option for option in options):
            return text[: marks[0].start()].rstrip(), options
    return None


def letter(answer: object, choices: Sequence[str]) -> str:
    """The letter of the right option, from a letter, a 0-based index, or the option's text. Raises
    ValueError for an answer that is none of these, or two options."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return LETTERS[answer]
    if isinstance(answer, str):
        text = answer.strip()
        if re.fullmatch("[A-J]", text.strip("()")):
            return text.strip("()")
        meant = {at for at, choice in enumerate(choices) if choice.strip() == text}
        if re.fullmatch("[0-9]", text) and int(text) < len(choices):  # as a table writes an index
            meant.add(int(text))
        if len(meant) > 1:
            named = " or ".join(LETTERS[at] for at in sorted(meant))
            raise ValueError(f"answer {answer!r} may be option {named}; give its letter")
        if meant:
            return LETTERS[meant.pop()]
    raise ValueError(
        f"answer {answer!r} is neither a letter nor an index into {len(choices)} choices, nor the "
        "text of one"
    )
