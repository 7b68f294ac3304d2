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
    time = clock(text)
    same = text in accepted or (time is not None and time in map(clock, accepted))
    return "same" if same else "different"


CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?:(?P<mark>[:.h]) ?(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?)?"
    r"(?: ?(?P<half>[ap])\.? ?m| ?(?P<word>uhr|o'clock)| ?(?:hours|hrs|h))?"
)


def clock(text: str) -> int | None:
    """Seconds since midnight of a time of day in folded text (`2:30 pm`, `14:30`, `14.30 uhr`,
    `14h30`); None for anything else. Neither `14.30` nor `14` alone is a time."""
    match = CLOCK.fullmatch(text)
    if match is None or not (match["mark"] in (":", "h") or match["half"] or match["word"]):
        return None
    hour = int(match["hour"])
    if hour > 23 or (match["half"] and not 1 <= hour <= 12):
        return None
    if match["half"]:
        hour = hour % 12 + 12 * (match["half"] == "p")
    return 3600 * hour + 60 * int(match["minute"] or 0) + int(match["second"] or 0)
