"""Embedded problem families: unlimited problems from a seed and a difficulty, without files or
network.

Each family wraps a reasoning-gym generator (Apache-2.0) and converts its items to Problems. A hash
of its content puts a problem into the training or the test split, so the two are disjoint at any
seed, size and difficulty.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ratiocine.data.config import Split
from ratiocine.data.syllogism import counterexample, parse
from ratiocine.errors import BadInput
from ratiocine.grading import leg_counts, reasoning_gym
from ratiocine.hashing import content_key, digest
from ratiocine.records import LETTERS, Kind, Problem

SEED_STRIDE = (
    100_000_007  # between families over one generator, whose items are drawn from seed + index
)
Item = Mapping[str, Any]  # of reasoning-gym: question, answer, metadata
Settings = Mapping[str, int | float]
Fields = tuple[str, str, tuple[str, ...], dict[str, Any]]  # question, reference, choices, meta


@dataclass(frozen=True)
class Family:
    """A generator and its difficulties."""

    category: str
    kind: Kind
    dataset: str
    """Its name in reasoning-gym."""
    levels: tuple[Settings, ...]
    """Generator settings at difficulty 1, 2, …"""
    build: Callable[[Item, random.Random], Fields]
    """Converts an item to question, reference, choices and meta; may draw from the generator."""


def _chain_sum(item: Item, rng: random.Random) -> Fields:
    expression = item["metadata"]["expression"]
    return f"What is {expression}?", item["answer"], (), {"expression": expression}


def _chain_sum_mc(item: Item, rng: random.Random) -> Fields:
    expression, answer = item["metadata"]["expression"], int(item["answer"])
    others = rng.sample([answer + d for d in (-10, -4, -3, -2, -1, 1, 2, 3, 4, 10)], 3)
    choices = _shuffled([str(n) for n in (answer, *others)], rng)
    question, letter = f"Which number is {expression}?", _letter(str(answer), choices)
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
    settings: Settings | None = None,
    source: str | None = None,
) -> list[Problem]:
    """`n` distinct problems of one family and split; equal arguments give equal problems on any
    machine. `settings` replace the generator settings of the difficulty; `source` (default: the
    family) names the problems.

    Raises BadInput for an unknown family, level or setting, and for a family without `n` distinct
    problems.
    """
    source, family = source or name, _known(name, difficulty)
    problems: dict[str, Problem] = {}
    for item in _items(name, n, seed, difficulty, settings or {}):
        if len(problems) == n:
            break
        # Content is the generator's own question, so families over one generator share their split.
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
        found = f"{len(problems)} distinct {split} problems"
        raise BadInput(f"family {source} at difficulty {difficulty} has {found}, not {n}")
    return list(problems.values())


def _known(name: str, difficulty: int) -> Family:
    if name not in FAMILIES:
        raise BadInput(f"unknown family '{name}'; known: {', '.join(sorted(FAMILIES))}")
    levels = len(FAMILIES[name].levels)
    if not 1 <= difficulty <= levels:
        raise BadInput(f"family {name} has difficulty 1 to {levels}, not {difficulty}")
    return FAMILIES[name]


def _items(name: str, n: int, seed: int, difficulty: int, settings: Settings) -> Iterator[Item]:
    """Items of a family's generator, enough to find `n` distinct ones in either split."""
    family, size = FAMILIES[name], 20 * n + 1000
    sharing = [other for other in FAMILIES if FAMILIES[other].dataset == family.dataset]
    start = seed + SEED_STRIDE * sharing.index(name)
    chosen = {**family.levels[difficulty - 1], **settings}
    gym = reasoning_gym()
    try:
        items = gym.create_dataset(family.dataset, seed=start, size=size, **chosen)
    except (AssertionError, TypeError, ValueError) as error:
        raise BadInput(
            f"family {name}: settings {dict(settings)} are not its generator's: {error}"
        ) from None
    return (items[index] for index in range(size))


def split_of(content: str) -> Split:
    """The split of a content hash, a quarter of all going to test; no problem is in both splits at
    any seed."""
    return "test" if int(digest("split", content), 16) % 4 == 0 else "train"
