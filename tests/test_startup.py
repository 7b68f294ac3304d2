"""What commands import, and that a start from a process with all imports changes no result."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, done

from ratiocine.stores import read_completions

HEAVY = {
    *("accelerate", "bitsandbytes", "datasets", "deepspeed", "matplotlib", "pandas"),
    *("peft", "pyarrow", "reasoning_gym", "scipy", "sympy", "torch", "transformers", "trl"),
    "wandb",
}
TRAINER, COMPILER = "transformers.trainer", "torch._dynamo"
TINY = ("model=tiny", "device=cpu", "threads=1")
TRAINED = (*TINY, "precision=float32", "batch_size=8", "micro_batch_size=4", "max_steps=1")
OVERLONG = "{name: overlong, limit: 128, cache: 100}"
REWARDED = ("data=smoke", f"reward.terms=[{{name: accuracy}}, {OVERLONG}]", "max_new_tokens=128")
WORDS = {
    "distill": (*TINY, "data=demo", "limit=2"),
    "train": (*TRAINED, "ratio=0.5"),
    "rl": (*TRAINED, *REWARDED, "val_size=0", "num_generations=4", "lr=1e-2"),
    "eval": (*TINY, "benchmarks=smoke", "limit=4", "max_new_tokens=12"),
}
# Of the heavy packages, those that a verb imports.
USED = {
    "distill": {"matplotlib", "pandas", "pyarrow", "reasoning_gym", "sympy"},
    "train": {"accelerate", "pandas", "pyarrow", "sympy"},
    "rl": {"accelerate", "datasets", "matplotlib", "pandas", "peft", "pyarrow", "sympy", "trl"},
    "eval": {"accelerate"},
}
WITHOUT = {
    "distill": {"transformers.modeling_utils", TRAINER, COMPILER},
    "train": {"torch._inductor.compile_fx"},
    "rl": {"torch._inductor.compile_fx", "bitsandbytes.nn"},
    "eval": {TRAINER, COMPILER, "torch._inductor", "torch.distributed.tensor"},
}
RESULTS = {
    "distill": ("pairs.parquet",),
    "train": ("model/model.safetensors", "mixture.json"),
    "rl": ("model/model.safetensors", "completions.jsonl"),
    "eval": (),  # compared row by row
}


def fresh(*words: str) -> tuple[int, set[str]]:
    """The exit code of `python -m words…` in a new interpreter, and the modules it imported."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # A module that is not found is listed as well, with a few microseconds.
    found = set(re.findall(r"^import time: .*\| +\d{3,} \| +(\S+)$", ended.stderr, re.MULTILINE))
    assert "ratiocine.config" in found, ended.stderr[-2000:]
    return ended.returncode, found


@pytest.mark.parametrize(
    ("words", "code"),
    [
        *(((verb, "--help"), 0) for verb in (*WORDS, "launch", "eval.compare", "eval.report")),
        *(((verb, "nonsense=1"), 2) for verb in (*WORDS, "launch")),
        (("eval", "model=tiny", "benchmarks=smoke", "temperature=-1"), 2),
        (("train", "model=tiny", "ratio=1", "pairs=nowhere"), 2),
        (("eval.compare", "nowhere", "elsewhere"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_help_and_errors_import_nothing_heavy(words: tuple[str, ...], code: int) -> None:
    ended, imported = fresh(*words)
    assert ended == code
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    "verb",
    [v if v in ("train", "eval") else pytest.param(v, marks=pytest.mark.slow) for v in WORDS],
)
def test_a_verb_imports_what_it_uses_and_a_fork_makes_the_same(
    verb: str, pairs: Path, tmp_path: Path
) -> None:
    words = (*WORDS[verb], f"pairs={pairs}") if verb == "train" else WORDS[verb]
    code, imported = fresh(verb, *words, f"out={tmp_path / 'cold'}")
    assert code == 0
    assert imported & (HEAVY - USED[verb] - {"torch", "transformers"} | WITHOUT[verb]) == set()
    done(verb, *words, f"out={tmp_path / 'forked'}")
    for file in RESULTS[verb]:
        assert (tmp_path / "cold" / file).read_bytes() == (tmp_path / "forked" / file).read_bytes()
    if verb == "eval":
        cold, forked = (
            [replace(row, seconds=0) for row in read_completions(tmp_path / way)]
            for way in ("cold", "forked")
        )
        assert cold == forked
