"""Embedded problem families: endless questions from a seed and a difficulty, with no file and no network.

Each family wraps a reasoning-gym generator (Apache-2.0) and says how its items become Problems. A problem belongs to the
training or to the test split by a hash of its content, so the two are disjoint at any seed, size and difficulty.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ratiocine.data.syllogism import counterexample, parse
from ratiocine.errors import BadInput
from ratiocine.hashing import content_key, digest
from ratiocine.records import LETTERS, Kind, Problem

APART = 100_000_007
Split = Literal["train", "test"]
Item = dict[str, Any]
Fields = tuple[str, str, tuple[str, ...], dict[str, Any]]  # question, reference, choices, meta


@dataclass(frozen=True)
class Family:
    """A generator: `dataset` is its name in reasoning-gym, `levels` its settings at difficulty 1, 2, …; `build` turns
    one item into (question, reference, choices, meta) and may draw from the given generator."""

    category: str
    kind: Kind
    dataset: str
    levels: tuple[dict[str, Any], ...]
    build: Callable[[Item, random.Random], Fields]


def _chain_sum(item: Item, rng: random.Random) -> Fields:
    expression = item["metadata"]["expression"]
    return f"What is {expression}?", item["answer"], (), {"expression": expression}


def _chain_sum_mc(item: Item, rng: random.Random) -> Fields:
    expression, answer = item["metadata"]["expression"], int(item["answer"])
    others = rng.sample([answer + d for d in (-10, -4, -3, -2, -1, 1, 2, 3, 4, 10)], 3)
    choices = _shuffled([str(n) for n in (answer, *others)], rng)
    return (
        f"Which number is {expression}?",
        _letter(str(answer), choices),
        choices,
        {"expression": expression},
    )


def _leg_counting(item: Item, rng: random.Random) -> Fields:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    question = item["question"].split("Now, ")[1].strip()
    animals = item["metadata"]["animals"]
    legs = {name: ANIMALS[name] for name in animals}
    return (
        question[0].upper() + question[1:],
        item["answer"],
        (),
        {"animals": animals, "legs": legs},
    )


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
    meta = item["metadata"]
    return (
        item["question"],
        item["answer"],
        (),
        {"letter": meta["target_letter"], "words": meta["span"]},
    )


def _syllogism(item: Item, rng: random.Random) -> Fields:
    meta = item["metadata"]
    question = (
        f"{meta['premise1']}. {meta['premise2']}. Does it follow that {meta['conclusion'].lower()}?"
    )
    *premises, conclusion = parse(question)
    # The generator's rules miss some conclusions that do follow, so the reference is ours, by enumeration.
    follows = counterexample(premises, conclusion) is None
    return question, "A" if follows else "B", ("Yes", "No"), {}


def _needle(item: Item, rng: random.Random) -> Fields:
    text, _, question = item["question"].strip().rpartition("\n")
    names = [sentence.split()[0] for sentence in text.strip().rstrip(".").split(". ")]
    question = question.replace(" Reply only with a name.", "")
    choices = _shuffled(names, rng)
    return f"{text.strip()}\n{question}", _letter(item["answer"], choices), choices, {}


def _shuffled(options: list[str], rng: random.Random) -> tuple[str, ...]:
    return tuple(rng.sample(options, len(options)))


def _letter(answer: str, choices: tuple[str, ...]) -> str:
    return LETTERS[choices.index(answer)]


def _terms(low: int, high: int, digits: int = 1) -> dict[str, int]:
    return {"min_terms": low, "max_terms": high, "min_digits": digits, "max_digits": digits}


FAMILIES: dict[str, Family] = {
    "chain_sum": Family(
        "math-oe", "number", "chain_sum", (_terms(4, 6), _terms(6, 8), _terms(4, 6, 2)), _chain_sum
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
    ),
    "syllogism": Family("general-mc", "choice", "syllogism", ({},), _syllogism),
    "needle": Family(
        "general-mc",
        "choice",
        "needle_haystack",
        tuple({"min_num_statements": n, "max_num_statements": n} for n in (3, 5, 10)),
        _needle,
    ),
}


def generate(
    name: str,
    n: int,
    *,
    seed: int,
    difficulty: int,
    split: Split,
    instruction: str,
    settings: Mapping[str, int | float] = {},
    source: str | None = None,
) -> list[Problem]:
    """`n` distinct problems of one family and split; the same arguments give the same problems on any machine. `settings` are
    the generator's own and take the place of those of the difficulty; the problems are called by `source`.

    Raises BadInput where the family, level or setting is unknown or the family cannot give that many distinct problems.
    """
    source = source or name
    if name not in FAMILIES:
        raise BadInput(f"unknown family '{name}'; known: {', '.join(sorted(FAMILIES))}")
    family = FAMILIES[name]
    if not 1 <= difficulty <= len(family.levels):
        raise BadInput(f"family {name} has difficulty 1 to {len(family.levels)}, not {difficulty}")
    with (
        warnings.catch_warnings()
    ):  # a package it brings along warns about its own source when it is first compiled
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym

    tries = 20 * n + 1000
    # An item is drawn from seed + its number: families over one generator begin far apart, or would have the same problems.
    sharing = [other for other in FAMILIES if FAMILIES[other].dataset == family.dataset]
    start = seed + APART * sharing.index(name)
    chosen = {**family.levels[difficulty - 1], **settings}
    try:
        items = reasoning_gym.create_dataset(family.dataset, seed=start, size=tries, **chosen)
    except (AssertionError, TypeError, ValueError) as error:
        raise BadInput(
            f"family {name}: settings {dict(settings)} are not its generator's: {error}"
        ) from None
    problems: dict[str, Problem] = {}
    for index in range(tries):
        if len(problems) == n:
            break
        item = items[index]
        # The generator's own question is the content: two families over one generator share their split.
        content = content_key(f"{family.dataset} {item['question']}")
        if split_of(content) != split or content in problems:
            continue
        question, reference, choices, meta = family.build(item, random.Random(content))
        if len(set(choices)) != len(choices):
            continue
        problems[content] = Problem(
            id=f"{source}-{difficulty}-{content[:12]}",
            question=question,
            reference=reference,
            kind=family.kind,
            category=family.category,
            source=source,
            instruction=instruction,
            choices=choices,
            meta={**meta, "content": content, "family": name},
        )
    if len(problems) < n:
        raise BadInput(
            f"family {source} at difficulty {difficulty} has {len(problems)} distinct {split} problems, not {n}"
        )
    return list(problems.values())


def split_of(content: str) -> Split:
    """A quarter of all contents, by hash, are test problems; whatever the seed, no problem is ever in both splits."""
    return "test" if int(digest("split", content), 16) % 4 == 0 else "train"
