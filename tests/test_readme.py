"""The README's commands run as they stand, made short; those that need the hub compose."""

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, command

from ratiocine import cli

EXAMPLE = re.search(r"```json\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
COMMANDS = [shlex.split(line) for block in BLOCKS for line in block.strip().splitlines()]
SHORT = {
    "distill": ["limit=2"],
    "train": ["max_steps=1"],
    "rl": ["max_steps=1", "limit=40", "held_out=4"],
    "eval": ["limit=1", "budget=4"],
}
NEEDS_HUB = {
    "data=gsm8k",
    "data=math-reasoning-ift-pairs",
    *(f"model={name}" for name in cli.options("model") if name.startswith("qwen")),
}


@pytest.mark.model
def test_the_commands_run(tmp_path: Path) -> None:
    assert len(COMMANDS) >= 8
    assert EXAMPLE is not None
    (tmp_path / "mine.jsonl").write_text(EXAMPLE[1], encoding="utf-8")
    for number, words in enumerate(COMMANDS):
        assert words[:2] == ["python", "-m"]
        verb, *rest = [
            word.replace("runs/", f"{tmp_path}/").replace("mine.", f"{tmp_path}/mine.").replace("0.25,0.5,0.75,1", "1")
            for word in words[2:]
        ]
        if NEEDS_HUB & set(rest) or any(word.startswith("data.columns") for word in rest):
            result = command(verb, *rest, "--cfg", "job")
        else:
            out = [] if verb not in SHORT or any(w.startswith("out=") for w in rest) else [f"out={tmp_path}/{number}"]
            result = command(verb, *rest, *SHORT.get(verb, []), *out)
        assert result.returncode == 0, f"{shlex.join(words)}\n{result.stderr[-3000:]}"
    assert (tmp_path / "report.html").exists()
    assert not any(ROOT.glob("outputs")) and not any(ROOT.glob("multirun*"))


def test_every_name_in_the_tables_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in cli.options("data"):
        assert f"`{name}`" in text or name == "local"
