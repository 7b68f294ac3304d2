"""Shared by all tests: the network guard, commands in the checkout, and small pairs and
students."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, create_model

TESTS = Path(__file__).parent
ROOT = TESTS.parent
sys.path.insert(0, str(TESTS))
import sitecustomize  # noqa: E402, F401  (the guard, in this process)

path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ["PYTHONPATH"] = os.pathsep.join(path)
# Parallel test processes share the cores.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
from forks import ADDRESS, Fork, Forks, serve  # noqa: E402

from ratiocine.config import Hashed, StrictConfig, Unhashed  # noqa: E402

os.environ["HF_HUB_OFFLINE"] = "0"  # the guard keeps tests offline; errors stay those of a user


def pytest_configure(config: pytest.Config) -> None:
    """Start one fork server for all test processes; a single process starts its own when needed."""
    if sys.platform == "linux" and getattr(config.option, "numprocesses", None):
        folder = tempfile.mkdtemp(prefix="forks-")
        os.environ[ADDRESS] = str(Path(folder) / "socket")
        config.stash[SERVER] = serve(os.environ[ADDRESS], threads=1)


def pytest_unconfigure(config: pytest.Config) -> None:
    if server := config.stash.get(SERVER, None):
        server.communicate()  # closes its standard input, at which it ends


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark files of long tests; files with the longest tests come first, so that none of them is
    last on its own."""
    for item in items:
        if item.path.stem.removeprefix("test_") in LONG:
            item.add_marker(pytest.mark.long)
    items.sort(key=lambda item: not item.path.stem.endswith(FIRST))


FIRST = ("readme", "rl", "ranks", "study", "memory", "migration")
# Files of tests that train, generate, or start servers and studies.
LONG = {
    *FIRST,
    *("browse", "browser", "conformance", "dashboard", "difficulty", "engines", "executors"),
    *("exit", "hub", "packaged", "pruning", "quiet", "rendering", "report", "scenario"),
    *(
        "serve",
        "startup",
        "stores",
        "study_report",
        "suite",
        "teachers",
        "tracking",
        "train",
        "verbs",
    ),
}
SERVER = pytest.StashKey[subprocess.Popen[bytes]]()
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def benchmarks() -> Path:
    """A folder with local copies of the real benchmarks."""
    folder = Path(os.environ.get("RATIOCINE_DATA") or ROOT.parent / "shared" / "benchmarks")
    if not folder.is_dir():
        pytest.skip(f"needs local copies of the benchmarks; none in {folder} (set RATIOCINE_DATA)")
    return folder


def settings(**values: Any) -> BaseModel:
    """A configuration of these hashed fields, and `out`, for tests of run directories."""
    fields: dict[str, Any] = {
        name: (Hashed[Any], value) for name, value in values.items() if name != "out"
    }
    fields["out"] = (Unhashed[str | None], values.get("out"))
    return create_model("Settings", __base__=StrictConfig, **fields)()


@lru_cache
def forks() -> Forks:
    """The fork server of this test process."""
    return Forks()


def command(*words: str, stdin: str = os.devnull) -> subprocess.CompletedProcess[str]:
    """Run `python -m words…` in the checkout, with the file `stdin` as input.

    Training is in float32, for exact losses also on machines with native bfloat16 support.
    """
    if words[0] == "train" and not any(word.startswith("precision=") for word in words):
        words = (*words, "precision=float32")
    if sys.platform == "linux":
        return forks().run(words, stdin)
    with open(stdin, encoding="utf-8") as file:
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            stdin=file,
            capture_output=True,
            text=True,
            timeout=600,
        )


def command_in(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m words…` in the checkout, as a process of its own with this environment."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def started(
    *words: str, out: str | Path = os.devnull, err: str | Path = os.devnull
) -> Fork | subprocess.Popen[bytes]:
    """Start `python -m words…` in the checkout, its output into files: for tests that kill or
    interrupt it."""
    if sys.platform == "linux":
        return forks().start(words, out=str(out), err=str(err))
    switch = () if words[0] == "-c" else ("-m",)
    with open(out, "ab") as stdout, open(err, "ab") as stderr:
        return subprocess.Popen(
            [sys.executable, *switch, *words], cwd=ROOT, stdout=stdout, stderr=stderr
        )


def done(*words: str, stdin: str = os.devnull) -> str:
    """The output of a command that must succeed."""
    result = command(*words, stdin=stdin)
    assert result.returncode == 0, (
        f"{' '.join(words)}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"
    )
    return result.stdout


def tiny_gemma(**changes: Any) -> Any:
    """A random Gemma 3 for the tokenizer of `tiny`: two layers of sliding attention over eight
    tokens, one of full attention, one key-value head."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        values: dict[str, Any] = {
            "vocab_size": 258,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "max_position_embeddings": 2048,
            "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "initializer_range": 0.3,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        }
        return Gemma3ForCausalLM(Gemma3TextConfig(**{**values, **changes}))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pairs of the oracle from all demo families."""
    out = tmp_path_factory.mktemp("pairs") / "run"
    done("distill", "limit=5", "model=tiny", f"out={out}")
    return out


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> Path:
    """The run of a tiny student after two steps at ratio 0.5."""
    out = tmp_path_factory.mktemp("student") / "run"
    done(
        "train",
        "+ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "max_steps=2",
        f"out={out}",
    )
    return out


@pytest.fixture(scope="session")
def chooser(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a tiny student that answers in a few tokens and ends its turn."""
    out = tmp_path_factory.mktemp("chooser") / "run"
    done(
        "train",
        "ratio=0",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "epochs=30",
        "lr=3e-3",
        f"out={out}",
    )
    return out / "model"


def reshaped(student: Path, folder: Path, **shape: int) -> Path:
    """A student's model folder with other dimensions and random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    for file in (student / "model").iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(**(json.loads((folder / "config.json").read_text()) | shape))
    ).save_pretrained(folder)
    return folder
