"""Rewards against worked examples, the papers' published values, and what a policy would try in
order to be paid for nothing."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hostile import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from bench import hacking
from ratiocine import cli
from ratiocine.cli import check
from ratiocine.completion_parts import Parts, split
from ratiocine.errors import BadInput
from ratiocine.grading import countdown, grade
from ratiocine.records import Problem
from ratiocine.rewards import RewardConfig, Rollout, detection, repeated, scripts

SEVEN = Problem("1", "What is 3 + 4?", "7", "number", "math-oe", "sums")


def made(
    text: str,
    tokens: int | None = None,
    *,
    problem: Problem = SEVEN,
    finished: bool = True,
    opened: bool = False,
) -> Rollout:
    return Rollout(
        problem, text, len(text) if tokens is None else tokens, finished=finished, opened=opened
    )


def reward(*terms: dict) -> RewardConfig:
    return RewardConfig.model_validate({"name": "test", "terms": list(terms)})


def one(rollout: Rollout, **term: object) -> float:
    return reward(term)([rollout])[0]


def test_the_table_of_r1() -> None:
    """Four answers to one question, worth 0.1, 1.1, 1.0 and 0.1: wrong in format, right in format,
    right without, wrong."""
    config = reward({"name": "accuracy"}, {"name": "format", "style": "r1", "weight": 0.1})
    texts = (
        "<think> 3 + 4 is 8 </think><answer> 8 </answer>",
        "<think> 3 + 4 is 7 </think><answer> 7 </answer>",
        "The answer is 7.",
        "<think> 3 + 4? </think><answer> 6 </answer>",
    )
    values = config([made(text) for text in texts])
    assert values == pytest.approx([0.1, 1.1, 1.0, 0.1])
    mean = sum(values) / 4
    population = math.sqrt(sum((v - mean) ** 2 for v in values) / 4)
    assert [(v - mean) / population for v in values] == pytest.approx(
        [-0.9972, 1.1022, 0.8923, -0.9972], abs=5e-5
    )
    sample = math.sqrt(sum((v - mean) ** 2 for v in values) / 3)
    assert [(v - mean) / sample for v in values] == pytest.approx(
        [-0.8636, 0.9545, 0.7727, -0.8636], abs=5e-5
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>a</think><answer>7</answer>", 1),
        ("\n<think>\na\n</think>\n\n<answer>\n7\n</answer>\n", 1),
        ("<think>a</think><answer>7", 0),
        ("<think>a</think><answer> 7<answer>", 0),
        ("<think></think><answer>7</answer>", 0),
        ("<think> \n </think><answer>7</answer>", 0),
        ("<think>a</think><answer></answer>", 0),
        ("<answer>7</answer><think>a</think>", 0),
        ("<think>a</think>so<answer>7</answer>", 0),
        ("so <think>a</think><answer>7</answer>", 0),
        ("<think>a</think><answer>7</answer>!", 0),
        ("<think>a<think>b</think></think><answer>7</answer>", 0),
        ("<think>a</think><think>b</think><answer>7</answer>", 0),
        ("<think>a</think><answer>7</answer><answer>8</answer>", 0),
        ("<think>a<answer>7</answer></think><answer>7</answer>", 0),
        ("<THINK>a</THINK><answer>7</answer>", 0),
        ("＜think＞a＜/think＞<answer>7</answer>", 0),
    ],
)
def test_the_format_is_strict(text: str, expected: float) -> None:
    assert one(made(text), name="format", style="r1") == expected


def test_a_format_counts_what_the_prompt_has_opened() -> None:
    """Templates that write the opening tag themselves leave the closing one alone in the
    completion."""
    assert one(made("a\n</think>\n\n\\boxed{7}", opened=True), name="format") == 1
    assert one(made("a\n</think>\n\n\\boxed{7}"), name="format") == 0
    assert one(made("<think>\na\n</think>\n\n\\boxed{7}", opened=True), name="format") == 0
    assert one(made("<think>\na\n</think>\n\n\\boxed{7}"), name="format") == 1
    assert one(made("<think>\na\n</think>\n\n\\boxed{7}", finished=False), name="format") == 0
    assert one(made("<think>\u200b</think>\\boxed{7}"), name="format") == 0
    assert one(made("<think>a</think>\u200b \ufeff"), name="format") == 0


def test_accuracy_sees_how_a_completion_began_and_ended() -> None:
    assert [
        one(made("It is 7", **how), name="accuracy")
        for how in ({}, {"finished": False}, {"opened": True})
    ] == [1, 0, 0]


def test_three_levels_and_partial_and_binary() -> None:
    right, wrong, none = made("\\boxed{7}"), made("\\boxed{8}"), made("I do not know")
    assert [one(r, name="levels") for r in (right, wrong, none)] == [1, -0.5, -1]
    assert [one(r, name="partial") for r in (right, wrong, none)] == [1, 0.1, 0]
    assert one(made("\\boxed{}"), name="levels") == -1
    for said, worth in (
        ("\\boxed{apple}", 0),
        ("\\boxed{\\frac{1}{2}}", 0.1),
        ("\\boxed{-\\frac12}", 0.1),
        ("\\boxed{x = 8}", 0.1),
    ):
        assert one(made(said), name="partial") == worth, said
    thought = made("<think>a</think>\\boxed{7}")
    assert [one(r, name="binary") for r in (thought, right, wrong, made("</think>\\boxed{7}"))] == [
        1,
        0,
        0,
        0,
    ]
    assert [one(r, name="binary", right=0.5, wrong=-1) for r in (thought, wrong)] == [0.5, -1]
    with pytest.raises(ValueError, match="right=0 should be more than wrong=1"):
        reward({"name": "binary", "right": 0, "wrong": 1})


def test_tag_count() -> None:
    assert one(made("<think>\na\n</think>\n<answer>\n7\n</answer>"), name="tag_count") == 1
    assert one(made("<think>\na\n</think>\n7"), name="tag_count") == 0.5
    assert one(made("a\n</think>\n<answer>\n7\n</answer>", opened=True), name="tag_count") == 1
    assert (
        one(made("<think>\na\n</think>\n<answer>\n7\n</answer><think>\n"), name="tag_count") == 0.75
    )
    assert one(made("<think>a</think><answer>7</answer>"), name="tag_count") == 0


def test_cosine_known_answers() -> None:
    """Limit 1000: right 2 to 1, wrong −10 to 0, and −10 from 984 on."""
    term = {"name": "cosine", "limit": 1000}
    for length, right, wrong in (
        (0, 2, -10),
        (500, 1.5, -5),
        (750, 1.1464, -1.4645),
        (983, 1.0007, -0.0071),
        (984, -10, -10),
    ):
        assert one(made("\\boxed{7}", length), **term) == pytest.approx(right, abs=5e-5)
        assert one(made("\\boxed{8}", length), **term) == pytest.approx(wrong, abs=5e-5)
    section_4_3 = {**term, "right": [6, 5], "wrong": [-10, 0]}
    found = [
        [one(made(f"\\boxed{{{answer}}}", n), **section_4_3) for n in range(0, 984, 41)]
        for answer in (7, 8)
    ]
    assert found[0] == sorted(found[0], reverse=True)
    assert found[1] == sorted(found[1])
    assert (found[0][0], found[1][0]) == (6, -10)
    assert one(made("\\boxed{7}", 990), **term, margin=0, exceed=-3) == pytest.approx(
        1.0002, abs=5e-5
    )
    assert one(made("\\boxed{7}", 1000), **term, margin=0, exceed=-3) == -3
    for settings, message in (
        ({"wrong": [0, 1]}, "wrong answers are not paid"),
        ({"wrong": [1, 0]}, "wrong answers are not paid"),
        ({"exceed": 5}, "wrong answers are not paid"),
        ({"right": [-1, -2], "wrong": [-1, 0]}, "should be more than wrong"),
        ({"limit": 16}, "should be more than margin=16"),
        ({"limit": 10**400}, "less than or equal"),
    ):
        with pytest.raises(ValueError, match=message):
            reward({**term, **settings})


def test_group_length_known_answers() -> None:
    rollouts = [made("\\boxed{7}", 100), made("\\boxed{7}", 150), made("\\boxed{8}", 300)]
    assert reward({"name": "group_length"})(rollouts) == [0.5, 0.25, -0.5]
    assert reward({"name": "group_length"})([made("\\boxed{7}", 9), made("\\boxed{8}", 9)]) == [
        0,
        0,
    ]
    assert reward({"name": "group_length"})([made("\\boxed{8}", 9), made("\\boxed{7}", 99)]) == [
        0,
        -0.5,
    ]


def test_overlong_known_answers() -> None:
    term = {"name": "overlong", "limit": 20480, "cache": 4096}
    found = [one(made("", n), **term) for n in (0, 16384, 18432, 20480, 30000)]
    assert found == [0, 0, -0.5, -1, -1]
    with pytest.raises(ValueError, match="cache=9 is more than limit=8"):
        reward({"name": "overlong", "limit": 8, "cache": 9})


def test_repetition_known_answers() -> None:
    """`a b a b a b` has four 3-grams, of which two are different."""
    assert one(made("a B a b A b"), name="repetition") == -0.5
    assert one(made("a b"), name="repetition") == 0
    assert one(made("a b c d e"), name="repetition", penalty=-2) == 0
    assert one(made("a b a b a b"), name="repetition", penalty=-2) == -1
    with pytest.raises(ValueError, match="less than or equal to 0"):
        reward({"name": "repetition", "penalty": 1})
    tokens = (1, 2, 3, 4, 1, 2, 3, 9)
    assert repeated(tokens, 3) == [False] * 4 + [True] * 3 + [False]
    rollout = Rollout(SEVEN, "", 8, tokens)
    assert one(rollout, name="repetition", form="dense", n=3, penalty=-0.05) == pytest.approx(-0.15)


def test_language_known_answers() -> None:
    assert one(made("<think>我们计算</think>7"), name="language", language="zh") == 1
    assert one(made("<think>我们 add two</think>7"), name="language", language="zh") == 0.5
    assert one(made("<think>We add them</think>七"), name="language") == 1
    assert one(made("<think>3 + 4</think>7"), name="language") == 0
    assert one(made("seven"), name="language") == 0
    assert one(made("<think>We add them"), name="language") == 0
    assert one(made("<think>हिन्दी apple</think>7"), name="language", language="hi") == 0.5
    assert one(made("<think>たすと カタ 七</think>7"), name="language", language="ja") == 1
    assert (
        one(made("<think>令 $x = \\frac{y}{2}$，得</think>7"), name="language", language="zh") == 1
    )
    assert scripts("naïve ПРИВЕТ 3x don't e\u0301te\u0301 ＡＢＣ") == [
        "LATIN",
        "CYRILLIC",
        "LATIN",
        "LATIN",
        "LATIN",
    ]
    with pytest.raises(ValueError, match="language='tlh' is not one of ar, de"):
        reward({"name": "language", "language": "tlh"})


def test_a_gate_opens_where_the_format_is_right() -> None:
    config = reward(
        {"name": "format", "weight": 0.1}, {"name": "accuracy", "weight": 0.9, "gate": "format"}
    )
    texts = ("<think>a</think>\\boxed{7}", "\\boxed{7}", "<think>a</think>\\boxed{8}", "8")
    assert config([made(text) for text in texts]) == pytest.approx([1.0, 0, 0.1, 0])


def test_instructions_and_labels() -> None:
    task = Problem(
        "1",
        "Write.",
        None,
        "instructions",
        "general-oe",
        "ifeval",
        meta={
            "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
            "kwargs": [{}, {}],
        },
    )
    assert one(made("all lower case here", problem=task), name="instructions") == 1
    assert one(made("all lower, case here", problem=task), name="instructions") == 0.5
    assert [one(made(text), name="instructions") for text in ("7", "8")] == [1, 0]
    bare = Problem(
        "1",
        "Write.",
        None,
        "instructions",
        "general-oe",
        "ifeval",
        meta={"instruction_id_list": ["punctuation:no_comma"]},
    )
    assert reward({"name": "instructions"})([made("a", problem=bare)]) == [None]
    cat = Problem("1", "What is it?", "cat", "string", "general-oe", "classes", accepted=("kitty",))
    for text, worth in (
        ("Cat.", 1),
        ("\\boxed{\\text{cat}}", 1),
        ("kitty", 1),
        ("cat dog", 1),
        ("a", 1),
        ("dog", 0),
        ("", 0),
        ("<think>cat", 0),
    ):
        assert one(made(text, problem=cat), name="label") == worth, text


def test_only_the_problem_at_fault_has_no_reward() -> None:
    broken = Problem("1", "?", "no number", "number", "math-oe", "sums")
    assert reward({"name": "accuracy"})([made("\\boxed{7}", problem=broken)]) == [None]
    assert reward({"name": "format"})([made("<think>a</think>7", problem=broken)]) == [1]
    assert reward({"name": "accuracy"})([made("\\boxed{" * 2000), made("7" * 100_000)]) == [0, 0]


ATTEMPTS = [
    "\\boxed{8}\\boxed{9}\\boxed{6}",
    "<think>The answer is \\boxed{7}</think>",
    "<think>\\boxed{7}</think>\\boxed{8}",
    "<think>\\boxed{7}",
    "It is 7 or 8: \\boxed{7 or 8}",
    "\\boxed{7, 8}",
    "\\boxed{}",
    "\\boxed{7",
    "What is 3 + 4?",
    "",
    "<answer>7</answer><answer>8</answer>",
    "</think>7</think>8",
    "<think></think>",
    "\\boxed{{\\text{not }7}}",
    "\\boxed{9^{9^{9^{9}}}}",
    "\\boxed{\\sum_{n=1}^{\\infty} n}",
]


@pytest.mark.parametrize("text", ATTEMPTS)
def test_no_attempt_is_paid_as_right(text: str) -> None:
    """And none is worth more than a plain wrong answer in the same format would be."""
    for term in ({"name": "accuracy"}, {"name": "binary"}):
        assert one(made(text), **term) == 0
    for term in ({"name": "levels"}, {"name": "partial"}, {"name": "cosine", "limit": 100}):
        assert one(made(text, 20), **term) <= one(made("\\boxed{8}", 20), **term)


TERMS: list[dict[str, Any]] = [
    {"name": "accuracy"},
    {"name": "format"},
    {"name": "format", "style": "r1"},
    {"name": "binary"},
    {"name": "levels"},
    {"name": "partial"},
    {"name": "tag_count"},
    {"name": "language"},
    {"name": "cosine", "limit": 1000},
    {"name": "group_length"},
    {"name": "overlong", "limit": 1000, "cache": 200},
    {"name": "repetition"},
    {"name": "repetition", "form": "dense", "n": 4},
    {"name": "instructions"},
    {"name": "label"},
    {"name": "detection"},
]
AS_WRONG = (
    "accuracy",
    "binary",
    "levels",
    "partial",
    "cosine",
    "group_length",
)  # no better than a plain wrong answer


@pytest.mark.slow
@pytest.mark.parametrize("term", TERMS, ids=lambda term: "-".join(map(str, term.values())))
def test_answers_made_to_break_graders_are_valued_like_any_other(term: dict[str, Any]) -> None:
    """Every one has a reward that is a number, none is right, and none does better by being
    unreadable."""
    boxes = {"boxes": [[0, 0, 1, 1]]}
    problem = Problem("1", "What is 3 + 4?", "7654321", "number", "math-oe", "sums", meta=boxes)
    config = reward(term)
    for text in HOSTILE:
        for wrapped in (text, f"<think>a</think>\\boxed{{{text}}}"):
            ids = tuple(wrapped.encode("utf-8", "replace"))[:2000]
            rollout = Rollout(problem, wrapped, 500, ids)
            wrong = Rollout(problem, "<think>a</think>\\boxed{8}", 500, tuple(range(500)))
            value, plain = config([rollout, wrong])
            assert value is not None and math.isfinite(value), wrapped[:80]
            assert not rollout.right, wrapped[:80]
            assert plain is not None
            assert term["name"] not in AS_WRONG or value <= plain, wrapped[:80]


@pytest.mark.parametrize("name", hacking.ATTEMPTS)
def test_no_attempt_of_the_published_table_pays(name: str) -> None:
    """Neither as right, nor more than a plain wrong answer in the right format."""
    r1 = cli.named("reward", "r1", RewardConfig)
    right, whole = hacking.ours(hacking.ATTEMPTS[name], r1)
    assert right == 0
    assert whole <= hacking.ours(hacking.HONEST["wrong"], r1)[1] == pytest.approx(0.1)
    assert hacking.ours(hacking.HONEST["right"], r1) == (1, pytest.approx(1.1))


def test_bad_rewards_are_one_line() -> None:
    for terms, message in (
        ([{"name": "acuracy"}], "acuracy"),
        (
            [{"name": "accuracy", "wieght": 1}],
            r"unknown key 'terms.0.wieght'; did you mean 'terms.0.weight'\?",
        ),
        ([{"name": "accuracy", "weight": 0}], "greater than 0"),
        ([{"name": "accuracy", "weight": -1}], "greater than 0"),
        (
            [{"name": "accuracy", "gate": "format"}],
            "gate=format is none of the terms, which are: accuracy",
        ),
        ([{"name": "accuracy", "gate": "levels"}, {"name": "levels"}], "should be 'format'"),
        ([{"name": "levels", "gate": "format"}, {"name": "format"}], "unknown key 'terms.0.gate'"),
        ([{"name": "accuracy"}, {"name": "accuracy"}], "occurs twice"),
        ([], "terms"),
    ):
        with pytest.raises(BadInput, match=message) as refused:
            check(RewardConfig, {"name": "x", "terms": terms})
        assert "\n" not in str(refused.value)


# Countdown: the accuracy of an expression.


def test_an_expression_over_the_numbers_is_right() -> None:
    """3·((7+6+4+10)·(2+8+9+5+1)) uses 1 to 10 once each and is 2025."""
    numbers = list(range(1, 11))
    assert countdown.solves("3*((7+6+4+10)*(2+8+9+5+1))", numbers, 2025)
    assert countdown.solves("3 \\times ((7+6+4+10) × (2+8+9+5+1)) = 2025.", numbers, 2025)
    for wrong in (
        "3*((7+6+4+10)*(2+8+9+5+1))+0",
        "2025",
        "3*((7+6+4+10)*(2+8+9+5))+1",
        "3**2",
        "__import__('os')",
        "(1).__class__",
        "1 if 1 else 2",
        "3*((7+6+4+10)*(2+8+9+5+1)",
        "1/0",
        "7/(3-3)",
        "9" * 401,
        "(" * 399,
        "-" * 300 + "1",
        "3e3",
        "0x7e9",
        "1_0",
        "",
        "=",
    ):
        assert not countdown.solves(wrong, numbers, 2025), wrong
    assert countdown.evaluated("1/3+1/3+1/3")[0] == Fraction(1)


@pytest.mark.parametrize(
    ("text", "numbers", "target", "right"),
    [
        ("5*5", [5, 5], 25, True),
        ("5*5", [5], 25, False),
        ("5*5", [5, 5, 1], 25, False),
        ("5*5", [5, 25], 25, False),
        ("-100 + 93 + 30", [30, 100, 93], 23, True),
        ("23 = 93+(30-100)", [30, 100, 93], 23, True),
        ("93+(30-100) = 93-70 = 23", [30, 100, 93], 23, True),
        ("93+(30-100) = 999", [30, 100, 93], 23, False),
        ("93+(30-100) = no", [30, 100, 93], 23, False),
        ("93 + 30 − 100", [30, 100, 93], 23, True),
        ("\\left(93 + 30\\right) – 100", [30, 100, 93], 23, True),
        ("$93+30-100$", [30, 100, 93], 23, True),
        ("`93+30-100`", [30, 100, 93], 23, True),
        ("8 ÷ 2", [8, 2], 4, True),
        ("8 \\div 2", [8, 2], 4, True),
        ("2 · 3 \\cdot 4", [2, 3, 4], 24, True),
        ("1_0", [10], 10, False),
        ("0xa", [10], 10, False),
        ("9$3", [93], 93, False),
        ("1" + "+0" * 300, [1, *[0] * 300], 1, False),
    ],
)
def test_expressions(text: str, numbers: list[int], target: int, right: bool) -> None:
    assert countdown.solves(text, numbers, target) is right


def test_countdown_is_a_kind_of_answer() -> None:
    problem = Problem(
        "1",
        "Make 23.",
        "93+(30-100)",
        "countdown",
        "math-oe",
        "countdown",
        meta={"numbers": [30, 100, 93], "target": 23},
    )
    for text, verdict in (
        ("<think>23</think>\\boxed{93 + (30 - 100)}", "right"),
        ("93 + 30 - 100", "right"),
        ("\\boxed{93+30-100 = 23}", "right"),
        ("The answer is 93 + 30 - 100.", "right"),
        ("Using 93, 30 and 100:\n**93 + 30 - 100 = 23**", "right"),
        ("First 93 + 30 = 123, then 123 - 100 = 23", "wrong"),
        ("\\boxed{23}", "wrong"),
        ("\\boxed{30 - 100 + 93 + 0}", "wrong"),
        ("none", "wrong"),
    ):
        assert grade(problem, split(text)).verdict == verdict, text
    for meta in (
        {},
        {"numbers": ["30"], "target": 30},
        {"numbers": [[30]], "target": 30},
        {"numbers": [30], "target": True},
        {"numbers": [], "target": 1},
    ):
        unusable = Problem("1", "Make 30.", "30", "countdown", "math-oe", "countdown", meta=meta)
        assert grade(unusable, Parts(None, "30", "30", True)).verdict == "ungradable", meta


def test_real_countdown_problems(benchmarks: Path) -> None:
    rows = [
        json.loads(line) for line in (benchmarks / "countdown_cd3.jsonl").read_text().splitlines()
    ]
    for row in rows:
        solution, numbers, target = (
            row["meta"][key] for key in ("solution_expression", "numbers", "target")
        )
        assert countdown.solves(solution, numbers, target)
        assert not countdown.solves(solution, [*numbers[1:], numbers[0] + 1], target)
        assert not countdown.solves(solution, numbers, target + 1)
        assert not countdown.solves(str(target), numbers, target)
    assert len(rows) == 256


# Boxes.


def test_boxes_known_answers() -> None:
    a, b, far = (0, 0, 2, 2), (4, 4, 6, 6), (9, 9, 10, 10)
    assert detection.iou(a, (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert detection.iou(a, a) == 1
    assert (
        detection.iou(a, b) == detection.iou((2, 2, 0, 0), a) == detection.iou((0, 0, 0, 0), a) == 0
    )
    assert detection.detection_reward([(a, 0.9), (b, 0.8)], [b, a]) == 1
    assert detection.detection_reward([(a, 0.9)], [a, b]) == 0.5
    assert detection.detection_reward([(far, 0.9)], [a]) == 0
    assert detection.detection_reward([(a, 0.9), (a, 0.8)], [a]) == 0.5
    assert detection.detection_reward([], [a]) == detection.detection_reward([(a, 1.0)], []) == 0
    assert detection.detection_reward([], []) == 1
    assert detection.detection_reward([(a, 0.2), ((0, 0, 2, 1.5), 0.9)], [a]) == 0.375, (
        "the most confident comes first"
    )
    assert detection.detection_reward([((0, 0, 2, 1), 1.0)], [a]) == 0, "half is no match"
    assert detection.detection_reward([((0, 0, 2, 1), 1.0)], [a], 0.4) == 0.5
    assert detection.confidence_reward([(a, 0.9), (far, 0.3)], [a]) == pytest.approx(
        (0.9 + 0.7) / 2
    )


def test_boxes_in_an_answer() -> None:
    problem = Problem(
        "1", "Where?", "1", "string", "general-oe", "boxes", meta={"boxes": [[0, 0, 2, 2]]}
    )
    text = '[{"box": [0, 0, 2, 1.5], "confidence": 0.9}]'
    for answer, overlap, confidence in (
        (text, 0.75, 0.9),
        (f"<think>a</think>{text}", 0.75, 0.9),
        (f"<think>{text}", 0, 0),
        (text[:-1], 0, 0),
        ("[]", 0, 0),
        ('[{"box": [0, 0, 2]}]', 0, 0),
        ('[{"box": [0, 0, 2, NaN]}]', 0, 0),
        ('{"box": [0, 0, 2, 2]}', 0, 0),
        ("[" * 9999, 0, 0),
        ('[{"box": [0, 0, 2, 2], "confidence": 7}]', 0, 0),
        ('[{"box": [0, 0, 2, 2], "confidence": -1}]', 0, 0),
        (f'[{{"box": [0, 0, 2, 1{"0" * 400}]}}]', 0, 0),
        ("{}", 0, 0),
        ('""', 0, 0),
        ('[{"box": [0, 0, 2, 2], "confidence": true}]', 0, 0),
    ):
        assert one(made(answer, problem=problem), name="detection") == overlap, answer
        assert (
            one(made(answer, problem=problem), name="detection", by="confidence") == confidence
        ), answer


@pytest.mark.parametrize("boxes", [None, "none", [[0, 0, 2]], [[0, 0, 2, float("nan")]]])
def test_a_problem_without_boxes_is_at_fault(boxes: object) -> None:
    problem = Problem("1", "Where?", None, "string", "general-oe", "boxes", meta={"boxes": boxes})
    config = reward({"name": "detection"})
    assert config.lacking(problem).startswith("meta.boxes")
    assert config([made("[]", problem=problem)]) == [None]


BOX = st.tuples(*[st.floats(-10, 10) for _ in range(4)])


@given(BOX, BOX)
def test_overlap_is_a_share_and_symmetric(a: tuple, b: tuple) -> None:
    assert 0 <= detection.iou(a, b) <= 1 + 1e-9
    assert detection.iou(a, b) == pytest.approx(detection.iou(b, a))
