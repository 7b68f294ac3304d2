"""Commands as forks of one server process with all slow imports, which saves ten seconds each.

A fork runs `python -m words…` as `ratiocine.executors.local` starts stages. Tests that kill or
interrupt a command, sweeps and servers start real interpreters.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from ratiocine import cli  # noqa: F401  (log levels and environment of all commands)
from ratiocine.executors import exec_module, preload

ROOT = Path(__file__).parent.parent


class Forks:
    """The server process. `run` is `subprocess.run(…, capture_output=True, text=True)`."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )

    def run(
        self, words: tuple[str, ...], stdin: str = os.devnull
    ) -> subprocess.CompletedProcess[str]:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            request = {
                "words": words,
                "out": str(out),
                "err": str(err),
                "in": stdin,
                "env": dict(os.environ),
            }
            self.server.stdin.write(json.dumps(request) + "\n")
            self.server.stdin.flush()
            code = int(self.server.stdout.readline())
            texts = [file.read_text(encoding="utf-8", errors="replace") for file in (out, err)]
        return subprocess.CompletedProcess(["python", "-m", *words], code, *texts)


def main() -> None:
    sys.path[0] = str(ROOT)
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def run(request: dict) -> NoReturn:
    """Run a command in this process, with the streams and the environment of the request."""
    for stream, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(request[stream], os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(request["in"], os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  (the server has read from the old one)
    os.environ.clear()
    os.environ.update(request["env"])
    exec_module(request["words"][0], request["words"][1:])


if __name__ == "__main__":
    main()
