"""The benchmark `smoke`: the graders accept its golds and reject the wrong answers listed in it."""

import json
from pathlib import Path

import pytest
from conftest import done

from ratiocine import cli
from ratiocine.completion_parts import split
from ratiocine.data import DataConfig, load
from ratiocine.grading import grade
from ratiocine.records import CATEGORIES, LETTERS, Problem

PROBLEMS = load(cli.named("data", "smoke", DataConfig), "test").problems


def verdict(problem: Problem, text: str) -> str:
    return grade(problem, split(text)).verdict


def test_each_category_has_problems() -> None:
    assert len({problem.id for problem in PROBLEMS}) == len(PROBLEMS) >= 35
    for category in CATEGORIES:
        assert sum(problem.category == category for problem in PROBLEMS) >= 5


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.id)
def test_golds_are_right_and_listed_answers_wrong(problem: Problem) -> None:
    gold = problem.reference or ""
    golds = [gold, *([problem.choices[LETTERS.index(gold)]] if problem.choices else [])]
    for answer in golds:
        for text in (f"\\boxed{{{answer}}}", f"<think>\nhm\n</think>\n\n\\boxed{{{answer}}}"):
            assert verdict(problem, text) == "right", text
    assert problem.meta["wrong"]
    for answer in problem.meta["wrong"]:
        for text in (f"\\boxed{{{answer}}}", answer, f"The answer is {answer}."):
            assert verdict(problem, text) == "wrong", text


BY_ID = {problem.id: problem for problem in PROBLEMS}


@pytest.mark.parametrize(
    ("name", "answer", "expected"),
    [
        ("roots", "3, 2", "right"),
        ("roots", r"x = 2 \text{ or } x = 3", "right"),
        ("half_of_fraction", "0.375", "right"),
        ("apples", "8 apples", "right"),
        ("square_area", r"49 \text{ cm}^2", "right"),
        ("make_2025", r"9 \times 5 \times (10 - 1) \times (7 - 2) = 2025", "right"),
        ("make_2025", "(1 + 2 + 3 + 4 + 5 + 10) * 9 * 9", "wrong"),  # 9 twice
        ("make_24", "4 * (7 - 8/8)", "right"),
        ("make_24", "(7 - 4) * 8", "wrong"),  # at most once is not enough here
    ],
)
def test_other_answers(name: str, answer: str, expected: str) -> None:
    assert verdict(BY_ID[name], f"\\boxed{{{answer}}}") == expected


def test_the_letters_are_counted() -> None:
    for name in ("r_in_strawberry", "r_in_long_word"):
        word = BY_ID[name].question.split()[-1].rstrip("?.")
        assert BY_ID[name].reference == str(word.count("r"))


@pytest.mark.long
def test_smoke_runs(tmp_path: Path) -> None:
    out = tmp_path / "scores"
    done("eval", "model=tiny", "benchmarks=smoke", "limit=8", "max_new_tokens=8", f"out={out}")
    scores = json.loads((out / "scores.json").read_text())
    assert scores["benchmarks"]["smoke"]["n"] == 8
