"""Mathematical expressions: whether two say the same, and which of a text's formulas is its
answer."""

from __future__ import annotations

import re
from functools import lru_cache

from ratiocine.grading import cleaning, latex, numbers, values, worker
from ratiocine.grading.numbers import RELATION, right_side
from ratiocine.grading.wording import BEFORE_DENIED, unwrapped
from ratiocine.grading.worker import Judgement

MAGNITUDE = re.compile(
    r"(?<=\d)\s*(?:\\text\s*\{\s*)?(?:hundred|thousand|million|billion|trillion|dozen|squared|cubed"
    r"|halves|minus|plus)\b"
)
SOLUTIONS = re.compile(
    r"\s*(?:,?\s*\\(?:text|mathrm|mbox)\s*\{\s*,?\s*(?:or|and)\s*\}|,?\s*\b(?:or|and)\b|[,;])\s*"
)
SOLUTION = re.compile(r"([A-Za-z])(?:_\w)?\s*=\s*([^=]+)")
CONTRARY = re.compile(
    r"(?<![a-z])(?:a\.?m|p\.?m|increase|decrease|profit|loss|north|south|east|west|even|odd|true"
    r"|false)(?![a-z])"
)
PARTS = re.compile(
    r"\\(?:to|rightarrow|Rightarrow|implies|iff|mid|neg|n(?:eq?|less|gtr|ot\w*)|not)(?![A-Za-z])|≠"
    r"|\\\\|\.\.\.|\\[lc]?dots"
    r"|\\text\s*\{[^{}]*\}(?!\s*\^)[^A-Za-z^]*\d"
)


def compare(reference: str, answer: str, limit: float) -> Judgement:
    """Equal text, then equal value as `latex` reads it, then sympy in a process of its own."""
    if _compact(reference) == _compact(answer):
        return "same"
    if "=" in answer and "=" not in reference:
        if (solutions := _solutions(answer, ordered=reference.startswith("("))) is not None:
            answer = solutions
        elif not re.search(r"[,;]|" + RELATION.pattern, answer.rpartition("=")[2]):
            right = right_side(answer)
            if right is None:
                return "different"
            answer = right
    if len(MAGNITUDE.findall(answer[:1000])) != len(MAGNITUDE.findall(reference)):
        return "different"
    sides = [set(CONTRARY.findall(cleaning.as_words(text[:1000]))) for text in (reference, answer)]
    if all(sides) and sides[0] != sides[1]:
        return "different"
    wanted, value = latex.read(reference), latex.read(answer)
    if wanted is not None and value is not None:
        equal = values.same(wanted, value)
        if equal is not None:
            return "same" if equal else "different"
    for words, other in ((wanted, answer), (value, reference)):
        if isinstance(words, values.Text):
            return "same" if words.text == cleaning.as_words(unwrapped(other)) else "different"
    if not answer or len(answer) > latex.MAX_LENGTH:
        return "unreadable"
    if _several(answer) and not _several(reference):
        return "different"  # sympy's reader takes one part and drops the others
    return worker.equivalent(reference, answer, limit)


def _solutions(answer: str, *, ordered: bool) -> str | None:
    """`x = 2 or x = 3` as `2, 3`, and, where a point is asked for, `x = 2, y = 3` as `(2, 3)`; None
    for anything else."""
    found = [
        match
        for part in SOLUTIONS.split(answer.strip().strip("$"))
        if (match := SOLUTION.fullmatch(part))
    ]
    names, given = [match[1] for match in found], ", ".join(match[2] for match in found)
    if len(found) < 2 or len(found) != len(SOLUTIONS.split(answer.strip().strip("$"))):
        return None
    if len(set(names)) == 1:
        return given
    return f"({given})" if ordered and names == sorted(set(names)) else None


def _several(text: str) -> bool:
    """Whether a text says more than one value: parts, a relation, an omission, words that make
    another of it."""
    return (
        PARTS.search(text) is not None
        or cleaning.hedged(cleaning.normal(text))
        or "," in re.sub(r"\([^()]*\)|\d,\d{3}", "", text)
    )


@lru_cache(maxsize=4096)
def _compact(text: str) -> str:
    return (
        re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", cleaning.normal(text))
        if len(text) <= latex.MAX_LENGTH
        else text
    )


def last_formula(text: str) -> tuple[str, str] | None:
    """The last formula between dollars or the like, else the last number, as (text, reason); None
    where it is taken back."""
    found = list(numbers.MATH_IN_TEXT.finditer(text))
    if re.search(r"\$\s*or\s+(?:\w+\s+)?\$|\bbetween \$[^$]*\$ and \$", text[-400:]):
        return None  # a hedge
    if found and BEFORE_DENIED.search(text[max(0, found[-1].start() - 60) : found[-1].start()]):
        return None
    if found:
        last = next(part for part in found[-1].groups() if part)
        return last.rpartition("=")[2].strip() or last, "last_formula"
    return numbers.last_number(text)
