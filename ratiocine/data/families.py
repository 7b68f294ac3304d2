"""Embedded problem families: unlimited problems from a seed and a difficulty, without files or
network.

Each family draws from a generator, of reasoning-gym (Apache-2.0) or of its own, and converts the
items to Problems. A hash of its content puts a problem into the training or the test split, so the
two are disjoint at any seed, size and difficulty.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from ratiocine.data.config import FamilyConfig, Split
from ratiocine.data.family import Draw, Family, Item, Settings
from ratiocine.data.general_families import GENERAL_FAMILIES
from ratiocine.data.gym_families import GYM_FAMILIES
from ratiocine.data.math_families import MATH_FAMILIES
from ratiocine.data.puzzle_families import PUZZLE_FAMILIES
from ratiocine.errors import BadInput
from ratiocine.grading import reasoning_gym
from ratiocine.hashing import content_key, digest
from ratiocine.records import Problem

SEED_STRIDE = (
    100_000_007  # between families over one generator, whose items are drawn from seed + index
)
FAMILIES: dict[str, Family] = {
    **GYM_FAMILIES,
    **GENERAL_FAMILIES,
    **MATH_FAMILIES,
    **PUZZLE_FAMILIES,
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
            accepted=item["draft"].accepted if family.draw else (),
            meta={**meta, "content": content, "family": name},
        )
    if len(problems) < n:
        found = f"{len(problems)} distinct {split} problems"
        raise BadInput(f"family {source} at difficulty {difficulty} has {found}, not {n}")
    return list(problems.values())


def depth(name: str, config: FamilyConfig) -> int | float | None:
    """The depth of the problems of one family, by its entry in a data configuration: the one value
    that its settings give, else that of the one setting in which the levels of the family differ;
    None where there are several."""
    levels = FAMILIES[config.family or name].levels
    if config.settings:
        given = set(config.settings.values())
    else:
        varying = [key for key in levels[0] if len({level.get(key) for level in levels}) > 1]
        given = {levels[config.difficulty - 1][key] for key in varying}
    return given.pop() if len(given) == 1 else None


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
    chosen = {**family.levels[difficulty - 1], **settings}
    if family.draw is not None:
        return _drawn(name, family.draw, size, seed, chosen, settings)
    sharing = [other for other in FAMILIES if FAMILIES[other].dataset == family.dataset]
    start = seed + SEED_STRIDE * sharing.index(name)
    gym = reasoning_gym()
    try:
        items = gym.create_dataset(family.dataset, seed=start, size=size, **chosen)
    except (AssertionError, TypeError, ValueError) as error:
        raise _not_settings(name, settings, error) from None
    return (items[index] for index in range(size))


def _drawn(
    name: str, draw: Draw, size: int, seed: int, chosen: Settings, settings: Settings
) -> Iterator[Item]:
    known, numbers = FAMILIES[name].levels[0], dict[str, int]()
    for key, value in chosen.items():
        if key not in known:
            raise _not_settings(name, settings, f"{key} is unknown; known: {', '.join(known)}")
        if not isinstance(value, int) or value < 1:
            raise _not_settings(name, settings, f"{key}={value} is no positive integer")
        numbers[key] = value
    stream = f"{name} {sorted(chosen.items())} {seed}"
    for index in range(size):
        try:
            draft = draw(random.Random(f"{stream} {index}"), numbers)
        except ValueError as error:
            raise _not_settings(name, settings, error) from None
        yield {"question": draft.content or draft.question, "draft": draft}


def _not_settings(name: str, settings: Settings, why: object) -> BadInput:
    return BadInput(f"family {name}: settings {dict(settings)} are not its generator's: {why}")


def split_of(content: str) -> Split:
    """The split of a content hash, a quarter of all going to test; no problem is in both splits at
    any seed."""
    return "test" if int(digest("split", content), 16) % 4 == 0 else "train"
