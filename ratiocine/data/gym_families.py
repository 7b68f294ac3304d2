"""Families over reasoning-gym's generators (Apache-2.0), whose items are converted to problems."""

from __future__ import annotations

import random

from ratiocine.data.family import Family, Fields, Item, letter_of, shuffled
from ratiocine.data.syllogism import counterexample, parse
from ratiocine.grading import leg_counts
from ratiocine.records import LETTERS


def _chain_sum(item: Item, rng: random.Random) -> Fields:
    expression = item["metadata"]["expression"]
    return f"What is {expression}?", item["answer"], (), {"expression": expression}


def _chain_sum_mc(item: Item, rng: random.Random) -> Fields:
    expression, answer = item["metadata"]["expression"], int(item["answer"])
    others = rng.sample([answer + d for d in (-10, -4, -3, -2, -1, 1, 2, 3, 4, 10)], 3)
    choices = shuffled([str(n) for n in (answer, *others)], rng)
    question, letter = f"Which number is {expression}?", letter_of(str(answer), choices)
    return question, letter, choices, {"expression": expression}


def _leg_counting(item: Item, rng: random.Random) -> Fields:
    question = item["question"].split("Now, ")[1].strip()
    question = question[0].upper() + question[1:]
    animals, legs = item["metadata"]["animals"], leg_counts()
    meta = {"animals": animals, "legs": {name: legs[name] for name in animals}}
    return question, item["answer"], (), meta


def _gsm_symbolic(item: Item, rng: random.Random) -> Fields:
    question = item["question"].split(" Give the result as your final answer.")[0]
    return question, item["answer"], (), {"solution": item["metadata"]["answer_cot"]}


def _pick_number(item: Item, rng: random.Random) -> Fields:
    meta = item["metadata"]
    values = [round(value, 2) for value in meta["candidates"]]
    best = min(values) if meta["size"] == "smallest" else max(values)
    choices = tuple(f"{value:.2f}" for value in values)
    return f"Which number is the {meta['size']}?", LETTERS[values.index(best)], choices, {}


def _spell_backward(item: Item, rng: random.Random) -> Fields:
    word = item["metadata"]["word"]
    return f"Spell this word backward: {word}", item["answer"], (), {"word": word}


def _letter_counting(item: Item, rng: random.Random) -> Fields:
    meta = {"letter": item["metadata"]["target_letter"], "words": item["metadata"]["span"]}
    return item["question"], item["answer"], (), meta


def _syllogism(item: Item, rng: random.Random) -> Fields:
    meta = item["metadata"]
    question = (
        f"{meta['premise1']}. {meta['premise2']}. Does it follow that {meta['conclusion'].lower()}?"
    )
    *premises, conclusion = parse(question)
    # The generator's rules miss some valid conclusions: the reference is found by enumeration.
    follows = counterexample(premises, conclusion) is None
    return question, "A" if follows else "B", ("Yes", "No"), {}


def _needle(item: Item, rng: random.Random) -> Fields:
    text, _, question = item["question"].strip().rpartition("\n")
    names = [sentence.split()[0] for sentence in text.strip().rstrip(".").split(". ")]
    question = question.replace(" Reply only with a name.", "")
    choices = shuffled(names, rng)
    return f"{text.strip()}\n{question}", letter_of(item["answer"], choices), choices, {}


def _terms(low: int, high: int, digits: int = 1) -> dict[str, int]:
    return {"min_terms": low, "max_terms": high, "min_digits": digits, "max_digits": digits}


GYM_FAMILIES: dict[str, Family] = {
    "chain_sum": Family(
        "math-oe",
        "number",
        "chain_sum",
        (_terms(4, 6), _terms(6, 8), _terms(4, 6, 2)),
        _chain_sum,
        guess=1 / 40,
    ),
    "leg_counting": Family(
        "math-oe",
        "number",
        "leg_counting",
        tuple(
            {"min_animals": a, "max_animals": b, "min_instances": 1, "max_instances": n}
            for a, b, n in ((2, 3, 5), (3, 5, 9), (5, 8, 15))
        ),
        _leg_counting,
        guess=1 / 40,
    ),
    "gsm_symbolic": Family(
        "math-oe", "number", "gsm_symbolic", ({"difficulty": 1.0},), _gsm_symbolic
    ),
    "chain_sum_mc": Family(
        "math-mc",
        "choice",
        "chain_sum",
        (_terms(4, 6), _terms(6, 8), _terms(4, 6, 2)),
        _chain_sum_mc,
        balanced=False,
    ),
    "pick_number": Family(
        "math-mc",
        "choice",
        "number_format",
        tuple(
            {
                "min_num_candidates": 3,
                "max_num_candidates": k,
                "min_n": 10,
                "max_n": n,
                "max_delta": d,
            }
            for k, n, d in ((3, 1000, 50.0), (4, 10_000, 50.0), (5, 1_000_000, 10.0))
        ),
        _pick_number,
        balanced=False,
    ),
    "spell_backward": Family(
        "general-oe",
        "string",
        "spell_backward",
        tuple({"min_word_len": a, "max_word_len": b} for a, b in ((4, 6), (5, 8), (7, 10))),
        _spell_backward,
    ),
    "letter_counting": Family(
        "general-oe",
        "number",
        "letter_counting",
        tuple({"min_words": a, "max_words": b} for a, b in ((2, 3), (4, 6), (7, 12))),
        _letter_counting,
        balanced=False,
    ),
    "syllogism": Family("general-mc", "choice", "syllogism", ({},), _syllogism, balanced=False),
    "needle": Family(
        "general-mc",
        "choice",
        "needle_haystack",
        tuple({"min_num_statements": n, "max_num_statements": n} for n in (3, 5, 10)),
        _needle,
    ),
}
