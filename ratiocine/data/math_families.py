"""Families about numbers, with a depth and without surface cues: options of multiple choice are
drawn before the place of the right one among them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import accumulate, pairwise

from ratiocine.data.family import Draft, Family, levels, shuffled
from ratiocine.data.words import attempts

Ints = Mapping[str, int]
CHAIN_SUM = "State the final answer to the following arithmetic problem: {} ="
"""The question of reasoning-gym's chain_sum: one expression is in one split in all families."""


def _sum_choice(rng: random.Random, settings: Ints) -> Draft:
    """Expressions are drawn until one has the value that was drawn from the options."""
    digits = settings["digits"]
    step = rng.choice((1, 2, 3))
    first = rng.randint(-8, 8) if digits == 1 else rng.randint(-30, 90)
    options = [first + step * at for at in range(4)]
    answer, low, high = rng.choice(options), 10 ** (digits - 1) * (digits > 1), 10**digits - 1
    for _ in attempts():
        n = rng.randint(settings["min_terms"], settings["max_terms"])
        terms, signs = [rng.randint(low, high) for _ in range(n)], rng.choices("+-", k=n - 1)
        totals = list(accumulate(t if s == "+" else -t for s, t in zip(["+", *signs], terms)))
        if totals[-1] == answer:
            break
    parts = [f"{sign} {term}" for sign, term in zip(signs, terms[1:])]
    expression = " ".join([str(terms[0]), *parts])
    steps = [f"{total} {part} = {new}" for total, part, new in zip(totals, parts, totals[1:])]
    return Draft(
        f"Which number is {expression}?",
        str(answer),
        steps,
        shuffled(list(map(str, options)), rng),
        content=CHAIN_SUM.format(expression),
    )


def _remainder(rng: random.Random, settings: Ints) -> Draft:
    """By long division, one digit of the quotient per step. No divisor whose remainder the last
    digit tells."""
    divisor = rng.choice((7, 9, 11, 13))
    first = rng.randrange(divisor - 3)
    options = [first, first + 1, first + 2, first + 3]
    rest = rng.choice(options)
    low = 10 ** (settings["digits"] - 1)
    number = divisor * rng.randint(low // divisor + 1, (10 * low - 1) // divisor - 1) + rest
    steps: list[str] = []
    left = 0
    for digit in str(number):
        part = 10 * left + int(digit)
        left = part % divisor
        if part >= divisor or steps:
            steps.append(f"{part} = {divisor} * {part // divisor} + {left}")
    question = f"What is the remainder of {number} divided by {divisor}?"
    return Draft(question, str(rest), steps, shuffled(list(map(str, options)), rng))


def _largest_result(rng: random.Random, settings: Ints) -> Draft:
    """Terms are far larger than the differences of the results, so that they tell little."""
    results = rng.sample(range(20, 40), settings["options"])
    options = []
    for result in results:
        n = rng.randint(10, 99)
        plus = n < result and rng.random() < 0.5
        options.append((f"{result - n} + {n}" if plus else f"{result + n} - {n}", result))
    wanted = rng.choice(("largest", "smallest"))
    answer = (max if wanted == "largest" else min)(options, key=lambda option: option[1])
    options = rng.sample(options, len(options))
    steps = [f"{sum_} = {result}" for sum_, result in options]
    choices = tuple(sum_ for sum_, _ in options)
    question = f"Which result is the {wanted}? " + "; ".join(choices)
    return Draft(question, answer[0], steps, choices)


def _decimal_order(rng: random.Random, settings: Ints) -> Draft:
    """Decimals of one whole part, of one to three places."""
    whole = rng.randint(1, 99)
    for _ in attempts():
        numbers = {
            rng.randint(1, 999) // 10**cut * 10**cut
            for cut in rng.choices((0, 1, 2), k=settings["numbers"])
        } - {0}
        if len(numbers) == settings["numbers"]:
            break
    ordered = [f"{whole}.{n:03}".rstrip("0") for n in sorted(numbers)]
    rank = rng.randrange(len(ordered))
    options = shuffled(ordered, rng)
    question = (
        f"In the order from smallest to largest, which is number {rank + 1}: {', '.join(options)}?"
    )
    padded = [f"{text} = {whole}.{text.partition('.')[2]:0<3}" for text in options]
    return Draft(question, ordered[rank], [*padded, " < ".join(ordered)], options)


def _passengers(rng: random.Random, settings: Ints) -> Draft:
    """The last count is drawn first, uniform from 5 to 44."""
    after = rng.randint(5, 44)
    counts = [after]
    for _ in range(settings["stops"]):
        before = rng.choice([n for n in range(2, 60) if 2 <= abs(n - counts[0]) <= 29])
        counts.insert(0, before)
    events, steps = [], []
    for stop, (before, now) in enumerate(pairwise(counts), 1):
        n, on = abs(now - before), now > before
        events.append(f"At stop {stop}, {n} people get {'on' if on else 'off'}.")
        steps.append(f"{before} {'+' if on else '-'} {n} = {now}")
    question = (
        f"A bus starts with {counts[0]} people. {' '.join(events)} How many people are on the bus "
        "now?"
    )
    return Draft(question, str(after), steps)


def _time(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}"


def _clock(rng: random.Random, settings: Ints) -> Draft:
    now = rng.randrange(10 * 60, 13 * 60, 5)
    start, parts, steps = now, [], []
    for _ in range(settings["steps"]):
        minutes = rng.randrange(10, 120)
        parts.append(_time(minutes))
        steps.append(f"{_time(now)} + {_time(minutes)} = {_time(now + minutes)}")
        now += minutes
    question = (
        f"It is {_time(start)}. These tasks follow one another, in hours and minutes: "
        f"{', '.join(parts)}. At what time (24 hours) does the last one end?"
    )
    return Draft(question, _time(now), steps)


MATH_FAMILIES: dict[str, Family] = {
    "sum_choice": Family(
        "math-mc",
        "choice",
        "chain_sum",
        tuple(
            {"min_terms": low, "max_terms": high, "digits": digits}
            for low, high, digits in ((2, 3, 1), (4, 6, 1), (6, 8, 1), (4, 6, 2))
        ),
        draw=_sum_choice,
    ),
    "remainder": Family(
        "math-mc", "choice", "remainder", levels("digits", 3, 4, 5), draw=_remainder
    ),
    "largest_result": Family(
        "math-mc", "choice", "largest_result", levels("options", 2, 3, 4), draw=_largest_result
    ),
    "decimal_order": Family(
        "math-mc", "choice", "decimal_order", levels("numbers", 2, 3, 4), draw=_decimal_order
    ),
    "passengers": Family(
        "math-oe",
        "number",
        "passengers",
        levels("stops", 1, 2, 3, 5),
        draw=_passengers,
        guess=1 / 40,
    ),
    "clock": Family("math-oe", "string", "clock", levels("steps", 1, 2, 3), draw=_clock),
}
