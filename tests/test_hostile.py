"""Answers made to hang, crash or fool a grader."""

import os
import random
import resource
import threading
import time

import pytest

from ratiocine import judges
from ratiocine.grading import grade
from ratiocine.problems import Problem
from ratiocine.prompts import split

LIMIT = 1.0
LATE = LIMIT + (5 if "PYTEST_XDIST_WORKER" in os.environ else 1)  # more where other tests have the processors
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
    Problem("m", "?", "\\begin{pmatrix} 1 & x \\\\ 0 & 1 \\end{pmatrix}", "expression", "math-oe", "t"),
    Problem("c", "?", "B", "choice", "math-mc", "t", choices=OPTIONS),
    Problem("s", "?", "the Normans", "span", "general-oe", "t", accepted=("Normans",)),
    Problem("w", "?", "olleh", "string", "general-oe", "t"),
    Problem("i", "?", None, "instructions", "general-oe", "t", meta=INSTRUCTIONS),
]
HOSTILE = [
    "9^{9^{9^{9}}}", "9**9**9**9", "\\sum_{n=1}^{10^{10}} n", "(((" * 300, "\\frac{" * 400, "{" * 100_000, "\\boxed{" * 140_000, "\\boxed{" * 500 + "42" + "}" * 500,
    "1" * 1_000_000, "0." + "0" * 5000 + "1", "1e999999999", "10^{1000000}", "(1+x)^{100000}", "\\sqrt{" * 200 + "2" + "}" * 200, "!" * 300, "5" + "!" * 40, "((10!)!)!",
    "\\int_0^\\infty e^{-x^{x^x}} dx", "\\prod_{k=1}^{1000000} k", "x^{x^{x^{x^{x^{x}}}}}", "\\sin(" * 100 + "x" + ")" * 100, "\\binom{10^9}{5\\cdot10^8}", "\\gcd(10^{400}+1, 7)",
    "\x00", "42\x00", "\u202e24", "\ud800", "4\u200b2", "٤٢", "４２", "<b>42</b>", "<script>alert(1)</script>", "<think>", "</think>" * 1000, "<answer>" * 1000, "</answer>42",
    "\\text{" * 1000, "$" * 10_000, "\\[" * 5000, "[" * 100_000, "<<" * 50_000, "\n" * 100_000 + "-", "*" * 100_000, " " * 100_000 + "p.s.", "p. s" * 20_000, "A" * 100_000, "A B C D " * 10_000,
    "{1,2," * 2000, "\\{" * 1000, "=" * 5000, "1=2=3=" * 500, "1," * 400 + "1", "1/0", "0/0", "/8", "-/86", "\\frac{1}{0}", "\\infty", "-\\infty", "\\infty-\\infty", "i^i", "0^0", "0^{-1}", "\\log(0)",
    "\\begin{pmatrix}" * 50, "\\begin{pmatrix} 1 & 2 \\\\ 3 \\end{pmatrix}", "\\begin{matrix}" + "1&" * 3000 + "1\\end{matrix}", "__import__('os').system('true')", "lambda: 0", "eval('1')", "x" * 999, "\\pm" * 100, "1\\pm" * 100 + "1",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    assert judges.equivalent("x^2", "x x", limit=60) == "same"  # a new process imports sympy first


def judged(problem: Problem, text: str) -> float:
    started = time.monotonic()
    verdict = grade(problem, split(text), limit=LIMIT).verdict
    assert verdict in ("right", "wrong"), (problem.id, text[:80])
    return time.monotonic() - started


@pytest.mark.parametrize("text", HOSTILE, ids=lambda t: repr(t[:24]))
def test_no_hostile_answer_hangs_or_crashes_the_grader(text: str) -> None:
    for problem in PROBLEMS:
        for completion in (f"\\boxed{{{text}}}", text, f"The answer is {text}", f"<answer>{text}</answer>"):
            assert judged(problem, completion) < LATE, (problem.id, completion[:60])


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


FRAGMENTS = [*"0123456789xyzie+-*/^_=(){}[],;.!%$&|<> \n", "\\frac", "\\sqrt", "\\pi", "\\boxed{", "\\text{", "\\left", "\\right", "\\cdot", "\\infty", "\\cup", "\\pm", "<think>", "</think>", "<answer>", "</answer>", "A", "B", "the answer is ", "####", "\u202e", "\x00", "\ud800", "é", "\\begin{pmatrix}", "\\end{pmatrix}", "\\\\"]  # fmt: skip


def fuzz(n: int) -> None:
    draw = random.Random(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(n):
        text = "".join(draw.choices(FRAGMENTS, k=draw.randrange(1, 40)))
        completion = draw.choice(["\\boxed{%s}", "%s", "<think>a</think>\n\\boxed{%s}", "The answer is %s."]) % text
        assert judged(draw.choice(PROBLEMS), completion) < LATE, completion
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # kB


def test_three_thousand_random_answers() -> None:
    fuzz(3000)


@pytest.mark.slow
def test_a_hundred_thousand_random_answers() -> None:
    fuzz(100_000)
