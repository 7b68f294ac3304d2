"""Commands as forks of one process that has imported torch and the like once, shared by all test
processes.

A fork runs `python -m words…` as `ratiocine.executors` starts stages. Sweeps, torchrun and servers
start real interpreters."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ADDRESS = "RATIOCINE_FORKS"  # environment variable with the socket of a running server
# What single verbs import on first use. wandb is left out: the first fork to end would remove its
# temporary folder.
LATER = (
    *("deepspeed", "eval.report.content", "math_verify", "requests", "scipy.io", "scipy.stats"),
    *("train.sft", "trl.data_utils"),
)
POLL = 0.005  # seconds between two looks at forks that may have ended


class Fork:
    """A running command: what tests need of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket, err: Path) -> None:
        self.err = err
        self.lines = connection.makefile("r", encoding="utf-8")
        self.connection = connection
        self.pid = int(self.lines.readline())
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal. Raises TimeoutError with what the process does."""
        if self.returncode is None:
            self.connection.settimeout(timeout)
            try:
                self.returncode = int(self.lines.readline())
            except TimeoutError:
                self.send_signal(signal.SIGQUIT)
                time.sleep(1)
                raise TimeoutError(self.err.read_text(encoding="utf-8")[-3000:]) from None
            self.connection.close()
        return self.returncode

    def poll(self) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self.connection, selectors.EVENT_READ)
                if selector.select(0):
                    self.wait()
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """Client of the fork server; starts one where none is running."""

    def __init__(self) -> None:
        self.server: subprocess.Popen[bytes] | None = None
        self.address = os.environ.get(ADDRESS) or self._started()

    def _started(self) -> str:
        address = str(Path(tempfile.mkdtemp(prefix="forks-")) / "socket")
        self.server = serve(address)
        return address

    def start(self, words: tuple[str, ...], *, stdin: str = os.devnull, out: str, err: str) -> Fork:
        """Start `python -m words…`, its output into files."""
        connection = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 120
        while True:
            try:
                connection.connect(self.address)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline, "the fork server did not start"
                time.sleep(0.05)
        request = {"words": words, "in": stdin, "out": out, "err": err, "env": dict(os.environ)}
        connection.sendall(json.dumps(request).encode() + b"\n")
        return Fork(connection, Path(err))

    def run(
        self, words: tuple[str, ...], stdin: str = os.devnull
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run(…, capture_output=True, text=True)` of an interpreter."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            code = self.start(words, stdin=stdin, out=str(out), err=str(err)).wait()
            texts = [file.read_text(encoding="utf-8", errors="replace") for file in (out, err)]
        return subprocess.CompletedProcess(["python", "-m", *words], code, *texts)


def serve(address: str, threads: int | None = None) -> subprocess.Popen[bytes]:
    """Start a fork server at a socket; it ends when its standard input closes."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return subprocess.Popen(
        [sys.executable, __file__, address], cwd=ROOT, stdin=subprocess.PIPE, env=environment
    )


class Server:
    """One thread, as a process with threads must not fork."""

    def __init__(self, address: str, variables: Mapping[str, str]) -> None:
        self.variables = variables  # that modules set when they are imported
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._end)
        self.buffers: dict[socket.socket, bytes] = {}
        self.children: dict[int, socket.socket] = {}

    def run(self) -> None:
        while True:
            for key, _ in self.selector.select(POLL if self.children else None):
                key.data(key.fileobj)
            for pid, connection in list(self.children.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    del self.children[pid]
                    self._reply(connection, os.waitstatus_to_exitcode(status))
                    self._close(connection)

    def _end(self, stdin: Any) -> None:
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self.buffers[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection: socket.socket) -> None:
        received = connection.recv(1 << 16)
        if not received:  # the test process has gone
            for pid, other in list(self.children.items()):
                if other is connection:
                    os.kill(pid, signal.SIGKILL)
            self.selector.unregister(connection)
            return
        self.buffers[connection] += received
        if self.buffers[connection].endswith(b"\n"):
            request = json.loads(self.buffers.pop(connection))
            pid = os.fork()
            if pid == 0:
                self._become(request)
            self.children[pid] = connection
            self._reply(connection, pid)

    def _reply(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):  # the test process may have gone
            connection.sendall(b"%d\n" % number)

    def _close(self, connection: socket.socket) -> None:
        with contextlib.suppress(KeyError):  # unregistered when its test process went
            self.selector.unregister(connection)
        connection.close()

    def _become(self, request: Mapping[str, Any]) -> None:
        from ratiocine.executors import exec_module

        self.listener.close()
        for connection in [*self.buffers, *self.children.values()]:
            connection.close()
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        os.dup2(os.open(request["in"], os.O_RDONLY), 0)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  (lives as long as the process)
        faulthandler.register(signal.SIGQUIT)
        os.environ.clear()
        os.environ.update({**self.variables, **request["env"]})
        words = request["words"]
        if words[0] == "-c":
            script = Path(tempfile.mkdtemp()) / "forked_script.py"
            script.write_text(words[1], encoding="utf-8")
            sys.path.insert(0, str(script.parent))
            exec_module("forked_script", words[2:])
        exec_module(words[0], words[1:])


def main() -> None:
    from ratiocine.executors import preload

    sys.path[0] = str(ROOT)
    before = dict(os.environ)
    preload()
    for module in LATER:
        with contextlib.suppress(ImportError):  # of an extra
            importlib.import_module(module)
    gc.freeze()
    variables = {name: value for name, value in os.environ.items() if before.get(name) != value}
    Server(sys.argv[1], variables).run()


if __name__ == "__main__":
    main()
