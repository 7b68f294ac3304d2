"""Questions that a source repeats with contradicting references: at most one of these is right, and
it is not known which, so that none of their problems is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ratiocine.completion_parts import Parts
from ratiocine.grading import canonical, grade, in_points
from ratiocine.hashing import Seen, content_key
from ratiocine.records import LETTERS, Problem

REASON = "repeated_with_another_answer"


def content(problem: Problem) -> str:
    """Identity of a problem across sources: the generator's item, else a hash of the question."""
    return str(problem.meta.get("content") or content_key(f"{problem.context} {problem.question}"))


def question_key(problem: Problem) -> str:
    """Equal for the same question with the same options, in any order."""
    return f"{content(problem)} {sorted(problem.choices)}"


def accepts(problem: Problem, reference: str | None) -> bool:
    """Whether the grader accepts a reference as an answer to the problem."""
    parts = Parts(think=None, answer="", boxed=reference, closed=True)
    return grade(problem, parts).verdict == "right"


def contradicted(
    read: Callable[[], Iterator[Problem]], usable: Callable[[Problem], bool]
) -> frozenset[str]:
    """The keys of the questions whose usable references contradict each other.

    `read` returns an iterator over all problems: a source may be larger than memory. It is read
    twice where a question has different references, which only the grader can tell from two forms
    of one answer.
    """
    seen, answers, suspects = Seen(), Seen(), set[str]()
    for problem in read():
        if problem.reference is not None:
            question = question_key(problem)
            known = not seen.add(question)
            if answers.add(question + _answer_key(problem)) and known:
                suspects.add(question)
    if not suspects:
        return frozenset()
    groups: dict[str, list[Problem]] = {}
    for problem in read():
        question = question_key(problem)
        if problem.reference is not None and question in suspects and usable(problem):
            groups.setdefault(question, []).append(problem)
    return frozenset(
        question
        for question, (first, *others) in groups.items()
        if any(_contradict(first, other) for other in others)
    )


def _contradict(one: Problem, other: Problem) -> bool:
    if _answer_key(one) == _answer_key(other):
        return False
    if "choice" in (one.kind, other.kind):  # a letter is an option of its own problem only
        return True
    return not (accepts(one, other.reference) or accepts(other, one.reference))


def _answer_key(problem: Problem) -> str:
    """One text for equal accepted answers, the options themselves for those of a choice."""
    answers = [answer for answer in (problem.reference, *problem.accepted) if answer is not None]
    if problem.kind == "choice":
        options = dict(zip(LETTERS, problem.choices, strict=False))
        answers = [options.get(answer, answer) for answer in answers]
    return "\x1f".join(sorted({canonical(in_points(problem, answer)) for answer in answers}))
