"""Zebra puzzles: who has which thing of each kind, from clues, each step by one clue.

A set of worlds (assignments of the things of each kind to the people) is an integer whose bits are
the worlds in it. A clue, a fact and what follows from both are such sets.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product


@dataclass(frozen=True)
class Fact:
    """Whether a person, or the owner of another thing, has a thing."""

    kind: int
    value: int
    person: int | None = None
    other: tuple[int, int] | None = None
    """Kind and value of a thing, in place of a person."""
    holds: bool = True


@dataclass(frozen=True)
class Deduction:
    """A fact about a person that follows from the facts before it and one clue, or none."""

    clue: int | None
    fact: Fact


@dataclass(frozen=True)
class Zebra:
    """A puzzle with its solution."""

    clues: tuple[Fact, ...]
    asked: tuple[int, int]
    """Kind and value of the thing whose owner is asked for."""
    person: int
    """The owner."""
    steps: tuple[Deduction, ...]


@cache
def _worlds(people: int, kinds: int) -> list[tuple[tuple[int, ...], ...]]:
    """For each kind of thing the owner of each value."""
    return list(product(permutations(range(people)), repeat=kinds))


@cache
def _set(people: int, kinds: int, fact: Fact) -> int:
    """The worlds in which a fact holds."""
    found = 0
    for at, owners in enumerate(_worlds(people, kinds)):
        owner = fact.person if fact.other is None else owners[fact.other[0]][fact.other[1]]
        found |= ((owners[fact.kind][fact.value] == owner) == fact.holds) << at
    return found


Known = tuple[Fact, int]  # a fact and its worlds


@cache
def _facts(people: int, kinds: int) -> list[Known]:
    """All facts about persons, the positive ones first."""
    places = product((True, False), range(people), range(kinds), range(people))
    facts = [Fact(kind, value, person, holds=holds) for holds, person, kind, value in places]
    return [(fact, _set(people, kinds, fact)) for fact in facts]


@cache
def _clues(people: int, kinds: int) -> list[Known]:
    """Facts about persons, and about the owners of things of an earlier kind."""
    links = [
        Fact(kind, value, other=(earlier, other), holds=holds)
        for kind in range(kinds)
        for earlier in range(kind)
        for value, other in product(range(people), repeat=2)
        for holds in (True, False)
    ]
    return [*_facts(people, kinds), *((fact, _set(people, kinds, fact)) for fact in links)]


def solve(
    people: int, kinds: int, clues: Sequence[Fact], asked: tuple[int, int]
) -> tuple[Deduction, ...] | None:
    """Deductions up to the owner of the asked thing; None if single clues do not lead there."""
    worlds = [_set(people, kinds, clue) for clue in clues]
    facts, known, steps = _facts(people, kinds), _all(people, kinds), list[Deduction]()
    owned = [one for one in facts if one[0].holds and (one[0].kind, one[0].value) == asked]
    while True:
        if found := _first(known, worlds, owned):
            return _needed(people, kinds, worlds, [*steps, found])
        found = _first(known, worlds, [one for one in facts if known & ~one[1]])
        if found is None:
            return None
        steps.append(found)
        known &= _set(people, kinds, found.fact)


def _all(people: int, kinds: int) -> int:
    return (1 << len(_worlds(people, kinds))) - 1


def _first(known: int, clues: Sequence[int], facts: Sequence[Known]) -> Deduction | None:
    """The first of some facts that follows from what is known, or from that and one clue."""
    for fact, worlds in facts:
        fails = known & ~worlds
        if not fails:
            return Deduction(None, fact)
        for at, clue in enumerate(clues):
            if not fails & clue:
                return Deduction(at, fact)
    return None


def _needed(
    people: int, kinds: int, clues: Sequence[int], steps: Sequence[Deduction]
) -> tuple[Deduction, ...]:
    """The steps without those that no later step needs."""
    kept = list(steps)
    for step in steps[-2::-1]:
        fewer = [one for one in kept if one is not step]
        if _follow(people, kinds, clues, fewer):
            kept = fewer
    return tuple(kept)


def _follow(people: int, kinds: int, clues: Sequence[int], steps: Sequence[Deduction]) -> bool:
    known = _all(people, kinds)
    for step in steps:
        worlds = _set(people, kinds, step.fact)
        given = known if step.clue is None else known & clues[step.clue]
        if given & ~worlds:
            return False
        known &= worlds
    return True


def draw(people: int, kinds: int, rng: random.Random) -> Zebra:
    """A puzzle of which every clue is needed; none states the answer. Raises ValueError for other
    than 3 or 4 people and 1 or 2 kinds."""
    if people not in (3, 4) or kinds not in (1, 2):
        raise ValueError(f"people={people} kinds={kinds} are not 3 or 4 people and 1 or 2 kinds")
    owners = rng.choice(_worlds(people, kinds))
    asked = rng.randrange(kinds), rng.randrange(people)
    answer = Fact(*asked, owners[asked[0]][asked[1]])
    true = 1 << _worlds(people, kinds).index(owners)
    pool = [one for one in _clues(people, kinds) if one[1] & true and one[0] != answer]
    clues, left, goal = list[Fact](), _all(people, kinds), _set(people, kinds, answer)
    for clue, worlds in rng.sample(pool, len(pool)):
        if left & ~worlds or not left & ~goal:  # else it tells nothing
            clues.append(clue)
            left &= worlds
        if not left & ~goal and solve(people, kinds, clues, asked):
            break
    for clue in list(clues):
        fewer = [one for one in clues if one != clue]
        if solve(people, kinds, fewer, asked):
            clues = fewer
    steps = solve(people, kinds, clues, asked)
    assert steps is not None
    assert answer.person is not None
    return Zebra(tuple(clues), asked, answer.person, steps)


def sentence(fact: Fact, people: Sequence[str], things: Sequence[Sequence[str]]) -> str:
    """`Ann has tea.`, `The owner of cat does not have tea.`"""
    if fact.other is None:
        assert fact.person is not None
        who = people[fact.person]
    else:
        who = f"The owner of {things[fact.other[0]][fact.other[1]]}"
    return f"{who} {'has' if fact.holds else 'does not have'} {things[fact.kind][fact.value]}."
