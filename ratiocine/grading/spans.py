"""Spans of a passage, compared as SQuAD's scorer does (Rajpurkar et al. 2016), and exact
strings."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

from ratiocine.grading.wording import folded, unwrapped
from ratiocine.grading.worker import Judgement
from ratiocine.records import Problem

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def span_words(text: str) -> list[str]:
    """Words of an answer as SQuAD's scorer sees them: lower case, no punctuation, no articles."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()


def span_f1(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of two bags of words; 1 if both are empty, 0 if only one is."""
    if not answer or not reference:
        return float(answer == reference)
    shared = sum((Counter(answer) & Counter(reference)).values())
    return 2 * shared / (len(answer) + len(reference))


def references(problem: Problem) -> tuple[str, ...]:
    """All accepted answers, the reference first."""
    assert problem.reference is not None
    return (problem.reference, *problem.accepted)


def judge_span(problem: Problem, answer: str, limit: float) -> Judgement:
    words, accepted = span_words(unwrapped(answer)), references(problem)
    if not words:  # only articles or punctuation: compared as written
        return "same" if answer.strip() in accepted else "unreadable"
    return "same" if any(words == span_words(text) for text in accepted) else "different"


def span_detail(problem: Problem, answer: str) -> Mapping[str, float]:
    """The best F1 over the accepted answers."""
    words = span_words(unwrapped(answer))
    return {"f1": max(span_f1(words, span_words(text)) for text in references(problem))}


def judge_string(problem: Problem, answer: str, limit: float) -> Judgement:
    text = folded(unwrapped(answer))
    if not text:
        return "unreadable"
    accepted = {folded(form) for one in references(problem) for form in (one, unwrapped(one))}
    return "same" if text in accepted else "different"
