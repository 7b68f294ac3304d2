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
from typing import Any, Literal

from ratiocine.grading import choices, countdown, expressions, latex, numbers, worker
from ratiocine.grading.numbers import read_number
from ratiocine.grading.wording import DENIED, STATED, folded, unwrapped
from ratiocine.grading.worker import Judgement
from ratiocine.prompts import Parts
from ratiocine.records import LETTERS, Problem

QUICK = 4000  # characters of a response for which no pattern takes long
LIMIT = worker.DEFAULT_LIMIT  # seconds for one symbolic judgement


@dataclass(frozen=True)
class Grade:
    """`extracted` is the answer that was judged, None where none was found; `reason` how it was found or why not; `detail`
    holds further measures (`f1` of a span, `loose` and `followed` of instructions)."""

    verdict: Literal["right", "wrong", "ungradable"]
    extracted: str | None
    reason: str
    detail: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """How one kind of answer is told usable as a reference, found in free text, and judged. `read` says whether a text *is*
    an answer of this kind; `lead` what answer a statement begins with, the empty text where it takes that back; `find` what
    else in a text could be meant, as (text, reason)."""

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
        if kind.read(problem, text.strip(" *")):
            return text.strip(" *"), "stated"
        if (first := kind.lead(problem, text.strip(" *$:"))) is not None:
            return (first, "stated") if first else (None, "no_answer")
        if kind.read(
            problem,
            first := re.split(r"[.!;]?\*\*|[.!;](?:\s|$)|,\s", text, maxsplit=1)[0].strip(" *"),
        ):
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
    return str(value) if value is not None else folded(unwrapped(answer))


# Numbers and mathematical expressions.


def _judge_number(problem: Problem, answer: str, limit: float) -> Judgement:
    value = read_number(answer)
    return (
        "unreadable" if value is None else "same" if value in _references(problem) else "different"
    )


def _references(problem: Problem) -> list[Fraction | None]:
    assert problem.reference is not None
    return [read_number(text) for text in (problem.reference, *problem.accepted)]


def _judge_expression(problem: Problem, answer: str, limit: float) -> Judgement:
    found: list[Judgement] = []
    assert problem.reference is not None
    for reference in (problem.reference, *problem.accepted):
        found.append(expressions.compare(reference, answer, limit))
        if found[-1] == "same":
            return "same"
    return next((f for f in found if f != "different"), "different")


def understood(problem: Problem) -> bool:
    """Whether answers can be compared with the reference by value, and not by text alone."""
    if problem.kind != "expression" or problem.reference is None:
        return True
    return (
        latex.read(problem.reference) is not None
        or worker.equivalent(problem.reference, problem.reference) == "same"
    )


# Multiple choice.


def _judge_choice(problem: Problem, answer: str, limit: float) -> Judgement:
    """By text, because some benchmarks repeat an option."""
    letter = choices.chosen(problem, answer)
    if letter is None:
        return "unreadable"
    assert problem.reference is not None
    chosen, wanted = (problem.choices[LETTERS.index(x)] for x in (letter, problem.reference))
    return (
        "same" if letter == problem.reference or chosen.split() == wanted.split() else "different"
    )


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
    words = span_words(unwrapped(answer))
    accepted = (problem.reference, *problem.accepted)
    if not words:
        return "same" if answer.strip() in accepted else "unreadable"
    return "same" if any(words == span_words(r) for r in accepted) else "different"


def _span_detail(problem: Problem, answer: str) -> Mapping[str, float]:
    assert problem.reference is not None
    words = span_words(unwrapped(answer))
    return {
        "f1": max(span_f1(words, span_words(r)) for r in (problem.reference, *problem.accepted))
    }


def _judge_string(problem: Problem, answer: str, limit: float) -> Judgement:
    assert problem.reference is not None
    text = folded(unwrapped(answer))
    if not text:
        return "unreadable"
    return (
        "same"
        if text in {folded(r) for r in (problem.reference, *problem.accepted)}
        else "different"
    )


# Instructions and procedural checkers.


def _followed(problem: Problem, answer: str, limit: float) -> Grade:
    """Right where every instruction is followed (IFEval's prompt-level strict accuracy). A response that was cut short is
    judged as it stands, as everybody does."""
    from ratiocine.grading.instructions import check

    asked = list(problem.meta["instruction_id_list"]), list(problem.meta["kwargs"]), answer
    found: Any = check(*asked) if len(answer) <= QUICK else worker.instructions(*asked, limit)
    if found == "too_costly":
        return Grade("wrong", None, "too_costly")
    strict, loose = found
    detail = {
        "loose": float(all(loose)),
        "followed": sum(strict) / len(strict),
        "followed_loose": sum(loose) / len(loose),
    }
    failed = [
        name for name, ok in zip(problem.meta["instruction_id_list"], strict, strict=True) if not ok
    ]
    return Grade("wrong" if failed else "right", None, failed[0] if failed else "followed", detail)


def _instructions_known(problem: Problem) -> bool:
    from ratiocine.grading.instructions import INSTRUCTIONS

    names, given = problem.meta.get("instruction_id_list") or [], problem.meta.get("kwargs") or []
    return bool(names) and len(names) == len(given) and all(name in INSTRUCTIONS for name in names)


def _judge_procedural(problem: Problem, answer: str, limit: float) -> Judgement:
    return worker.procedural(problem.meta["dataset"], dict(problem.meta["entry"]), answer, limit)


def _judge_countdown(problem: Problem, answer: str, limit: float) -> Judgement:
    if countdown.sides(answer) is None:
        return "unreadable"
    return (
        "same"
        if countdown.solves(answer, problem.meta["numbers"], problem.meta["target"])
        else "different"
    )


def _countdown_known(problem: Problem) -> bool:
    numbers, target = problem.meta.get("numbers"), problem.meta.get("target")
    return (
        isinstance(numbers, list | tuple)
        and bool(numbers)
        and all(type(n) is int and n >= 0 for n in (*numbers, 0))
        and (type(target) is int)
    )


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
        judge=_judge_number,
        read=lambda p, text: read_number(text) is not None,
        find=lambda p, text: numbers.last_number(text),
        lead=lambda p, text: numbers.first_number(text),
    ),
    "expression": Kind(
        usable=_has_reference,
        judge=_judge_expression,
        read=_short,
        find=lambda p, text: expressions.last_formula(text),
    ),
    "choice": Kind(
        usable=lambda p: (
            p.reference is not None
            and len(p.reference) == 1
            and p.reference in LETTERS[: len(p.choices)]
        ),
        judge=_judge_choice,
        read=lambda p, text: (
            STATED.search(text[:4000]) is None and choices.chosen(p, text) is not None
        ),
        find=choices.only_letter,
        lead=choices.first_letter,
    ),
    "span": Kind(
        usable=_has_reference, judge=_judge_span, read=_bare, find=_nothing, detail=_span_detail
    ),
    "string": Kind(usable=_has_reference, judge=_judge_string, read=_bare, find=_nothing),
    "instructions": Kind(
        usable=_instructions_known, judge=_judge_string, read=_bare, find=_nothing
    ),
    "procedural": Kind(usable=_has_reference, judge=_judge_procedural, read=_bare, find=_nothing),
    "countdown": Kind(
        usable=_countdown_known,
        judge=_judge_countdown,
        read=lambda p, text: countdown.sides(text) is not None,
        find=lambda p, text: countdown.last_expression(text),
    ),
}
