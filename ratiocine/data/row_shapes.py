"""Rows in the shapes of Alpaca, ShareGPT and OpenAI, and references out of whole answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ratiocine.completion_parts import CLOSE, OPEN, split
from ratiocine.data.row_files import Row
from ratiocine.grading import read_number, reads_as_formula

USERS = ("user", "human")
NO_ANSWER = ("system", "tool", "function", *USERS)
VERBS = {"is", "are", "was", "answer", "equals"}  # of a sentence, such as "The answer is 4"
READ = ("messages", "conversations", "id", "context", "kind", "category", "solution")
WORDS = 5  # of a reference that is no number or formula, at most


def shaped(row: Row) -> Row:
    """A row in the shape of Alpaca (`instruction`, `input`, `output`), ShareGPT (`conversations`)
    or OpenAI (`messages`), of whose turns the first of the user and the next one count; any other
    row as it is."""
    if "instruction" in row and "output" in row:
        parts = [row["instruction"], row.get("input")]
        question = "\n".join(str(part) for part in parts if part)
        return _answered({**row, "question": question}, row["output"])
    turns = row.get("messages", row.get("conversations"))
    if not isinstance(turns, list):
        return row
    said = [
        (turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value"))
        for turn in turns
        if isinstance(turn, Mapping)
    ]
    first = next((at for at, (role, _) in enumerate(said) if role in USERS), None)
    if first is None:  # dropped with its reason, as any row without a question
        return {"question": "", "answer": None, **row}
    role, answer = said[first + 1] if len(said) > first + 1 else (None, None)
    row = {**row, "question": said[first][1]}
    return _answered(row, None if role in NO_ANSWER else answer)


def unread(row: Row) -> Counter[str]:
    """What `shaped` leaves out of a conversation: system turns, those after the first answer, and
    columns of text beside the turns."""
    turns = row.get("messages", row.get("conversations"))
    if "question" in row or not isinstance(turns, list):
        return Counter()
    roles = [turn.get("role") or turn.get("from") for turn in turns if isinstance(turn, Mapping)]
    first = next((at for at, role in enumerate(roles) if role in USERS), len(roles))
    found = Counter({"system turns": roles[:first].count("system")})
    found["later turns"] = len(roles[first + 2 :])
    for name, value in row.items():
        if name not in READ and isinstance(value, str):
            found[f"values of '{name}'"] = 1
    return found


def _answered(row: Row, answer: object) -> Row:
    """The row with the reference in a whole answer, None where none is certain; a trace becomes
    its `solution`, and both modes its `meta`."""
    if not isinstance(answer, str):
        return {**row, "answer": answer}
    reference, more = reference_of(answer)
    return _with(row, reference, more)


def from_trace(row: Row) -> Row:
    """The same for a row whose `answer` is a whole answer with its trace."""
    answer = row.get("answer")
    if not isinstance(answer, str) or not (OPEN in answer or CLOSE in answer):
        return row
    return _with(row, *reference_of(answer))


def _with(row: Row, reference: str | None, more: Mapping[str, str]) -> Row:
    own = row.get("meta") or {}
    found = {name: text for name, text in more.items() if name not in row}
    meta: dict[str, Any] = {**found, **own} if isinstance(own, Mapping) else own
    return {**row, "answer": reference, "meta": meta}


def reference_of(answer: str) -> tuple[str | None, dict[str, str]]:
    """The reference in a whole answer, and what it shows besides: the trace as `solution`, both
    modes as `ift` and `reasoning`.

    The reference is the last box after the trace, else the text there if it is an answer by itself;
    None otherwise: of a sentence it is not certain which part is graded.
    """
    parts = split(answer)
    if not parts.closed:
        return None, {"ift": "", "reasoning": answer}
    text = parts.boxed or parts.answer
    reference = text if parts.boxed or is_short(text) else None
    if parts.think:
        return reference, {"solution": parts.think, "ift": parts.answer, "reasoning": answer}
    return reference, {"solution": answer} if parts.boxed and answer != parts.boxed else {}


def is_short(text: str) -> bool:
    """Whether a text is an answer by itself: a number, a formula, or a few words and no
    sentence."""
    if "\n" in text.strip():
        return False
    if read_number(text) is not None or reads_as_formula(text):
        return True
    words = text.lower().split()
    if len(words) == 1:
        return True
    sentence = text.rstrip().endswith((".", "!", "?")) or not VERBS.isdisjoint(words)
    return len(words) <= WORDS and not sentence
