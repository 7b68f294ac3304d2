"""grade(problem, parts): the one grader, used to filter teacher answers, to score students and to
compute rewards. `parts` is a completion split into trace, answer and boxed answer.

Answer extraction looks after the reasoning trace only, in this order: the last `\\boxed{}`; the
whole answer, if it parses as the problem's kind; a stated answer (`#### …`, `the answer is …`); a
fallback by kind (the last number or formula, the only option letter). `Grade.reason` names the
step. A truncated completion counts only for what it boxed, but follows instructions as it stands.

A completion without an answer, or with one that cannot be parsed or takes longer than the limit to
compare, is `wrong`. `ungradable`: a reference answer that is missing or cannot be parsed, or that
the comparator cannot compare with itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ratiocine.completion_parts import Parts
from ratiocine.grading import worker
from ratiocine.grading.characters import ascii_forms
from ratiocine.grading.decimal_commas import in_points
from ratiocine.grading.kinds import KINDS, Kind
from ratiocine.grading.wording import DENIED, STATED
from ratiocine.records import Problem, Verdict

SHORT_RESPONSE = 4000  # characters; the instruction checkers' patterns are fast up to this length
LIMIT = worker.DEFAULT_LIMIT  # seconds of wall-clock for one symbolic comparison
TAIL = 20_000  # characters at the end of an answer that are searched
MAX_STATEMENTS = 20


@dataclass(frozen=True)
class Grade:
    """The verdict on one completion."""

    verdict: Verdict
    extracted: str | None
    """The answer that was compared; None if none was found."""
    reason: str
    """How the answer was found, or why not."""
    detail: Mapping[str, float] = field(default_factory=dict)
    """Further measures: `f1` of a span; `loose`, `followed` and `followed_loose` of
    instructions."""


def grade(problem: Problem, parts: Parts, *, limit: float = LIMIT) -> Grade:
    """Grade one completion of one problem; a symbolic comparison takes at most `limit` seconds."""
    kind = KINDS[problem.kind]
    if not kind.usable(problem):
        return Grade("ungradable", None, "reference")
    if not parts.closed:
        return Grade("wrong", None, "unclosed")
    if problem.kind == "instructions":
        return _grade_instructions(problem, parts.answer, limit)
    if problem.decimal == "comma":
        boxed = parts.boxed and in_points(problem, parts.boxed)
        parts = replace(parts, answer=in_points(problem, parts.answer), boxed=boxed)
    extracted, reason = _extract(kind, problem, parts)
    if extracted is None:
        return Grade("wrong", None, reason)
    judgement = kind.judge(problem, extracted, limit)
    if judgement == "broken":
        return Grade("ungradable", extracted, "judge_failed")
    detail = kind.detail(problem, extracted)
    if judgement in ("same", "different"):
        return Grade("right" if judgement == "same" else "wrong", extracted, reason, detail)
    return Grade("wrong", extracted, f"{reason}_{judgement}", detail)


def _extract(kind: Kind, problem: Problem, parts: Parts) -> tuple[str | None, str]:
    """The answer to compare, with how it was found; or None, with why there is none."""
    if parts.boxed:
        return parts.boxed, "boxed"
    if parts.boxed == "":
        return None, "empty_box"
    if "\\boxed" in parts.answer:
        return None, "unclosed_box"
    if not parts.finished:
        return None, "truncated"
    if not parts.answer:
        return None, "no_answer"
    if kind.read(problem, parts.answer):
        return parts.answer, "whole_answer"
    tail = parts.answer[-TAIL:]
    as_written = problem.kind in ("span", "string", "procedural")
    return _extract_from_text(kind, problem, tail if as_written else ascii_forms(tail))


def _extract_from_text(kind: Kind, problem: Problem, text: str) -> tuple[str | None, str]:
    """The last stated answer that parses, else the kind's fallback."""
    statements = [match[1] for match in STATED.finditer(text)]
    stated = statements
    if problem.kind not in ("span", "string"):
        stated = [statement for statement in statements if not DENIED.match(statement)]
    for statement in reversed(stated[-MAX_STATEMENTS:]):
        if kind.read(problem, whole := statement.strip(" *")):
            return whole, "stated"
        if (leading := kind.lead(problem, statement.strip(" *$:"))) is not None:
            return (leading, "stated") if leading else (None, "no_answer")
        clause = re.split(r"[.!;]?\*\*|[.!;](?:\s|$)|,\s", statement, maxsplit=1)[0].strip(" *")
        if kind.read(problem, clause):
            return clause, "stated"
    if stated and (found := kind.find(problem, stated[-1])):
        return found[0], "stated"
    if statements and not stated:  # every statement is a denial
        return None, "no_answer"
    return kind.find(problem, text) or (None, "no_answer")


def _grade_instructions(problem: Problem, answer: str, limit: float) -> Grade:
    """Right if every instruction is followed (IFEval's prompt-level strict accuracy). A truncated
    response is graded as it stands, as in IFEval's own scorer."""
    from ratiocine.grading.instructions import check

    names = list(problem.meta["instruction_id_list"])
    arguments = list(problem.meta["kwargs"])
    if len(answer) <= SHORT_RESPONSE:
        checked = check(names, arguments, answer)
    else:
        judged = worker.instructions(names, arguments, answer, limit)
        if judged == "too_costly":
            return Grade("wrong", None, "too_costly")
        checked = judged
    strict, loose = checked
    detail = {
        "loose": float(all(loose)),
        "followed": sum(strict) / len(strict),
        "followed_loose": sum(loose) / len(loose),
    }
    failed = [name for name, followed in zip(names, strict, strict=True) if not followed]
    return Grade("wrong" if failed else "right", None, failed[0] if failed else "followed", detail)
