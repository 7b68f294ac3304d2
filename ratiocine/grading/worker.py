"""Comparisons that may not end (math-verify, reasoning-gym's scorers, IFEval's patterns), in
processes that can be killed.

One server process (`server`) imports sympy once and forks a worker per connection. A worker arms a
kernel timer before every question, so the time limit ends whatever it does, in Python or in C; the
caller sees the connection close and puts the next question to a new fork. This needs no signals,
threads or `__main__` of the calling process, and no worker imports torch.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

Judgement = Literal["same", "different", "unreadable", "too_costly", "broken"]
Question = Mapping[str, object]  # one line of JSON: `kind`, and the arguments of its judge
Checked = tuple[list[bool], list[bool]]  # instructions followed, strictly and loosely
DEFAULT_LIMIT = 5.0  # seconds of wall-clock per question
START_TIMEOUT = 60.0  # seconds to wait for the server on a busy machine
MAX_PARALLEL = 32  # questions of one process in flight
QUICK = 0.25  # seconds; a worker that takes longer yields the CPU to the others
SERVER = "ratiocine.grading.server"  # run as a module


def equivalent(reference: str, answer: str, limit: float = DEFAULT_LIMIT) -> Judgement:
    """Whether two mathematical expressions are equal.

    `unreadable`: the answer does not parse; `too_costly`: no verdict within `limit` seconds;
    `broken`: the worker cannot compare even the reference with itself.
    """
    question = {"kind": "math", "reference": reference, "answer": answer}
    return cast(Judgement, _ask_or_blame(question, limit))


def procedural(
    dataset: str, entry: dict[str, Any], answer: str, limit: float = DEFAULT_LIMIT
) -> Judgement:
    """Whether reasoning-gym's own scorer gives `answer` the full score for an item of `dataset`."""
    question = {
        "kind": "procedural",
        "reference": str(entry.get("answer")),
        "dataset": dataset,
        "entry": entry,
        "answer": answer,
    }
    return cast(Judgement, _ask_or_blame(question, limit))


def instructions(
    names: Sequence[str],
    arguments: Sequence[Mapping[str, Any]],
    response: str,
    limit: float = DEFAULT_LIMIT,
) -> Checked | Literal["too_costly"]:
    """`instructions.check`, or `too_costly` after `limit` seconds."""
    question = {
        "kind": "instructions",
        "names": names,
        "arguments": arguments,
        "response": response,
    }
    found = _pool().ask(question, limit)
    return "too_costly" if found in (None, "too_costly") else cast(Checked, found)


def _ask_or_blame(question: Question, limit: float) -> object:
    """The worker's answer. If the worker died early, the reference is compared with itself: where
    that works, the answer is `too_costly`, else the comparator is `broken`."""
    started = time.monotonic()
    found = _pool().ask(question, limit)
    if found is not None:
        return found
    left = limit - (time.monotonic() - started)
    if left < 0.1 * limit:
        return "too_costly"
    again = _pool().ask({**question, "answer": question["reference"]}, left)
    return "too_costly" if again == "same" or time.monotonic() - started >= limit else "broken"


@dataclass
class _Worker:
    """A connection to one worker. A `slow` one has been reniced, which cannot be undone, so it is
    not used again."""

    connection: socket.socket
    pid: int
    slow: bool = False

    def ask(self, question: bytes, limit: float) -> bytes:
        """The worker's reply, one line; empty if it died."""
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
                    # A slow question must not keep the server from forking, nor delay quick ones.
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
    """The server of this process, and the connections to its idle workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.slots = threading.BoundedSemaphore(MAX_PARALLEL)
        self.idle: list[_Worker] = []
        self.answered = False
        self.control, theirs = socket.socketpair()
        with theirs:
            root = str(Path(__file__).parents[2])
            path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
            self.server = subprocess.Popen(
                [sys.executable, "-P", "-m", SERVER, str(theirs.fileno())],
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
        except subprocess.TimeoutExpired:
            self.server.kill()  # a forked child of this process still holds the control socket

    def ask(self, question: Question, limit: float) -> object:
        """The worker's answer; None if it died. The wait for a worker counts, up to half the
        limit."""
        started = time.monotonic()
        with self.slots:
            worker = self._worker()
            if self.answered:  # the server's start does not count
                limit = max(limit / 2, limit - (time.monotonic() - started))
            self.answered = True
            reply = worker.ask(json.dumps({**question, "limit": limit}).encode() + b"\n", limit)
            if worker.slow or not reply:
                worker.connection.close()
            else:
                with self.lock:
                    self.idle.append(worker)
            return json.loads(reply) if reply else None

    def _worker(self) -> _Worker:
        """An idle worker, else a new fork."""
        with self.lock:
            if self.idle:
                return self.idle.pop()
        connection, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"w"], [theirs.fileno()])
        connection.settimeout(START_TIMEOUT)
        pid = connection.recv(16)
        if not pid:
            raise RuntimeError("the grading server has died")
        return _Worker(connection, int(pid))


_current: _Pool | None = None
_starting = threading.Lock()


def _pool() -> _Pool:
    global _current
    with _starting:
        if _current is None or _current.server.poll() is not None:
            _current = _Pool()
            atexit.register(_current.close)
        return _current


def _forget() -> None:
    """A forked child inherits its parent's sockets but must not use them."""
    global _current, _starting
    if _current is not None:
        atexit.unregister(_current.close)
    _current, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
