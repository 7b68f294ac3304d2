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
    an answer of this kind; `find` lists what else in a text could be meant, as (text, reason)."""

    usable: Callable[[Problem], bool]
    judge: Callable[[Problem, str, float], Judgement]
    read: Callable[[Problem, str], bool]
    find: Callable[[Problem, str], tuple[str, str] | None]
    detail: Callable[[Problem, str], Mapping[str, float]] = lambda problem, answer: {}


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
    r"(?:####|\b(?:final\s+)?answer(?:\s+is)?\s*(?::|\bis\b)|\banswer\s+is\b)[ \t]*:?[ \t]*(?:\*\*)?\s*([^\n]{1,400})",
    re.IGNORECASE,
)


def _extracted(kind: Kind, problem: Problem, parts: Parts) -> tuple[str | None, str]:
    """The answer to judge, and how it was found or why none was."""
    if parts.boxed is not None:
        return parts.boxed, "boxed"
    if "\\boxed" in parts.answer:
        return None, "unclosed_box"
    if not parts.finished:
        return None, "truncated"
    answer = parts.answer
    if not answer:
        return None, "no_answer"
    if kind.read(problem, answer):
        return answer, "whole_answer"
    stated = None
    for match in STATED.finditer(answer[-20_000:]):
        stated = match[1]
    if stated is not None:
        for candidate in (stated, re.split(r"[.!;]?\*\*|[.!;](?:\s|$)|,\s", stated, maxsplit=1)[0]):
            if kind.read(problem, candidate.strip(" *")):
                return candidate.strip(" *"), "stated"
        if found := kind.find(problem, stated):
            return found[0], "stated"
    return kind.find(problem, answer[-20_000:]) or (None, "no_answer")


# Numbers and mathematical expressions.

NUMBER = re.compile(r"-?(?=[.\d])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:/\d+)?")
NUMBER_IN_TEXT = re.compile(r"(?<![\w.])[-−]?\$?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:/[1-9]\d*)?")
MATH_IN_TEXT = re.compile(r"\$\$?([^$]{1,400})\$|\\\(([^\n]{1,400}?)\\\)|\\\[(.{1,400}?)\\\]", re.DOTALL)
DIGITS = 4000  # more than these are no number (nor does Python convert them)


def read_number(text: str) -> Fraction | None:
    """The exact value of a number: sign, thousands commas, decimals, a fraction, plain or in LaTeX; currency, per cent, a unit
    and a final stop do not count, nor does what stands before a last `=`. None for anything else."""
    plain = text.strip().rstrip(".")
    if len(plain) <= DIGITS and plain and plain[-1].isdecimal() and plain.isascii() and NUMBER.fullmatch(plain):
        top, _, bottom = plain.replace(",", "").partition("/")
        if not bottom:
            return Fraction(top)
        return Fraction(top) / int(bottom) if int(bottom) else None
    return _read_number(text)


@lru_cache(maxsize=4096)
def _read_number(text: str) -> Fraction | None:
    value = latex.read(text.lstrip("+ "))
    if value is None and "=" in text:
        value = latex.read(text.rpartition("=")[2])
    if isinstance(value, latex.Equation):
        value = value.right
    return value.exact if isinstance(value, latex.Number) else None


def _judge_number(problem: Problem, answer: str, limit: float) -> Judgement:
    value = read_number(answer)
    return "unreadable" if value is None else "same" if value in _references(problem) else "different"


def _references(problem: Problem) -> list[Fraction | None]:
    assert problem.reference is not None
    return [read_number(text) for text in (problem.reference, *problem.accepted)]


def _last_number(problem: Problem, text: str) -> tuple[str, str] | None:
    found = NUMBER_IN_TEXT.findall(text)
    return (found[-1], "last_number") if found else None


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


def understood(problem: Problem) -> bool:
    """Whether answers can be compared with the reference by value, and not by text alone."""
    if problem.kind != "expression" or problem.reference is None:
        return True
    return latex.read(problem.reference) is not None or judges.equivalent(problem.reference, problem.reference) == "same"


@lru_cache(maxsize=4096)
def _compact(text: str) -> str:
    return re.sub(r"\s+", "", latex.normal(text)) if len(text) <= latex.MAX_LENGTH else text


def _last_formula(problem: Problem, text: str) -> tuple[str, str] | None:
    found = MATH_IN_TEXT.findall(text)
    if found:
        last = next(part for part in found[-1] if part)
        return last.rpartition("=")[2].strip() or last, "last_formula"
    return _last_number(problem, text)


# Multiple choice.

WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{([^{}]*)\}")
WRAPPER = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textit)\s*\{")
LETTER = re.compile(r"\(?([A-Ja-j])\)?[.:]?")
LETTER_AND_TEXT = re.compile(r"\(?([A-J])(?:\)[.:]?|[.:])\s*(\S.*)", re.DOTALL)
LETTER_IN_TEXT = re.compile(r"(?<![\w'’])\(?([A-J])\)?(?![\w'’])")


def _chosen(problem: Problem, text: str) -> str | None:
    """The letter of the option meant: `B`, `(B)`, `B.`, `B. its text`, or the option's text or value."""
    if len(text) > 4000:
        return None
    text = _unwrapped(text)
    letters = LETTERS[: len(problem.choices)]
    if match := LETTER.fullmatch(text):
        return match[1].upper() if match[1].upper() in letters else None
    options = [_option(choice) for choice in problem.choices]
    if _option(text) in options:
        return letters[options.index(_option(text))]
    if (match := LETTER_AND_TEXT.fullmatch(text)) and match[1] in letters:
        return match[1] if _matches(problem, letters.index(match[1]), match[2]) else None
    value = latex.read(text)
    if value is None:
        return None
    meant = [
        letter for letter, choice in zip(letters, map(latex.read, problem.choices)) if choice and latex.same(choice, value)
    ]
    return meant[0] if meant else None


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
    return "same" if letter == problem.reference or _plain(chosen) == _plain(wanted) else "different"


def _only_letter(problem: Problem, text: str) -> tuple[str, str] | None:
    stated = {letter for letter in LETTER_IN_TEXT.findall(text) if letter in LETTERS[: len(problem.choices)]}
    return (stated.pop(), "only_letter") if len(stated) == 1 else None


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
    return "same" if any(words == span_words(r) for r in (problem.reference, *problem.accepted)) else "different"


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
        judge=_judge_number, read=lambda p, text: read_number(text) is not None, find=_last_number,
    ),
    "expression": Kind(usable=_has_reference, judge=_judge_expression, read=_short, find=_last_formula),
    "choice": Kind(
        usable=lambda p: p.reference is not None and len(p.reference) == 1 and p.reference in LETTERS[: len(p.choices)],
        judge=_judge_choice, read=lambda p, text: _chosen(p, text) is not None, find=_only_letter,
    ),
    "span": Kind(usable=_has_reference, judge=_judge_span, read=_bare, find=_nothing, detail=_span_detail),
    "string": Kind(usable=_has_reference, judge=_judge_string, read=_bare, find=_nothing),
    "instructions": Kind(usable=_instructions_known, judge=_judge_string, read=_bare, find=_nothing),
    "procedural": Kind(usable=_has_reference, judge=_judge_procedural, read=_bare, find=_nothing),
}  # fmt: skip
