"""grade(problem, parts): the one grader. It filters teacher answers, scores students and will pay rewards.

The answer is looked for after the trace only: the last `\\boxed{}`; without one the whole answer where it can be read as what
is asked for; then what is *stated* (`#### …`, `the answer is …`); then, by kind, the last number or formula, or the only
option letter. `Grade.reason` says which. A completion that ran out of budget has only what it boxed: the end of a cut text is
no answer.

Fault decides the verdict. Whatever the completion did is `wrong`: nothing found, unreadable, too costly to judge. `ungradable`
is a problem whose own reference is unusable, or a judge that fails on the reference itself.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

from ratiocine import judges, latex
from ratiocine.problems import LETTERS, Problem
from ratiocine.prompts import Parts

QUICK = 4000  # characters of a response for which no pattern takes long
LIMIT = judges.DEFAULT_LIMIT  # seconds for one symbolic judgement


@dataclass(frozen=True)
class Grade:
    """`extracted` is the answer that was judged, None where none was found; `reason` how it was found or why not; `detail`
    holds further measures (`f1` of a span, `loose` and `followed` of instructions)."""

    verdict: Literal["right", "wrong", "ungradable"]
    extracted: str | None
    reason: str
    detail: Mapping[str, float] = field(default_factory=dict)


# What a judge can say of an extracted answer.
Judgement = Literal["same", "different", "unreadable", "too_costly", "broken"]


@dataclass(frozen=True)
class Kind:
    """How one kind of answer is told usable as a reference, found in free text, and judged. `read` says whether a text *is*
    an answer of this kind; `lead` what answer a statement begins with; `find` what else in a text could be meant, as (text,
    reason)."""

    usable: Callable[[Problem], bool]
    judge: Callable[[Problem, str, float], Judgement]
    read: Callable[[Problem, str], bool]
    find: Callable[[Problem, str], tuple[str, str] | None]
    detail: Callable[[Problem, str], Mapping[str, float]] = lambda problem, answer: {}
    lead: Callable[[Problem, str], str | None] = lambda problem, text: None


def grade(problem: Problem, parts: Parts, *, limit: float = LIMIT) -> Grade:
    """Judge one completion of one problem; a symbolic comparison may take `limit` seconds of wall-clock."""
    kind = KINDS[problem.kind]
    if not kind.usable(problem):
        return Grade("ungradable", None, "reference")
    if not parts.closed:
        return Grade("wrong", None, "unclosed")
    if problem.kind == "instructions":
        return _followed(problem, parts.answer, limit)
    extracted, reason = _extracted(kind, problem, parts)
    if extracted is None:
        return Grade("wrong", None, reason)
    judgement = kind.judge(problem, extracted, limit)
    if judgement == "broken":
        return Grade("ungradable", extracted, "judge_failed")
    detail = kind.detail(problem, extracted)
    if judgement in ("same", "different"):
        return Grade("right" if judgement == "same" else "wrong", extracted, reason, detail)
    return Grade("wrong", extracted, f"{reason}_{judgement}", detail)


STATED = re.compile(
    r"(?:####|\b(?:final\s+)?answer(?:\s+is)?\s*(?::|\bis\b)|\banswer\s+is\b)[ \t]*:?[ \t]*(?:\*\*)?\s*(?=([^\n]{1,400}))",
    re.IGNORECASE,
)


DENIED = re.compile(r"(?:\w+n't|not|never|neither|incorrect|wrong)\b", re.IGNORECASE)


def _extracted(kind: Kind, problem: Problem, parts: Parts) -> tuple[str | None, str]:
    """The answer to judge, and how it was found or why none was."""
    if parts.boxed:
        return parts.boxed, "boxed"
    if parts.boxed == "":
        return None, "empty_box"
    if "\\boxed" in parts.answer:
        return None, "unclosed_box"
    if not parts.finished:
        return None, "truncated"
    answer = parts.answer
    if not answer:
        return None, "no_answer"
    if kind.read(problem, answer):
        return answer, "whole_answer"
    stated = [match[1] for match in STATED.finditer(answer[-20_000:])]
    if problem.kind not in ("span", "string"):
        stated = [text for text in stated if not DENIED.match(text)]
    for text in reversed(stated[-20:]):
        for candidate in (text, re.split(r"[.!;]?\*\*|[.!;](?:\s|$)|,\s", text, maxsplit=1)[0]):
            if kind.read(problem, candidate.strip(" *")):
                return candidate.strip(" *"), "stated"
        if (first := kind.lead(problem, text.strip(" *$:"))) is not None:
            return first, "stated"
    if stated and (found := kind.find(problem, stated[-1])):
        return found[0], "stated"
    if STATED.search(answer[-20_000:]) and not stated:
        return None, "no_answer"
    return kind.find(problem, answer[-20_000:]) or (None, "no_answer")


def canonical(answer: str) -> str:
    """One text for answers that say the same, for counting votes: the exact value of a number, else words without case,
    spacing or wrapping."""
    value = read_number(answer)
    return str(value) if value is not None else _plain(_unwrapped(answer))


# Numbers and mathematical expressions.

NUMBER = re.compile(r"-?(?=[.\d])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?")
NUMBER_IN_TEXT = re.compile(
    r"(?<![\w.^_{/:\\])[-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d+)?(?:\s?/\s?[1-9]\d*)?(?!\d|\s*\^|[,:/]\d)"
)
MATH_IN_TEXT = re.compile(r"\$\$?([^$]{1,400})\$|\\\(([^\n]{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
DIGITS_OF = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
LITERAL = re.compile(
    rf"(?P<sign>[-+]?)\s*(?P<money>[£€¥]|USD|US)?\s*(?P<inner>-?)(?:(?P<whole>\d+)?\s*\\frac\s*\{{?(?P<top>-?\d+)\}}?\s*\{{?(?P<bottom>\d+)\}}?"
    rf"|(?P<mixed>\d+)\s+(?P<above>\d+)/(?P<below>\d+)|(?P<over>{DIGITS_OF}(?:\.\d+)?)\s*/\s*(?P<under>\d+)"
    rf"|(?P<plain>{DIGITS_OF}(?:\.\d+)?|\.\d+)(?:\s*[*x]\s*10\s*\^\s*\{{?(?P<tens>[-+]?\d{{1,3}})\}}?|[eE](?P<e>[-+]?\d{{1,3}}))?)(?P<tail>.*)",
    re.DOTALL,
)
TIMES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
UNITS = re.compile(r"(?:\s*(?:[%°'’\"]|[A-Za-z²³-][A-Za-z²³'’-]*(?:\s*\^\s*\{?-?\d\}?)?|[/.·*](?=\s*[A-Za-z])))*\s*\.?")
NO_UNIT = re.compile(
    r"\b(?:or|and|minus|plus|times|half|halves|thirds?|quarters?|fourths?|fifths?|squared|cubed|to|not|if|because|since|over|divided"
    r"|percent of)\b",
    re.IGNORECASE,
)
RELATION = re.compile(r"[<>≤≥≠]|!=|\\n?eq?(?![A-Za-z])|\\[lg]eq?(?![A-Za-z])|\\(?:not|in|approx)(?![A-Za-z])")
DIGITS = 4000  # more than these are no number (nor does Python convert them)


def read_number(text: str) -> Fraction | None:
    """The exact value of a number: sign, thousands commas, decimals, a fraction, plain or in LaTeX; currency, per cent, a unit
    and a final stop do not count, nor does the name, or the right calculation, before a `=`. None for anything else: no sum
    is done for the writer."""
    plain = text.strip().rstrip(".")
    if len(plain) <= DIGITS and plain and plain[-1].isdecimal() and plain.isascii() and NUMBER.fullmatch(plain):
        top, _, bottom = plain.replace(",", "").partition("/")
        if not bottom:
            return Fraction(top)
        return Fraction(top) / int(bottom) if int(bottom) else None
    return _read_number(text)


@lru_cache(maxsize=4096)
def _read_number(text: str) -> Fraction | None:
    if len(text) > latex.MAX_LENGTH:
        return None
    text = re.sub(r"^(?:\\approx|≈|about|approximately|exactly|only)\s*", "", _unwrapped(text))
    return _literal(text) if "=" not in text else None if (right := _right_side(text)) is None else _literal(right)


def _literal(text: str) -> Fraction | None:
    """A number as it is written, with what may stand around it: no arithmetic is done for the writer."""
    plain = latex.DEGREES.sub("", latex.normal(text)).replace("\\%", "%").replace("\\ ", " ")
    match = LITERAL.fullmatch(re.sub(r"\\text\s*\{([^{}]*)\}", r" \1 ", plain).strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    part = match.groupdict()
    if part["bottom"] or part["below"] or part["under"]:
        bottom = int(part["bottom"] or part["below"] or part["under"])
        top = part["top"] or part["above"] or part["over"]
        if not bottom:
            return None
        value = Fraction(re.sub("[, ]", "", top)) / bottom + int(part["whole"] or part["mixed"] or 0)
    else:
        value = Fraction(re.sub("[, ]", "", part["plain"])) * Fraction(10) ** int(part["tens"] or part["e"] or 0)
    tail = match["tail"].strip()
    for word, times in TIMES.items():
        if re.match(rf"{word}s?\b", tail, re.IGNORECASE):
            value, tail = value * times, tail[len(word) :].removeprefix("s").strip()
            break
    if not UNITS.fullmatch(tail) or NO_UNIT.search(tail) or any(re.search(rf"\b{word}", tail, re.I) for word in TIMES):
        return None
    return -value if "-" in (match["sign"], match["inner"]) else value


def _right_side(text: str) -> str | None:
    """What an equation says a name is, or a calculation comes to; None where it is neither, or comes to something else."""
    if RELATION.search(text) or re.search(r"[,;]\s|\b(?:or|and)\b|\\text", text):
        return None
    *left, right = text.split("=")
    for side in left:
        if re.search(r"[\d^+*/]", side):
            value, result = latex.read(side), latex.read(right)
            if not isinstance(value, latex.Number) or not isinstance(result, latex.Number) or value.exact is None:
                return None
            if value.exact != result.exact:
                return None
        elif len(side) > 60:
            return None
    return right


def _judge_number(problem: Problem, answer: str, limit: float) -> Judgement:
    value = read_number(answer)
    return "unreadable" if value is None else "same" if value in _references(problem) else "different"


def _references(problem: Problem) -> list[Fraction | None]:
    assert problem.reference is not None
    return [read_number(text) for text in (problem.reference, *problem.accepted)]


def _last_number(problem: Problem, text: str) -> tuple[str, str] | None:
    formulas, numbers = list(MATH_IN_TEXT.finditer(text)), list(NUMBER_IN_TEXT.finditer(text))
    if formulas and (not numbers or formulas[-1].end() >= numbers[-1].end()):
        formula = next(part for part in formulas[-1].groups() if part)
        return (formula, "last_formula") if read_number(formula) is not None else None
    return (numbers[-1][0], "last_number") if numbers else None


def _first_number(problem: Problem, text: str) -> str | None:
    """The number that a statement begins with, where no calculation follows."""
    match = NUMBER_IN_TEXT.match(text)
    if match is None or re.match(r"\s*(?:[-+*/=^×<>!]|\\)", text[match.end() :]):
        return None
    words = re.match(r"\s*([A-Za-z]+)", text[match.end() :])
    return None if words and (words[1].lower() in TIMES or NO_UNIT.fullmatch(words[1])) else match[0]


def _judge_expression(problem: Problem, answer: str, limit: float) -> Judgement:
    found: list[Judgement] = []
    assert problem.reference is not None
    for reference in (problem.reference, *problem.accepted):
        found.append(_compare(reference, answer, limit))
        if found[-1] == "same":
            return "same"
    return next((f for f in found if f != "different"), "different")


def _compare(reference: str, answer: str, limit: float) -> Judgement:
    """Equal text, then equal value as `latex` reads it, then sympy in a process of its own."""
    if _compact(reference) == _compact(answer):
        return "same"
    if "=" in answer and "=" not in reference and not re.search(r"[,;]|" + RELATION.pattern, answer):
        right = _right_side(answer)
        if right is None:
            return "different"
        answer = right
    if len(MAGNITUDE.findall(answer[:1000])) != len(MAGNITUDE.findall(reference)):
        return "different"
    wanted, value = latex.read(reference), latex.read(answer)
    if wanted is not None and value is not None:
        equal = latex.same(wanted, value)
        if equal is not None:
            return "same" if equal else "different"
    for words, other in ((wanted, answer), (value, reference)):
        if isinstance(words, latex.Text):
            return "same" if words.text == latex.as_words(_unwrapped(other)) else "different"
    if not answer or len(answer) > latex.MAX_LENGTH:
        return "unreadable"
    return judges.equivalent(reference, answer, limit)


MAGNITUDE = re.compile(
    r"(?<=\d)\s*(?:\\text\s*\{\s*)?(?:hundred|thousand|million|billion|trillion|dozen|squared|cubed|halves|minus|plus)\b"
)


def understood(problem: Problem) -> bool:
    """Whether answers can be compared with the reference by value, and not by text alone."""
    if problem.kind != "expression" or problem.reference is None:
        return True
    return latex.read(problem.reference) is not None or judges.equivalent(problem.reference, problem.reference) == "same"


@lru_cache(maxsize=4096)
def _compact(text: str) -> str:
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", latex.normal(text)) if len(text) <= latex.MAX_LENGTH else text


def _last_formula(problem: Problem, text: str) -> tuple[str, str] | None:
    found = MATH_IN_TEXT.findall(text)
    if re.search(r"\$\s*or\s*\$", text[-400:]):
        return None  # a hedge
    if found:
        last = next(part for part in found[-1] if part)
        return last.rpartition("=")[2].strip() or last, "last_formula"
    return _last_number(problem, text)


# Multiple choice.

STYLES = r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mathit|mathsf|boldsymbol|mbox)"
WRAPPED = re.compile(STYLES + r"\s*\{([^{}]*)\}")
WRAPPER = re.compile(STYLES + r"\s*\{")
LETTER = re.compile(r"[(\[\"'“]?([A-Ja-j])[)\]\"'”]?[.:]?")
LETTER_AND_TEXT = re.compile(r"[(\[]?([A-J])(?:[)\]][.:,]?|[.:,]|\s+[-–—])\s*(\S.*)", re.DOTALL)
LETTER_IN_TEXT = re.compile(r"(?<![\w'’])(\(?)([A-J])(?![\w'’])(\)?)(?=([.,:;*]|\s*$)?(?:\s+([a-z]+))?)", re.MULTILINE)
AFTER_A_LETTER = ("or", "and", "is", "because", "since", "as", "but", "for")
NAMED = re.compile(r"^(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s+(?=\W?[A-J]\b)", re.IGNORECASE)


def _chosen(problem: Problem, text: str) -> str | None:
    """The letter of the option meant: `B`, `(B)`, `B.`, `B. its text`, or the option's text or value."""
    if len(text) > 4000:
        return None
    text = NAMED.sub("", _unwrapped(text).replace("\\ ", " ").strip())
    letters = LETTERS[: len(problem.choices)]
    if match := LETTER.fullmatch(text):
        return match[1].upper() if match[1].upper() in letters else None
    for form in (str.strip, _option):  # as it stands, then without case and wrapping
        named = [letter for letter, choice in zip(letters, problem.choices, strict=False) if form(choice) == form(text)]
        if named and (
            form is str.strip or len({problem.choices[letters.index(x)].casefold() for x in named}) == len(named) == 1
        ):
            return named[0]
    if (match := LETTER_AND_TEXT.fullmatch(text)) and match[1] in letters:
        others = [i for i in range(len(letters)) if letters[i] != match[1] and _matches(problem, i, match[2])]
        explained = not others and "\n" not in match[2] and STATED.search(match[2]) is None
        return match[1] if explained or _matches(problem, letters.index(match[1]), match[2]) else None
    value = latex.read(text)
    if value is None:
        return None
    meant = [
        letter for letter, choice in zip(letters, map(latex.read, problem.choices)) if choice and latex.same(choice, value)
    ]
    return meant[0] if len(meant) == 1 else None


def _matches(problem: Problem, index: int, text: str) -> bool:
    """Whether `text` after a letter is that option's text, in words or in value."""
    choice = problem.choices[index]
    a, b = latex.read(choice), latex.read(text)
    return _option(choice) == _option(text) or (a is not None and b is not None and latex.same(a, b) is True)


def _option(text: str) -> str:
    return _plain(_unwrapped(text).replace("$", ""))


def _unwrapped(text: str) -> str:
    """The text without `\\text{…}` and the like, emphasis and math delimiters around it."""
    text = WRAPPED.sub(r"\1", text.strip().strip("*$").strip())
    if (match := WRAPPER.match(text)) and text.endswith("}"):
        text = text[match.end() : -1]
    return text.strip().strip("*$").strip()


def _plain(text: str) -> str:
    """Case, spacing and a final stop do not matter."""
    return " ".join(text.casefold().split()).rstrip(".")


def _judge_choice(problem: Problem, answer: str, limit: float) -> Judgement:
    """By text, because some benchmarks repeat an option."""
    letter = _chosen(problem, answer)
    if letter is None:
        return "unreadable"
    assert problem.reference is not None
    chosen, wanted = (problem.choices[LETTERS.index(x)] for x in (letter, problem.reference))
    return "same" if letter == problem.reference or chosen.split() == wanted.split() else "different"


def _only_letter(problem: Problem, text: str) -> tuple[str, str] | None:
    first = text.strip().partition("\n")[0].strip(" *")
    listed = re.search(r"^\W{0,3}[A-J][.):]", text.strip().partition("\n")[2], re.MULTILINE)  # the options once more
    if first and "\n" in text.strip() and not listed and _chosen(problem, first) is not None:
        return first, "first_line"
    stated = set()
    for left, letter, right, after, following in LETTER_IN_TEXT.findall(text):
        word = letter in "AI" and not (left and right) and not after and following not in ("", *AFTER_A_LETTER)  # "A stone"
        if letter in LETTERS[: len(problem.choices)] and not word:
            stated.add(letter)
    return (stated.pop(), "only_letter") if len(stated) == 1 else None


def _first_letter(problem: Problem, text: str) -> str | None:
    """The letter that a statement begins with; `A` and `I` may be words."""
    match = re.match(r"(?:option\s+|choice\s+)?(\(?)([A-J])(\)?)(?=[\s.,:;*]|$)\s*(\w*)", text)
    if match is None or match[2] not in LETTERS[: len(problem.choices)]:
        return None
    word = match[2] in "AI" and not match[1] and match[4] and match[4] not in AFTER_A_LETTER
    return None if word and text[match.end(2)] == " " else match[2]


# Spans of a passage, and exact strings.

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def span_words(text: str) -> list[str]:
    """Words of an answer as SQuAD's scorer compares them (Rajpurkar et al. 2016): lower case, no punctuation, no articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def span_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of two bags of words; 1 where both are empty, 0 where one is."""
    if not answer or not reference:
        return float(answer == reference)
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference))


def _judge_span(problem: Problem, answer: str, limit: float) -> Judgement:
    assert problem.reference is not None
    words = span_words(_unwrapped(answer))
    accepted = (problem.reference, *problem.accepted)
    if not words:
        return "same" if answer.strip() in accepted else "unreadable"
    return "same" if any(words == span_words(r) for r in accepted) else "different"


def _span_detail(problem: Problem, answer: str) -> Mapping[str, float]:
    assert problem.reference is not None
    words = span_words(_unwrapped(answer))
    return {"f1": max(span_f1(words, span_words(r)) for r in (problem.reference, *problem.accepted))}


def _judge_string(problem: Problem, answer: str, limit: float) -> Judgement:
    assert problem.reference is not None
    plain = _plain(_unwrapped(answer))
    if not plain:
        return "unreadable"
    return "same" if plain in {_plain(r) for r in (problem.reference, *problem.accepted)} else "different"


# Instructions and procedural checkers.


def _followed(problem: Problem, answer: str, limit: float) -> Grade:
    """Right where every instruction is followed (IFEval's prompt-level strict accuracy). A response that was cut short is
    judged as it stands, as everybody does."""
    from ratiocine.instructions import check

    asked = list(problem.meta["instruction_id_list"]), list(problem.meta["kwargs"]), answer
    found: Any = check(*asked) if len(answer) <= QUICK else judges.instructions(*asked, limit)
    if found == "too_costly":
        return Grade("wrong", None, "too_costly")
    strict, loose = found
    detail = {"loose": float(all(loose)), "followed": sum(strict) / len(strict), "followed_loose": sum(loose) / len(loose)}
    failed = [name for name, ok in zip(problem.meta["instruction_id_list"], strict, strict=True) if not ok]
    return Grade("wrong" if failed else "right", None, failed[0] if failed else "followed", detail)


def _instructions_known(problem: Problem) -> bool:
    from ratiocine.instructions import INSTRUCTIONS

    names = problem.meta.get("instruction_id_list") or []
    return bool(names) and all(name in INSTRUCTIONS for name in names)


def _judge_procedural(problem: Problem, answer: str, limit: float) -> Judgement:
    return judges.procedural(problem.meta["dataset"], dict(problem.meta["entry"]), answer, limit)


def _bare(problem: Problem, text: str) -> bool:
    """A text that says nothing of the form "the answer is …" is the answer."""
    return STATED.search(text[:4000]) is None


def _nothing(problem: Problem, text: str) -> None:
    return None


def _has_reference(problem: Problem) -> bool:
    return bool(problem.reference and problem.reference.strip())


def _short(problem: Problem, text: str) -> bool:
    """A whole answer that could be meant as a bare formula."""
    return len(text) <= 200 and STATED.search(text) is None and latex.read(text) is not None


KINDS: dict[str, Kind] = {
    "number": Kind(
        usable=lambda p: p.reference is not None and None not in _references(p),
        judge=_judge_number, read=lambda p, text: read_number(text) is not None, find=_last_number, lead=_first_number,
    ),
    "expression": Kind(usable=_has_reference, judge=_judge_expression, read=_short, find=_last_formula),
    "choice": Kind(
        usable=lambda p: p.reference is not None and len(p.reference) == 1 and p.reference in LETTERS[: len(p.choices)],
        judge=_judge_choice, read=lambda p, text: _chosen(p, text) is not None, find=_only_letter, lead=_first_letter,
    ),
    "span": Kind(usable=_has_reference, judge=_judge_span, read=_bare, find=_nothing, detail=_span_detail),
    "string": Kind(usable=_has_reference, judge=_judge_string, read=_bare, find=_nothing),
    "instructions": Kind(usable=_instructions_known, judge=_judge_string, read=_bare, find=_nothing),
    "procedural": Kind(usable=_has_reference, judge=_judge_procedural, read=_bare, find=_nothing),
}  # fmt: skip
