"""Answers of the balanced families: no constant answer and no surface cue is right far more often
than a guess."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from ratiocine.completion_parts import split
from ratiocine.data import FAMILIES, generate
from ratiocine.grading import grade
from ratiocine.records import LETTERS, Problem

N = 1000
MARGIN = 0.05
SLOW = {("zebra", 3)}
BALANCED = [
    pytest.param(name, level, marks=pytest.mark.slow if (name, level) in SLOW else ())
    for name, family in FAMILIES.items()
    for level in range(1, len(family.levels) + 1)
    if family.balanced
]
Cue = Callable[[Problem], str]  # predicts a reference from the surface of a problem


def drawn(name: str, level: int, seed: int) -> list[Problem]:
    """Of both splits: one alone has too few problems of some families. Twice as many where several
    options allow several hundred cues."""
    n = N * (1 + (FAMILIES[name].kind == "choice"))
    parts = (("train", 3 * n // 4), ("test", n // 4))
    return [
        problem
        for part, n in parts
        for problem in generate(
            name, n, seed=seed, difficulty=level, split=part, instruction="Box it."
        )
    ]


def guess(name: str, problems: list[Problem]) -> float:
    if not problems[0].choices:
        return FAMILIES[name].guess
    return sum(1 / len(problem.choices) for problem in problems) / len(problems)


def option_cues(problems: list[Problem]) -> Iterator[tuple[str, Cue]]:
    """By place, length, rank and mentions of the options."""

    def by(key: Callable[[Problem, str], object], place: int) -> Cue:
        def cue(problem: Problem) -> str:
            ordered = sorted(problem.choices, key=lambda option: key(problem, option))
            return LETTERS[problem.choices.index(ordered[min(place, len(ordered) - 1)])]

        return cue

    keys: dict[str, Callable[[Problem, str], object]] = {
        "place": lambda problem, option: problem.choices.index(option),
        "length": lambda problem, option: len(option),
        "alphabet": lambda problem, option: option,
        "mentions": lambda problem, option: problem.question.count(option),
        "first mention": lambda problem, option: problem.question.find(option),
        "last mention": lambda problem, option: problem.question.rfind(option),
    }
    if all(re.fullmatch(r"-?[\d.]+", option) for p in problems for option in p.choices):
        keys["value"] = lambda problem, option: float(option)
    for name, key in keys.items():
        for place in range(max(len(problem.choices) for problem in problems)):
            yield f"{name} {place}", by(key, place)


def best_constant(problems: list[Problem]) -> float:
    """The share of the most frequent right answer, of multiple choice as a text."""
    texts = Counter(
        problem.choices[LETTERS.index(problem.reference)] if problem.choices else problem.reference
        for problem in problems
    )
    return texts.most_common(1)[0][1] / len(problems)


def best_word(problems: list[Problem]) -> tuple[float, str]:
    """The word by whose presence the letter is best told."""
    holders = [set(re.findall(r"\w+", problem.question.lower())) for problem in problems]
    found = (0.0, "")
    for word, count in Counter(word for words in holders for word in words).items():
        if not 0.02 * len(problems) < count < 0.98 * len(problems):
            continue
        tables: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        for problem, words in zip(problems, holders):
            tables[word in words][problem.reference] += 1
        right = sum(table.most_common(1)[0][1] for table in tables if table)
        found = max(found, (right / len(problems), word))
    return found


def text_cues(problems: list[Problem]) -> Iterator[tuple[str, Cue]]:
    """A word of the question by its place, and a number by its size."""
    for place in (*range(12), *range(-12, 0)):

        def cue(problem: Problem, place: int = place) -> str:
            words = re.findall(r"[\w:.-]*\w", problem.question)
            return words[place] if -len(words) <= place < len(words) else ""

        yield f"word {place}", cue
    for name, pick in (("largest", max), ("smallest", min)):

        def extreme(problem: Problem, pick: Callable[..., int] = pick) -> str:
            return str(pick(map(int, re.findall(r"\d+", problem.question)), default=""))

        yield f"{name} number", extreme


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("name", "level"), BALANCED)
def test_no_surface_cue_tells_the_answer(name: str, level: int) -> None:
    problems = drawn(name, level, seed=10**9)
    most = guess(name, problems) + MARGIN
    assert best_constant(problems) <= most
    cues = option_cues(problems) if problems[0].choices else text_cues(problems)
    for cue_name, cue in cues:
        right = sum(cue(problem) == problem.reference for problem in problems) / len(problems)
        assert right <= most, (cue_name, right)
    if problems[0].choices:
        right, word = best_word(problems)
        assert right <= most, (word, right)
    if problems[0].kind in ("puzzle", "countdown"):  # other answers than the reference are right
        common = Counter(problem.reference for problem in problems).most_common(5)
        for answer, _ in common:
            graded = [grade(p, split(f"\\boxed{{{answer}}}")).verdict for p in problems]
            assert graded.count("right") / len(problems) <= most, answer


def test_unbalanced_families_are_known_as_such() -> None:
    """The cues that the balanced variants are without."""
    counts = drawn("letter_counting", 1, seed=10**9)
    assert best_constant(counts) > 0.6
    cues = dict(option_cues(sums := drawn("chain_sum_mc", 1, seed=10**9)))
    middle = sum(cues["value 2"](p) == p.reference for p in sums) / len(sums)
    assert middle > 0.35
