"""Every reference of every real benchmark row at hand, rewritten without changing its meaning, is
right; changed, it is wrong."""

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratiocine import cli
from ratiocine.completion_parts import split
from ratiocine.data import DataConfig, load
from ratiocine.grading import grade, span_words
from ratiocine.records import LETTERS, Problem

NUMBERS, EXPRESSIONS = ("gsm8k", "aime", "aime-2024"), ("math-500",)
CHOICES = ("mmlu-misc", "winogrande", "openbookqa", "mmlu-math", "mmlu-pro-math", "aqua-rat")
SPANS = ("squad", "coqa")


def problems(name: str, root: Path) -> list[Problem]:
    loaded = load(
        cli.named("data", name, DataConfig).model_copy(update={"data_dir": str(root)}), "test"
    )
    assert not loaded.dropped, loaded.dropped
    return loaded.problems


def in_prose(text: str) -> Iterator[str]:
    """Ways to give any answer."""
    yield f"\\boxed{{{text}}}"
    yield f"So it is \\boxed{{ {text} }}."
    yield f"<think>\nPerhaps \\boxed{{0}}?\n</think>\n\nThe answer is $\\boxed{{{text}}}$"
    yield f"<think>\nhm\n</think> <answer> {text} </answer>"
    yield f"After all of this, the answer is {text}."
    yield f"**Answer:** {text}"
    yield f"First \\boxed{{nothing}}, no: \\boxed{{{text}}}"


def rewritten_number(text: str) -> Iterator[str]:
    yield from in_prose(text)
    yield from (
        f"\\boxed{{{new}}}"
        for new in (
            f"${text}$",
            f"\\${text}",
            f"{text}.",
            f"{text}\\%",
            f"{text} \\text{{ units}}",
            f"x = {text}",
            f"{text}\\,",
        )
    )
    if re.fullmatch(r"-?\d+", text):
        yield from (
            f"\\boxed{{{new}}}"
            for new in (
                f"{text}.0",
                f"{int(text):,}",
                f"{int(text):,}".replace(",", "{,}"),
                f"\\frac{{{3 * int(text)}}}{{3}}",
            )
        )


def rewritten_expression(text: str) -> Iterator[str]:
    yield from in_prose(text if " " not in text or "\\" not in text else f"${text}$")
    for new in (
        f"${text}$",
        f"{text}.",
        f"\\displaystyle {text}",
        text.replace("\\frac", "\\dfrac"),
        text.replace("\\frac", "\\tfrac"),
        re.sub(r"\\left|\\right", "", text),
        text.replace("(", "\\left(").replace(")", "\\right)") if "\\left" not in text else text,
        re.sub(r"(?<=[^\s\\])([+=-])(?=[^\s])", r" \1 ", text),
        re.sub(r"\s*([+=,-])\s*", r"\1", text),
        re.sub(r"\\frac\{(-?\w+)\}\{(\w+)\}", r"\1/\2", text)
        if text.count("\\frac") == 1
        and text.startswith("\\frac{")
        and text.endswith("}")
        and text.count("{") == 2
        else text,
        text.replace("^\\circ", "") if text.endswith("^\\circ") else text,
        re.sub(r"\\text\{ .*\}$", "", text),
    ):
        yield f"\\boxed{{{new}}}"
    if re.fullmatch(r"[^(\[{]*,[^)\]}]*", text) and "\\!" not in text:
        yield f"\\boxed{{{', '.join(reversed([part.strip() for part in text.split(',')]))}}}"
    if re.fullmatch(r"-?\d+", text):
        yield from rewritten_number(text)


def rewritten_choice(problem: Problem) -> Iterator[str]:
    letter = problem.reference or ""
    text = problem.choices[LETTERS.index(letter)]
    yield from in_prose(letter)
    yield from in_prose(f"({letter})")
    yield from (
        f"\\boxed{{{new}}}"
        for new in (
            f"{letter}.",
            f"\\text{{{letter}}}",
            f"\\textbf{{({letter})}}",
            f"{letter}. {text}",
            f"({letter}) {text}",
            text,
            f" {text.upper()} " if "\\" not in text and not re.search("[a-z]", text) else text,
            f"\\text{{{text}}}",
        )
    )


def rewritten_span(text: str) -> Iterator[str]:
    yield from in_prose(text)
    yield from (
        f"\\boxed{{{new}}}"
        for new in (
            text.upper(),
            text.lower(),
            f"the {text}",
            f"“{text}”".replace("“", '"').replace("”", '"'),
            f"{text}.",
            f"  {text} ",
            f"\\text{{{text}}}",
        )
    )


def verdicts(problem: Problem, completions: Iterator[str]) -> list[tuple[str, str, str]]:
    return [
        (problem.id, c, g.reason)
        for c in completions
        if (g := grade(problem, split(c))).verdict != "right"
    ]


REWRITES = {
    **{name: lambda p: rewritten_number(p.reference) for name in NUMBERS},
    **{name: lambda p: rewritten_expression(p.reference) for name in EXPRESSIONS},
    **dict.fromkeys(CHOICES, rewritten_choice),
    **{name: lambda p: rewritten_span(p.reference) for name in SPANS},
}


@pytest.mark.parametrize("name", REWRITES)
def test_the_reference_in_other_words_is_right(name: str, benchmarks: Path) -> None:
    refused, n = [], 0
    for problem in problems(name, benchmarks):
        completions = list(REWRITES[name](problem))
        assert len(completions) >= 8
        refused += verdicts(problem, iter(completions))
        n += len(completions)
    print(f"{name}: {len(refused)} of {n} refused")
    for row in refused[:40]:
        print("   ", row)
    assert len(refused) <= 0.005 * n


def changed(text: str, draw: random.Random) -> Iterator[str]:
    """A number changed by one, in sign and in one digit."""
    yield from (str(int(text) + 1), str(int(text) - 1))
    if int(text):
        yield str(-int(text))
    at = draw.randrange(len(text))
    if text[at].isdigit():
        yield text[:at] + str((int(text[at]) + draw.randrange(1, 10)) % 10) + text[at + 1 :]


def same(problem: Problem, other: str) -> bool:
    """Whether another row's answer is this row's too."""
    own = (problem.reference or "", *problem.accepted)
    return other in own or (
        problem.kind == "span" and span_words(other) in [span_words(text) for text in own]
    )


@pytest.mark.parametrize("name", [*NUMBERS, *EXPRESSIONS, *CHOICES, *SPANS])
def test_a_changed_answer_is_wrong(name: str, benchmarks: Path) -> None:
    rows, draw = problems(name, benchmarks), random.Random(0)
    accepted, n = [], 0
    for problem in rows:
        reference = problem.reference or ""
        if problem.choices:
            right = problem.choices[LETTERS.index(reference)]
            others = [
                (x, t)
                for x, t in zip(LETTERS, problem.choices, strict=False)
                if " ".join(t.casefold().split()) != " ".join(right.casefold().split())
            ]
            wrong = [answer for letter, text in others for answer in (letter, text)]
        else:
            wrong = (
                list(changed(reference, draw))
                if problem.kind != "span" and re.fullmatch(r"-?\d+", reference)
                else []
            )
            wrong += [
                other
                for other in (draw.choice(rows).reference for _ in range(4))
                if other and not same(problem, other)
            ]
        for answer in wrong:
            n += 1
            if grade(problem, split(f"\\boxed{{{answer}}}")).verdict == "right":
                accepted.append((problem.id, reference, answer))
    print(f"{name}: {len(accepted)} of {n} accepted")
    for row in accepted[:40]:
        print("   ", row)
    assert len(accepted) <= 0.001 * n
