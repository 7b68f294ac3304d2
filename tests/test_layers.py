"""Imports go one way: launch → verbs → ratiocine; verbs never import each other; only cli.py knows Hydra."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERBS = ("distill", "train", "rl", "eval")
ALLOWED = {
    "ratiocine": {"ratiocine"},
    **{verb: {verb, "ratiocine"} for verb in VERBS},
    "launch": {"launch", "ratiocine", *VERBS},
    "bench": {"bench", "ratiocine", *VERBS},
}
OURS = {*ALLOWED, "tests"}


def imported(source: str) -> set[str]:
    """Full names of all modules a source file imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def breaches(package: str, source: str) -> set[str]:
    return {
        name
        for name in imported(source)
        if (top := name.split(".")[0]) in OURS and top not in ALLOWED[package]
    }


FILES = [(package, file) for package in ALLOWED for file in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize(
    ("package", "file"), FILES, ids=lambda value: str(value).removeprefix(str(ROOT))
)
def test_imports_go_one_way(package: str, file: Path) -> None:
    assert not breaches(package, file.read_text(encoding="utf-8"))


def test_the_rule_bites() -> None:
    assert breaches("train", "def f():\n    from eval.suite import load\n") == {
        "eval.suite",
        "eval.suite.load",
    }
    assert breaches("ratiocine", "import train.sft") == {"train.sft"}
    assert not breaches("launch", "import train.sft, ratiocine.cli")


def test_only_cli_imports_hydra() -> None:
    users = {
        file
        for _, file in FILES
        if any(n.split(".")[0] == "hydra" for n in imported(file.read_text(encoding="utf-8")))
    }
    assert users == {ROOT / "ratiocine" / "cli.py"}


def test_grading_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, ratiocine.grading; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
