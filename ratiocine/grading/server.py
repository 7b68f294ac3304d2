"""The server of `worker`, run as a module: forks workers, and judges their questions."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratiocine.grading.worker import Checked, Judgement

MEMORY_LIMIT = 1 << 30  # bytes of address space per worker
CACHE_SIZE = 4096  # parsed references per worker


def _serve(control: socket.socket) -> None:
    import math_verify  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps dead workers
    while True:
        _, received, _, _ = socket.recv_fds(control, 1, 1)
        if not received:
            return
        with socket.socket(fileno=received[0]) as connection:
            if os.fork() == 0:
                control.close()
                try:
                    _work(connection)
                finally:
                    os._exit(0)


def _work(connection: socket.socket) -> None:
    import logging
    import resource

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.sendall(b"%d\n" % os.getpid())
    for line in connection.makefile("rb"):
        question = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, question["limit"])  # SIGALRM ends the process
        answer: object
        try:
            answer = JUDGES[question["kind"]](question)
        except (MemoryError, RecursionError, OverflowError):
            answer = "too_costly"
        except Exception:
            answer = "unreadable"
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.sendall(json.dumps(answer).encode() + b"\n")


_parsed: dict[str, list[object]] = {}


def _judge_math(question: Mapping[str, Any]) -> Judgement:
    from math_verify import verify

    reference = _parsed.get(question["reference"])
    if reference is None:
        if len(_parsed) > CACHE_SIZE:
            _parsed.clear()
        reference = _parsed[question["reference"]] = _parse(question["reference"])
    answer = _parse(question["answer"])
    if not reference or not answer:
        return "unreadable"
    same = verify(reference, answer, timeout_seconds=None) and not _differ(reference, answer)
    return "same" if same else "different"


def _differ(reference: Sequence[object], answer: Sequence[object]) -> bool:
    """Whether both are numbers that differ within 100 digits: math-verify rounds to 15, so that
    10^{-34} and 10^{-33} are one number to it."""
    from sympy import Expr

    first, second = (
        next((one for one in side if isinstance(one, Expr)), None) for side in (reference, answer)
    )
    if first is None or second is None or not (first.is_number and second.is_number):
        return False
    x, y = first.evalf(120), second.evalf(120)
    if not (x.is_Float and y.is_Float and (x or y)):
        return False
    return bool(abs(x - y) > max(abs(x), abs(y)) * 10**-100)


def _parse(text: str) -> list[object]:
    """math-verify's reading of a text; empty if it read only a part (`\\lambda_{` of
    `\\lambda_{\\text{red}}`)."""
    from math_verify import parse

    found = parse(f"${text}$", parsing_timeout=None)
    partial = any(isinstance(one, str) and one.count("{") != one.count("}") for one in found)
    return [] if partial else found


def _judge_procedural(question: Mapping[str, Any]) -> Judgement:
    from ratiocine.grading.gym import reasoning_gym

    score = reasoning_gym("factory").get_score_answer_fn(question["dataset"])
    return "same" if score(question["answer"], question["entry"]) >= 1.0 else "different"


def _judge_instructions(question: Mapping[str, Any]) -> Checked:
    from ratiocine.grading.instructions import check

    return check(question["names"], question["arguments"], question["response"])


JUDGES: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "math": _judge_math,
    "procedural": _judge_procedural,
    "instructions": _judge_instructions,
}

if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
