"""Answers made to hang, crash or fool a grader."""

import json
import os
import random
import resource
import threading
import time
from pathlib import Path

import pytest
from hostile import HOSTILE, PEERS, digest

from ratiocine.completion_parts import split
from ratiocine.grading import grade, worker
from ratiocine.records import Problem

LIMIT = 1.0
LATE = LIMIT + (
    5 if "PYTEST_XDIST_WORKER" in os.environ else 1
)  # more where other tests have the processors
OPTIONS = ("apples", "green pears", "7", "\\frac{1}{2}")
INSTRUCTIONS = {
    "instruction_id_list": [
        "detectable_content:number_placeholders",
        "detectable_format:title",
        "detectable_format:number_bullet_lists",
        "detectable_content:postscript",
    ],
    "kwargs": [{"num_placeholders": 3}, {}, {"num_bullets": 2}, {"postscript_marker": "P.S."}],
}
PROBLEMS = [
    Problem("n", "?", "42", "number", "math-oe", "t"),
    Problem("e", "?", "\\frac{\\sqrt{3}}{2}x", "expression", "math-oe", "t"),
    Problem(
        "m", "?", "\\begin{pmatrix} 1 & x \\\\ 0 & 1 \\end{pmatrix}", "expression", "math-oe", "t"
    ),
    Problem("c", "?", "B", "choice", "math-mc", "t", choices=OPTIONS),
    Problem("s", "?", "the Normans", "span", "general-oe", "t", accepted=("Normans",)),
    Problem("w", "?", "olleh", "string", "general-oe", "t"),
    Problem("i", "?", None, "instructions", "general-oe", "t", meta=INSTRUCTIONS),
]
WRAPPERS = ("\\boxed{%s}", "%s", "The answer is %s", "<answer>%s</answer>")


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    assert worker.equivalent("x^2", "x x", limit=60) == "same"  # a new process imports sympy first


def judged(problem: Problem, text: str) -> float:
    started = time.monotonic()
    verdict = grade(problem, split(text), limit=LIMIT).verdict
    assert verdict in ("right", "wrong"), (problem.id, text[:80])
    return time.monotonic() - started


@pytest.mark.parametrize("text", HOSTILE[::3], ids=lambda t: repr(t[:24]))
def test_no_hostile_answer_hangs_or_crashes_the_grader(text: str) -> None:
    for problem in PROBLEMS:
        assert judged(problem, WRAPPERS[0].replace("%s", text)) < LATE, problem.id


@pytest.mark.slow
def test_every_hostile_answer_in_every_place_is_judged_in_time() -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for text in HOSTILE:
        for problem in PROBLEMS:
            for wrapper in WRAPPERS:
                assert judged(problem, wrapper.replace("%s", text)) < LATE, (
                    problem.id,
                    wrapper,
                    text[:60],
                )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 400_000  # kB


def test_there_are_two_hundred_different_cases() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 200


def test_each_case_is_known_to_break_a_public_grader_or_not_to() -> None:
    """`python tests/hostile.py` tries every case on them; an empty entry is a case not known to
    break any."""
    found = json.loads(Path(__file__).with_name("hostile.json").read_text(encoding="utf-8"))
    assert found["cases"] == digest(), "the cases have changed: run python tests/hostile.py"
    assert len(found["breaks"]) == len(HOSTILE)
    assert all(broken.keys() <= PEERS.keys() for broken in found["breaks"])
    assert sum(map(bool, found["breaks"])) >= 40


def test_32_threads_at_once_each_get_their_verdict_in_time() -> None:
    slow: list[float] = []

    def work(i: int) -> None:
        for text in ("9^{9^{9^{9}}}", "(1+x)^{100000}", f"x^{i}"):
            slow.append(judged(PROBLEMS[1], f"\\boxed{{{text}}}"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(slow) == 96
    assert max(slow) < LATE


FRAGMENTS = [
    *"0123456789xyzie+-*/^_=(){}[],;.!%$&|<> \n",
    "\\frac",
    "\\sqrt",
    "\\pi",
    "\\boxed{",
    "\\text{",
    "\\left",
    "\\right",
    "\\cdot",
    "\\infty",
    "\\cup",
    "\\pm",
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "A",
    "B",
    "the answer is ",
    "####",
    "\u202e",
    "\x00",
    "\ud800",
    "é",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\\\",
]


def fuzz(n: int) -> None:
    draw = random.Random(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(n):
        text = "".join(draw.choices(FRAGMENTS, k=draw.randrange(1, 40)))
        completion = (
            draw.choice(["\\boxed{%s}", "%s", "<think>a</think>\n\\boxed{%s}", "The answer is %s."])
            % text
        )
        assert judged(draw.choice(PROBLEMS), completion) < LATE, completion
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # kB


def test_three_thousand_random_answers() -> None:
    fuzz(3000)


@pytest.mark.slow
def test_a_hundred_thousand_random_answers() -> None:
    fuzz(100_000)
