"""Categorical syllogisms over three terms, decided by enumeration. Aristotelian: every term has at
least one member."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

Person = frozenset[str]  # the terms that apply to one individual
Case = tuple[Person, ...]  # one individual of each sort that exists

FORMS = {
    "all": "all {} are {}",
    "no": "no {} are {}",
    "some_not": "some {} are not {}",
    "some": "some {} are {}",
}
OPPOSITE = {"all": "some_not", "some_not": "all", "no": "some", "some": "no"}


@dataclass(frozen=True)
class Statement:
    """An A, E, O or I statement of term logic."""

    kind: str
    """A key of `FORMS`."""
    subject: str
    predicate: str

    def __str__(self) -> str:
        return FORMS[self.kind].format(self.subject, self.predicate)

    def holds(self, case: Iterable[Person]) -> bool:
        shared = [self.predicate in person for person in case if self.subject in person]
        return {
            "all": all(shared),
            "no": not any(shared),
            "some": any(shared),
            "some_not": not all(shared),
        }[self.kind]

    def denial(self) -> Statement:
        return Statement(OPPOSITE[self.kind], self.subject, self.predicate)


def parse(text: str) -> list[Statement]:
    """All statements in a text, in order."""
    found = re.findall(r"\b(all|no|some) (\w+) are (not )?(\w+)", text.lower())
    return [
        Statement("some_not" if negated else kind, subject, predicate)
        for kind, subject, negated, predicate in found
    ]


def counterexample(premises: Sequence[Statement], conclusion: Statement) -> Case | None:
    """The smallest case (a set of individuals) with a member of every term, true premises and a
    false conclusion; None if the conclusion follows. Tries all 2⁷ − 1 cases of three terms."""
    terms = sorted({term for s in (*premises, conclusion) for term in (s.subject, s.predicate)})
    people = [
        frozenset(who) for size in range(1, len(terms) + 1) for who in combinations(terms, size)
    ]
    for case in chain.from_iterable(
        combinations(people, size) for size in range(1, len(people) + 1)
    ):
        if refutes(case, premises, conclusion):
            return case
    return None


def refutes(case: Sequence[Person], premises: Sequence[Statement], conclusion: Statement) -> bool:
    """Whether a case has a member of every term, true premises and a false conclusion."""
    terms = {term for s in (*premises, conclusion) for term in (s.subject, s.predicate)}
    populated = all(any(term in person for person in case) for term in terms)
    return populated and all(p.holds(case) for p in premises) and not conclusion.holds(case)
