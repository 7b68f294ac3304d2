"""Judges that may take forever (math-verify, reasoning-gym's checkers, IFEval's patterns), in processes that can be killed.

One server process imports sympy once and forks a worker for each connection it is handed. A worker arms a kernel timer before
every question, so that whatever it is doing, in Python or below it, ends with the time limit; the caller sees its connection
close and asks the next question of a new fork. Nothing here needs signals, threads or the main module of the calling process,
and no worker imports torch.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

# What a judge can say of an answer.
Judgement = Literal["same", "different", "unreadable", "too_costly", "broken"]
DEFAULT_LIMIT = 5.0  # seconds of wall-clock for one question
MEMORY = 1 << 30  # bytes of address space that a worker may have
START = 60.0  # seconds to wait for the server on a busy machine
AT_ONCE = 32  # questions of one process that run at the same time
QUICK = 0.25  # seconds after which a worker has to stand back behind quicker ones


def equivalent(reference: str, answer: str, limit: float = DEFAULT_LIMIT) -> Judgement:
    """Whether two mathematical expressions are equal. `unreadable`: the answer does not parse; `too_costly`: no verdict within
    `limit` seconds; `broken`: the worker cannot judge even the reference against itself."""
    return _asked({"kind": "math", "reference": reference, "answer": answer}, limit)


def procedural(
    dataset: str, entry: dict[str, Any], answer: str, limit: float = DEFAULT_LIMIT
) -> Judgement:
    """Whether reasoning-gym's own checker gives `answer` its full score for an item of `dataset`."""
    question = {
        "kind": "procedural",
        "reference": str(entry.get("answer")),
        "dataset": dataset,
        "entry": entry,
    }
    return _asked({**question, "answer": answer}, limit)


def instructions(
    names: list[str], arguments: list[dict[str, Any]], response: str, limit: float = DEFAULT_LIMIT
) -> Any:
    """`instructions.check` as ([strictly], [loosely]), or `too_costly`."""
    return _asked(
        {"kind": "instructions", "names": names, "arguments": arguments, "response": response},
        limit,
    )


def _asked(question: dict[str, Any], limit: float) -> Any:
    started = time.monotonic()
    found = _pool().ask(question, limit)
    if found is not None:
        return found
    left = limit - (time.monotonic() - started)
    if left < 0.1 * limit or "reference" not in question:
        return "too_costly"
    # The worker died early. Where it can still judge the reference itself, this answer killed it.
    again = _pool().ask({**question, "answer": question["reference"]}, left)
    return "too_costly" if again == "same" or time.monotonic() - started >= limit else "broken"


@dataclass
class _Worker:
    """A connection to one worker. `slow`: it was told to stand back, from which there is no return, so it answers only once."""

    connection: socket.socket
    pid: int
    slow: bool = False

    def ask(self, question: bytes, limit: float) -> bytes:
        """The line it replies; empty where it died. What takes long must not keep the server from forking, nor others from
        their answer."""
        reply = b""
        try:
            self.connection.settimeout(QUICK)
            self.connection.sendall(question)
            while not reply.endswith(b"\n"):
                try:
                    received = self.connection.recv(4096)
                except TimeoutError:
                    if self.slow:
                        return b""
                    self.slow = True
                    with contextlib.suppress(OSError):
                        os.setpriority(os.PRIO_PROCESS, self.pid, 10)
                    self.connection.settimeout(limit + 1)
                    continue
                if not received:
                    return b""
                reply += received
        except OSError:
            return b""
        return reply


class _Pool:
    """The server of this process, and connections to idle workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slots = threading.BoundedSemaphore(AT_ONCE)
        self.idle: list[_Worker] = []
        self.up = False
        self.control, theirs = socket.socketpair()
        with theirs:
            words = [sys.executable, "-P", "-m", "ratiocine.grading.worker", str(theirs.fileno())]
            path = os.pathsep.join(
                filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")))
            )
            self.server = subprocess.Popen(
                words,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )

    def close(self) -> None:
        """The server ends when its control socket closes, a worker when its connection does."""
        for worker in self.idle:
            worker.connection.close()
        self.control.close()
        try:
            self.server.wait(2)
        except (
            subprocess.TimeoutExpired
        ):  # a forked child of this process still holds the control socket
            self.server.kill()

    def ask(self, question: dict[str, Any], limit: float) -> Any:
        """The worker's answer; None where it died. The wait for a worker counts, up to half the limit."""
        started = time.monotonic()
        with self.slots:
            worker = self._worker()
            if self.up:
                limit = max(limit / 2, limit - (time.monotonic() - started))
            self.up = True
            reply = worker.ask(json.dumps({**question, "limit": limit}).encode() + b"\n", limit)
            if worker.slow or not reply:
                worker.connection.close()
            else:
                with self.lock:
                    self.idle.append(worker)
            return json.loads(reply) if reply else None

    def _worker(self) -> _Worker:
        with self.lock:
            if self.idle:
                return self.idle.pop()
        connection, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"w"], [theirs.fileno()])
        connection.settimeout(START)
        pid = connection.recv(16)
        if not pid:
            raise RuntimeError("the grading server has died")
        return _Worker(connection, int(pid))


_current: _Pool | None = None
_making = threading.Lock()


def _pool() -> _Pool:
    global _current
    with _making:
        if _current is None or _current.server.poll() is not None:
            _current = _Pool()
            atexit.register(_current.close)
        return _current


def _forget() -> None:
    """A forked child has its parent's sockets but no claim to them."""
    global _current, _making
    if _current is not None:
        atexit.unregister(_current.close)
    _current, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


# What follows runs in the server and its workers only.


def _serve(control: socket.socket) -> None:
    import math_verify  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects dead workers
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
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.sendall(b"%d\n" % os.getpid())
    for line in connection.makefile("rb"):
        question = json.loads(line)
        signal.setitimer(
            signal.ITIMER_REAL, question["limit"]
        )  # its default action ends the process
        try:
            answer = JUDGES[question["kind"]](question)
        except (MemoryError, RecursionError, OverflowError):
            answer = "too_costly"
        except Exception:
            answer = "unreadable"
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.sendall(json.dumps(answer).encode() + b"\n")


_parsed: dict[str, Any] = {}


def _judge_math(question: dict[str, Any]) -> Judgement:
    from math_verify import verify

    reference = _parsed.get(question["reference"])
    if reference is None:
        if len(_parsed) > 4096:
            _parsed.clear()
        reference = _parsed[question["reference"]] = _parse(question["reference"])
    answer = _parse(question["answer"])
    if not reference:
        return "unreadable"
    if not answer:
        return "unreadable"
    return "same" if verify(reference, answer, timeout_seconds=None) else "different"


def _parse(text: str) -> Any:
    """What math-verify makes of a text; nothing where it read a part (`\\lambda_{` of `\\lambda_{\\text{red}}`)."""
    from math_verify import parse

    found = parse(f"${text}$", parsing_timeout=None)
    return (
        []
        if any(isinstance(part, str) and part.count("{") != part.count("}") for part in found)
        else found
    )


def _judge_procedural(question: dict[str, Any]) -> Judgement:
    from reasoning_gym.factory import get_score_answer_fn

    score = get_score_answer_fn(question["dataset"])
    return "same" if score(question["answer"], question["entry"]) >= 1.0 else "different"


def _judge_instructions(question: dict[str, Any]) -> Any:
    from ratiocine.grading.instructions import check

    return check(question["names"], question["arguments"], question["response"])


JUDGES = {"math": _judge_math, "procedural": _judge_procedural, "instructions": _judge_instructions}

if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
