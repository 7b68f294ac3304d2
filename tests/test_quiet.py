"""Normal runs write nothing to stderr but their progress bar: no warning of a library."""

import os
from pathlib import Path

import pytest
from conftest import command_in

ADAPTERS = ("lora=true", "gradient_checkpointing=true", "save_steps=1", "max_steps=2")


def stderr_of(*words: str) -> list[str]:
    """Lines of stderr of a process of its own: what libraries say on import counts."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    run = command_in(environment, *words)
    assert run.returncode == 0, run.stderr[-4000:]
    return run.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["train", "rl"])
def test_stderr_is_the_progress_bar(verb: str, pairs: Path, chooser: Path, tmp_path: Path) -> None:
    words = {
        "train": ("ratio=0.5", "model=tiny", f"pairs={pairs}", "val_size=4", "val_samples=1"),
        "rl": (
            f"model={chooser}",
            "data=demo",
            "limit=10",
            "num_generations=4",
            "max_new_tokens=12",
            "val_size=4",
            "objective.beta=0.1",
        ),
    }[verb]
    lines = stderr_of(verb, *words, *ADAPTERS, "batch_size=8", f"out={tmp_path / 'run'}")
    assert lines
    assert all(line.startswith(f"{verb} ") and "%|" in line for line in lines), lines
