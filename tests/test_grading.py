"""The grader: known answers by kind, and fault decides the verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratiocine.grading import grade, read_number
from ratiocine.problems import Problem
from ratiocine.prompts import split

OPTIONS = ("apples", "green pears", "7")


def problem(reference: str | None, kind: str = "number", choices: tuple[str, ...] = ()) -> Problem:
    return Problem("p", "?", reference, kind, "math-oe", "t", choices=choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "reference", "completion", "verdict", "reason"),
    [
        ("number", "1200", "\\boxed{1,200}", "right", "boxed"),
        ("number", "1200", "\\boxed{\\$1{,}200}", "right", "boxed"),
        ("number", "0.5", "\\boxed{1/2}", "right", "boxed"),
        ("number", "18", "\\boxed{18.00}", "right", "boxed"),
        ("number", "-4", "\\boxed{4}", "wrong", "boxed"),
        ("number", "4", "<think>\n\\boxed{4}\n</think>\n\n\\boxed{5}", "wrong", "boxed"),
        ("number", "4", "<think>\nthe answer is 4", "wrong", "unclosed"),
        ("number", "4", "<think>\n4\n</think>\n\n", "wrong", "no_answer"),
        ("number", "72", "She sold 48 + 24 = 72 clips.", "right", "whole_answer"),
        ("number", "72", "72 clips, in 2 months", "wrong", "last_number"),
        ("number", "10", "It costs $10.", "right", "last_number"),
        ("number", "4", "", "wrong", "no_answer"),
        ("choice", "B", "\\boxed{B}", "right", "boxed"),
        ("choice", "B", "\\boxed{(b)}", "right", "boxed"),
        ("choice", "B", "\\boxed{B. green pears}", "right", "boxed"),
        ("choice", "B", "\\boxed{Green  pears.}", "right", "boxed"),
        ("choice", "B", "\\boxed{F}", "wrong", "boxed_unreadable"),
        ("choice", "C", "\\boxed{7}", "right", "boxed"),
        ("choice", "B", "The answer is B.", "right", "stated"),
        ("choice", "B", "That leaves B here", "right", "only_letter"),
        ("choice", "B", "A or B?", "wrong", "no_answer"),
        ("string", "noen", "\\boxed{Noen}", "right", "boxed"),
        ("string", "noen", "noen", "right", "whole_answer"),
        ("string", "noen", "neon", "wrong", "whole_answer"),
        ("number", "1/3", "\\boxed{\\frac{1}{3}}", "right", "boxed"),
        ("number", "8", "\\boxed{2^3}", "right", "boxed"),
        ("number", "8", "<think>\nx\n</think>\n<answer>8</answer> or 9", "right", "whole_answer"),
        ("number", "8", "It is 8 and \\boxed{", "wrong", "unclosed_box"),
        ("expression", "\\frac{\\pi}{6}", "\\boxed{\\dfrac16\\pi}", "right", "boxed"),
        ("expression", "(x+1)^2", "\\boxed{x^2+2x+1}", "right", "boxed"),
        ("expression", "(x+1)^2", "\\boxed{x^2+2x}", "wrong", "boxed"),
        ("expression", "(3,4]", "\\boxed{(3,4)}", "wrong", "boxed"),
        ("expression", "1,-2", "\\boxed{-2, 1}", "right", "boxed"),
        ("expression", "x=5", "\\boxed{5}", "right", "boxed"),
        ("expression", "1 \\pm \\sqrt{2}", "\\boxed{1-\\sqrt2, 1+\\sqrt2}", "right", "boxed"),
        ("expression", "\\text{east}", "\\boxed{East}", "right", "boxed"),
        ("expression", "\\text{(C)}", "\\boxed{C}", "right", "boxed"),
        ("expression", "C", "\\boxed{\\text{C}}", "right", "boxed"),
        ("expression", "\\sin 2x", "\\boxed{\\sin(2x)}", "right", "boxed"),
        ("expression", "\\sin^2 x", "\\boxed{\\sin(x)^2}", "right", "boxed"),
        ("expression", "2\\sin x\\cos x", "\\boxed{\\sin 2x}", "right", "boxed"),
        ("expression", "(2,\\infty)", "\\boxed{(2, 1.7\\cdot10^{300})}", "wrong", "boxed"),
        ("expression", "20\\%", "\\boxed{0.2}", "right", "boxed"),
        ("expression", "2k+2", "\\boxed{2n+2}", "wrong", "boxed"),
        ("expression", "52_8", "\\boxed{52_{8}}", "right", "boxed"),
        ("expression", "2", "\\boxed{9^{9^{9^{9}}}}", "wrong", "boxed_too_costly"),
        ("expression", "\\log_2 8", "\\boxed{3}", "right", "boxed"),
        ("span", "the Normans", "\\boxed{Normans}", "right", "boxed"),
        ("span", "the Normans", "\\boxed{Norman kings}", "wrong", "boxed"),
        ("number", None, "\\boxed{4}", "ungradable", "reference"),
        ("number", "four", "\\boxed{4}", "ungradable", "reference"),
        ("choice", "Z", "\\boxed{A}", "ungradable", "reference"),
    ],
)
def test_verdicts(kind: str, reference: str | None, completion: str, verdict: str, reason: str) -> None:
    found = grade(problem(reference, kind, OPTIONS if kind == "choice" else ()), split(completion), limit=1)
    assert (found.verdict, found.reason) == (verdict, reason)


def test_a_cut_completion_has_only_what_it_boxed() -> None:
    assert grade(problem("4"), split("\\boxed{4} and so", finished=False)).verdict == "right"
    found = grade(problem("4"), split("I think it is 4", finished=False))
    assert (found.verdict, found.reason) == ("wrong", "truncated")


@given(st.text(max_size=300))
def test_no_completion_is_ungradable_or_raises(completion: str) -> None:
    for p in (problem("4"), problem("B", "choice", OPTIONS), problem("x", "string")):
        assert grade(p, split(completion)).verdict in ("right", "wrong")


@given(st.integers(-(10**12), 10**12))
def test_numbers_are_exact_in_any_spelling(value: int) -> None:
    spellings = (str(value), f"{value:,}", f"{value}.0", f"{value}.", f" {value} ", f"${value}", f"{value * 3}/3")
    assert {read_number(text) for text in spellings} == {value}


def test_floating_point_is_never_used() -> None:
    assert read_number("0.1") != read_number("0.10000000000000001")
    assert grade(problem("9007199254740993"), split("\\boxed{9007199254740992}")).verdict == "wrong"
