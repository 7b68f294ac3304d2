"""Outcome and process efficiency against the example of the paper, and the cutting of responses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.pilot import proposed
from ratiocine.completion_parts import looping
from ratiocine.errors import Failure
from ratiocine.evaluate import efficiency, score
from ratiocine.grading import Solution, outcome_efficiency, process_efficiency, solutions
from ratiocine.records import Completion, Problem
from ratiocine.scores import summary

# The example of arXiv 2412.21187: 13 solutions of "2 + 3", 901 tokens in all; the first is right,
# seven are distinct.
NEW = [39, 109, 39, 29, 29, 19, 59]
EXAMPLE = [Solution(n, True, True) for n in NEW] + [Solution((901 - sum(NEW)) / 6, True, False)] * 6


def test_the_example_of_the_paper() -> None:
    assert outcome_efficiency(EXAMPLE) == pytest.approx(39 / 901)
    assert process_efficiency(EXAMPLE) == pytest.approx(323 / 901)


def test_nothing_right_is_no_outcome_efficiency() -> None:
    assert outcome_efficiency([Solution(5, False, True), Solution(5, False, False)]) == 0
    assert outcome_efficiency([Solution(5, False, True), Solution(5, True, False)]) == 1


EGGS = Problem(
    "p", "Janet has 16 eggs and eats 7. How many are left?", "9", "number", "math-oe", "t"
)


def test_what_comes_after_the_answer_counts_against_a_response() -> None:
    first = "She starts with sixteen and eats seven, so 16 - 7 = 9. "
    check = "Wait, she starts with sixteen and eats seven, so that is 9 again. "
    other = "Alternatively count down one by one: 15 14 13 12 11 10 9. "
    text = f"<think>{first}{check}{other}</think>9"
    body = first + check + other + "9"
    outcome, process = efficiency(EGGS, text) or []
    assert outcome == pytest.approx(len(first) / len(body))
    assert process == pytest.approx((len(first) + len(other) + 1) / len(body))
    assert efficiency(EGGS, f"<think>{first}</think>") == (1.0, 1.0)
    assert efficiency(EGGS, "<think></think>") is None
    wrong = efficiency(EGGS, "<think>16 - 7 = 8. Wait, 16 - 7 = 10.</think>\\boxed{10}") or []
    assert wrong[0] == 0


def test_a_turn_without_an_answer_begins_the_next_solution() -> None:
    found = solutions(
        "Hmm. Wait. Let me check: 9. Wait, what?", "", lambda piece: True if "9" in piece else None
    )
    assert [solution.length for solution in found] == [
        len("Hmm. Wait. Let me check: 9. Wait, what?")
    ]


@given(st.text(st.sampled_from("9 .\n:wait,WaitHmbuto"), max_size=300))
def test_the_pieces_are_the_response(text: str) -> None:
    found = solutions(text, "", lambda piece: "9" in piece or None)
    assert sum(solution.length for solution in found) == len(text)
    if found:
        assert found[0].new
        assert 0 <= outcome_efficiency(found) <= 1
        assert 0 < process_efficiency(found) <= 1


@pytest.mark.parametrize(
    "text", ["\n" * 200_000, "but\n" * 50_000, "Wait. " * 40_000, ". but hmm " * 20_000]
)
def test_long_texts_are_cut_in_linear_time(text: str) -> None:
    assert [solution.length for solution in solutions(text, "", lambda piece: None)] == [len(text)]


def test_mode_flips_are_counted_where_a_mode_was_expected() -> None:
    texts = (
        "<think>\n16 - 7 = 9\n</think>\n\n\\boxed{9}",
        "\\boxed{9}",
        "\\boxed{8}",
        "<think>\n\n</think>\n\n\\boxed{9}",
    )
    rows = [score(EGGS, Completion("t/p", text, "stop", 5, 5, 0.1), None) for text in texts]
    assert [row.thought for row in rows] == [
        True,
        False,
        False,
        False,
    ]  # an empty block is no thought
    for expected, share in ((False, 0.25), (True, 0.75), (None, None)):
        assert summary([replace(row, expected=expected) for row in rows]).mode_flip == share


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("The end. The end. " * 6, True),
        ("<time>\n" * 12, True),
        ("It is " + "ha" * 9, True),
        ("no, no, no, no", False),
        ("10^20 = 1" + "0" * 20, False),
        ("| a | b |\n|" + "---|" * 8, False),
        ("1/3 = 0." + "3" * 30, False),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10", False),
    ],
)
def test_repeated_phrases_and_what_only_looks_like_them(text: str, loops: bool) -> None:
    assert looping(text) is loops


def test_loops_are_truncated_answers_that_repeat_themselves() -> None:
    loop, prose = "and so it goes on and on, " * 20, "one two three four " * 2
    rows = [
        score(EGGS, Completion("t/p", text, stop, 5, 5, 0.1), None)
        for text, stop in ((loop, "length"), (loop, "stop"), (prose, "length"), (loop, "failed"))
    ]
    assert [row.looping for row in rows] == [True, False, False, False]
    assert summary(rows).looping == 0.25
    assert summary([replace(rows[0], looping=None), *rows]).looping is None
    with pytest.raises(Failure, match=r"only 0 of 2 pilot .* limit; 1 repeat themselves, which no"):
        proposed([Completion("t/p", text, "length", 5, 5, 0.1) for text in (loop, prose)], 5, 1.0)
