"""Commands as forks of one process that has imported what they need: each would otherwise spend ten seconds on that.

A fork runs `python -m words…` as `ratiocine.executors.local` starts stages. Tests that kill or interrupt a command, sweeps and servers
start real interpreters.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ratiocine.executors import PRELOADED, exec_module

ROOT = Path(__file__).parent.parent
# Slow imports of the tools of `eval`, made before the first of them forks.
STATISTICS = (
    *("scipy.stats", "scipy.optimize", "jinja2", "matplotlib.figure"),
    *("matplotlib.backends.backend_svg", "matplotlib.backends.backend_agg"),
)


class Forks:
    """The process that forks. `run` is what `subprocess.run(…, capture_output=True, text=True)` is for an interpreter."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            },
        )

    def run(
        self, words: tuple[str, ...], stdin: str = os.devnull
    ) -> subprocess.CompletedProcess[str]:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            asked = {
                "words": words,
                "out": str(out),
                "err": str(err),
                "in": stdin,
                "env": dict(os.environ),
            }
            self.server.stdin.write(json.dumps(asked) + "\n")
            self.server.stdin.flush()
            code = int(self.server.stdout.readline())
            texts = [file.read_text(encoding="utf-8", errors="replace") for file in (out, err)]
        return subprocess.CompletedProcess(["python", "-m", *words], code, *texts)


def main() -> None:
    import importlib

    sys.path[0] = str(ROOT)
    for name in PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        asked = json.loads(line)
        for name in STATISTICS if asked["words"][0].startswith("eval.") else ():
            importlib.import_module(name)
        child = os.fork()
        if child == 0:
            for stream, number in (("out", 1), ("err", 2)):
                os.dup2(os.open(asked[stream], os.O_WRONLY | os.O_CREAT), number)
            os.dup2(os.open(asked["in"], os.O_RDONLY), 0)
            sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  (this one has been read)
            os.environ.clear()
            os.environ.update(asked["env"])
            exec_module(asked["words"][0], asked["words"][1:])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
