"""Families about letters, words, days, people and sets, with a depth: the number of steps from the
question to the answer.

The answer is drawn first, or its place among the options, so that no answer is more frequent than
the others.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from itertools import pairwise, product

from ratiocine.data.family import Draft, Family, levels, shuffled
from ratiocine.data.syllogism import FORMS, Statement, counterexample
from ratiocine.data.words import COLORS, GROUPS, NAMES, NOUNS, WEEKDAYS, attempts, sample

Ints = Mapping[str, int]
MOVES = {
    "Reverse the order": lambda s: s[::-1],
    "Move the first letter to the end": lambda s: s[1:] + s[:1],
    "Move the last letter to the front": lambda s: s[-1:] + s[:-1],
    "Swap the first two letters": lambda s: s[1::-1] + s[2:],
    "Swap the last two letters": lambda s: s[:-2] + s[:-3:-1],
}
COMPARISONS = (
    ("taller", "shorter", "tallest", "shortest"),
    ("older", "younger", "oldest", "youngest"),
    ("faster", "slower", "fastest", "slowest"),
    ("richer", "poorer", "richest", "poorest"),
)


@cache
def _by_last_letter() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in NOUNS:
        found.setdefault(word[-1], []).append(word)
    return found


def _last_letters(rng: random.Random, settings: Ints) -> Draft:
    by_letter = _by_last_letter()
    letters = [rng.choice(sorted(by_letter)) for _ in range(settings["words"])]
    words = [rng.choice(by_letter[letter]) for letter in letters]
    question = f"Take the last letter of each word and join them: {' '.join(words)}"
    return Draft(question, "".join(letters), [f"{word}: {word[-1]}" for word in words])


def _letter_moves(rng: random.Random, settings: Ints) -> Draft:
    """No order of the letters occurs twice on the way."""
    for _ in attempts():
        orders = ["".join(sample(rng, "BCDFGHJKLMNPQRSTVWXZ", settings["letters"]))]
        moves = [rng.choice(list(MOVES)) for _ in range(settings["steps"])]
        for move in moves:
            orders.append(MOVES[move](orders[-1]))
        if len(set(orders)) == len(orders):
            break
    start, *after = [" ".join(order) for order in orders]
    question = f"Start with the letters {start}. {'. '.join(moves)}. What is the order now?"
    lines = [f"{move}: {order}" for move, order in zip(moves, after)]
    return Draft(question, after[-1], lines, accepted=(orders[-1],))


def _weekday(rng: random.Random, settings: Ints) -> Draft:
    start = day = rng.randrange(7)
    moves, steps = [], []
    for _ in range(settings["steps"]):
        n, forward = rng.choice((2, 3, 4, 5, 6, 8, 9, 10)), rng.random() < 0.5
        to = (day + n if forward else day - n) % 7
        moves.append(f"{n} days {'forward' if forward else 'back'}")
        steps.append(f"{WEEKDAYS[day]} {'+' if forward else '-'} {n} days = {WEEKDAYS[to]}")
        day = to
    question = (
        f"Today is {WEEKDAYS[start]}. Go {', then '.join(moves)}. Which day of the week is it?"
    )
    return Draft(question, WEEKDAYS[day], steps)


def _letter_count(rng: random.Random, settings: Ints) -> Draft:
    """A count from 1 to `max_count`, each equally often."""
    count, letter = rng.randint(1, settings["max_count"]), rng.choice("aeilnorst")
    for _ in attempts():
        words = sample(rng, NOUNS, settings["words"])
        counts = [word.count(letter) for word in words]
        if sum(counts) == count:
            break
    question = f'How many times does the letter "{letter}" appear in the text: "{" ".join(words)}"?'
    lines = [f"{word}: {n}" for word, n in zip(words, counts)]
    total = counts[0]
    for n in counts[1:]:
        lines.append(f"{total} + {n} = {total + n}")
        total += n
    return Draft(question, str(count), lines)


def _hops(rng: random.Random, settings: Ints) -> Draft:
    """A cycle of people, of which each knows the next one's name."""
    people, steps = sample(rng, NAMES, settings["people"]), settings["steps"]
    if steps >= len(people):
        raise ValueError(f"steps={steps} needs more people than {len(people)}")
    points = [f"{who} points to {to}" for who, to in zip(people, [*people[1:], people[0]])]
    question = (
        f"{'. '.join(rng.sample(points, len(points)))}. Start at {people[0]} and go {steps} "
        f"step{'s' * (steps > 1)}. Who is reached?"
    )
    return Draft(question, people[steps], [f"{point}." for point in points[:steps]])


def _swaps(rng: random.Random, settings: Ints) -> Draft:
    """The distance from the asked person to the first owner of the answer is uniform, so that no
    person's first color is more often right."""
    n = settings["people"]
    people, colors = sample(rng, NAMES, n), sample(rng, COLORS, n)
    distance = rng.randrange(n)
    for _ in attempts():
        held, lines, swaps = list(colors), [], []
        for _ in range(settings["steps"]):
            a, b = sorted(rng.sample(range(n), 2))
            held[a], held[b] = held[b], held[a]
            swaps.append(f"{people[a]} and {people[b]} swap")
            state = ", ".join(f"{who} {color}" for who, color in zip(people, held))
            lines.append(f"{swaps[-1]}: {state}")
        asked = rng.randrange(n)
        repeated = any(one == other for one, other in pairwise(swaps))
        if not repeated and (colors.index(held[asked]) - asked) % n == distance:
            break
    owners = ", ".join(f"{who} has {color}" for who, color in zip(people, colors))
    question = f"{owners}. {'. '.join(swaps)}. Which color does {people[asked]} have now?"
    return Draft(question, held[asked], lines, shuffled(colors, rng))


def _ordering(rng: random.Random, settings: Ints) -> Draft:
    people = sample(rng, NAMES, settings["people"])
    more, less, most, least = rng.choice(COMPARISONS)
    facts = [
        f"{a} is {more} than {b}" if rng.random() < 0.5 else f"{b} is {less} than {a}"
        for a, b in pairwise(people)
    ]
    rank = rng.randrange(len(people))
    question = (
        f"{'. '.join(rng.sample(facts, len(facts)))}. In the order from {most} to {least}, who is "
        f"number {rank + 1}?"
    )
    steps = [" > ".join(people[:n]) for n in range(2, len(people) + 1)]
    return Draft(question, people[rank], steps, shuffled(people, rng))


def _sets(rng: random.Random, settings: Ints) -> Draft:
    """Each option is on other lists than the rest, and each is asked for equally often."""
    names = "ABCDEF"[: settings["lists"]]
    patterns = [
        "".join(x for x in names if on >> names.index(x) & 1) for on in range(1, 2 ** len(names))
    ]
    for _ in attempts():
        chosen = rng.sample(patterns, min(4, len(patterns)))
        if set("".join(chosen)) == set(names):
            break
    words = sample(rng, NOUNS, len(chosen))
    on = dict(zip(words, chosen))
    lists = [
        f"List {name}: {', '.join(rng.sample(members, len(members)))}."
        for name in names
        for members in [[word for word in words if name in on[word]]]
    ]
    asked = rng.choice(words)
    question = f"{' '.join(lists)} Which word is on exactly these lists: {', '.join(on[asked])}?"
    options = shuffled(words, rng)
    return Draft(question, asked, [f"{w}: {', '.join(on[w])}" for w in options], options)


Schema = tuple[Statement, Statement, Statement]  # two premises and a conclusion over S, M and P


@cache
def _schemas() -> list[tuple[list[Schema], list[Schema]]]:
    """Valid and invalid schemas that use the same forms in the same places, so that the answer
    depends on the places of the terms alone."""
    groups: dict[tuple[str, ...], tuple[list[Schema], list[Schema]]] = {}
    for forms in product(FORMS, repeat=3):
        for places in product(("sm", "ms"), ("mp", "pm"), ("sp", "ps")):
            first, second, conclusion = (
                Statement(form, *terms) for form, terms in zip(forms, places)
            )
            refuted = counterexample((first, second), conclusion) is not None
            group = groups.setdefault(forms, ([], []))
            group[refuted].append((first, second, conclusion))
    return [group for group in groups.values() if all(group)]


def _syllogism(rng: random.Random, settings: Ints) -> Draft:
    valid, invalid = rng.choice(_schemas())
    follows = rng.random() < 0.5
    names = dict(zip("smp", rng.sample(GROUPS, 3)))
    *premises, conclusion = (
        Statement(one.kind, names[one.subject], names[one.predicate])
        for one in rng.choice(valid if follows else invalid)
    )
    first, second = (str(premise).capitalize() for premise in premises)
    question = f"{first}. {second}. Does it follow that {conclusion}?"
    return Draft(question, "Yes" if follows else "No", [], ("Yes", "No"))


GENERAL_FAMILIES: dict[str, Family] = {
    "last_letters": Family(
        "general-oe", "string", "last_letters", levels("words", 2, 3, 4, 6), draw=_last_letters
    ),
    "letter_moves": Family(
        "general-oe",
        "string",
        "letter_moves",
        levels("steps", 1, 2, 3, 5, letters=4),
        draw=_letter_moves,
        guess=1 / 24,
    ),
    "weekday": Family(
        "general-oe", "string", "weekday", levels("steps", 2, 3, 4), draw=_weekday, guess=1 / 7
    ),
    "letter_count": Family(
        "general-oe",
        "number",
        "letter_count",
        ({"words": 3, "max_count": 4}, {"words": 5, "max_count": 5}, {"words": 8, "max_count": 7}),
        draw=_letter_count,
        guess=1 / 4,
    ),
    "hops": Family(
        "general-oe",
        "string",
        "hops",
        levels("steps", 1, 2, 3, 4, people=6),
        draw=_hops,
        guess=1 / 5,
    ),
    "swaps": Family(
        "general-mc", "choice", "swaps", levels("steps", 1, 2, 3, 5, people=4), draw=_swaps
    ),
    "ordering": Family(
        "general-mc", "choice", "ordering", levels("people", 3, 4, 5), draw=_ordering
    ),
    "sets": Family("general-mc", "choice", "sets", levels("lists", 2, 3, 4), draw=_sets),
    "syllogism_balanced": Family(
        "general-mc", "choice", "syllogism_balanced", ({},), draw=_syllogism
    ),
}
