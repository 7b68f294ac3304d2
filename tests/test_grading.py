"""The grader: known answers by kind, and fault decides the verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratiocine.completion_parts import split
from ratiocine.grading import grade, read_number, worker
from ratiocine.records import Problem

OPTIONS = ("apples", "green pears", "7")


def problem(reference: str | None, kind: str = "number", choices: tuple[str, ...] = ()) -> Problem:
    return Problem("p", "?", reference, kind, "math-oe", "t", choices=choices)


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
        ("number", "72", "She sold 48 + 24 = 72 clips.", "right", "last_number"),
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
        ("number", "8", "\\boxed{2^3}", "wrong", "boxed_unreadable"),
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
def test_verdicts(
    kind: str, reference: str | None, completion: str, verdict: str, reason: str
) -> None:
    found = grade(
        problem(reference, kind, OPTIONS if kind == "choice" else ()), split(completion), limit=1
    )
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
    spellings = (
        str(value),
        f"{value:,}",
        f"{value}.0",
        f"{value}.",
        f" {value} ",
        f"${value}",
        f"{value * 3}/3",
    )
    assert {read_number(text) for text in spellings} == {value}


def test_floating_point_is_never_used() -> None:
    assert read_number("0.1") != read_number("0.10000000000000001")
    assert grade(problem("9007199254740993"), split("\\boxed{9007199254740992}")).verdict == "wrong"


FRUIT = ("a stone", "an apple", "a car", "x")


def verdict(
    kind: str, reference: str, text: str, choices: tuple[str, ...] = (), **cut: bool
) -> str:
    problem = Problem("p", "?", reference, kind, "math-oe", "t", choices=choices)
    return grade(problem, split(text, **cut)).verdict


@pytest.mark.parametrize(
    "text",
    [
        "25 km",
        "25cm",
        "25 L",
        "25 USD",
        "25 Dollars",
        "25 T-shirts",
        "25 cm^2",
        "25\\ \\text{cm}",
        "25°C",
        "£25",
        "€25",
        "\\text{25}",
        "\\text{25 cm}",
        "\\textbf{25}",
        "\\approx 25",
        "**25**",
        "16+9=25",
        "25 miles per hour",
        "25 km/h",
        "\\$25.00",
        "2.5 \\times 10^1",
        "+25",
        "x = 25",
        "50/2",
        "24 2/2",
        "\\frac{50}{2}",
    ],
)
def test_a_number_may_be_dressed(text: str) -> None:
    assert verdict("number", "25", f"\\boxed{{{text}}}") == "right"


@pytest.mark.parametrize(
    "text",
    [
        "0 - 4 - 8 - 7 + 6",
        "-13 + 0",
        "\\sqrt{169}",
        "x=-13, y=5",
        "x = -13 or x = 5",
        "x \\ne -13",
        "x >= -13",
        "6-2=-13",
        "-13 million",
        "-13 squared",
        "-13 minus two",
        "-13 halves",
        "5=-13",
        "-13 to 5",
        "-13^1",
        "not -13",
    ],
)
def test_no_sum_is_done_for_the_writer_and_no_hedge_is_an_answer(text: str) -> None:
    assert verdict("number", "-13", f"\\boxed{{{text}}}") == "wrong"


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ("18", "The answer is 18. Check: 3*3 = 9", "right"),
        ("9", "The answer is 18. Check: 3*3 = 9", "wrong"),
        ("18", "The answer is 18 eggs every day for 7 days.", "right"),
        ("72", "The answer is not 72.", "wrong"),
        ("9", "**Answer:** $9 (3 eggs)", "right"),
        (
            "18",
            "The answer is 18.\nLet me verify: the answer is correct since 9*2=18 with 3 checks.",
            "right",
        ),
        ("8", "The answer is 5 + 3 = 8", "right"),
        ("2", "The probability is $\\frac{1}{2}$.", "wrong"),
        ("0.5", "The probability is $\\frac{1}{2}$.", "right"),
        (".5", "the probability is .5", "right"),
        ("2", "The area is 30 cm^2.", "wrong"),
        ("30", "The area is 30 cm^2.", "right"),
        ("5", "2^5 in the end", "wrong"),
        ("30", "At 5:30 pm", "wrong"),
        ("18", "\\boxed {18}", "right"),
        ("18", "\\boxed{18} Note: I used \\boxed{} as asked.", "right"),
        ("3000000", "\\boxed{3 million}", "right"),
    ],
)
def test_a_number_in_prose(reference: str, text: str, expected: str) -> None:
    assert verdict("number", reference, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "B\n\nExplanation: A stone is not a fruit.",
        "B. an apple\n\nA stone, a car…",
        "The answer is B because A is a stone.",
        "\\boxed{Option B}",
        "\\boxed{\\textbf{(B)}\\ \\text{an apple}}",
        "\\boxed{B - an apple}",
        "\\boxed{B, an apple}",
        "\\boxed{B) apple}",
        "\\boxed{[B]}",
        "\\boxed{\\boldsymbol{B}}",
        "The answer is A. No wait… The correct answer is B.",
        "Option B is right.",
        "**B**",
        "The answer is (B) an apple.",
    ],
)
def test_a_choice_may_be_dressed(text: str) -> None:
    assert verdict("choice", "B", text, FRUIT) == "right"


@pytest.mark.parametrize(
    ("reference", "text", "choices"),
    [
        ("C", "\\boxed{A}", ("Aa", "aa", "AA", "ab")),
        ("A", "\\boxed{B}", ("P", "p")),
        ("B", "AA", ("Aa", "aa", "AA", "ab")),
        ("A", "A fruit grows on trees, and only one of these does.", FRUIT),
        ("I", "I am not sure.", tuple("abcdefghij")),
        ("B", "The answer is not B.", FRUIT),
        ("A", "A. a lemon\n\nThe answer is D.", FRUIT),
        ("A", "A. a stone\nB. an apple\nC. a car", FRUIT),
        ("A", "\\boxed{5}", ("5 hours", "5 minutes")),
        ("A", "The answer is A. No wait… The answer is B.", FRUIT),
    ],
)
def test_what_is_no_choice_of_the_right_option(
    reference: str, text: str, choices: tuple[str, ...]
) -> None:
    assert verdict("choice", reference, text, choices) == "wrong"


def test_a_trace_that_the_prompt_opened_and_nothing_closed_is_no_answer() -> None:
    assert verdict("number", "5", "maybe \\boxed{5}, wait", finished=False) == "right"
    assert verdict("number", "5", "maybe \\boxed{5}, wait", finished=False, opened=True) == "wrong"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("6", "5=6"),
        ("6", "x=5=6"),
        ("2", "x^2 = 2"),
        ("4", "2x=4"),
        ("12", "1 2"),
        ("(1,2)", "\\{1,2\\}"),
        ("5", "5 million"),
        ("5", "e^{709.5}(1+i)"),
        ("5", "(10^{-1000}\\cdot 10^{-232})\\%"),
    ],
)
def test_expressions_that_are_not_the_reference(reference: str, text: str) -> None:
    assert verdict("expression", reference, f"\\boxed{{{text}}}") == "wrong"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("12", "V = 12\\text{ cm}^3"),
        ("12", "\\text{Area} = 12"),
        ("12", "x_{\\text{max}} = 12"),
        ("12", "m+n = 12"),
        ("12", "f(2)=12"),
        ("12", "a_5 = 12"),
        ("12", "\\theta = 12^\\circ"),
        ("12", "m\\angle A = 12^\\circ"),
        ("12", "|AB| = 12"),
        ("12", "12^{\\text{th}}"),
        ("12", "12 cm^2"),
        ("12", "\\text{12 ways}"),
        ("12", "\\text{about } 12"),
        ("12", "12 = x"),
        ("0.006", "6 \\times 10^{-3} \\text{ m/s²}"),
        ("P_0+2", "P = 2 + P_0"),
        ("2,3", "x=2 \\text{ or } x=3"),
        ("\\pm 3", "x = 3 \\text{ or } x = -3"),
        ("2,3", "x_1=2 \\text{ and } x_2=3"),
        ("(2,3)", "x=2, y=3"),
        ("10\\pi", "10\\pi \\text{ cm}^2"),
        ("15000", "15,000 \\, \\text{kcal m}^{-2} \\text{ yr}^{-1}"),
        ("xy", "yx"),
        ("ab", "a \\times b"),
        ("\\arctan 2", "\\tan^{-1}(2)"),
        ("\\frac12", "\\sin 30^\\circ"),
        ("90", "90^\\circ"),
        ("3.5", "3 1/2"),
        ("\\frac13", "0.\\overline{3}"),
        ("1e-5", "10^{-5}"),
        ("3.83e35", "3.83 \\times 10^{35} \\text{ ergs/s}"),
        ("(3,\\infty)", "x>3"),
        ("[-2,5]", "-2\\le x\\le5"),
        ("(-\\infty,-1)\\cup(2,\\infty)", "x<-1 \\text{ or } x>2"),
        ("\\frac{1}{2a}(\\exp{a*t}-\\exp{-a*t})", "\\frac{1}{a} \\sinh(at)"),
        ("E_{1},E_{2}", "E_1, E_2"),
        ("\\lambda_{\\text{red}}/2", "\\frac12\\lambda_{red}"),
        ("x_{0}\\dot{x}_{0}", "\\dot{x}_0 x_0"),
        ("\\frac{10^{5}L_{\\odot}}{M_{\\odot}^{6}}", "10^5 L_\\odot M_\\odot^{-6}"),
        ("\\frac{1}{4-a^2}", "A = \\frac{1}{4 - a^2}, \\quad \\text{for } a^2 \\neq 4"),
        ("x+2", "x+2, x \\neq 2"),
        ("\\text{ellipse}", "\\text{an ellipse}"),
        ("-\\tau\\ln\\Delta", "\\tau \\ln(\\frac{1}{\\Delta})"),
    ],
)
def test_an_expression_may_be_written_otherwise(reference: str, text: str) -> None:
    assert verdict("expression", reference, f"\\boxed{{{text}}}") == "right"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("a+d", "b+c"),
        ("a-b", "c-d"),
        ("x_1", "u_2"),
        ("\\frac{a-b}{c-d}", "1"),
        ("s_n", "\\phi"),
        ("5", "5\\text{ (or 6)}"),
        ("5", "5 \\text{ or more}"),
        ("5", "5\\text{ to 6 hours}"),
        ("5", "5 \\text{ out of 6}"),
        ("5", "5 \\text{ dollars and 50 cents}"),
        ("6", "6\\text{ thirds}"),
        ("6", "6 \\text{ is wrong}"),
        ("10:30 \\text{ a.m.}", "10:30 \\text{ p.m.}"),
        ("5", "5\\text{ cm}, 6\\text{ cm}"),
        ("3", "3 \\text{ ft } 4 \\text{ in}"),
        ("6", "\\neq 6"),
        ("6", "5 \\to 6"),
        ("3", "3 \\text{ if } x>0 \\text{ else } 4"),
        ("0.333", "0.333\\ldots"),
        ("2f(x)", "f(2x)"),
        ("f(x)+f(y)", "f(x+y)"),
        ("\\lambda_{\\text{red}}/\\sqrt{2}", "\\lambda_{\\text{red}} \\sqrt{3 - 2\\sqrt{2}}"),
        ("2", "e=2"),
        ("3", "-x=3"),
        ("3", "\\sqrt{x}=3"),
        ("2x+3", "x=2x+3"),
        ("300", "3e+2"),
        ("[2,\\infty)", "x>2"),
    ],
)
def test_what_a_reader_of_parts_would_take_for_the_reference(reference: str, text: str) -> None:
    assert verdict("expression", reference, f"\\boxed{{{text}}}") == "wrong"


@pytest.mark.parametrize(
    "text",
    [
        "(12)",
        "{12}",
        "12\\$",
        "Rs. 12",
        "₹12",
        "Total: 12",
        "12 (rounded)",
        "12 more",
        "12 times",
        "m+n=012",
        "10 ÷ 5 + 10 = 12",
        "12€",
    ],
)
def test_a_number_in_less_usual_dress(text: str) -> None:
    assert verdict("number", "12", f"\\boxed{{{text}}}") == "right"


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 12\\sqrt{2}.",
        "The answer is 12π",
        "The answer is 12 and a half.",
        "The answer is 5 or 12.",
        "The answer is 12, or possibly 6.",
        "It is between 5 and 12.",
        "The answer is 12 feet 7 inches.",
        "The answer is 12 minus 4.",
        "It is not 12.",
        "I don't think it's 12.",
        "She earns $12 thousand.",
        "The answer is definitely not 12.",
        "x = 4 or x = 12",
        "The answer is 12, 13.",
        "from 3-12 pages",
        "It is 12π.",
        "\\boxed{12K}",
        "\\boxed{12 maybe}",
        "\\boxed{12x}",
        "\\boxed{0.5, 12}",
    ],
)
def test_what_is_not_said_to_be_twelve(text: str) -> None:
    assert verdict("number", "12", text) == "wrong"


COLOURS = ("red", "green", "blue", "black")


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{B, C}",
        "\\boxed{B,C}",
        "\\boxed{(B) or (C)}",
        "\\boxed{B. or C}",
        "\\boxed{B) no, C}",
        "\\boxed{B. Actually C}",
        "\\boxed{B. is wrong}",
        "\\boxed{B. green or C. blue}",
        "\\boxed{(B) blue or black}",
        "The answer is B or C.",
        "The answer is B & C.",
        "Answer: B, C",
        "B is wrong.",
        "It cannot be B.",
        "Anything but B.",
        "\\boxed{B. 17}",
    ],
)
def test_two_letters_are_no_choice(text: str) -> None:
    assert verdict("choice", "B", text, COLOURS) == "wrong"


@pytest.mark.parametrize(
    ("reference", "text", "choices"),
    [
        ("B", "B green", COLOURS),
        ("B", "B (green)", COLOURS),
        ("B", "Answer: B", COLOURS),
        ("B", "The answer is B", COLOURS),
        ("B", "{B}", COLOURS),
        ("B", "B. (I) and (IV )", ("(I) only", "(I) and (IV )")),
        ("B", "\\bf B", COLOURS),
        ("B", "\\text{B}\\text{ green}", COLOURS),
        ("A", "12", ("12 km", "15 km")),
        ("A", "12", ("12 m/s", "15 m/s")),
        ("A", "12", ("Rs. 12", "Rs. 15")),
        ("C", "2 : 3", ("1:2", "1:3", "2:3")),
        ("A", "3\\frac12", ("3 1/2", "2 1/2")),
        ("A", "\\sqrt{2}", ("sqrt(2)", "2")),
        ("C", "0.05", ("5%", "20", "0.05")),
        ("D", "e", ("a", "b", "c", "e")),
        ("A", "x^2", ("x²", "x³")),
        ("B", "True,False", ("True, True", "True, False")),
    ],
)
def test_a_choice_in_less_usual_dress(reference: str, text: str, choices: tuple[str, ...]) -> None:
    assert verdict("choice", reference, f"\\boxed{{{text}}}", choices) == "right"


def test_a_long_text_that_is_no_unit_is_refused_at_once() -> None:
    for tail in (
        "dollars every day at the farmers market, since 9 eggs",
        "a" * 900 + "!",
        "-" * 900 + "\n10",
    ):
        assert verdict("number", "5", f"The answer is 5 {tail}.") in ("right", "wrong")
        assert read_number(f"5 {tail}") is None


def test_what_sympys_reader_takes_a_part_of_is_not_read() -> None:
    red = "\\lambda_{\\text{red}}"
    assert (
        worker.equivalent(f"{red}/\\sqrt{{2}}", f"{red} \\sqrt{{3 - 2\\sqrt{{2}}}}", limit=60)
        != "same"
    )
