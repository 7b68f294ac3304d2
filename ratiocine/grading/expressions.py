"""Mathematical expressions: equality of two, and extraction of an answer from a text's formulas."""

from __future__ import annotations

import re
from functools import lru_cache

from ratiocine.grading import cleaning, latex, numbers, values, worker
from ratiocine.grading.characters import ascii_forms
from ratiocine.grading.digits import precise
from ratiocine.grading.numbers import RELATION, right_side
from ratiocine.grading.wording import BEFORE_DENIED, unwrapped
from ratiocine.grading.worker import Judgement

MAGNITUDE = re.compile(
    rf"(?<=\d)\s*(?:\\text\s*\{{\s*)?(?:{numbers.SCALE}|(?:squared|cubed|halves|minus|plus)\b)"
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


SEARCHED = 1000  # characters in which magnitudes and contrary words are looked for


def compare(reference: str, answer: str, limit: float) -> Judgement:
    """Compare as text, then by value with `latex`, then with sympy in a killable process.

    Before that, an answer with `=` is replaced by its right side, and answers with another
    magnitude ("million") or with contrary words ("a.m.", "p.m.") are different.
    """
    reference, answer = ascii_forms(reference), ascii_forms(answer)
    if _compact(reference) == _compact(answer):
        return "same"
    if "=" in answer and "=" not in reference:
        right = _asked_for(reference, answer)
        if right is None:
            return "different"
        answer = right
    if _contradicts(reference, answer):
        return "different"
    wanted, value = latex.read(reference), latex.read(answer)
    if wanted is not None and value is not None:
        equal = values.same(wanted, value)
        exact = isinstance(wanted, values.Number) and wanted.exact is not None
        if equal is not False and not (equal and exact):
            equal = _same_precisely(reference, answer)
        if equal is not None:
            return "same" if equal else "different"
    for words, other in ((wanted, answer), (value, reference)):
        if isinstance(words, values.Text):
            return "same" if words.text == cleaning.as_words(unwrapped(other)) else "different"
    if not answer or len(answer) > latex.MAX_LENGTH:
        return "unreadable"
    if _several(answer) and not _several(reference):
        return "different"  # math-verify would read one part and drop the others
    return worker.equivalent(reference, answer, limit)


def _same_precisely(reference: str, answer: str) -> bool | None:
    """Whether both have one value to 45 digits; None if that is undecided. In double precision
    1 + 10^{-20} is 1, and e^{-1000} is 0."""
    with precise():
        wanted, value = latex.read(reference), latex.read(answer)
        return None if wanted is None or value is None else values.same(wanted, value)


def _asked_for(reference: str, answer: str) -> str | None:
    """The value that an answer with `=` gives; the answer itself if it has several relations, None
    if it gives no value."""
    if (solutions := _solutions(answer, ordered=reference.startswith("("))) is not None:
        return solutions
    if re.search(r"[,;]|" + RELATION.pattern, answer.rpartition("=")[2]):
        return answer
    return right_side(answer)


def _contradicts(reference: str, answer: str) -> bool:
    """Whether the magnitudes differ in number, or the answer says the contrary of the reference."""
    answer = answer[:SEARCHED]
    if len(MAGNITUDE.findall(answer)) != len(MAGNITUDE.findall(reference)):
        return True
    one, other = (
        set(CONTRARY.findall(cleaning.as_words(text))) for text in (reference[:SEARCHED], answer)
    )
    return bool(one and other) and one != other


def _solutions(answer: str, *, ordered: bool) -> str | None:
    """`x = 2 or x = 3` → `2, 3`; with `ordered`, `x = 2, y = 3` → `(2, 3)`; None for anything
    else."""
    parts = SOLUTIONS.split(answer.strip().strip("$"))
    found = [match for part in parts if (match := SOLUTION.fullmatch(part))]
    if len(found) < 2 or len(found) != len(parts):
        return None
    names, given = [match[1] for match in found], ", ".join(match[2] for match in found)
    if len(set(names)) == 1:
        return given
    return f"({given})" if ordered and names == sorted(set(names)) else None


def _several(text: str) -> bool:
    """Whether a text has more than one value: several parts, a relation, an omission, or words that
    change the value."""
    return (
        PARTS.search(text) is not None
        or cleaning.hedged(cleaning.normal(text))
        or "," in re.sub(r"\([^()]*\)|\d,\d{3}", "", text)
    )


@lru_cache(maxsize=4096)
def _compact(text: str) -> str:
    if len(text) > latex.MAX_LENGTH:
        return text
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", cleaning.normal(text))


def last_formula(text: str) -> tuple[str, str] | None:
    """The last formula in math delimiters, else the last number, with how it was found
    (`Grade.reason`); None if it is denied or hedged."""
    found = list(numbers.MATH_IN_TEXT.finditer(text))
    if re.search(r"\$\s*or\s+(?:\w+\s+)?\$|\bbetween \$[^$]*\$ and \$", text[-400:]):
        return None  # a hedge
    if found and BEFORE_DENIED.search(text[max(0, found[-1].start() - 60) : found[-1].start()]):
        return None
    if found:
        last = next(part for part in found[-1].groups() if part)
        return last.rpartition("=")[2].strip() or last, "last_formula"
    return numbers.last_number(text)
